//! What a host would answer to a frame: the frames that leave.

use std::net::IpAddr;

use etherparse::{IcmpEchoHeader, Icmpv4Type, Icmpv6Type, PacketBuilder, PacketBuilderStep, icmpv4, icmpv6};
use scanguard_common::address::Address;
use scanguard_common::host::Frame;
use scanguard_common::packet::{Parsed, Shape, parse};

/// A kind of answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// What an open port answers: SYN-ACK, a datagram, an echo reply.
    Open,
    /// What a closed TCP port answers.
    Reset,
    /// An ICMP error that quotes the frame.
    Unreachable,
    /// A segment of a connection.
    Segment,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Reset, Self::Unreachable, Self::Segment];
}

/// The answer to a frame, from its receiver to its sender; none where there is no such answer.
#[must_use]
pub fn answer(to: &[u8], kind: Kind) -> Option<Vec<u8>> {
    let parsed = parse(&Frame(to));
    let Parsed { source, destination, source_port, destination_port, shape, version, .. } = parsed;
    let ip = || between(destination, source, version);
    let mut frame = Vec::new();
    match (kind, shape) {
        (Kind::Open | Kind::Reset | Kind::Segment, Shape::Tcp) => {
            let tcp = ip()?.tcp(destination_port, source_port, 7, 1024);
            let tcp = match kind {
                Kind::Open => tcp.syn().ack(2),
                Kind::Reset => tcp.rst().ack(2),
                _ => tcp.ack(2),
            };
            tcp.write(&mut frame, &[]).ok()?;
        }
        (Kind::Open, Shape::Udp) => ip()?.udp(destination_port, source_port).write(&mut frame, b"answer").ok()?,
        (Kind::Open, Shape::Icmp) if parsed.is_echo_request() => {
            let echo = IcmpEchoHeader { id: source_port, seq: 1 };
            match version {
                4 => ip()?.icmpv4(Icmpv4Type::EchoReply(echo)).write(&mut frame, &[]).ok()?,
                _ => ip()?.icmpv6(Icmpv6Type::EchoReply(echo)).write(&mut frame, &[]).ok()?,
            }
        }
        (Kind::Unreachable, Shape::Tcp | Shape::Udp | Shape::Icmp) => {
            // As much of it as routers quote; the frame itself begins with Ethernet, and perhaps tags.
            let start = 14 + 4 * usize::from(parsed.vlan_tags);
            let quoted = to.get(start..to.len().min(start + 68))?;
            match version {
                4 => ip()?
                    .icmpv4(Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port))
                    .write(&mut frame, quoted)
                    .ok()?,
                _ => ip()?
                    .icmpv6(Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port))
                    .write(&mut frame, quoted)
                    .ok()?,
            }
        }
        _ => return None,
    }
    Some(frame)
}

fn between(from: Address, to: Address, version: u8) -> Option<PacketBuilderStep<etherparse::IpHeaders>> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    match (IpAddr::from(from), IpAddr::from(to), version) {
        (IpAddr::V4(from), IpAddr::V4(to), 4) => Some(ethernet.ipv4(from.octets(), to.octets(), 64)),
        (_, _, 6) => Some(ethernet.ipv6(from.bytes(), to.bytes(), 64)),
        _ => None,
    }
}
