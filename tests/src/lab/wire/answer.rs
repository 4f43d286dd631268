//! What a host says to somebody, frame by frame, as whoever asked reads it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lab::craft::{ACK, ETHERNET, FRAGMENT, ICMP, ICMP6, RST, SYN, TCP, UDP};

/// What an answer is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Says {
    /// A connection may begin.
    SynAck,
    /// A reset that acknowledges: what Linux says to a segment without ACK.
    ResetAck,
    /// A reset with a number alone: what Linux says to a segment with ACK and without a connection.
    Reset,
    /// Any other segment.
    Segment {
        /// Its flags.
        flags: u8,
    },
    /// A datagram.
    Datagram,
    /// An echo reply.
    Echo,
    /// An ICMP error about a packet.
    Error {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
        /// IP protocol of the packet.
        about: u8,
    },
    /// Other ICMP: timestamps, masks.
    Icmp {
        /// ICMP type.
        kind: u8,
    },
    /// Any other protocol, and fragments but the first.
    Other {
        /// Protocol number.
        protocol: u8,
    },
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Who sends it.
    pub from: IpAddr,
    /// Who gets it.
    pub to: IpAddr,
    /// The port of who gets it; for an error the one from which the packet came that it is about.
    pub asker: Option<u16>,
    /// The port that answers, or about which an error is.
    pub port: Option<u16>,
    /// What it is.
    pub says: Says,
    /// The IP packet.
    pub packet: Vec<u8>,
}

impl fmt::Display for Says {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SynAck => formatter.write_str("SYN-ACK"),
            Self::ResetAck => formatter.write_str("RST-ACK"),
            Self::Reset => formatter.write_str("RST"),
            Self::Segment { flags } => write!(formatter, "segment with flags {flags:#04x}"),
            Self::Datagram => formatter.write_str("datagram"),
            Self::Echo => formatter.write_str("echo reply"),
            Self::Error { kind, code, about } => write!(formatter, "ICMP {kind}/{code} about protocol {about}"),
            Self::Icmp { kind } => write!(formatter, "ICMP {kind}"),
            Self::Other { protocol } => write!(formatter, "protocol {protocol}"),
        }
    }
}

impl Says {
    /// Whether it is an error that says how a packet must be sent to arrive: PMTU discovery lives from it.
    #[must_use]
    pub const fn is_too_big(self) -> bool {
        matches!(self, Self::Error { kind: 3, code: 4, .. } | Self::Error { kind: 2, code: 0, .. })
    }

    /// Whether it is said when the rest of a packet did not come.
    #[must_use]
    pub const fn is_unassembled(self) -> bool {
        matches!(self, Self::Error { kind: 11, code: 1, .. } | Self::Error { kind: 3, code: 1, about: FRAGMENT })
    }
}

/// Reads an Ethernet frame; nothing when it is not IP, or tells link-layer addresses.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Answer> {
    let packet = frame.get(ETHERNET..)?;
    match frame[12..14] {
        [8, 0] => read4(packet),
        [0x86, 0xdd] => read6(packet),
        _ => None,
    }
}

fn address4(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into())
}

fn address6(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

fn read4(packet: &[u8]) -> Option<Answer> {
    let header = usize::from(packet.first()? & 15) * 4;
    let (from, to) = (address4(packet.get(12..16)?)?, address4(packet.get(16..20)?)?);
    let total = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
    let packet = &packet[..total];
    let offset = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
    let protocol = packet[9];
    let payload = packet.get(header..)?;
    let (says, asker, port) =
        if offset == 0 { message(protocol, payload) } else { (Says::Other { protocol }, None, None) };
    Some(Answer { from, to, asker, port, says, packet: packet.to_vec() })
}

fn read6(packet: &[u8]) -> Option<Answer> {
    let (from, to) = (address6(packet.get(8..24)?)?, address6(packet.get(24..40)?)?);
    let total = (40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))).min(packet.len());
    let packet = &packet[..total];
    let (mut protocol, mut payload) = (packet[6], &packet[40..]);
    let mut offset = 0;
    if protocol == FRAGMENT && payload.len() >= 8 {
        offset = u16::from_be_bytes([payload[2], payload[3]]) >> 3;
        (protocol, payload) = (payload[0], &payload[8..]);
    }
    // What is said about the neighbourhood is no answer to anybody's question about ports.
    if protocol == ICMP6 && offset == 0 && matches!(payload.first(), Some(130..=137 | 143)) {
        return None;
    }
    let (says, asker, port) =
        if offset == 0 { message(protocol, payload) } else { (Says::Other { protocol }, None, None) };
    Some(Answer { from, to, asker, port, says, packet: packet.to_vec() })
}

fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d, ..] = bytes else { return None };
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn message(protocol: u8, payload: &[u8]) -> (Says, Option<u16>, Option<u16>) {
    let pair = ports(payload);
    let (port, asker) = (pair.map(|pair| pair.0), pair.map(|pair| pair.1));
    match (protocol, payload) {
        (TCP, [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, ..]) => {
            let says = match flags & (SYN | ACK | RST) {
                flags if flags == SYN | ACK => Says::SynAck,
                flags if flags == RST | ACK => Says::ResetAck,
                RST => Says::Reset,
                _ => Says::Segment { flags: *flags },
            };
            (says, asker, port)
        }
        (UDP, _) => (Says::Datagram, asker, port),
        (ICMP, [0, ..]) | (ICMP6, [129, ..]) => (Says::Echo, None, None),
        (ICMP, [kind @ (3 | 4 | 11 | 12), code, _, _, _, _, _, _, quote @ ..])
        | (ICMP6, [kind @ (1..=4), code, _, _, _, _, _, _, quote @ ..]) => {
            let (about, pair) = quoted(quote);
            (Says::Error { kind: *kind, code: *code, about }, pair.map(|pair| pair.0), pair.map(|pair| pair.1))
        }
        (ICMP | ICMP6, [kind, ..]) => (Says::Icmp { kind: *kind }, None, None),
        _ => (Says::Other { protocol }, None, None),
    }
}

/// The protocol of a quoted packet, and its ports as far as they are there.
fn quoted(quote: &[u8]) -> (u8, Option<(u16, u16)>) {
    match quote.first().map(|byte| byte >> 4) {
        Some(4) if quote.len() >= 20 => {
            let header = usize::from(quote[0] & 15) * 4;
            let first = u16::from_be_bytes([quote[6], quote[7]]) & 0x1fff == 0;
            (quote[9], quote.get(header..).filter(|_| first).and_then(ports))
        }
        Some(6) if quote.len() >= 40 => {
            let (mut next, mut rest) = (quote[6], &quote[40..]);
            loop {
                let length = match (next, rest) {
                    (0 | 43 | 60 | 135 | 139 | 140, [_, length, ..]) => (usize::from(*length) + 1) * 8,
                    (51, [_, length, ..]) => (usize::from(*length) + 2) * 4,
                    (FRAGMENT, [_, _, high, low, ..]) if u16::from_be_bytes([*high, *low]) >> 3 == 0 => 8,
                    (FRAGMENT, _) => return (next, None),
                    (TCP | UDP, _) => return (next, ports(rest)),
                    _ => return (next, None),
                };
                let Some(further) = rest.get(length..) else { return (next, None) };
                (next, rest) = (rest[0], further);
            }
        }
        _ => (0, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::craft;

    const EDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
    const ASKER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66));

    #[test]
    fn answers_are_told_apart_and_say_about_which_port_they_are() {
        let segment = |flags| craft::packet(EDGE, ASKER, TCP, craft::tcp(22, 40_000, 1, 2, flags, &[], &[]));
        let asked = craft::packet(ASKER, EDGE, UDP, craft::udp(40_000, 22, b"question"));
        let error = craft::packet(EDGE, ASKER, ICMP, craft::icmp(3, 3, [0; 4], &asked));
        for (packet, says) in [
            (segment(SYN | ACK), Says::SynAck),
            (segment(RST), Says::Reset),
            (segment(RST | ACK), Says::ResetAck),
            (error, Says::Error { kind: 3, code: 3, about: UDP }),
        ] {
            let answer = read(&craft::framed([1; 6], [2; 6], &packet)).expect("an answer");
            assert_eq!((answer.says, answer.to, answer.asker, answer.port), (says, ASKER, Some(40_000), Some(22)));
        }
    }
}
