//! One packet of a capture, as far as counting needs it.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{Icmpv4Type, Icmpv6Type, LaxNetSlice, LaxSlicedPacket, TransportSlice, icmpv4, icmpv6, ip_number};

/// A packet seen on a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// When, since 1970.
    pub at: Duration,
    /// Sender, as the packet says.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// What it carries.
    pub what: What,
}

/// What a packet carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum What {
    /// A TCP segment.
    Tcp(Segment),
    /// A UDP datagram.
    Udp {
        /// Port of the sender.
        source_port: u16,
        /// Port of the receiver.
        destination_port: u16,
    },
    /// An ICMP or ICMPv6 echo request.
    EchoRequest,
    /// ICMP "destination unreachable" about a packet to this port.
    Unreachable {
        /// IP protocol number of the packet it is about.
        protocol: u8,
        /// Who that packet was for.
        destination: IpAddr,
        /// Which port it was for.
        port: u16,
    },
    /// Anything else over IP: fragments, other ICMP, other protocols.
    Other,
}

/// The header of a TCP segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Port of the sender.
    pub source_port: u16,
    /// Port of the receiver.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number, valid if `ack`.
    pub acknowledgement: u32,
    /// SYN flag.
    pub syn: bool,
    /// ACK flag.
    pub ack: bool,
    /// RST flag.
    pub rst: bool,
}

impl Seen {
    /// Reads an Ethernet frame; nothing when it is not IP.
    #[must_use]
    pub fn read(at: Duration, frame: &[u8]) -> Option<Self> {
        let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let (source, destination) = addresses(packet.net.as_ref()?)?;
        let what = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => What::Tcp(Segment {
                source_port: tcp.source_port(),
                destination_port: tcp.destination_port(),
                sequence: tcp.sequence_number(),
                acknowledgement: tcp.acknowledgment_number(),
                syn: tcp.syn(),
                ack: tcp.ack(),
                rst: tcp.rst(),
            }),
            Some(TransportSlice::Udp(udp)) => {
                What::Udp { source_port: udp.source_port(), destination_port: udp.destination_port() }
            }
            Some(TransportSlice::Icmpv4(icmp)) => match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(_) => What::EchoRequest,
                _ if icmp.type_u8() == icmpv4::TYPE_DEST_UNREACH => unreachable(icmp.payload()),
                _ => What::Other,
            },
            Some(TransportSlice::Icmpv6(icmp)) => match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(_) => What::EchoRequest,
                _ if icmp.type_u8() == icmpv6::TYPE_DST_UNREACH => unreachable(icmp.payload()),
                _ => What::Other,
            },
            _ => What::Other,
        };
        Some(Self { at, source, destination, what })
    }
}

fn addresses(net: &LaxNetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        LaxNetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        LaxNetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        LaxNetSlice::Arp(_) => None,
    }
}

/// Reads the start of the packet that an ICMP error quotes.
fn unreachable(quote: &[u8]) -> What {
    let read = || {
        let packet = LaxSlicedPacket::from_ip(quote).ok()?;
        let net = packet.net.as_ref()?;
        let (_, destination) = addresses(net)?;
        let payload = net.ip_payload_ref()?;
        let protocol = payload.ip_number;
        let &[_, _, high, low, ..] = payload.payload else { return None };
        let has_ports = [ip_number::TCP, ip_number::UDP].contains(&protocol);
        has_ports.then(|| What::Unreachable {
            protocol: protocol.0,
            destination,
            port: u16::from_be_bytes([high, low]),
        })
    };
    read().unwrap_or(What::Other)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[test]
    fn an_unreachable_quotes_the_port_that_was_asked() {
        let mut datagram = Vec::new();
        let built = PacketBuilder::ipv4([203, 0, 113, 66], [192, 0, 2, 10], 64).udp(40000, 161);
        built.write(&mut datagram, b"hello, is anybody there?").expect("a datagram");
        // Routers quote as little as 8 bytes behind the IP header (RFC 792).
        let quote = &datagram[..28];
        let mut error = Vec::new();
        let header = icmpv4::DestUnreachableHeader::Port;
        let built = PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([192, 0, 2, 10], [203, 0, 113, 66], 64)
            .icmpv4(Icmpv4Type::DestinationUnreachable(header));
        built.write(&mut error, quote).expect("an error");
        let seen = Seen::read(Duration::ZERO, &error).expect("IP");
        assert_eq!(seen.source, IpAddr::from([192, 0, 2, 10]));
        let destination = IpAddr::from([192, 0, 2, 10]);
        assert_eq!(seen.what, What::Unreachable { protocol: 17, destination, port: 161 });
    }
}
