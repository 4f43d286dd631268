//! One packet of a capture, as far as counting needs it.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{
    Icmpv4Type, Icmpv6Type, IpNumber, Ipv6Header, LaxNetSlice, LaxSlicedPacket, TransportSlice, icmpv4, icmpv6,
    ip_number,
};

/// A packet seen on a link.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// When, since 1970.
    pub at: Duration,
    /// Sender, as the packet says.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Bytes of the IP packet, as its header says.
    pub bytes: u32,
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
    /// ICMP that asks for something else (RFC 792, RFC 950): timestamp 13, information 15, address mask 17.
    IcmpRequest {
        /// The ICMP type.
        kind: u8,
    },
    /// A whole packet of a protocol that is not TCP, UDP or ICMP.
    Protocol {
        /// IP protocol number.
        number: u8,
        /// Port of the receiver where the protocol is SCTP, else 0.
        port: u16,
    },
    /// ICMP "destination unreachable" about a packet to this port; 0 where its protocol has none.
    Unreachable {
        /// IP protocol number of the packet it is about.
        protocol: u8,
        /// Who that packet was for.
        destination: IpAddr,
        /// Which port it was for.
        port: u16,
    },
    /// The first fragment of a TCP segment, as small as it may be: 8 bytes hold no flags (RFC 1858).
    TcpFragment {
        /// Port of the sender.
        source_port: u16,
        /// Port of the receiver.
        destination_port: u16,
        /// Sequence number.
        sequence: u32,
        /// Whether it is long enough for the flags, and they are SYN without ACK.
        opens: bool,
    },
    /// Anything else over IP: other fragments, other ICMP.
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
        let bytes = length(packet.net.as_ref()?);
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
                _ if ICMP_REQUESTS.contains(&icmp.type_u8()) => What::IcmpRequest { kind: icmp.type_u8() },
                _ => What::Other,
            },
            Some(TransportSlice::Icmpv6(icmp)) => match icmp.icmp_type() {
                Icmpv6Type::EchoRequest(_) => What::EchoRequest,
                _ if icmp.type_u8() == icmpv6::TYPE_DST_UNREACH => unreachable(icmp.payload()),
                _ => What::Other,
            },
            Some(_) => What::Other,
            None => {
                packet.net.as_ref().and_then(|net| first_fragment(net).or_else(|| protocol(net))).unwrap_or(What::Other)
            }
        };
        Some(Self { at, source, destination, bytes, what })
    }
}

fn addresses(net: &LaxNetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        LaxNetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        LaxNetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        LaxNetSlice::Arp(_) => None,
    }
}

/// The length of the whole packet.
fn length(net: &LaxNetSlice<'_>) -> u32 {
    match net {
        LaxNetSlice::Ipv4(ip) => ip.header().total_len().into(),
        LaxNetSlice::Ipv6(ip) => Ipv6Header::LEN as u32 + u32::from(ip.header().payload_length()),
        LaxNetSlice::Arp(_) => 0,
    }
}

/// ICMP types that ask for something, echo aside.
const ICMP_REQUESTS: [u8; 3] = [13, 15, 17];

/// Flags of TCP, in byte 13 of its header (RFC 9293 section 3.1).
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Reads the start of a fragmented TCP segment.
fn first_fragment(net: &LaxNetSlice<'_>) -> Option<What> {
    let first = match net {
        LaxNetSlice::Ipv4(ip) => ip.header().fragments_offset().value() == 0,
        // nmap does not fragment IPv6.
        LaxNetSlice::Ipv6(_) | LaxNetSlice::Arp(_) => false,
    };
    let payload = net.ip_payload_ref()?;
    let &[a, b, c, d, e, f, g, h, ..] = payload.payload else { return None };
    (first && payload.ip_number == ip_number::TCP).then(|| What::TcpFragment {
        source_port: u16::from_be_bytes([a, b]),
        destination_port: u16::from_be_bytes([c, d]),
        sequence: u32::from_be_bytes([e, f, g, h]),
        opens: payload.payload.get(13).is_some_and(|flags| flags & (SYN | ACK) == SYN),
    })
}

/// Reads a packet of a protocol that is not looked into.
fn protocol(net: &LaxNetSlice<'_>) -> Option<What> {
    let payload = net.ip_payload_ref()?;
    let number = payload.ip_number;
    let looked_into = [ip_number::TCP, ip_number::UDP, ip_number::ICMP, ip_number::IPV6_ICMP].contains(&number);
    (!looked_into && !payload.fragmented)
        .then(|| What::Protocol { number: number.0, port: port_of(number, payload.payload) })
}

/// The receiver's port in the first bytes of a transport header, 0 where the protocol has none.
fn port_of(protocol: IpNumber, header: &[u8]) -> u16 {
    match header {
        &[_, _, high, low, ..] if [ip_number::TCP, ip_number::UDP, ip_number::SCTP].contains(&protocol) => {
            u16::from_be_bytes([high, low])
        }
        _ => 0,
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
        Some(What::Unreachable { protocol: protocol.0, destination, port: port_of(protocol, payload.payload) })
    };
    read().unwrap_or(What::Other)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    #[test]
    fn the_ports_of_a_fragmented_segment_are_in_its_first_fragment() {
        let mut whole = Vec::new();
        let built = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([203, 0, 113, 66], [192, 0, 2, 10], 64);
        built.tcp(40000, 22, 7, 1024).syn().write(&mut whole, &[]).expect("a segment");
        // Ethernet has 14 bytes, IP 20: its length at 2, flags and offset at 6.
        let fragment = |payload: u8, offset: u8| {
            let mut frame = whole[..14 + 20 + usize::from(payload)].to_vec();
            (frame[14 + 3], frame[14 + 6], frame[14 + 7]) = (20 + payload, 0x20, offset);
            Seen::read(Duration::ZERO, &frame).expect("IP").what
        };
        let first = |opens| What::TcpFragment { source_port: 40000, destination_port: 22, sequence: 7, opens };
        assert_eq!(fragment(8, 0), first(false));
        assert_eq!(fragment(16, 0), first(true));
        assert_eq!(fragment(8, 1), What::Other);
    }

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
