//! What the frames look like: anything, most of it nearly right.

use std::net::IpAddr;

use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use super::ends::{Dest, Peer, weighted};
use crate::lab::craft::{
    self, ACK, AUTHENTICATION, Checksum, DESTINATION, FIN, FRAGMENT, HOP_BY_HOP, Header4, ICMP, ICMP6, LINUX_OPTIONS,
    MSS_OPTION, NO_NEXT, PSH, ROUTING, RST, SYN, TCP, UDP, URG,
};

/// Longest IP packet: what the link carries, less some tags.
const LONGEST: usize = 8_960;

/// What is carried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Carries {
    Tcp,
    Udp,
    /// No port.
    Other,
}

/// Some frames that belong together, as far as they do not depend on who sends them and for which port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) seed: u64,
    pub(super) peer: Peer,
    pub(super) dest: Dest,
    pub(super) carries: Carries,
}

/// Who sends them, and for which port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) from: IpAddr,
    pub(super) from_port: u16,
    pub(super) port: u16,
    pub(super) mac: [u8; 6],
    pub(super) peer: [u8; 6],
}

/// The frames, and what is odd about them.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) odd: Vec<String>,
    /// Whether it is a TCP segment without SYN.
    pub(super) asks_by_flags: bool,
}

impl Draw {
    /// Writes the frames; the same ones for the same ends.
    pub(super) fn frames(&self, ends: &Ends) -> Group {
        let mut drawing = Drawing {
            random: SmallRng::seed_from_u64(self.seed),
            from: ends.from,
            to: self.dest.address(ends.from.is_ipv4()),
            odd: vec![format!("{:?} to {:?}", self.peer, self.dest)],
            asks_by_flags: false,
        };
        let (protocol, message) = match self.carries {
            Carries::Tcp => (TCP, drawing.tcp(ends)),
            Carries::Udp => (UDP, drawing.udp(ends)),
            Carries::Other => drawing.other(ends),
        };
        let packets =
            if ends.from.is_ipv4() { drawing.packets4(protocol, message) } else { drawing.packets6(protocol, message) };
        let frames = packets.into_iter().map(|packet| drawing.frame(&packet, self.dest, ends)).collect();
        Group { frames, odd: drawing.odd, asks_by_flags: drawing.asks_by_flags }
    }
}

struct Drawing {
    random: SmallRng,
    from: IpAddr,
    to: IpAddr,
    odd: Vec<String>,
    asks_by_flags: bool,
}

impl Drawing {
    /// True in so many of a hundred cases.
    fn percent(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn note(&mut self, what: impl Into<String>) {
        self.odd.push(what.into());
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn checksum(&mut self, right: u32) -> Checksum {
        let left = (100 - right) / 2;
        let checksum =
            weighted(&[(Checksum::Right, right), (Checksum::Wrong, left), (Checksum::Zero, left)], &mut self.random);
        if checksum != Checksum::Right {
            self.note(format!("checksum {checksum:?}"));
        }
        checksum
    }

    fn data(&mut self) -> Vec<u8> {
        let length = match weighted(&[(0, 70), (1, 15), (2, 10), (3, 5)], &mut self.random) {
            0 => 0,
            1 => self.random.random_range(1..64),
            2 => self.random.random_range(64..1_400),
            _ => self.random.random_range(1_400..7_000),
        };
        if length >= 1_400 {
            self.note(format!("{length} bytes of data"));
        }
        self.bytes(length)
    }

    fn tcp(&mut self, ends: &Ends) -> Vec<u8> {
        const FLAGS: [(u8, u32); 18] = [
            (SYN, 40),
            (SYN | 0xc0, 3),
            (ACK, 12),
            (ACK | PSH, 2),
            (FIN | ACK, 4),
            (FIN, 3),
            (0, 3),
            (RST, 3),
            (RST | ACK, 2),
            (SYN | ACK, 6),
            (SYN | FIN, 3),
            (SYN | RST, 2),
            (SYN | PSH, 2),
            (SYN | URG, 2),
            (FIN | PSH | URG, 3),
            (PSH, 1),
            (URG, 1),
            // Any.
            (0xff, 8),
        ];
        let flags = match weighted(&FLAGS, &mut self.random) {
            0xff => self.random.random(),
            flags => flags,
        };
        self.asks_by_flags = flags & SYN == 0;
        let fast_open: [u8; 4] = [34, 2, 1, 1];
        let cookie: [u8; 12] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
        let options: Vec<u8> =
            match weighted(&[(0, 30), (1, 20), (2, 25), (3, 5), (4, 4), (5, 8), (6, 8)], &mut self.random) {
                0 => Vec::new(),
                1 => MSS_OPTION.to_vec(),
                2 => LINUX_OPTIONS.to_vec(),
                3 => [&MSS_OPTION[..], &fast_open].concat(),
                4 => [&MSS_OPTION[..], &cookie].concat(),
                5 => {
                    let length = self.random.random_range(1..=40);
                    self.bytes(length)
                }
                _ => [&[2_u8, 0, 1, 1], &[8, 255, 0, 0], &[0, 2, 4, 5], &[19, 18, 0, 0]]
                    [self.random.random_range(0..4)]
                .to_vec(),
            };
        let data = self.data();
        let sequence = if self.percent(10) { 0 } else { self.random.random() };
        let acknowledged = if self.percent(40) { 0 } else { self.random.random() };
        let mut segment = craft::tcp(ends.from_port, ends.port, sequence, acknowledged, flags, &options, &data);
        if self.percent(3) {
            segment[12] = segment[12] & 0xf0 | self.random.random_range(1..16);
            self.note("reserved bits");
        }
        if self.percent(4) {
            segment[12] = self.random.random_range(0..16) << 4;
            self.note("a data offset that lies");
        }
        if self.percent(5) {
            segment[14..16].fill(0);
        }
        if self.percent(4) {
            let length = self.random.random_range(8..=segment.len());
            segment.truncate(length);
            self.note(format!("TCP cut to {length} bytes"));
        }
        let checksum = self.checksum(92);
        craft::sum_transport(TCP, self.from, self.to, &mut segment, checksum);
        self.note(format!("TCP flags {flags:#04x}"));
        segment
    }

    fn udp(&mut self, ends: &Ends) -> Vec<u8> {
        let data = self.data();
        let mut datagram = craft::udp(ends.from_port, ends.port, &data);
        let whole = datagram.len() as u16;
        let length = match weighted(&[(0, 84), (1, 5), (2, 4), (3, 4), (4, 3)], &mut self.random) {
            0 => whole,
            1 => 0,
            2 => self.random.random_range(0..8),
            3 => self.random.random_range(8..=whole),
            _ => whole.saturating_add(self.random.random_range(1..100)),
        };
        if length != whole {
            self.note(format!("UDP length {length} of {whole}"));
            datagram[4..6].copy_from_slice(&length.to_be_bytes());
        }
        // The sum is that of as many bytes as the header says.
        let covered = usize::from(if length == 0 { whole } else { length }).clamp(8, datagram.len());
        let checksum = self.checksum(80);
        craft::sum_transport(UDP, self.from, self.to, &mut datagram[..covered], checksum);
        self.note("UDP");
        datagram
    }

    fn other(&mut self, ends: &Ends) -> (u8, Vec<u8>) {
        let v4 = self.from.is_ipv4();
        let data = self.data();
        let random: [u8; 4] = self.random.random();
        let own = if v4 { ICMP } else { ICMP6 };
        let choice = weighted(&[(0, 30), (1, 20), (2, 10), (3, 15), (4, 15), (5, 10)], &mut self.random);
        let (protocol, mut message) = match choice {
            0 => (own, craft::icmp(if v4 { 8 } else { 128 }, 0, random, &data)),
            1 => {
                let kind = match (v4, self.random.random_range(0..5)) {
                    (true, 0) => 13,
                    (true, 1) => 17,
                    (true, 2) => 15,
                    (true, 3) => 10,
                    (false, 0) => 139,
                    (false, 1) => 130,
                    (false, 2) => 133,
                    _ => self.random.random(),
                };
                let code = if self.percent(70) { 0 } else { self.random.random() };
                let rest = self.bytes(12);
                (own, craft::icmp(kind, code, random, &rest))
            }
            2 => {
                // An error about something that the edge may have sent.
                let inner =
                    craft::packet(self.to, self.from, TCP, craft::tcp(ends.port, ends.from_port, 1, 1, ACK, &[], &[]));
                let (kind, code) = [(3, 3), (3, 1), (11, 0), (4, 0), (1, 4), (2, 0)][self.random.random_range(0..6)];
                (own, craft::icmp(kind, code, [0; 4], &inner))
            }
            3 => (self.random.random(), data),
            // SCTP with INIT, DCCP, UDP-Lite, GRE, ESP, AH, OSPF, no next header, experiments.
            4 => {
                let protocol = [132, 33, 136, 47, 50, 51, 89, NO_NEXT, 253][self.random.random_range(0..9)];
                let mut message = craft::udp(ends.from_port, ends.port, &data);
                message.extend([1, 0, 0, 20]);
                (protocol, message)
            }
            _ => {
                // A tunnel.
                let inner =
                    craft::packet(self.from, self.to, TCP, craft::tcp(ends.from_port, ends.port, 1, 0, SYN, &[], &[]));
                match self.random.random_range(0..4) {
                    0 => (if v4 { 4 } else { 41 }, inner),
                    1 => (47, [&[0, 0, if v4 { 8 } else { 0x86 }, if v4 { 0 } else { 0xdd }][..], &inner].concat()),
                    // VXLAN and the like come in UDP.
                    2 => (
                        UDP,
                        craft::udp(ends.from_port, 4_789, &[&[8, 0, 0, 0, 0, 0, 1, 0][..], &[2; 14], &inner].concat()),
                    ),
                    _ => (own, craft::icmp(8, 0, random, &inner)),
                }
            }
        };
        let checksum = self.checksum(92);
        craft::sum_transport(protocol, self.from, self.to, &mut message, checksum);
        self.note(format!("protocol {protocol}, first byte {}", message.first().copied().unwrap_or_default()));
        (protocol, message)
    }

    fn packets4(&mut self, protocol: u8, mut message: Vec<u8>) -> Vec<Vec<u8>> {
        let options: Vec<u8> = if self.percent(15) {
            let options = match self.random.random_range(0..7) {
                0 => vec![1; 4],
                // Record route, time stamp, strict and loose source route, router alert.
                1 => vec![7, 7, 4, 0, 0, 0, 0],
                2 => vec![68, 8, 5, 0, 0, 0, 0, 0],
                3 => vec![131, 7, 4, 192, 0, 2, 10],
                4 => vec![137, 7, 4, 10, 0, 0, 1],
                5 => vec![148, 4, 0, 0],
                _ => {
                    let length = self.random.random_range(1..=40);
                    self.bytes(length)
                }
            };
            self.note(format!("IPv4 options {}", craft::hex(&options)));
            options
        } else {
            Vec::new()
        };
        let header = Header4 {
            tos: if self.percent(80) { 0 } else { self.random.random() },
            id: self.random.random(),
            fragment: weighted(&[(0x4000, 60), (0, 36), (0x8000, 4)], &mut self.random),
            ttl: weighted(&[(64, 90), (1, 5), (255, 3), (0, 2)], &mut self.random),
            options: &options,
            checksum: self.checksum(97),
        };
        message.truncate(LONGEST - 60);
        if !self.percent(40) {
            let mut packet = craft::ip4(self.from, self.to, protocol, &header, &message);
            self.lie4(&mut packet, header.checksum);
            return vec![packet];
        }
        let (from, to) = (self.from, self.to);
        let pieces = self.pieces(&message);
        let keeps = Header4 { options: &[], ..header.clone() };
        pieces
            .into_iter()
            .map(|Piece { at, more, bytes }| {
                let fragment = header.fragment & 0x8000 | (at / 8) as u16 & 0x1fff | if more { 0x2000 } else { 0 };
                // Options are not in all fragments (RFC 791).
                let header = if at == 0 { &header } else { &keeps };
                craft::ip4(from, to, protocol, &Header4 { fragment, ..header.clone() }, &bytes)
            })
            .collect()
    }

    /// Lengths that are not those of the packet, and bytes behind it.
    fn lie4(&mut self, packet: &mut Vec<u8>, checksum: Checksum) {
        if self.percent(6) {
            let length = packet.len() as u16;
            let lie = if self.percent(60) { self.random.random_range(0..=length) } else { length.saturating_add(8) };
            packet[2..4].copy_from_slice(&lie.to_be_bytes());
            self.note(format!("IPv4 length {lie} of {length}"));
            craft::sum_header4(packet, checksum);
        }
        if self.percent(3) {
            packet[0] = 0x40 | self.random.random_range(0..16);
            self.note("IPv4 header length");
            craft::sum_header4(packet, checksum);
        }
        if self.percent(10) {
            let length = self.random.random_range(1..40);
            let trailer = self.bytes(length);
            packet.extend(trailer);
            self.note("bytes behind the packet");
        }
    }

    fn packets6(&mut self, protocol: u8, mut message: Vec<u8>) -> Vec<Vec<u8>> {
        let count = weighted(
            &[(0, 45), (1, 18), (2, 12), (3, 8), (4, 4), (5, 3), (7, 2), (8, 2), (9, 2), (10, 2), (12, 1), (16, 1)],
            &mut self.random,
        );
        let mut headers: Vec<(u8, Vec<u8>)> = Vec::new();
        let mut length = 0;
        for position in 0..count {
            let header = self.header6(position);
            length += header.1.len() + 1;
            if length > LONGEST - 2_000 {
                break;
            }
            headers.push(header);
        }
        if !headers.is_empty() {
            let kinds: Vec<String> = headers.iter().map(|(kind, rest)| format!("{kind}:{}", rest.len() + 1)).collect();
            self.note(format!("IPv6 headers {}", kinds.join(" ")));
        }
        message.truncate(LONGEST - 60 - length.min(LONGEST - 200));
        let (first, payload) = craft::chained(&headers, protocol, &message);
        let (from, to) = (self.from, self.to);
        if !self.percent(40) {
            let mut packet = craft::ip6(from, to, first, &payload);
            self.lie6(&mut packet);
            return vec![packet];
        }
        // What comes before the fragment header is in each fragment.
        let before = if headers.is_empty() { 0 } else { self.random.random_range(0..=headers.len().min(3)) };
        let (unfragmented, rest) = headers.split_at(before);
        let (next, fragmentable) = craft::chained(rest, protocol, &message);
        let id = self.random.random();
        let pieces = self.pieces(&fragmentable);
        pieces
            .into_iter()
            .map(|Piece { at, more, bytes }| {
                let fragment = (FRAGMENT, craft::fragment6((at / 8) as u16, more, id));
                let headers = [unfragmented, &[fragment]].concat();
                let (first, payload) = craft::chained(&headers, next, &bytes);
                craft::ip6(from, to, first, &payload)
            })
            .collect()
    }

    fn header6(&mut self, position: usize) -> (u8, Vec<u8>) {
        let units = match weighted(&[(0, 75), (1, 20), (2, 5)], &mut self.random) {
            0 => 1,
            1 => self.random.random_range(1..8),
            _ => self.random.random_range(8..=255),
        };
        let hop = if position == 0 { 20 } else { 3 };
        let kinds = [(0, 45), (1, hop), (2, 10), (3, 10), (4, 6), (5, 4), (6, 4), (7, 3)];
        match weighted(&kinds, &mut self.random) {
            0 => (DESTINATION, craft::options6(units)),
            1 => (HOP_BY_HOP, craft::options6(units)),
            // A routing header that is used up is skipped, whatever its type (RFC 8200 section 4.4).
            2 => {
                let kind = [0, 2, 3, 4, 253][self.random.random_range(0..5)];
                let left = u8::from(self.percent(30));
                (ROUTING, [&[0, kind, left][..], &[0; 4]].concat())
            }
            // Atomic.
            3 => (FRAGMENT, craft::fragment6(0, false, self.random.random())),
            4 => (AUTHENTICATION, vec![[1, 2, 4][self.random.random_range(0..3)], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            5 => ([135, 139, 140][self.random.random_range(0..3)], vec![0; 7]),
            6 => {
                // Options that are to be refused, or padding.
                let option = [[0x9e, 4], [0xde, 4], [0x5e, 4], [1, 4]][self.random.random_range(0..4)];
                (DESTINATION, [&[0][..], &option, &[0; 4]].concat())
            }
            _ => (self.random.random(), vec![0; 7]),
        }
    }

    fn lie6(&mut self, packet: &mut Vec<u8>) {
        if self.percent(5) {
            let length = (packet.len() - 40) as u16;
            let lie = match self.random.random_range(0..3) {
                0 => 0,
                1 => self.random.random_range(0..=length),
                _ => length.saturating_add(8),
            };
            packet[4..6].copy_from_slice(&lie.to_be_bytes());
            self.note(format!("IPv6 length {lie} of {length}"));
        }
        if self.percent(5) {
            let label: [u8; 3] = self.random.random();
            packet[1..4].copy_from_slice(&label);
        }
        if self.percent(5) {
            packet[7] = [0, 1, 255][self.random.random_range(0..3)];
        }
        if self.percent(8) {
            let length = self.random.random_range(1..40);
            let trailer = self.bytes(length);
            packet.extend(trailer);
            self.note("bytes behind the packet");
        }
    }

    /// Cuts, in an order, with overlaps, gaps and repetitions.
    fn pieces(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let units = bytes.len().div_ceil(8).max(1);
        let cuts = weighted(&[(0, 10), (1, 45), (2, 25), (3, 10), (6, 10)], &mut self.random).min(units - 1);
        let mut ends: Vec<usize> = (0..cuts)
            .map(|_| {
                // Mostly where headers are.
                let near = self.random.random_range(1..units.clamp(2, 9));
                let far = self.random.random_range(1..units.max(2));
                if self.random.random_ratio(2, 3) { near } else { far }
            })
            .map(|unit| (unit * 8).min(bytes.len()))
            .collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        ends.dedup();
        let mut at = 0;
        let mut pieces: Vec<Piece> = Vec::new();
        for end in &ends {
            let more = *end != bytes.len();
            pieces.push(Piece { at, more, bytes: bytes[at..*end].to_vec() });
            at = *end;
        }
        let mut odd = vec![format!("{} fragments at {ends:?}", pieces.len())];
        let last = pieces.len() - 1;
        match weighted(&[(0, 50), (1, 12), (2, 8), (3, 8), (4, 6), (5, 4), (6, 6), (7, 6)], &mut self.random) {
            1 => {
                // A piece again, with something else in it.
                let mut again = pieces[self.random.random_range(0..=last)].clone();
                if self.percent(50) && !again.bytes.is_empty() {
                    let place = self.random.random_range(0..again.bytes.len());
                    // Ports stay as they are.
                    if again.at > 0 || place > 8 {
                        again.bytes[place] ^= 0xff;
                    }
                }
                let place = self.random.random_range(0..=pieces.len());
                pieces.insert(place, again);
                odd.push("one twice".to_owned());
            }
            2 if last > 0 => {
                // One that begins eight bytes earlier.
                let piece = &mut pieces[last];
                if piece.at >= 8 {
                    let earlier = piece.at - 8;
                    piece.bytes.splice(0..0, bytes[earlier..piece.at].iter().copied());
                    piece.at = earlier;
                    odd.push("overlapping".to_owned());
                }
            }
            3 if last > 0 => {
                pieces.remove(self.random.random_range(0..=last));
                odd.push("one missing".to_owned());
            }
            4 => {
                pieces[last].more = true;
                odd.push("no last one".to_owned());
            }
            5 if last > 0 => {
                // Not a multiple of eight bytes.
                pieces[0].bytes.pop();
                odd.push("an odd length".to_owned());
            }
            6 => {
                // An empty one, or one byte behind the end.
                let at = pieces[last].at + pieces[last].bytes.len().next_multiple_of(8);
                let length = self.random.random_range(0..2);
                pieces.push(Piece { at, more: false, bytes: vec![0; length] });
                odd.push("one behind the end".to_owned());
            }
            7 if last > 0 => {
                pieces[0].more = false;
                odd.push("a first one that says it is the last".to_owned());
            }
            _ => {}
        }
        match weighted(&[(0, 60), (1, 20), (2, 20)], &mut self.random) {
            1 => {
                pieces.reverse();
                odd.push("reversed".to_owned());
            }
            2 => {
                pieces.shuffle(&mut self.random);
                odd.push("shuffled".to_owned());
            }
            _ => {}
        }
        self.note(odd.join(", "));
        pieces
    }

    fn frame(&mut self, packet: &[u8], dest: Dest, ends: &Ends) -> Vec<u8> {
        let mut tags: Vec<(u16, u16)> = Vec::new();
        if self.percent(8) && packet.len() < LONGEST - 20 {
            for _ in 0..self.random.random_range(1..=5) {
                let kind = weighted(&[(0x8100, 75), (0x88a8, 20), (0x9100, 5)], &mut self.random);
                let number = weighted(&[(0, 85), (1, 5), (42, 10)], &mut self.random);
                tags.push((kind, number | if self.random.random_ratio(1, 5) { 0xe000 } else { 0 }));
            }
            self.note(format!("tags {tags:x?}"));
        }
        let group = dest.group(self.from.is_ipv4());
        let to = match group {
            Some(group) if self.percent(70) => group,
            None if self.percent(2) => {
                self.note("to everybody on the link");
                [0xff; 6]
            }
            _ => ends.peer,
        };
        let mut frame = craft::tagged(to, ends.mac, &tags, packet);
        if self.percent(2) {
            let length = self.random.random_range(15..=frame.len());
            frame.truncate(length);
            self.note(format!("frame cut to {length} bytes"));
        }
        frame
    }
}

#[derive(Clone, Debug)]
struct Piece {
    at: usize,
    more: bool,
    bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::ends::Part;
    use super::*;

    #[test]
    fn frames_fit_the_link_and_are_the_same_for_the_same_seed() {
        for number in 0..20_000_u32 {
            let mut random = SmallRng::seed_from_u64(number.into());
            let peer = Peer::any(&mut random);
            let carries = [Carries::Tcp, Carries::Udp, Carries::Other][number as usize % 3];
            let draw = Draw { seed: number.into(), peer, dest: Dest::any(&mut random), carries };
            let from = peer.address(Part::Stranger, number);
            let ends = Ends { from, from_port: 40_000, port: 22, mac: [1; 6], peer: [2; 6] };
            let group = draw.frames(&ends);
            assert_eq!(group.frames, draw.frames(&ends).frames);
            for frame in &group.frames {
                assert!((15..=9_000 + 14 + 20).contains(&frame.len()), "{} bytes: {:?}", frame.len(), group.odd);
            }
        }
    }

    #[test]
    fn the_same_frame_for_another_port_differs_in_the_port_and_checksums_alone() {
        let from = Ipv4Addr::new(94, 1, 2, 3).into();
        let ends = |port| Ends { from, from_port: 40_000, port, mac: [1; 6], peer: [2; 6] };
        for seed in 0..2_000 {
            let draw = Draw { seed, peer: Peer::Ordinary4, dest: Dest::Own, carries: Carries::Tcp };
            let [one, other] = [6_000, 7_000].map(|port| draw.frames(&ends(port)));
            assert_eq!(one.odd, other.odd);
            for (a, b) in one.frames.iter().zip(&other.frames) {
                let different = a.iter().zip(b).filter(|(a, b)| a != b).count();
                // Frames that overlap or quote have both twice.
                assert!(a.len() == b.len() && different <= 8, "{seed}: {different} bytes");
            }
        }
    }
}
