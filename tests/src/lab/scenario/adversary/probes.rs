//! Ways to ask what is behind a port.

use std::net::IpAddr;

use crate::lab::craft::{
    self, ACK, Checksum, DESTINATION, FIN, FRAGMENT, HOP_BY_HOP, Header4, LINUX_OPTIONS, MSS_OPTION, PSH, ROUTING, RST,
    SYN, TCP, UDP, URG,
};

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) from_port: u16,
    pub(super) port: u16,
    pub(super) mac: [u8; 6],
    pub(super) peer: [u8; 6],
}

/// What writes the frames of a probe.
pub(super) type Write = fn(&Probe) -> Vec<Vec<u8>>;

impl Probe {
    fn framed(&self, packet: &[u8]) -> Vec<u8> {
        craft::framed(self.peer, self.mac, packet)
    }

    /// A segment; no stack repeats a number.
    fn segment(&self, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        let sequence = u32::from(self.from_port) << 12 | 5;
        let acknowledged = if flags & ACK != 0 { 0x1234_5678 } else { 0 };
        let mut segment = craft::tcp(self.from_port, self.port, sequence, acknowledged, flags, options, data);
        craft::sum_transport(TCP, self.from, self.to, &mut segment, Checksum::Right);
        segment
    }

    fn datagram(&self, data: &[u8]) -> Vec<u8> {
        let mut datagram = craft::udp(self.from_port, self.port, data);
        craft::sum_transport(UDP, self.from, self.to, &mut datagram, Checksum::Right);
        datagram
    }

    fn is_ipv4(&self) -> bool {
        self.from.is_ipv4()
    }

    /// A message in one packet.
    fn whole(&self, protocol: u8, message: &[u8]) -> Vec<Vec<u8>> {
        let packet = if self.is_ipv4() {
            craft::ip4(self.from, self.to, protocol, &Header4::default(), message)
        } else {
            craft::ip6(self.from, self.to, protocol, message)
        };
        vec![self.framed(&packet)]
    }

    /// The same in fragments that begin at these units of eight bytes, in this order.
    fn cut(&self, protocol: u8, message: &[u8], starts: &[usize]) -> Vec<Vec<u8>> {
        let fragment = |start: usize| {
            let mut ends: Vec<usize> = starts.iter().copied().filter(|other| *other > start).collect();
            ends.sort_unstable();
            let end = ends.first().map_or(message.len(), |end| (end * 8).min(message.len()));
            let (more, bytes) = (end < message.len(), &message[start * 8..end]);
            let id = u32::from(self.from_port);
            let packet = if self.is_ipv4() {
                let fragment = start as u16 | if more { 0x2000 } else { 0 };
                let header = Header4 { id: self.from_port, fragment, ..Header4::default() };
                craft::ip4(self.from, self.to, protocol, &header, bytes)
            } else {
                let header = (FRAGMENT, craft::fragment6(start as u16, more, id));
                let (next, payload) = craft::chained(&[header], protocol, bytes);
                craft::ip6(self.from, self.to, next, &payload)
            };
            self.framed(&packet)
        };
        starts.iter().map(|start| fragment(*start)).collect()
    }

    /// A message behind IPv4 options.
    fn behind_options(&self, protocol: u8, message: &[u8], options: &[u8]) -> Vec<Vec<u8>> {
        let header = Header4 { options, ..Header4::default() };
        vec![self.framed(&craft::ip4(self.from, self.to, protocol, &header, message))]
    }

    /// A message behind IPv6 extension headers.
    fn behind(&self, headers: &[(u8, Vec<u8>)], protocol: u8, message: &[u8]) -> Vec<Vec<u8>> {
        let (next, payload) = craft::chained(headers, protocol, message);
        vec![self.framed(&craft::ip6(self.from, self.to, next, &payload))]
    }

    fn behind_tags(&self, tags: &[(u16, u16)], message: &[u8]) -> Vec<Vec<u8>> {
        let packet = if self.is_ipv4() {
            craft::ip4(self.from, self.to, TCP, &Header4::default(), message)
        } else {
            craft::ip6(self.from, self.to, TCP, message)
        };
        vec![craft::tagged(self.peer, self.mac, tags, &packet)]
    }
}

/// As nmap sends it.
pub(super) fn syn(probe: &Probe) -> Vec<Vec<u8>> {
    probe.whole(TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
}

pub(super) fn ack(probe: &Probe) -> Vec<Vec<u8>> {
    probe.whole(TCP, &probe.segment(ACK, &[], &[]))
}

/// Maimon's.
pub(super) fn fin_ack(probe: &Probe) -> Vec<Vec<u8>> {
    probe.whole(TCP, &probe.segment(FIN | ACK, &[], &[]))
}

pub(super) fn syn_ack(probe: &Probe) -> Vec<Vec<u8>> {
    probe.whole(TCP, &probe.segment(SYN | ACK, &MSS_OPTION, &[]))
}

pub(super) fn null(probe: &Probe) -> Vec<Vec<u8>> {
    probe.whole(TCP, &probe.segment(0, &[], &[]))
}

pub(super) fn udp(probe: &Probe) -> Vec<Vec<u8>> {
    probe.whole(UDP, &probe.datagram(b"question"))
}

/// From the port of name servers.
pub(super) fn udp_behind_options(probe: &Probe) -> Vec<Vec<u8>> {
    probe.behind_options(UDP, &probe.datagram(b"question"), &[1, 1, 1, 1])
}

/// The first fragment ends within the chain of headers, the second has the rest of it.
pub(super) fn cut_chain(probe: &Probe) -> Vec<Vec<u8>> {
    let (_, message) = craft::chained(&[(DESTINATION, craft::options6(1))], TCP, &probe.segment(SYN, &MSS_OPTION, &[]));
    let (next, whole) = craft::chained(&[(DESTINATION, craft::options6(1))], DESTINATION, &message);
    probe.cut(next, &whole, &[0, 1])
}

/// The same of a datagram.
pub(super) fn cut_chain_udp(probe: &Probe) -> Vec<Vec<u8>> {
    let (_, message) = craft::chained(&[(DESTINATION, craft::options6(1))], UDP, &probe.datagram(b"question"));
    let (next, whole) = craft::chained(&[(DESTINATION, craft::options6(1))], DESTINATION, &message);
    probe.cut(next, &whole, &[0, 1])
}

/// A SYN in two fragments, the first of which shows a reset: it has 14 bytes, of which Linux takes eight, because others
/// follow (`ip_frag_queue`); the flags that count are in the second one.
pub(super) fn flags_of_another(probe: &Probe) -> Vec<Vec<u8>> {
    let (reset, syn) = (probe.segment(RST, &[], &[]), probe.segment(SYN, &MSS_OPTION, &[]));
    let piece = |fragment: u16, bytes: &[u8]| {
        let header = Header4 { id: probe.from_port, fragment, ..Header4::default() };
        probe.framed(&craft::ip4(probe.from, probe.to, TCP, &header, bytes))
    };
    vec![piece(0x2000, &reset[..14]), piece(1, &syn[8..])]
}

/// More headers than are read.
pub(super) fn nine_headers(probe: &Probe) -> Vec<Vec<u8>> {
    let headers = vec![(DESTINATION, craft::options6(1)); 9];
    probe.behind(&headers, TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
}

/// The tags of a priority, so many of them.
pub(super) fn priority_tags<const COUNT: usize>(probe: &Probe) -> Vec<Vec<u8>> {
    probe.behind_tags(&[(0x8100, 0); COUNT], &probe.segment(SYN, &MSS_OPTION, &[]))
}

/// The first fragment of an ACK that nothing completes; the number is that of the packet.
pub(super) fn first_fragment(probe: &Probe) -> Vec<Vec<u8>> {
    probe.cut(TCP, &probe.segment(ACK, &LINUX_OPTIONS, &[]), &[0, 3])[..1].to_vec()
}

/// A SYN in two fragments, with the number of another packet.
pub(super) fn syn_with_number(probe: &Probe, number: u16) -> Vec<Vec<u8>> {
    let segment = probe.segment(SYN, &LINUX_OPTIONS, &[]);
    Probe { from_port: number, ..*probe }.cut(TCP, &segment, &[0, 3])
}

macro_rules! flags {
    ($($name:literal $flags:expr),* $(,)?) => {
        [$(($name, (|probe: &Probe| probe.whole(TCP, &probe.segment($flags, &[], &[]))) as Write)),*]
    };
}

/// Kinds of segments by their flags.
const FLAGS: [(&str, Write); 16] = flags![
    "SYN" SYN,
    "SYN with ECN" SYN | 0xc0,
    "ACK" ACK,
    "PSH+ACK" PSH | ACK,
    "URG+ACK" URG | ACK,
    "FIN+ACK" FIN | ACK,
    "SYN+ACK" SYN | ACK,
    "RST" RST,
    "RST+ACK" RST | ACK,
    "FIN" FIN,
    "no flags" 0,
    "XMAS" FIN | PSH | URG,
    "SYN+FIN" SYN | FIN,
    "SYN+RST" SYN | RST,
    "SYN+ACK+RST" SYN | ACK | RST,
    "all flags" 0x3f,
];

/// Kinds for both families.
const BOTH: [(&str, Write); 15] = [
    ("SYN of Linux", |probe| probe.whole(TCP, &probe.segment(SYN, &LINUX_OPTIONS, &[]))),
    ("SYN with data", |probe| probe.whole(TCP, &probe.segment(SYN, &MSS_OPTION, b"GET / HTTP/1.0\r\n\r\n"))),
    ("SYN with fast open", |probe| {
        let options = [&MSS_OPTION[..], &[34, 2, 1, 1]].concat();
        probe.whole(TCP, &probe.segment(SYN, &options, b"GET / HTTP/1.0\r\n\r\n"))
    }),
    ("ACK with data", |probe| probe.whole(TCP, &probe.segment(ACK | PSH, &[], b"GET / HTTP/1.0\r\n\r\n"))),
    ("SYN cut after 8 bytes", |probe| probe.cut(TCP, &probe.segment(SYN, &LINUX_OPTIONS, &[]), &[0, 1])),
    ("SYN cut after 16 bytes", |probe| probe.cut(TCP, &probe.segment(SYN, &LINUX_OPTIONS, &[]), &[0, 2])),
    ("SYN cut after 24 bytes", |probe| probe.cut(TCP, &probe.segment(SYN, &LINUX_OPTIONS, &[]), &[0, 3])),
    ("SYN cut, last piece first", |probe| probe.cut(TCP, &probe.segment(SYN, &LINUX_OPTIONS, &[]), &[3, 0])),
    ("SYN in one fragment", |probe| probe.cut(TCP, &probe.segment(SYN, &LINUX_OPTIONS, &[]), &[0])),
    ("ACK cut after 16 bytes", |probe| probe.cut(TCP, &probe.segment(ACK, &LINUX_OPTIONS, &[]), &[0, 2])),
    ("ACK cut after 24 bytes", |probe| probe.cut(TCP, &probe.segment(ACK, &LINUX_OPTIONS, &[]), &[0, 3])),
    ("SYN behind one tag", priority_tags::<1>),
    ("SYN behind two tags", priority_tags::<2>),
    ("SYN behind three tags", priority_tags::<3>),
    ("SYN behind five tags", priority_tags::<5>),
];

/// Kinds of IPv4.
const FOUR: [(&str, Write); 8] = [
    ("ACK behind an option that lies", |probe| probe.behind_options(TCP, &probe.segment(ACK, &[], &[]), &[7, 0, 0, 0])),
    ("SYN behind an option that lies", |probe| {
        probe.behind_options(TCP, &probe.segment(SYN, &MSS_OPTION, &[]), &[7, 0, 0, 0])
    }),
    ("SYN behind no-operations", |probe| probe.behind_options(TCP, &probe.segment(SYN, &MSS_OPTION, &[]), &[1; 40])),
    ("SYN that records its route", |probe| {
        probe.behind_options(TCP, &probe.segment(SYN, &MSS_OPTION, &[]), &[7, 7, 4, 0, 0, 0, 0])
    }),
    ("ACK behind no-operations", |probe| probe.behind_options(TCP, &probe.segment(ACK, &[], &[]), &[1; 4])),
    ("SYN to everybody on the link", |probe| {
        let mut frames = syn(probe);
        frames.iter_mut().for_each(|frame| frame[..6].fill(0xff));
        frames
    }),
    ("SYN with bytes behind it", |probe| {
        let mut frames = syn(probe);
        frames.iter_mut().for_each(|frame| frame.extend([0x55; 9]));
        frames
    }),
    ("SYN with a reserved bit of IPv4", |probe| {
        let header = Header4 { fragment: 0x8000, ..Header4::default() };
        let packet = craft::ip4(probe.from, probe.to, TCP, &header, &probe.segment(SYN, &MSS_OPTION, &[]));
        vec![probe.framed(&packet)]
    }),
];

/// Kinds of IPv6.
const SIX: [(&str, Write); 18] = [
    ("ACK behind an option that is refused", |probe| {
        probe.behind(&[(DESTINATION, vec![0, 0x9e, 4, 0, 0, 0, 0])], TCP, &probe.segment(ACK, &[], &[]))
    }),
    ("SYN behind an option that is refused", |probe| {
        probe.behind(&[(DESTINATION, vec![0, 0x9e, 4, 0, 0, 0, 0])], TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
    }),
    ("ACK behind a header of mobility", |probe| probe.behind(&[(135, vec![0; 7])], TCP, &probe.segment(ACK, &[], &[]))),
    ("ACK behind a routing header of an unknown type", |probe| {
        probe.behind(&[(ROUTING, vec![0, 200, 1, 0, 0, 0, 0])], TCP, &probe.segment(ACK, &[], &[]))
    }),
    ("ACK whose first fragment has an odd length", |probe| {
        let segment = probe.segment(ACK, &LINUX_OPTIONS, &[]);
        let header = (FRAGMENT, craft::fragment6(0, true, probe.from_port.into()));
        probe.behind(&[header], TCP, &segment[..37])
    }),
    ("SYN behind hop-by-hop options", |probe| {
        probe.behind(&[(HOP_BY_HOP, craft::options6(1))], TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
    }),
    ("SYN behind eight headers", |probe| {
        probe.behind(&vec![(DESTINATION, craft::options6(1)); 8], TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
    }),
    ("SYN behind nine headers", nine_headers),
    ("ACK behind nine headers", |probe| {
        probe.behind(&vec![(DESTINATION, craft::options6(1)); 9], TCP, &probe.segment(ACK, &[], &[]))
    }),
    ("SYN behind a long header", |probe| {
        probe.behind(&[(DESTINATION, craft::options6(120))], TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
    }),
    ("SYN behind a used-up routing header", |probe| {
        probe.behind(&[(ROUTING, vec![0, 0, 0, 0, 0, 0, 0])], TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
    }),
    ("SYN behind two fragment headers", |probe| {
        let header = || (FRAGMENT, craft::fragment6(0, false, 9));
        probe.behind(&[header(), header()], TCP, &probe.segment(SYN, &MSS_OPTION, &[]))
    }),
    ("SYN behind a chain cut in two", cut_chain),
    ("ACK behind a chain cut in two", |probe| {
        let (_, message) = craft::chained(&[(DESTINATION, craft::options6(1))], TCP, &probe.segment(ACK, &[], &[]));
        let (next, whole) = craft::chained(&[(DESTINATION, craft::options6(1))], DESTINATION, &message);
        probe.cut(next, &whole, &[0, 1])
    }),
    ("SYN behind a chain cut in two, last piece first", |probe| {
        let mut frames = cut_chain(probe);
        frames.reverse();
        frames
    }),
    ("SYN behind headers, cut where TCP begins", |probe| {
        let (next, whole) =
            craft::chained(&[(DESTINATION, craft::options6(2))], TCP, &probe.segment(SYN, &MSS_OPTION, &[]));
        probe.cut(next, &whole, &[0, 2])
    }),
    ("SYN with a payload length of zero", |probe| {
        let mut frames = probe.behind(&[(HOP_BY_HOP, craft::options6(1))], TCP, &probe.segment(SYN, &MSS_OPTION, &[]));
        frames.iter_mut().for_each(|frame| frame[18..20].fill(0));
        frames
    }),
    ("SYN to all nodes of the link layer", |probe| {
        let mut frames = syn(probe);
        frames.iter_mut().for_each(|frame| frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]));
        frames
    }),
];

/// Kinds of UDP.
pub(super) const DATAGRAMS: [(&str, Write); 5] = [
    ("datagram", udp),
    ("empty datagram", |probe| probe.whole(UDP, &probe.datagram(b""))),
    ("datagram cut in two", |probe| probe.cut(UDP, &probe.datagram(&[0; 40]), &[0, 2])),
    ("datagram cut after its header", |probe| probe.cut(UDP, &probe.datagram(&[0; 40]), &[0, 1])),
    ("datagram, last piece first", |probe| probe.cut(UDP, &probe.datagram(&[0; 40]), &[2, 0])),
];

/// All ways to ask for a TCP port that are of the sender's family.
pub(super) fn all(v4: bool) -> Vec<(&'static str, Write)> {
    let own: &[(&str, Write)] = if v4 { &FOUR } else { &SIX };
    FLAGS.iter().chain(&BOTH).chain(own).copied().collect()
}
