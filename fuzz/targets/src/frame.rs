//! Frames, written byte by byte with right checksums: building them must cost less than judging them.

use std::net::IpAddr;

/// The link-layer address of the host, and of everybody else.
pub(crate) const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP4: u8 = 1;
const ICMP6: u8 = 58;

/// The addresses of a packet, which are of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// Whether it has a VLAN tag.
    pub(crate) tagged: bool,
}

/// A TCP header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tcp {
    pub(crate) ports: [u16; 2],
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    /// Whether it has the option that makes room for one in an answer.
    pub(crate) mss: bool,
}

/// Writes a TCP segment without data.
pub(crate) fn tcp(frame: &mut Vec<u8>, way: Way, tcp: Tcp) {
    let Tcp { ports: [from, to], sequence, acknowledged, flags, mss } = tcp;
    let length: u16 = if mss { 24 } else { 20 };
    let at = begin(frame, way, TCP, length);
    frame.extend_from_slice(&from.to_be_bytes());
    frame.extend_from_slice(&to.to_be_bytes());
    frame.extend_from_slice(&sequence.to_be_bytes());
    frame.extend_from_slice(&acknowledged.to_be_bytes());
    frame.extend_from_slice(&[((length / 4) << 4) as u8, flags, 4, 0, 0, 0, 0, 0]);
    if mss {
        frame.extend_from_slice(&[2, 4, 5, 0xb4]);
    }
    let sum = pseudo_header(frame, at, TCP, length) + sum(&frame[at..]);
    frame[at + 16..at + 18].copy_from_slice(&(!fold(sum)).to_be_bytes());
}

/// Writes a datagram of a few bytes.
pub(crate) fn udp(frame: &mut Vec<u8>, way: Way, [from, to]: [u16; 2]) {
    begin(frame, way, UDP, 12);
    frame.extend_from_slice(&from.to_be_bytes());
    frame.extend_from_slice(&to.to_be_bytes());
    frame.extend_from_slice(&[0, 12, 0, 0, 1, 2, 3, 4]);
}

/// Writes an echo request or its reply.
pub(crate) fn echo(frame: &mut Vec<u8>, way: Way, reply: bool) {
    let is_v4 = way.from.is_ipv4();
    let (protocol, kind) = match (is_v4, reply) {
        (true, false) => (ICMP4, 8),
        (true, true) => (ICMP4, 0),
        (false, false) => (ICMP6, 128),
        (false, true) => (ICMP6, 129),
    };
    begin(frame, way, protocol, 8);
    frame.extend_from_slice(&[kind, 0, 0, 0, 0, 7, 0, 1]);
}

/// Writes "port unreachable" about a datagram that went the other way.
pub(crate) fn unreachable(frame: &mut Vec<u8>, way: Way, [from, to]: [u16; 2]) {
    let (protocol, head) = if way.from.is_ipv4() { (ICMP4, [3, 3]) } else { (ICMP6, [1, 4]) };
    let mut quoted = Vec::with_capacity(80);
    udp(&mut quoted, Way { from: way.to, to: way.from, tagged: false }, [to, from]);
    begin(frame, way, protocol, 8 + (quoted.len() - ETHERNET) as u16);
    frame.extend_from_slice(&[head[0], head[1], 0, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&quoted[ETHERNET..]);
}

/// Writes something else.
pub(crate) fn other(frame: &mut Vec<u8>, way: Way, protocol: u8, payload: &[u8]) {
    begin(frame, way, protocol, payload.len() as u16);
    frame.extend_from_slice(payload);
}

/// Writes a fragment; the offset is in units of eight bytes.
pub(crate) fn fragment(frame: &mut Vec<u8>, way: Way, offset: u16, more: bool, payload: &[u8]) {
    if way.from.is_ipv4() {
        let at = begin(frame, way, TCP, payload.len() as u16);
        let field = offset & 0x1fff | u16::from(more) << 13;
        frame[at - 14..at - 12].copy_from_slice(&field.to_be_bytes());
    } else {
        const FRAGMENT: u8 = 44;
        begin(frame, way, FRAGMENT, payload.len() as u16 + 8);
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        frame.extend_from_slice(&[TCP, 0, high, low, 0, 0, 0, 1]);
    }
    frame.extend_from_slice(payload);
}

/// Writes everything up to the transport header, of which there are `length` bytes with all that follows; returns where it begins.
fn begin(frame: &mut Vec<u8>, way: Way, protocol: u8, length: u16) -> usize {
    frame.clear();
    frame.extend_from_slice(&HOST_MAC);
    frame.extend_from_slice(&OTHER_MAC);
    if way.tagged {
        frame.extend_from_slice(&[0x81, 0, 0, 42]);
    }
    match (way.from, way.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend_from_slice(&[8, 0]);
            let at = frame.len();
            let [high, low] = (length + 20).to_be_bytes();
            frame.extend_from_slice(&[0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend_from_slice(&from.octets());
            frame.extend_from_slice(&to.octets());
            let check = !fold(sum(&frame[at..]));
            frame[at + 10..at + 12].copy_from_slice(&check.to_be_bytes());
        }
        (from, to) => {
            frame.extend_from_slice(&[0x86, 0xdd]);
            let [high, low] = length.to_be_bytes();
            frame.extend_from_slice(&[0x60, 0, 0, 0, high, low, protocol, 64]);
            for address in [from, to] {
                let address = match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                frame.extend_from_slice(&address.octets());
            }
        }
    }
    frame.len()
}

/// The sum of the pseudo-header of what begins `at`: RFC 9293, section 3.1, and RFC 8200, section 8.1.
fn pseudo_header(frame: &[u8], at: usize, protocol: u8, length: u16) -> u32 {
    let is_v4 = frame[at - 20] == 0x45 && frame[at - 22..at - 20] == [8, 0];
    let addresses = if is_v4 { &frame[at - 8..at] } else { &frame[at - 32..at] };
    sum(addresses) + u32::from(protocol) + u32::from(length)
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from)).sum()
}

const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
