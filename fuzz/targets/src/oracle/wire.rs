//! Bytes of packets, written and summed up: for those who send, and for the [stack](super::stack) that answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The link-layer address of the host.
pub(crate) const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Of everybody else.
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const GROUP_MAC: [u8; 6] = [0xff; 6];
const STRANGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// The VLAN of which the host has a device.
pub(crate) const VLAN_ID: u16 = 42;
/// Where services answer from that answer from a port of its own each time.
pub(crate) const FRESH_PORT: u16 = 41_000;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// To which link-layer address a frame goes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Receiver {
    #[default]
    Host,
    Group,
    Stranger,
}

/// What comes before the payload of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// Tags of VID 0, outermost.
    pub(crate) priority_tags: u8,
    pub(crate) tag: Option<u16>,
    /// Whether the host itself sends it.
    pub(crate) from_host: bool,
    pub(crate) receiver: Receiver,
    /// Identification, options and fragment field of IPv4.
    pub(crate) ident: u16,
    pub(crate) options: &'a [u8],
    pub(crate) fragment: u16,
    /// What is wrong with the length.
    pub(crate) length_off: i8,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            from: Ipv4Addr::UNSPECIFIED.into(),
            to: Ipv4Addr::UNSPECIFIED.into(),
            priority_tags: 0,
            tag: None,
            from_host: false,
            receiver: Receiver::Host,
            ident: 0,
            options: &[],
            fragment: 0,
            length_off: 0,
        }
    }
}

/// Writes a packet as a frame. Of IPv6 the payload has the extension headers, too.
pub(crate) fn packet(head: &Head<'_>, protocol: u8, payload: &[u8], frame: &mut Vec<u8>) {
    frame.clear();
    let receiver = match head.receiver {
        _ if head.from_host => OTHER_MAC,
        Receiver::Host => HOST_MAC,
        Receiver::Group => GROUP_MAC,
        Receiver::Stranger => STRANGE_MAC,
    };
    frame.extend_from_slice(&receiver);
    frame.extend_from_slice(if head.from_host { &HOST_MAC } else { &OTHER_MAC });
    for _ in 0..head.priority_tags {
        frame.extend_from_slice(&[0x81, 0, 0, 0]);
    }
    if let Some(tag) = head.tag {
        frame.extend_from_slice(&[0x81, 0]);
        frame.extend_from_slice(&tag.to_be_bytes());
    }
    let off = |length: usize| (length as u16).wrapping_add_signed(i16::from(head.length_off)).to_be_bytes();
    match (head.from, head.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend_from_slice(&[8, 0]);
            let at = frame.len();
            let header = 20 + head.options.len();
            frame.extend_from_slice(&[0x40 | (header / 4) as u8, 0]);
            frame.extend_from_slice(&off(header + payload.len()));
            frame.extend_from_slice(&head.ident.to_be_bytes());
            frame.extend_from_slice(&head.fragment.to_be_bytes());
            frame.extend_from_slice(&[64, protocol, 0, 0]);
            frame.extend_from_slice(&from.octets());
            frame.extend_from_slice(&to.octets());
            frame.extend_from_slice(head.options);
            let check = !sum(&frame[at..]);
            frame[at + 10..at + 12].copy_from_slice(&check.to_be_bytes());
        }
        (from, to) => {
            frame.extend_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend_from_slice(&off(payload.len()));
            frame.extend_from_slice(&[protocol, 64]);
            frame.extend_from_slice(&octets6(from));
            frame.extend_from_slice(&octets6(to));
        }
    }
    frame.extend_from_slice(payload);
}

/// A TCP segment: its header, and how much data it has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Segment {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) length: u32,
}

impl Segment {
    /// Reads one whose header is all there.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let long = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Some(Self {
            from: u16::from_be_bytes([header[0], header[1]]),
            to: u16::from_be_bytes([header[2], header[3]]),
            sequence: long(4),
            acknowledged: long(8),
            flags: header[13],
            length: bytes.len().saturating_sub(usize::from(header[12] >> 4) * 4) as u32,
        })
    }

    /// Writes it, but for the checksum. Options are of whole words.
    pub(crate) fn write(&self, options: &[u8], data: &[u8], bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.from.to_be_bytes());
        bytes.extend_from_slice(&self.to.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledged.to_be_bytes());
        let words = (5 + options.len() / 4) as u8;
        bytes.extend_from_slice(&[words << 4, self.flags, 0xfe, 0x88, 0, 0, 0, 0]);
        bytes.extend_from_slice(options);
        bytes.extend_from_slice(data);
    }
}

/// Writes a datagram, but for the checksum.
pub(crate) fn datagram([from, to]: [u16; 2], data: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&from.to_be_bytes());
    bytes.extend_from_slice(&to.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u16 + 8).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(data);
}

/// Puts the checksum into a segment, a datagram or an ICMP message that has zeros in its place.
pub(crate) fn complete(from: IpAddr, to: IpAddr, protocol: u8, bytes: &mut [u8]) {
    let at = match protocol {
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    if bytes.len() >= at + 2 {
        let check = checksum(from, to, protocol, bytes);
        bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }
}

/// The checksum with the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1); 0 over what has the right one.
pub(crate) fn checksum(from: IpAddr, to: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let pseudo = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => words(&from.octets()) + words(&to.octets()),
        (from, to) => words(&octets6(from)) + words(&octets6(to)),
    };
    !fold(pseudo + words(bytes) + u64::from(protocol) + bytes.len() as u64)
}

/// The ones' complement sum (RFC 1071).
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    fold(words(bytes))
}

fn words(bytes: &[u8]) -> u64 {
    let pairs = bytes.chunks_exact(2);
    let last = pairs.remainder().first().map_or(0, |last| u64::from(*last) << 8);
    last + pairs.map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u64>()
}

const fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn octets6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => Ipv6Addr::octets(&address),
    }
}
