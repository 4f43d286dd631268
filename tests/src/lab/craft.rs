//! Packets written by hand, right ones and wrong ones.
//!
//! It shares nothing with scanguard's parser, nor with the crates that read captures: those refuse to write what is
//! wrong.

use std::net::IpAddr;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// IP protocol numbers.
pub const ICMP: u8 = 1;
/// As above.
pub const TCP: u8 = 6;
/// As above.
pub const UDP: u8 = 17;
/// As above.
pub const ICMP6: u8 = 58;
/// Next headers of IPv6.
pub const HOP_BY_HOP: u8 = 0;
/// As above.
pub const ROUTING: u8 = 43;
/// As above.
pub const FRAGMENT: u8 = 44;
/// As above.
pub const AUTHENTICATION: u8 = 51;
/// As above.
pub const NO_NEXT: u8 = 59;
/// As above.
pub const DESTINATION: u8 = 60;

/// Flags of TCP (RFC 9293 section 3.1).
pub const FIN: u8 = 0x01;
/// As above.
pub const SYN: u8 = 0x02;
/// As above.
pub const RST: u8 = 0x04;
/// As above.
pub const PSH: u8 = 0x08;
/// As above.
pub const ACK: u8 = 0x10;
/// As above.
pub const URG: u8 = 0x20;

/// What is written into the place of a checksum.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Checksum {
    /// What belongs there.
    Right,
    /// Something else.
    Wrong,
    /// Nothing.
    Zero,
}

/// An Ethernet frame with an IP packet.
#[must_use]
pub fn framed(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    tagged(to, from, &[], packet)
}

/// The same behind tags, each (type, tag).
#[must_use]
pub fn tagged(to: [u8; 6], from: [u8; 6], tags: &[(u16, u16)], packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + 4 * tags.len() + packet.len());
    frame.extend(to);
    frame.extend(from);
    for (kind, tag) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(if packet.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] });
    frame.extend(packet);
    frame
}

/// The sum of the Internet (RFC 1071), not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    let mut pairs = bytes.chunks_exact(2);
    let whole: u64 = pairs.by_ref().map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    whole + pairs.remainder().first().map_or(0, |last| u64::from(*last) << 8)
}

fn folded(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn written(right: u16, checksum: Checksum) -> [u8; 2] {
    match checksum {
        Checksum::Right => right.to_be_bytes(),
        Checksum::Wrong => (right ^ 0x5555).to_be_bytes(),
        Checksum::Zero => [0; 2],
    }
}

fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Writes the checksum of a TCP, UDP, ICMP or ICMPv6 message.
pub fn sum_transport(protocol: u8, from: IpAddr, to: IpAddr, message: &mut [u8], checksum: Checksum) {
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        ICMP | ICMP6 => 2,
        _ => return,
    };
    if message.len() < at + 2 {
        return;
    }
    message[at..at + 2].fill(0);
    let mut total = sum(message);
    if protocol != ICMP {
        total += sum(&bytes_of(from)) + sum(&bytes_of(to)) + u64::from(protocol) + message.len() as u64;
    }
    let right = match folded(total) {
        // A sum of zero means that there is none (RFC 768).
        0 if protocol == UDP => 0xffff,
        right => right,
    };
    message[at..at + 2].copy_from_slice(&written(right, checksum));
}

/// A TCP segment without its checksum; options are padded to whole words.
#[must_use]
pub fn tcp(from: u16, to: u16, sequence: u32, acknowledged: u32, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let words = options.len().div_ceil(4).min(10);
    let mut segment = Vec::with_capacity(20 + words * 4 + data.len());
    segment.extend(from.to_be_bytes());
    segment.extend(to.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([(5 + words as u8) << 4, flags]);
    segment.extend(64_240_u16.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(options.iter().chain(std::iter::repeat(&0)).take(words * 4));
    segment.extend(data);
    segment
}

/// A UDP datagram without its checksum.
#[must_use]
pub fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + data.len());
    datagram.extend(from.to_be_bytes());
    datagram.extend(to.to_be_bytes());
    datagram.extend(((8 + data.len()) as u16).to_be_bytes());
    datagram.extend([0; 2]);
    datagram.extend(data);
    datagram
}

/// An ICMP or ICMPv6 message without its checksum.
#[must_use]
pub fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(data);
    message
}

/// What is in an IPv4 header besides addresses and protocol.
#[derive(Clone, Debug)]
pub struct Header4<'a> {
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset, as they stand there.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Options; padded to whole words.
    pub options: &'a [u8],
    /// The header's checksum.
    pub checksum: Checksum,
}

impl Default for Header4<'_> {
    fn default() -> Self {
        Self { tos: 0, id: 1, fragment: 0, ttl: 64, options: &[], checksum: Checksum::Right }
    }
}

/// An IPv4 packet. Addresses of IPv6 are written as nothing.
#[must_use]
pub fn ip4(from: IpAddr, to: IpAddr, protocol: u8, header: &Header4<'_>, payload: &[u8]) -> Vec<u8> {
    let words = header.options.len().div_ceil(4).min(10);
    let mut packet = Vec::with_capacity(20 + words * 4 + payload.len());
    packet.extend([0x45 + words as u8, header.tos]);
    packet.extend(((20 + words * 4 + payload.len()) as u16).to_be_bytes());
    packet.extend(header.id.to_be_bytes());
    packet.extend(header.fragment.to_be_bytes());
    packet.extend([header.ttl, protocol, 0, 0]);
    packet.extend(bytes_of(from));
    packet.extend(bytes_of(to));
    packet.extend(header.options.iter().chain(std::iter::repeat(&0)).take(words * 4));
    sum_header4(&mut packet, header.checksum);
    packet.extend(payload);
    packet
}

/// Writes the checksum of an IPv4 header.
pub fn sum_header4(packet: &mut [u8], checksum: Checksum) {
    let length = (usize::from(packet[0] & 15) * 4).min(packet.len());
    if length < 20 {
        return;
    }
    packet[10..12].fill(0);
    let right = folded(sum(&packet[..length]));
    packet[10..12].copy_from_slice(&written(right, checksum));
}

/// An IPv6 packet; the payload begins with what `next` says.
#[must_use]
pub fn ip6(from: IpAddr, to: IpAddr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    packet.extend([0x60, 0, 0, 0]);
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(bytes_of(from));
    packet.extend(bytes_of(to));
    packet.extend(payload);
    packet
}

/// Puts extension headers before a payload, each (type, content without its first byte); returns the first one's type
/// and all bytes.
#[must_use]
pub fn chained(headers: &[(u8, Vec<u8>)], next: u8, payload: &[u8]) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (position, (_, rest)) in headers.iter().enumerate() {
        bytes.push(headers.get(position + 1).map_or(next, |(kind, _)| *kind));
        bytes.extend(rest);
    }
    bytes.extend(payload);
    (headers.first().map_or(next, |(kind, _)| *kind), bytes)
}

/// An extension header of options that everybody skips, `8 * units` bytes long, without its first byte.
#[must_use]
pub fn options6(units: u8) -> Vec<u8> {
    let mut header = vec![units.saturating_sub(1)];
    let mut left = usize::from(units.max(1)) * 8 - 2;
    while left > 0 {
        match left {
            // Pad1.
            1 => header.push(0),
            // An option that nobody knows and that is skipped (RFC 8200 section 4.2), for Linux counts padding.
            _ => {
                let data = (left - 2).min(253);
                header.extend([0x1e, data as u8]);
                header.extend(std::iter::repeat_n(0, data));
            }
        }
        left = usize::from(units.max(1)) * 8 - 1 - header.len();
    }
    header
}

/// A fragment header without its first byte: `units` of eight bytes from the start.
#[must_use]
pub fn fragment6(units: u16, more: bool, id: u32) -> Vec<u8> {
    let mut header = vec![0];
    header.extend((units << 3 | u16::from(more)).to_be_bytes());
    header.extend(id.to_be_bytes());
    header
}

/// A whole packet with right checksums around a transport message.
#[must_use]
pub fn packet(from: IpAddr, to: IpAddr, protocol: u8, mut message: Vec<u8>) -> Vec<u8> {
    sum_transport(protocol, from, to, &mut message, Checksum::Right);
    if from.is_ipv4() {
        ip4(from, to, protocol, &Header4::default(), &message)
    } else {
        ip6(from, to, protocol, &message)
    }
}

/// The options of Linux' own SYN, in its order: MSS, SACK permitted, timestamps, window scale.
pub const LINUX_OPTIONS: [u8; 20] = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7];
/// The MSS alone, as nmap has it.
pub const MSS_OPTION: [u8; 4] = [2, 4, 5, 0xb4];

/// Bytes in hexadecimal, as a fixture has them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66));
    const TO: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
    const FROM6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 1));
    const TO6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10));

    #[test]
    fn a_segment_has_the_checksums_that_others_compute() {
        for (from, to) in [(FROM, TO), (FROM6, TO6)] {
            let segment = tcp(40_000, 22, 1, 0, SYN, &LINUX_OPTIONS, b"odd");
            let frame = framed([2; 6], [1; 6], &packet(from, to, TCP, segment));
            let read = SlicedPacket::from_ethernet(&frame).expect("a frame");
            let Some(TransportSlice::Tcp(tcp)) = read.transport else { panic!("no TCP") };
            let right = match read.net.expect("IP") {
                etherparse::NetSlice::Ipv4(ip) => {
                    assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                    tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
                }
                etherparse::NetSlice::Ipv6(ip) => {
                    tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
                }
                etherparse::NetSlice::Arp(_) => panic!("ARP"),
            };
            assert_eq!(right.expect("a sum"), tcp.checksum());
        }
    }

    #[test]
    fn headers_of_options_are_as_long_as_they_say() {
        for units in [1, 2, 33, 255] {
            let header = options6(units);
            assert_eq!(header.len() + 1, usize::from(units) * 8, "{units}");
            assert_eq!(header[0], units - 1);
        }
    }
}
