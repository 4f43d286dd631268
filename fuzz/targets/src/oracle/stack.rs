//! What Linux answers: a model of the receiving side of its network stack, for judging what a scanner can learn.
//!
//! It reads frames by itself and shares nothing with the parser of the datapath: a mistake that both made would hide what it is for. Where RFCs and
//! Linux differ it does what Linux does (6.1 to 6.18, settings as shipped); the functions named below are where that was read. The laboratory's
//! scenario `shapes` asks the real one.
//!
//! | layer | modelled |
//! |---|---|
//! | link | frames for this host, to groups and for others; tags of VID 0 taken off one by one, one VLAN device (`__netif_receive_skb_core`) |
//! | IPv4 | lengths, checksum, sources that are never accepted, options, broadcast and multicast, reassembly (`ip_rcv_core`, `ip_options_compile`, `ip_frag_queue`) |
//! | IPv6 | payload length 0, chains of any length in any order, options by their two high bits, nested fragments (`ip6_rcv_core`, `ipv6_frag_rcv`) |
//! | TCP | listening, closed, half-open with SYN-ACKs sent again, established, closing (`tcp_v4_rcv`, `tcp_check_req`) |
//! | UDP | services that answer, one of them from a port of its own each time (TFTP), port unreachable |
//! | ICMP | echo and timestamp; errors with their limits for each receiver and for all, and the identification numbers of what is sent |
//!
//! Not modelled: SYN cookies, TCP fast open, congestion, what applications say, neighbour discovery, IGMP and MLD, tunnels.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::wire::{self, ACK, FIN, Head, RST, SYN, Segment};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const ICMP4: u8 = 1;
const ICMP6: u8 = 58;

const SECOND_NS: u64 = 1_000_000_000;
/// `net.ipv4.ipfrag_time` and `net.ipv6.ip6frag_time`.
const REASSEMBLY_NS: [u64; 2] = [30 * SECOND_NS, 60 * SECOND_NS];
/// When a SYN-ACK is sent again: after 1 s, then twice as long each time, `net.ipv4.tcp_synack_retries` times.
const SYN_ACK_RETRIES: u32 = 5;
/// `XRLIM_BURST_FACTOR`: errors to one receiver at once, beyond that one a second (`net.ipv4.icmp_ratelimit`).
const ERRORS_AT_ONCE: u64 = 6;
/// `net.ipv4.icmp_msgs_burst` and `net.ipv4.icmp_msgs_per_sec`: errors to all receivers.
const ALL_AT_ONCE: u64 = 50;
const ALL_PER_SECOND: u64 = 1000;
/// The port whose service answers from another one.
pub(crate) const TFTP: u16 = 69;
/// Bytes of a packet that an error quotes at most.
const QUOTED: usize = 528;

/// The addresses of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) v4: Ipv4Addr,
    /// Of its subnet.
    pub(crate) broadcast: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
    pub(crate) link_local: Ipv6Addr,
}

/// Both ends of a connection: theirs, ours.
pub(crate) type Ends = [(IpAddr, u16); 2];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// A SYN-ACK was sent, so often, and is sent again then.
    HalfOpen {
        sent: u32,
        again_ns: u64,
    },
    Established,
    /// They ended it, and so did we.
    Closing,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    state: State,
    /// Their initial sequence number, and what we expect next.
    theirs: u32,
    expected: u32,
    /// Our next sequence number.
    ours: u32,
    tag: Option<u16>,
}

/// To whom fragments belong: source, destination, identification, and of IPv4 the protocol.
type Pieces = (IpAddr, IpAddr, u32, u8);

/// Fragments that wait for the others (`struct ipq`, `struct frag_queue`).
#[derive(Debug, Default)]
struct Queue {
    since_ns: u64,
    /// Where the datagram ends, as far as is known.
    length: usize,
    has_last: bool,
    /// Of the first one the number of the next header.
    next: Option<u8>,
    /// Fragments that came one after the other, by offset.
    runs: Vec<(usize, Vec<u8>)>,
    /// What a "time exceeded" would quote, and whether it came in a frame to many.
    first: Vec<u8>,
    framed_to_group: bool,
}

/// What became of a fragment.
enum Piece {
    Waits,
    Whole(Vec<u8>, u8),
    /// It contradicts the others, which are forgotten with it.
    Contradicts,
}

/// A packet whose network header was read.
#[derive(Clone, Copy)]
struct Packet<'a> {
    from: IpAddr,
    to: IpAddr,
    /// Whether the destination is one of many, and whether the frame was.
    to_group: bool,
    framed_to_group: bool,
    tag: Option<u16>,
    /// The packet from its network header on, for quoting.
    whole: &'a [u8],
}

/// The stack of a host.
pub(crate) struct Stack {
    addresses: Addresses,
    /// Whether there are limits of ICMP errors.
    is_limited: bool,
    now_ns: u64,
    listening: Vec<(u8, u16)>,
    connections: HashMap<Ends, Connection>,
    queues: HashMap<Pieces, Queue>,
    limits: HashMap<IpAddr, u64>,
    all_limit_ns: u64,
    idents: HashMap<IpAddr, u16>,
    answered_from: u16,
    /// Connections that came or went since somebody asked: whether there is one now.
    changed: Vec<(Ends, bool)>,
    out: Vec<Vec<u8>>,
}

impl Stack {
    pub(crate) fn new(addresses: Addresses, is_limited: bool) -> Self {
        Self {
            addresses,
            is_limited,
            now_ns: 0,
            listening: Vec::new(),
            connections: HashMap::new(),
            queues: HashMap::new(),
            limits: HashMap::new(),
            all_limit_ns: 0,
            idents: HashMap::new(),
            answered_from: 0,
            changed: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Forgets everything but the services.
    pub(crate) fn forget(&mut self) {
        for (ends, _) in self.connections.drain() {
            self.changed.push((ends, false));
        }
        self.queues.clear();
        self.limits.clear();
        self.idents.clear();
        (self.all_limit_ns, self.answered_from) = (0, 0);
        self.out.clear();
    }

    /// A service listens on a port from now on, or none does.
    pub(crate) fn listen(&mut self, protocol: u8, port: u16, listens: bool) {
        self.listening.retain(|one| *one != (protocol, port));
        if listens {
            self.listening.push((protocol, port));
        }
    }

    /// Whether one does.
    pub(crate) fn is_listening(&self, protocol: u8, port: u16) -> bool {
        self.listening.contains(&(protocol, port))
    }

    /// Somebody has a connection, however it came about.
    pub(crate) fn connect(&mut self, ends: Ends) {
        let connection = Connection { state: State::Established, theirs: 0, expected: 1, ours: 1, tag: None };
        self.set(ends, Some(connection));
    }

    /// Whether there is a connection, in whatever state.
    pub(crate) fn has(&self, ends: &Ends) -> bool {
        self.connections.contains_key(ends)
    }

    /// Whether somebody has a connection to a port that is not established yet.
    pub(crate) fn is_half_open(&self, theirs: IpAddr, port: u16) -> bool {
        let is_one = |(ends, one): (&Ends, &Connection)| {
            ends[0].0 == theirs && ends[1].1 == port && matches!(one.state, State::HalfOpen { .. })
        };
        self.connections.iter().any(is_one)
    }

    /// Takes what came or went of connections.
    pub(crate) fn take_changes(&mut self) -> Vec<(Ends, bool)> {
        std::mem::take(&mut self.changed)
    }

    /// Time passes; what is sent because of it.
    pub(crate) fn wait(&mut self, now_ns: u64) -> Vec<Vec<u8>> {
        self.now_ns = now_ns;
        if self.queues.is_empty() && self.connections.is_empty() {
            return Vec::new();
        }
        let is_over = |key: &Pieces, queue: &Queue| {
            now_ns.saturating_sub(queue.since_ns) >= REASSEMBLY_NS[usize::from(key.0.is_ipv6())]
        };
        let mut over: Vec<Pieces> =
            self.queues.iter().filter(|(key, queue)| is_over(key, queue)).map(|(key, _)| *key).collect();
        over.sort_unstable();
        for key in over {
            let queue = self.queues.remove(&key).unwrap_or_default();
            // Only where the first fragment is there (RFC 792, RFC 4443 section 3.3).
            if !queue.first.is_empty() {
                let to_group = !self.is_mine(&key.1);
                let packet =
                    Packet { from: key.0, to: key.1, to_group, framed_to_group: false, tag: None, whole: &queue.first };
                self.error(&packet, if key.0.is_ipv4() { (11, 1) } else { (3, 1) }, 0);
            }
        }
        let mut due: Vec<Ends> = self
            .connections
            .iter()
            .filter(|(_, one)| matches!(one.state, State::HalfOpen { again_ns, .. } if again_ns <= now_ns))
            .map(|(ends, _)| *ends)
            .collect();
        due.sort_unstable();
        for ends in due {
            while let Some(connection) = self.connections.get_mut(&ends)
                && let State::HalfOpen { sent, again_ns } = connection.state
                && again_ns <= now_ns
            {
                if sent > SYN_ACK_RETRIES {
                    self.set(ends, None);
                    break;
                }
                connection.state = State::HalfOpen { sent: sent + 1, again_ns: again_ns + (SECOND_NS << sent) };
                let connection = *connection;
                self.syn_ack(&ends, &connection);
            }
        }
        std::mem::take(&mut self.out)
    }

    /// A frame arrives; what is sent because of it.
    pub(crate) fn receive(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let _ = self.link(frame);
        std::mem::take(&mut self.out)
    }

    fn set(&mut self, ends: Ends, connection: Option<Connection>) {
        match connection {
            Some(connection) => {
                if self.connections.insert(ends, connection).is_none() {
                    self.changed.push((ends, true));
                }
            }
            None => {
                if self.connections.remove(&ends).is_some() {
                    self.changed.push((ends, false));
                }
            }
        }
    }

    fn is_mine(&self, address: &IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => *address == self.addresses.v4,
            IpAddr::V6(address) => [self.addresses.v6, self.addresses.link_local].contains(address),
        }
    }

    /// The link layer. In what follows nothing means that the packet is dropped, or was dealt with.
    fn link(&mut self, frame: &[u8]) -> Option<()> {
        const VLAN: u16 = 0x8100;
        const SERVICE_VLAN: u16 = 0x88a8;
        let receiver = frame.get(..6)?;
        let framed_to_group = receiver[0] & 1 != 0;
        if !framed_to_group && receiver != wire::HOST_MAC {
            return None; // PACKET_OTHERHOST
        }
        let (mut at, mut kind, mut tag) = (14, word(frame, 12)?, None);
        while kind == VLAN || kind == SERVICE_VLAN {
            let id = word(frame, at)? & 0xfff;
            // A tag without a VLAN is a priority and taken off; of another VLAN there is no device, and below one there is none either.
            if id != 0 && (id != wire::VLAN_ID || tag.is_some() || kind != VLAN) {
                return None;
            }
            if id != 0 {
                tag = Some(id);
            }
            kind = word(frame, at + 2)?;
            at += 4;
        }
        match kind {
            0x0800 => self.ip4(frame.get(at..)?, framed_to_group, tag),
            0x86dd => self.ip6(frame.get(at..)?, framed_to_group, tag),
            _ => None,
        }
    }

    // IPv4: `ip_rcv_core`, `ip_route_input_slow`, `ip_rcv_options`, `ip_local_deliver`.

    fn ip4(&mut self, bytes: &[u8], framed_to_group: bool, tag: Option<u16>) -> Option<()> {
        let header = usize::from(bytes.first()? & 15) * 4;
        if bytes[0] >> 4 != 4 || header < 20 || bytes.len() < header || wire::sum(&bytes[..header]) != 0xffff {
            return None;
        }
        let total = usize::from(word(bytes, 2)?);
        if total > bytes.len() || total < header {
            return None;
        }
        let bytes = &bytes[..total]; // What follows is padding.
        let from = Ipv4Addr::from(*bytes[12..16].first_chunk()?);
        let to = Ipv4Addr::from(*bytes[16..20].first_chunk()?);
        let is_broadcast = to == self.addresses.broadcast || to == Ipv4Addr::BROADCAST;
        let is_all_hosts = to == Ipv4Addr::new(224, 0, 0, 1);
        // Martians. (0.0.0.0/8 but its first address is accepted since Linux 5.3, commit 96125bf9985a.)
        let is_martian = from.is_multicast()
            || from == Ipv4Addr::BROADCAST
            || from == self.addresses.broadcast
            || from.is_unspecified()
            || from.is_loopback()
            || from == self.addresses.v4;
        if is_martian || !(to == self.addresses.v4 || is_broadcast || is_all_hosts) {
            return None;
        }
        let to_group = is_broadcast || is_all_hosts;
        let packet = Packet { from: from.into(), to: to.into(), to_group, framed_to_group, tag, whole: bytes };
        match options4(&bytes[20..header]) {
            Options::Fine => {}
            Options::Dropped => return None,
            Options::Wrong(at) => {
                self.error(&packet, (12, 0), ((20 + at) as u32) << 24);
                return None;
            }
        }
        let protocol = bytes[9];
        let (field, id) = (word(bytes, 6)?, word(bytes, 4)?);
        let (offset, more) = (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0);
        let payload = &bytes[header..];
        if offset == 0 && !more {
            return self.deliver4(&packet, protocol, payload);
        }
        let key = (packet.from, packet.to, u32::from(id), protocol);
        let piece = self.queue(key, offset, more, payload, protocol, &packet);
        match piece {
            Piece::Whole(whole, _) => {
                let mut quoted = bytes[..header].to_vec();
                quoted.extend_from_slice(&whole);
                self.deliver4(&Packet { whole: &quoted, ..packet }, protocol, &whole)
            }
            Piece::Contradicts => {
                self.queues.remove(&key);
                None
            }
            Piece::Waits => None,
        }
    }

    fn deliver4(&mut self, packet: &Packet<'_>, protocol: u8, payload: &[u8]) -> Option<()> {
        const IGMP: u8 = 2;
        match protocol {
            TCP => self.tcp(packet, payload),
            UDP => self.udp(packet, payload),
            ICMP4 => self.icmp4(packet, payload),
            IGMP => None,
            _ => {
                self.error(packet, (3, 2), 0); // Protocol unreachable.
                None
            }
        }
    }

    fn icmp4(&mut self, packet: &Packet<'_>, payload: &[u8]) -> Option<()> {
        const ECHO: u8 = 8;
        const TIMESTAMP: u8 = 13;
        if payload.len() < 8 || wire::sum(payload) != 0xffff || packet.to_group || packet.framed_to_group {
            return None; // `net.ipv4.icmp_echo_ignore_broadcasts`
        }
        let mut answer = payload.to_vec();
        match payload[0] {
            ECHO => answer[0] = 0,
            TIMESTAMP if payload.len() >= 20 => {
                answer.truncate(20);
                answer[0] = 14;
                let now = ((self.now_ns / 1_000_000) % 86_400_000) as u32;
                answer[12..16].copy_from_slice(&now.to_be_bytes());
                answer[16..20].copy_from_slice(&now.to_be_bytes());
            }
            _ => return None,
        }
        self.icmp(packet, &mut answer);
        None
    }

    // IPv6: `ip6_rcv_core`, `ip6_protocol_deliver_rcu`, `exthdrs.c`, `reassembly.c`.

    fn ip6(&mut self, bytes: &[u8], framed_to_group: bool, tag: Option<u16>) -> Option<()> {
        const HOP_BY_HOP: u8 = 0;
        if bytes.len() < 40 || bytes[0] >> 4 != 6 {
            return None;
        }
        let (length, next) = (usize::from(word(bytes, 4)?), bytes[6]);
        let from = Ipv6Addr::from(*bytes[8..24].first_chunk()?);
        let to = Ipv6Addr::from(*bytes[24..40].first_chunk()?);
        let is_refused = from.is_multicast()
            || from.is_loopback()
            || to.is_loopback()
            || (to.is_multicast() && framed_to_group && to.octets()[1] & 15 < 2);
        let is_all_nodes = to == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        if is_refused || !(self.is_mine(&to.into()) || is_all_nodes) {
            return None;
        }
        // Without a length it is a jumbogram, or what ends with the frame, but only before hop-by-hop options.
        let bytes = if length == 0 && next == HOP_BY_HOP { bytes } else { bytes.get(..40 + length)? };
        let packet =
            Packet { from: from.into(), to: to.into(), to_group: is_all_nodes, framed_to_group, tag, whole: bytes };
        self.chain(&packet, 40, next, 6)
    }

    /// Goes along a chain of headers, of which the next begins `at`, its number having stood at `told_at`.
    fn chain(&mut self, packet: &Packet<'_>, mut at: usize, mut next: u8, mut told_at: usize) -> Option<()> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const FRAGMENT: u8 = 44;
        const NONE: u8 = 59;
        const OPTIONS: u8 = 60;
        let bytes = packet.whole;
        loop {
            match next {
                HOP_BY_HOP | OPTIONS if next == OPTIONS || at == 40 => {
                    let length = usize::from(*bytes.get(at + 1)?) * 8 + 8;
                    let options = bytes.get(at..at + length)?;
                    match options6(&options[2..]) {
                        Options::Fine => {}
                        Options::Dropped => return None,
                        Options::Wrong(place) => {
                            let is_loud = options[2 + place] >> 6 == 2 || !packet.to_group;
                            if is_loud {
                                self.error(packet, (4, 2), (at + 2 + place) as u32);
                            }
                            return None;
                        }
                    }
                    (next, told_at) = (options[0], at);
                    at += length;
                }
                ROUTING => {
                    let length = usize::from(*bytes.get(at + 1)?) * 8 + 8;
                    let header = bytes.get(at..at + length)?;
                    // RPL and segment routing are off.
                    if packet.to_group || packet.framed_to_group || matches!(header[2], 3 | 4) {
                        return None;
                    }
                    if header[3] != 0 {
                        self.error(packet, (4, 0), at as u32 + 2);
                        return None;
                    }
                    (next, told_at) = (header[0], at);
                    at += length;
                }
                FRAGMENT => {
                    let header = bytes.get(at..at + 8)?;
                    let field = word(header, 2)?;
                    let (offset, more) = (usize::from(field & !7), field & 1 != 0);
                    (next, told_at) = (header[0], at);
                    at += 8;
                    if offset == 0 && !more {
                        continue; // Atomic: RFC 6946.
                    }
                    return self.fragment6(packet, at, [offset, usize::from(more)], next, header);
                }
                TCP => return self.tcp(packet, &bytes[at..]),
                UDP => return self.udp(packet, &bytes[at..]),
                ICMP6 => return self.icmp6(packet, &bytes[at..]),
                NONE => return None,
                _ => {
                    self.error(packet, (4, 1), told_at as u32); // Unrecognized next header.
                    return None;
                }
            }
        }
    }

    fn fragment6(
        &mut self,
        packet: &Packet<'_>,
        at: usize,
        [offset, more]: [usize; 2],
        next: u8,
        header: &[u8],
    ) -> Option<()> {
        let payload = &packet.whole[at..];
        let more = more != 0;
        if offset == 0 && is_transport_truncated(packet.whole, at, next) {
            self.error(packet, (4, 3), 0); // RFC 7112, Linux 5.11.
            return None;
        }
        if offset + payload.len() > 65_535 || (more && !payload.len().is_multiple_of(8)) {
            self.error(packet, (4, 0), 4);
            return None;
        }
        let id = u32::from(word(header, 4)?) << 16 | u32::from(word(header, 6)?);
        let key = (packet.from, packet.to, id, 0);
        match self.queue(key, offset, more, payload, next, packet) {
            Piece::Whole(whole, next) => {
                // What came before the fragment header of the first one is of no use any more: all of it was read. (Only options there are none.)
                let mut bytes = packet.whole[..40].to_vec();
                bytes.extend_from_slice(&whole);
                // No hop-by-hop options after a fragment header.
                if next == 0 {
                    self.error(packet, (4, 1), 40);
                    return None;
                }
                self.chain(&Packet { whole: &bytes, ..*packet }, 40, next, 6)
            }
            Piece::Contradicts => {
                self.queues.remove(&key);
                None
            }
            Piece::Waits => None,
        }
    }

    fn icmp6(&mut self, packet: &Packet<'_>, payload: &[u8]) -> Option<()> {
        const ECHO: u8 = 128;
        if payload.len() < 8 || wire::checksum(packet.from, packet.to, ICMP6, payload) != 0 || payload[0] != ECHO {
            return None;
        }
        let mut answer = payload.to_vec();
        answer[0] = 129;
        self.icmp(packet, &mut answer);
        None
    }

    // Fragments: `ip_frag_queue`, `ip6_frag_queue`, `inet_frag_queue_insert`.

    fn queue(
        &mut self,
        key: Pieces,
        offset: usize,
        more: bool,
        payload: &[u8],
        next: u8,
        packet: &Packet<'_>,
    ) -> Piece {
        let since_ns = self.now_ns;
        let queue = self.queues.entry(key).or_insert_with(|| Queue { since_ns, ..Queue::default() });
        let length = if more { payload.len() & !7 } else { payload.len() };
        let (payload, end) = (&payload[..length], offset + length);
        if more {
            if end > queue.length {
                if queue.has_last {
                    return Piece::Contradicts;
                }
                queue.length = end;
            }
        } else {
            if end < queue.length || (queue.has_last && end != queue.length) {
                return Piece::Contradicts;
            }
            (queue.length, queue.has_last) = (end, true);
        }
        if length == 0 {
            return Piece::Contradicts;
        }
        // Within what came already it is a duplicate; what overlaps otherwise ends all (RFC 5722, Linux 4.19 for IPv4).
        let is_last = queue.runs.last().is_none_or(|(at, run)| at + run.len() < end);
        if is_last {
            match queue.runs.last_mut() {
                Some((at, run)) if offset < *at + run.len() => return Piece::Contradicts,
                Some((at, run)) if offset == *at + run.len() => run.extend_from_slice(payload),
                _ => queue.runs.push((offset, payload.to_vec())),
            }
        } else {
            for (at, run) in &queue.runs {
                if end <= *at || offset >= at + run.len() {
                    continue;
                }
                let is_duplicate = offset >= *at && end <= at + run.len();
                return if is_duplicate { Piece::Waits } else { Piece::Contradicts };
            }
            let place = queue.runs.partition_point(|(at, _)| *at < offset);
            queue.runs.insert(place, (offset, payload.to_vec()));
        }
        if offset == 0 {
            queue.next = Some(next);
            queue.first = packet.whole.to_vec();
            queue.framed_to_group = packet.framed_to_group;
        }
        let held: usize = queue.runs.iter().map(|(_, run)| run.len()).sum();
        let (true, true, Some(next)) = (queue.has_last, held == queue.length, queue.next) else {
            return Piece::Waits;
        };
        let whole = queue.runs.drain(..).flat_map(|(_, run)| run).collect();
        self.queues.remove(&key);
        Piece::Whole(whole, next)
    }

    // TCP: RFC 9293, section 3.10.7.

    fn tcp(&mut self, packet: &Packet<'_>, payload: &[u8]) -> Option<()> {
        // From a mapped address nobody connects (`tcp_v6_conn_request`), though datagrams and echoes from it are answered.
        let is_mapped = matches!(packet.from, IpAddr::V6(from) if from.to_ipv4_mapped().is_some());
        if packet.framed_to_group || packet.to_group || is_mapped {
            return None;
        }
        let header = usize::from(payload.get(12)? >> 4) * 4;
        if header < 20 || header > payload.len() || wire::checksum(packet.from, packet.to, TCP, payload) != 0 {
            return None;
        }
        let segment = Segment::read(payload)?;
        let ends = [(packet.from, segment.from), (packet.to, segment.to)];
        if let Some(connection) = self.connections.get(&ends).copied() {
            self.tcp_of(&ends, connection, &segment, packet);
        } else if self.is_listening(TCP, segment.to) {
            let Segment { flags, .. } = segment;
            if flags & ACK != 0 {
                self.reset(&ends, &segment, packet);
            } else if flags & RST == 0 && flags & SYN != 0 && flags & FIN == 0 {
                self.begin(&ends, &segment, packet);
            }
        } else {
            self.reset(&ends, &segment, packet);
        }
        None
    }

    /// A SYN to a listener.
    fn begin(&mut self, ends: &Ends, segment: &Segment, packet: &Packet<'_>) {
        let connection = Connection {
            state: State::HalfOpen { sent: 1, again_ns: self.now_ns + SECOND_NS },
            theirs: segment.sequence,
            expected: segment.sequence.wrapping_add(1),
            // Of a connection's initial number nothing is known to anybody but the host; here it is the same each time.
            ours: initial_number(ends),
            tag: packet.tag,
        };
        self.set(*ends, Some(connection));
        self.syn_ack(ends, &connection);
    }

    fn syn_ack(&mut self, ends: &Ends, connection: &Connection) {
        self.segment(ends, connection.tag, SYN | ACK, connection.ours, connection.expected);
    }

    /// A segment of a connection that exists.
    fn tcp_of(&mut self, ends: &Ends, connection: Connection, segment: &Segment, packet: &Packet<'_>) {
        let Segment { flags, sequence, acknowledged, length, .. } = *segment;
        let Connection { state, theirs, expected, ours, tag } = connection;
        match state {
            State::HalfOpen { .. } => {
                if flags & (SYN | ACK | RST) == SYN && sequence == theirs {
                    self.syn_ack(ends, &connection);
                } else if sequence != expected && flags & RST == 0 {
                    self.segment(ends, tag, ACK, ours.wrapping_add(1), expected); // Out of the window.
                } else if flags & RST != 0 {
                    if sequence == expected {
                        self.set(*ends, None);
                    }
                } else if flags & SYN != 0 {
                    self.set(*ends, None);
                    self.reset(ends, segment, packet);
                } else if flags & ACK != 0 && acknowledged == ours.wrapping_add(1) {
                    let next = Connection { state: State::Established, ours: acknowledged, ..connection };
                    self.set(*ends, Some(next));
                    self.data(ends, next, segment);
                } else if flags & ACK != 0 {
                    self.reset(ends, segment, packet);
                }
            }
            State::Established | State::Closing => {
                if flags & RST != 0 {
                    if sequence == expected {
                        self.set(*ends, None);
                    } else {
                        self.segment(ends, tag, ACK, ours, expected); // RFC 5961
                    }
                } else if flags & SYN != 0 || sequence != expected {
                    self.segment(ends, tag, ACK, ours, expected);
                } else if flags & ACK != 0 {
                    if state == State::Closing && acknowledged == ours {
                        self.set(*ends, None);
                    } else if length != 0 || flags & FIN != 0 {
                        self.data(ends, connection, segment);
                    }
                }
            }
        }
    }

    fn data(&mut self, ends: &Ends, connection: Connection, segment: &Segment) {
        let is_end = segment.flags & FIN != 0;
        if segment.length == 0 && !is_end {
            return;
        }
        let expected = connection.expected.wrapping_add(segment.length + u32::from(is_end));
        let mut next = Connection { expected, ..connection };
        let flags = if is_end { FIN | ACK } else { ACK };
        self.segment(ends, connection.tag, flags, connection.ours, expected);
        if is_end {
            (next.state, next.ours) = (State::Closing, connection.ours.wrapping_add(1));
        }
        self.set(*ends, Some(next));
    }

    /// The answer to a segment of no connection (`tcp_v4_send_reset`): none to a reset.
    fn reset(&mut self, ends: &Ends, segment: &Segment, packet: &Packet<'_>) {
        let Segment { flags, sequence, acknowledged, length, .. } = *segment;
        if flags & RST != 0 {
            return;
        }
        if flags & ACK != 0 {
            self.segment(ends, packet.tag, RST, acknowledged, 0);
        } else {
            let taken = length + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            self.segment(ends, packet.tag, RST | ACK, 0, sequence.wrapping_add(taken));
        }
    }

    /// A segment of ours.
    fn segment(&mut self, [theirs, ours]: &Ends, tag: Option<u16>, flags: u8, sequence: u32, acknowledged: u32) {
        let segment = Segment { from: ours.1, to: theirs.1, sequence, acknowledged, flags, length: 0 };
        let options: &[u8] = if flags & SYN != 0 { &[2, 4, 5, 0xb4] } else { &[] };
        self.send(ours.0, theirs.0, tag, TCP, 0, |bytes| segment.write(options, &[], bytes));
    }

    // UDP.

    fn udp(&mut self, packet: &Packet<'_>, payload: &[u8]) -> Option<()> {
        let (from, to) = (word(payload, 0)?, word(payload, 2)?);
        let (length, check) = (usize::from(word(payload, 4)?), word(payload, 6)?);
        if length < 8 || length > payload.len() || (check == 0 && packet.from.is_ipv6()) {
            return None;
        }
        let payload = &payload[..length];
        if check != 0 && wire::checksum(packet.from, packet.to, UDP, payload) != 0 {
            return None;
        }
        if self.is_listening(UDP, to) {
            if from == 0 {
                return None;
            }
            // To many it is answered from the host's own address.
            let address = match (packet.to_group, packet.to) {
                (false, address) => address,
                (true, IpAddr::V4(_)) => self.addresses.v4.into(),
                (true, IpAddr::V6(_)) => self.addresses.v6.into(),
            };
            let port = if to == TFTP {
                self.answered_from = (self.answered_from + 1) % 16;
                wire::FRESH_PORT + self.answered_from
            } else {
                to
            };
            self.send(address, packet.from, packet.tag, UDP, 0, |bytes| wire::datagram([port, from], b"here", bytes));
            return None;
        }
        if !packet.to_group {
            self.error(packet, if packet.from.is_ipv4() { (3, 3) } else { (1, 4) }, 0);
        }
        None
    }

    // What is sent.

    /// An ICMP error about a packet, if it may be sent (`icmp_send`, `icmp6_send`).
    fn error(&mut self, packet: &Packet<'_>, (kind, code): (u8, u8), pointer: u32) {
        let is_about_options = packet.from.is_ipv6() && (kind, code) == (4, 2);
        if (packet.framed_to_group || packet.to_group) && !is_about_options {
            return;
        }
        if is_about_icmp_error(packet) || self.is_exhausted(packet.from) {
            return;
        }
        let mut bytes = vec![kind, code, 0, 0];
        bytes.extend_from_slice(&pointer.to_be_bytes());
        bytes.extend_from_slice(&packet.whole[..packet.whole.len().min(QUOTED)]);
        self.icmp(packet, &mut bytes);
    }

    /// Whether too many errors were sent, to this receiver or to all.
    fn is_exhausted(&mut self, receiver: IpAddr) -> bool {
        if !self.is_limited {
            return false;
        }
        let now = self.now_ns;
        let take = |until_ns: u64, interval: u64, burst: u64| {
            let start = until_ns.max(now);
            (start - now <= interval * (burst - 1)).then_some(start + interval)
        };
        let Some(all) = take(self.all_limit_ns, SECOND_NS / ALL_PER_SECOND, ALL_AT_ONCE) else { return true };
        let mine = self.limits.entry(receiver).or_default();
        let Some(one) = take(*mine, SECOND_NS, ERRORS_AT_ONCE) else { return true };
        (self.all_limit_ns, *mine) = (all, one);
        false
    }

    /// An ICMP message to the sender of a packet, its checksum still to be made.
    fn icmp(&mut self, packet: &Packet<'_>, message: &mut [u8]) {
        message[2..4].fill(0);
        let from = match (packet.to_group, packet.to) {
            (false, address) => address,
            (true, IpAddr::V4(_)) => self.addresses.v4.into(),
            (true, IpAddr::V6(_)) => self.addresses.v6.into(),
        };
        let (protocol, check) = if from.is_ipv4() {
            (ICMP4, !wire::sum(message))
        } else {
            (ICMP6, wire::checksum(from, packet.from, ICMP6, message))
        };
        message[2..4].copy_from_slice(&check.to_be_bytes());
        // Not with "do not fragment", so that it has a number: one for each receiver, that counts what was sent (`ip_idents`).
        let ident = self.idents.entry(packet.from).or_default();
        *ident = ident.wrapping_add(1);
        let ident = *ident;
        self.send(from, packet.from, packet.tag, protocol, ident, |bytes| bytes.extend_from_slice(message));
    }

    fn send(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        tag: Option<u16>,
        protocol: u8,
        ident: u16,
        payload: impl FnOnce(&mut Vec<u8>),
    ) {
        // To oneself nothing goes over a wire. (To nobody segments do, to the gateway; errors do not.)
        if self.is_mine(&to) || (to.is_unspecified() && protocol != TCP) {
            return;
        }
        let mut transport = Vec::with_capacity(64);
        payload(&mut transport);
        wire::complete(from, to, protocol, &mut transport);
        let mut frame = Vec::with_capacity(transport.len() + 64);
        let head = Head { from, to, tag, from_host: true, ident, ..Head::default() };
        wire::packet(&head, protocol, &transport, &mut frame);
        self.out.push(frame);
    }
}

/// What options say.
enum Options {
    Fine,
    Dropped,
    /// Which one is wrong; an error tells its sender.
    Wrong(usize),
}

/// `__ip_options_compile`; with source routes packets are dropped (`accept_source_route` is 0).
fn options4(options: &[u8]) -> Options {
    const LOOSE_ROUTE: u8 = 131;
    const STRICT_ROUTE: u8 = 137;
    let mut at = 0;
    while let Some(kind) = options.get(at) {
        match kind {
            0 => break,
            1 => at += 1,
            kind => {
                let length = usize::from(options.get(at + 1).copied().unwrap_or(0));
                if length < 2 || at + length > options.len() {
                    return Options::Wrong(at);
                }
                if matches!(*kind, LOOSE_ROUTE | STRICT_ROUTE) {
                    return Options::Dropped;
                }
                at += length;
            }
        }
    }
    Options::Fine
}

/// `ip6_parse_tlv`: not more than seven bytes of padding in a row, not more than eight other options.
fn options6(options: &[u8]) -> Options {
    const JUMBO: u8 = 0xc2;
    let (mut at, mut padding, mut others) = (0, 0, 0);
    while let Some(kind) = options.get(at) {
        let length = if *kind == 0 {
            1
        } else {
            let Some(length) = options.get(at + 1) else { return Options::Dropped };
            usize::from(*length) + 2
        };
        if at + length > options.len() {
            return Options::Dropped;
        }
        if *kind <= 1 {
            padding += length;
            if padding > 7 || (*kind == 1 && options[at + 2..at + length].iter().any(|byte| *byte != 0)) {
                return Options::Dropped;
            }
        } else {
            (padding, others) = (0, others + 1);
            if others > 8 || *kind == JUMBO {
                return Options::Dropped; // A jumbogram is longer than a frame can be here.
            }
            match kind >> 6 {
                0 => {}
                1 => return Options::Dropped,
                _ => return Options::Wrong(at),
            }
        }
        at += length;
    }
    Options::Fine
}

/// `ipv6frag_thdr_truncated`: whether a first fragment ends within the transport header. Where it ends before that nothing is said.
fn is_transport_truncated(bytes: &[u8], mut at: usize, mut next: u8) -> bool {
    // `ipv6_skip_exthdr`
    while matches!(next, 0 | 43 | 44 | 51 | 60) {
        let Some(header) = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) else { return false };
        let length = match next {
            44 => {
                let Some(field) = word(bytes, at + 2) else { return false };
                if field & !7 != 0 {
                    return false;
                }
                8
            }
            51 => usize::from(header[1]) * 4 + 8,
            _ => usize::from(header[1]) * 8 + 8,
        };
        next = header[0];
        at += length;
    }
    let needed = match next {
        TCP => 20,
        UDP | ICMP6 => 8,
        _ => 1,
    };
    at + needed > bytes.len()
}

/// Whether a packet is itself an ICMP error, about which none is sent.
fn is_about_icmp_error(packet: &Packet<'_>) -> bool {
    match packet.from {
        IpAddr::V4(_) => {
            let header = usize::from(packet.whole[0] & 15) * 4;
            packet.whole[9] == ICMP4 && packet.whole.get(header).is_some_and(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12))
        }
        IpAddr::V6(_) => packet.whole[6] == ICMP6 && packet.whole.get(40).is_some_and(|kind| *kind < 128),
    }
}

/// The same number for the same ends, which says nothing of the port.
fn initial_number(ends: &Ends) -> u32 {
    0x5eed_0000 ^ u32::from(ends[0].1) << 8
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
