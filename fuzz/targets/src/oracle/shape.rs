//! Packets of all shapes, out of a few bytes each: options, chains of extension headers, tags, fragments in any cut and order, lengths that lie.

use std::net::IpAddr;

use super::stack::{TCP, UDP};
use super::wire::{self, ACK, FIN, Head, PSH, RST, Receiver, SYN, Segment, URG, VLAN_ID};
use crate::bytes::Bytes;

const ICMP4: u8 = 1;
const ICMP6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const OPTIONS: u8 = 60;
/// These headers with something that Linux objects to.
const WRONG_OPTION: u8 = 200;
const WRONG_ROUTE: u8 = 201;

pub(crate) const FLAGS: [u8; 16] = [
    SYN,
    ACK,
    0,
    FIN | ACK,
    SYN | ACK,
    FIN | PSH | URG,
    RST,
    SYN | FIN,
    RST | ACK,
    SYN | RST,
    PSH | ACK,
    FIN,
    SYN | 0xc0,
    URG | ACK,
    SYN | FIN | ACK,
    0xff,
];

/// Who sends what to which port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) ports: [u16; 2],
}

/// A transport header with something behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    /// A segment with these flags and so many bytes; with room for an option, if so.
    Tcp {
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        data: usize,
        options: bool,
    },
    Udp {
        data: usize,
        is_unsummed: bool,
    },
    Icmp {
        kind: u8,
        code: u8,
        data: usize,
    },
    Other {
        protocol: u8,
        data: usize,
    },
}

const DATA: [u8; 64] = [0x5a; 64];
/// The only option that the answer to a SYN may repeat: the longest segment.
const MSS: [u8; 4] = [2, 4, 5, 0xb4];

/// Writes a transport header and its data, and says of which protocol it is.
pub(crate) fn transport(asked: &Asked, what: Transport, bytes: &mut Vec<u8>) -> u8 {
    bytes.clear();
    let [from, to] = asked.ports;
    let is_v4 = asked.from.is_ipv4();
    let protocol = match what {
        Transport::Tcp { flags, sequence, acknowledged, data, options } => {
            let segment = Segment { from, to, sequence, acknowledged, flags, length: 0 };
            segment.write(if options { &MSS } else { &[] }, &DATA[..data], bytes);
            TCP
        }
        Transport::Udp { data, .. } => {
            wire::datagram([from, to], &DATA[..data], bytes);
            UDP
        }
        Transport::Icmp { kind, code, data } => {
            bytes.extend_from_slice(&[kind, code, 0, 0, 0, 7, 0, 1]);
            bytes.extend_from_slice(&DATA[..data]);
            let protocol = if is_v4 { ICMP4 } else { ICMP6 };
            let check = if is_v4 { !wire::sum(bytes) } else { wire::checksum(asked.from, asked.to, protocol, bytes) };
            bytes[2..4].copy_from_slice(&check.to_be_bytes());
            protocol
        }
        Transport::Other { protocol, data } => {
            bytes.extend_from_slice(&DATA[..data]);
            protocol
        }
    };
    let is_unsummed = matches!(what, Transport::Udp { is_unsummed: true, .. });
    if !is_unsummed {
        wire::complete(asked.from, asked.to, protocol, bytes);
    }
    protocol
}

/// One packet in one frame, without anything odd.
pub(crate) fn plain(asked: &Asked, what: Transport, scratch: &mut Vec<u8>, frame: &mut Vec<u8>) {
    let protocol = transport(asked, what, scratch);
    wire::packet(&Head { from: asked.from, to: asked.to, ..Head::default() }, protocol, scratch, frame);
}

/// What is odd about a packet, in eight bytes.
#[derive(Clone, Copy, Debug)]
struct Oddities {
    priority_tags: u8,
    tagged: bool,
    receiver: Receiver,
    length_off: i8,
    /// IPv4 options, or extension headers: how many, and of which kind.
    extra: usize,
    extra_kind: u8,
    /// How it is cut, where, and what goes before the cut.
    cut: u8,
    cut_at: usize,
    before: usize,
    ident: u16,
    padding: usize,
}

impl Oddities {
    fn read(bytes: &mut Bytes<'_>) -> Self {
        let (link, extra, cut, place, end) = (bytes.byte(), bytes.byte(), bytes.byte(), bytes.byte(), bytes.byte());
        Self {
            priority_tags: [0, 0, 0, 0, 1, 2, 3, 5][usize::from(link & 7)],
            tagged: link & 0x18 == 0x18,
            receiver: match link >> 5 {
                6 => Receiver::Group,
                7 => Receiver::Stranger,
                _ => Receiver::Host,
            },
            length_off: [0, 0, 0, 0, 0, -4, 4, -20][usize::from(end & 7)],
            extra: usize::from(extra & 15),
            extra_kind: extra >> 4,
            cut: cut & 15,
            cut_at: usize::from(place & 31) * 8,
            before: usize::from(cut >> 4),
            ident: u16::from(place >> 5) + 1,
            padding: [0, 0, 6, 40][usize::from(end >> 3 & 3)],
        }
    }
}

/// The frames of a packet with all that may be odd about it.
pub(crate) fn odd(asked: &Asked, what: Transport, bytes: &mut Bytes<'_>) -> Vec<Vec<u8>> {
    let odd = Oddities::read(bytes);
    let mut payload = Vec::with_capacity(128);
    let protocol = transport(asked, what, &mut payload);
    let mut frames = if asked.from.is_ipv4() {
        odd4(asked, &odd, protocol, &payload)
    } else {
        odd6(asked, &odd, protocol, &payload)
    };
    if odd.padding != 0 {
        for frame in &mut frames {
            frame.resize(frame.len() + odd.padding, 0);
        }
    }
    frames
}

fn head<'a>(asked: &Asked, odd: &Oddities) -> Head<'a> {
    Head {
        from: asked.from,
        to: asked.to,
        priority_tags: odd.priority_tags,
        tag: odd.tagged.then_some(VLAN_ID),
        receiver: odd.receiver,
        ident: odd.ident,
        length_off: odd.length_off,
        ..Head::default()
    }
}

fn odd4(asked: &Asked, odd: &Oddities, protocol: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    const NOPS: [u8; 40] = [1; 40];
    const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
    const WRONG: [u8; 4] = [7, 0, 0, 0];
    const ROUTE: [u8; 8] = [131, 7, 4, 192, 0, 2, 10, 0];
    let options: &[u8] = match odd.extra_kind {
        0..=7 => &NOPS[..odd.extra.min(10) * 4],
        8..=11 => &ROUTER_ALERT,
        12 | 13 => &WRONG,
        _ => &ROUTE,
    };
    let head = Head { options, ..head(asked, odd) };
    pieces(odd, payload)
        .into_iter()
        .map(|(offset, more, part)| {
            let fragment = (offset / 8) as u16 | u16::from(more) << 13;
            let mut frame = Vec::new();
            wire::packet(&Head { fragment, ..head }, protocol, &part, &mut frame);
            frame
        })
        .collect()
}

fn odd6(asked: &Asked, odd: &Oddities, protocol: u8, payload: &[u8]) -> Vec<Vec<u8>> {
    // A chain, some of it before the fragment header, the rest behind it.
    let mut kinds = Vec::new();
    for number in 0..odd.extra {
        kinds.push(match odd.extra_kind {
            0..=5 => OPTIONS,
            6 if number == 0 => HOP_BY_HOP,
            7 => [OPTIONS, ROUTING][number % 2],
            8 => FRAGMENT,
            9 => [FRAGMENT, OPTIONS][number % 2],
            10 => 135,
            11 => 51,
            12 => 59,
            // An option that nobody knows, of which an error tells.
            13 => WRONG_OPTION,
            14 => WRONG_ROUTE,
            _ => OPTIONS,
        });
    }
    let is_cut = odd.cut != 0;
    let before = if is_cut { odd.before.min(kinds.len()) } else { kinds.len() };
    let (unfragmented, fragmented) = kinds.split_at(before);
    let is_long = odd.extra_kind == 1;
    let (inner_first, inner) = chain(fragmented, protocol, payload, is_long, odd.ident);
    let head = head(asked, odd);
    if !is_cut {
        let (first, whole) = chain(unfragmented, protocol, payload, is_long, odd.ident);
        let mut frame = Vec::new();
        wire::packet(&head, first, &whole, &mut frame);
        return vec![frame];
    }
    pieces(odd, &inner)
        .into_iter()
        .map(|(offset, more, part)| {
            let field = (offset as u16 | u16::from(more)).to_be_bytes();
            let mut fragment = vec![inner_first, 0, field[0], field[1], 0, 0, 0, odd.ident as u8];
            fragment.extend_from_slice(&part);
            let (first, whole) = chain(unfragmented, FRAGMENT, &fragment, is_long, odd.ident);
            let mut frame = Vec::new();
            wire::packet(&head, first, &whole, &mut frame);
            frame
        })
        .collect()
}

/// Extension headers of these kinds before what is of that protocol; and the number of the first.
fn chain(kinds: &[u8], protocol: u8, payload: &[u8], is_long: bool, ident: u16) -> (u8, Vec<u8>) {
    let mut bytes = Vec::with_capacity(payload.len() + kinds.len() * 8);
    for (number, kind) in kinds.iter().enumerate() {
        let next = kinds.get(number + 1).copied().map_or(protocol, number_of);
        match *kind {
            // Atomic.
            FRAGMENT => bytes.extend_from_slice(&[next, 0, 0, 0, 0, 0, 1, ident as u8]),
            // Authentication counts words, and not in pairs.
            51 => bytes.extend_from_slice(&[next, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]),
            // No segments left, of a type that nobody knows.
            ROUTING => bytes.extend_from_slice(&[next, 0, 99, 0, 0, 0, 0, 0]),
            WRONG_OPTION => bytes.extend_from_slice(&[next, 0, 0x9e, 4, 0, 0, 0, 0]),
            WRONG_ROUTE => bytes.extend_from_slice(&[next, 0, 99, 1, 0, 0, 0, 0]),
            _ if is_long => {
                bytes.extend_from_slice(&[next, 1, 30, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            }
            _ => bytes.extend_from_slice(&[next, 0, 1, 4, 0, 0, 0, 0]),
        }
    }
    bytes.extend_from_slice(payload);
    (kinds.first().copied().map_or(protocol, number_of), bytes)
}

/// The number of a kind of header.
const fn number_of(kind: u8) -> u8 {
    match kind {
        WRONG_OPTION => OPTIONS,
        WRONG_ROUTE => ROUTING,
        kind => kind,
    }
}

/// A payload in pieces: offset, whether more follow, bytes; in the order in which they are sent.
fn pieces(odd: &Oddities, payload: &[u8]) -> Vec<(usize, bool, Vec<u8>)> {
    let whole = || (0, false, payload.to_vec());
    let at = odd.cut_at.min(payload.len() & !7);
    let second = (at + 8).min(payload.len());
    let piece = |from: usize, to: usize| (from, to < payload.len(), payload[from..to].to_vec());
    let (first, last) = (piece(0, at), piece(at, payload.len()));
    match odd.cut {
        0 => vec![whole()],
        1 | 2 => vec![first, last],
        3 | 4 => vec![last, first],
        5 => vec![piece(0, at), piece(at, second), piece(second, payload.len())],
        6 => vec![piece(second, payload.len()), piece(at, second), piece(0, at)],
        // Overlaps: the second begins within the first.
        7 => vec![piece(0, second), piece(at, payload.len())],
        8 => vec![piece(at, payload.len()), piece(0, second)],
        9 => vec![first.clone(), first, last],
        10 => vec![first],
        11 => vec![last],
        // Of IPv6 an atomic fragment.
        12 => vec![whole()],
        // A first one for itself, with the promise of more.
        13 => vec![(0, true, payload[..payload.len() & !7].to_vec())],
        14 => vec![(at, true, payload[..payload.len() & !7].to_vec()), (0, true, payload[..at].to_vec())],
        _ => vec![piece(at, second), piece(second, payload.len()), piece(0, at)],
    }
}
