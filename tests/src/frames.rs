//! Frames for tests: a table of named ones, and random mutations of them.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use scanguard_common::class::{PortClass, PortEntry, Protocol};
use scanguard_common::contact::Outcome;
use scanguard_common::flow::Flow;
use scanguard_common::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
use scanguard_common::reason::Reason;
use scanguard_common::tables::Socket;

/// The host's own IPv4 address in the table.
pub const HOST4: [u8; 4] = [192, 0, 2, 10];
/// The host's own IPv6 address in the table.
pub const HOST6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
const BROADCAST4: [u8; 4] = [192, 0, 2, 255];
const MULTICAST4: [u8; 4] = [224, 0, 0, 251];
/// An address of [`LOCAL`].
const LOCAL4: [u8; 4] = [198, 51, 101, 77];
const PEER4: [u8; 4] = [203, 0, 113, 66];
const PEER6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0x66, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
const RESOLVER4: [u8; 4] = [198, 51, 100, 53];

const ETHERNET: usize = 14;
const IP4_TOTAL: usize = ETHERNET + 2;
const IP4_FRAGMENT: usize = ETHERNET + 6;
const IP6_NEXT: usize = ETHERNET + 6;
const IP6_HEADER: usize = 40;

/// One row of the table.
pub struct Row {
    /// What it shows.
    pub shows: &'static str,
    /// The frame.
    pub frame: Vec<u8>,
    /// The reason it is counted under.
    pub reason: Reason,
    /// The source that an attempt is counted for, with the class of port and the protocol.
    pub attempt: Option<(&'static str, PortClass, Protocol)>,
    /// The source that a contact is counted for, and its outcome.
    pub contact: Option<(&'static str, Outcome)>,
}

/// Closed ports of the table's host, over TCP and UDP.
pub const CLOSED: std::ops::RangeInclusive<u16> = 1..=19;
/// A port that userspace holds closed, and on which a socket listens.
const JUST_OPENED: u16 = 18;
/// A port that userspace holds closed, and from which a connection of ours goes to [`PEER4`] port 40000.
const OUTGOING: u16 = 19;

/// What the table's host is configured with.
#[must_use]
pub fn port_classes() -> Vec<(Protocol, u16, PortClass)> {
    let mut classes = vec![
        (Protocol::Tcp, 80, PortClass::Public),
        (Protocol::Tcp, 443, PortClass::Public),
        (Protocol::Udp, 443, PortClass::Public),
        (Protocol::Tcp, 22, PortClass::Restricted),
        (Protocol::Tcp, 3306, PortClass::Restricted),
        (Protocol::Tcp, 5432, PortClass::Restricted),
        (Protocol::Tcp, 23, PortClass::Canary),
        (Protocol::Tcp, 41_001, PortClass::Closed),
        (Protocol::Udp, 41_001, PortClass::Closed),
        (Protocol::Udp, 2000, PortClass::Closed),
    ];
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        classes.extend(CLOSED.map(|port| (protocol, port, PortClass::Closed)));
    }
    classes
}

/// The same with what ports are on hosts behind the table's: restricted and canary ports are what they are here, all others public.
#[must_use]
pub fn port_entries() -> Vec<(Protocol, u16, PortEntry)> {
    let entry = |(protocol, port, own)| {
        let elsewhere = if matches!(own, PortClass::Restricted | PortClass::Canary) { own } else { PortClass::Public };
        (protocol, port, PortEntry::new(own, elsewhere))
    };
    port_classes().into_iter().map(entry).collect()
}

/// A network behind the table's host.
pub const BEHIND: &str = "192.0.2.64/26";

/// The addresses of the table's host.
#[must_use]
pub fn own_addresses() -> Vec<IpAddr> {
    vec![HOST4.into(), HOST6.into()]
}

/// A prefix that is local to the table's host by route.
pub const LOCAL: &str = "198.51.101.0/24";

/// Addresses of many hosts, the table's among them.
#[must_use]
pub fn groups() -> Vec<IpAddr> {
    vec![BROADCAST4.into()]
}

/// The sockets of the table's host: a question to a resolver, a listener that userspace has not seen yet, a connection to the
/// peer.
#[must_use]
pub fn sockets() -> Vec<(Flow, Socket)> {
    let flow = |source: [u8; 4], source_port, destination_port, protocol: Protocol| Flow {
        source: IpAddr::from(source).into(),
        destination: IpAddr::from(HOST4).into(),
        source_port,
        destination_port,
        protocol: protocol as u32,
    };
    vec![
        (flow(RESOLVER4, 53, 41_000, Protocol::Udp), Socket::Connected),
        (flow(PEER4, 0, JUST_OPENED, Protocol::Tcp).to_listener(), Socket::Listening),
        (flow(PEER4, 0, JUST_OPENED, Protocol::Udp).to_listener(), Socket::Listening),
        (flow(PEER4, 40_000, OUTGOING, Protocol::Tcp), Socket::Connected),
    ]
}

type Ip = PacketBuilderStep<etherparse::IpHeaders>;

fn ethernet() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

fn ip4(source: [u8; 4]) -> Ip {
    ethernet().ipv4(source, HOST4, 64)
}

fn ip6(source: [u8; 16]) -> Ip {
    ethernet().ipv6(source, HOST6, 64)
}

/// A TCP segment with these flags.
fn tcp(ip: Ip, port: u16, flags: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    let step = ip.tcp(40_000, port, 1, 1024);
    step.write(&mut frame, &[]).expect("a valid packet");
    let at = frame.len() - 20 + 13;
    frame[at] = flags;
    frame
}

/// A SYN from an address to a port of the table's host.
#[must_use]
pub fn syn(from: Ipv4Addr, port: u16) -> Vec<u8> {
    segment(from, port, SYN)
}

/// A TCP segment with these flags, likewise.
#[must_use]
pub fn segment(from: Ipv4Addr, port: u16, flags: u8) -> Vec<u8> {
    tcp(ip4(from.octets()), port, flags)
}

fn between(from: IpAddr, to: IpAddr) -> Ip {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet().ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet().ipv6(from.octets(), to.octets(), 64),
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// A SYN from an address to a port of another one of the same family.
///
/// # Panics
/// When they are of two families.
#[must_use]
pub fn asking_tcp(from: IpAddr, to: IpAddr, port: u16) -> Vec<u8> {
    tcp(between(from, to), port, SYN)
}

/// A datagram, likewise.
///
/// # Panics
/// As [`asking_tcp`].
#[must_use]
pub fn asking_udp(from: IpAddr, to: IpAddr, port: u16) -> Vec<u8> {
    udp(between(from, to), 5000, port, b"datagram")
}

fn udp(ip: Ip, from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ip.udp(from, to).write(&mut frame, payload).expect("a valid packet");
    frame
}

fn raw(ip: Ip, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ip.write(&mut frame, IpNumber(protocol), payload).expect("a valid packet");
    frame
}

/// Puts VLAN tags of these types behind the Ethernet addresses.
fn tagged(mut frame: Vec<u8>, types: &[u16]) -> Vec<u8> {
    for ether_type in types.iter().rev() {
        let mut tag = ether_type.to_be_bytes().to_vec();
        tag.extend([0, 42]);
        frame.splice(12..12, tag);
    }
    frame
}

/// Puts extension headers, each (type, bytes without the next-header field), between an IPv6 header and its payload.
fn extended(mut frame: Vec<u8>, headers: &[(u8, &[u8])]) -> Vec<u8> {
    let mut next = frame[IP6_NEXT];
    for (kind, rest) in headers.iter().rev() {
        let mut header = vec![next];
        header.extend(*rest);
        frame.splice(ETHERNET + IP6_HEADER..ETHERNET + IP6_HEADER, header);
        next = *kind;
    }
    frame[IP6_NEXT] = next;
    let length = (frame.len() - ETHERNET - IP6_HEADER) as u16;
    frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Options of four bytes each (no-operation) in an IPv4 header.
fn with_options(mut frame: Vec<u8>, words: usize) -> Vec<u8> {
    frame.splice(ETHERNET + 20..ETHERNET + 20, vec![1; words * 4]);
    frame[ETHERNET] = 0x45 + words as u8;
    let total = (frame.len() - ETHERNET) as u16;
    frame[IP4_TOTAL..IP4_TOTAL + 2].copy_from_slice(&total.to_be_bytes());
    frame
}

/// Cuts an IPv4 frame down to `payload` bytes behind the IP header and marks it as a fragment.
fn fragment4(mut frame: Vec<u8>, offset_units: u16, more: bool, payload: usize) -> Vec<u8> {
    frame.truncate(ETHERNET + 20 + payload);
    let total = (20 + payload) as u16;
    frame[IP4_TOTAL..IP4_TOTAL + 2].copy_from_slice(&total.to_be_bytes());
    let field = offset_units | if more { 0x2000 } else { 0 };
    frame[IP4_FRAGMENT..IP4_FRAGMENT + 2].copy_from_slice(&field.to_be_bytes());
    frame
}

fn changed(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    frame
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

/// An extension header of eight bytes, without its next-header field.
const PLAIN: &[u8] = &[0; 7];

/// The table.
#[must_use]
pub fn table() -> Vec<Row> {
    use PortClass::{Canary, Closed, Public, Restricted, Unknown};
    use Protocol::{Icmp, Tcp, Udp};

    let row = |shows, frame, reason, attempt, contact| Row { shows, frame, reason, attempt, contact };
    let new = |shows, frame, source, class: PortClass, protocol| {
        // Outcomes begin with the classes.
        let outcome = Outcome::from_u8(class as u8).expect("an outcome for each class");
        row(shows, frame, Reason::NewFlow, Some((source, class, protocol)), Some((source, outcome)))
    };
    let other = |shows, frame, reason| row(shows, frame, reason, None, None);
    let probe = |shows, frame, reason, outcome| row(shows, frame, reason, None, Some(("203.0.113.66", outcome)));
    let probe6 = |shows, frame, reason, outcome| row(shows, frame, reason, None, Some(("2001:db8:66:1::/64", outcome)));
    let syn = || tcp(ip4(PEER4), 22, SYN);
    let syn6 = || tcp(ip6(PEER6), 22, SYN);
    let (four, six) = ("203.0.113.66", "2001:db8:66:1::/64");
    let embedded = {
        let mut address = [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        address[12..].copy_from_slice(&PEER4);
        address
    };
    let mapped = {
        let mut address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
        address[12..].copy_from_slice(&PEER4);
        address
    };
    let echo4 = {
        let mut frame = Vec::new();
        let header = etherparse::IcmpEchoHeader { id: 7, seq: 1 };
        ip4(PEER4).icmpv4(icmpv4_type(header)).write(&mut frame, &[0; 8]).expect("a valid packet");
        frame
    };
    let echo6 = {
        let mut frame = Vec::new();
        let header = etherparse::IcmpEchoHeader { id: 7, seq: 1 };
        let kind = etherparse::Icmpv6Type::EchoRequest(header);
        ip6(PEER6).icmpv6(kind).write(&mut frame, &[0; 8]).expect("a valid packet");
        frame
    };
    vec![
        new("SYN to a public port", tcp(ip4(PEER4), 443, SYN), four, Public, Tcp),
        new("SYN to a restricted port", syn(), four, Restricted, Tcp),
        new("SYN to a canary port", tcp(ip4(PEER4), 23, SYN), four, Canary, Tcp),
        new("SYN to a port nothing is known of", tcp(ip4(PEER4), 9999, SYN), four, Unknown, Tcp),
        new("SYN to a closed port", tcp(ip4(PEER4), 9, SYN), four, Closed, Tcp),
        new("IPv6 SYN to a closed port", tcp(ip6(PEER6), 9, SYN), six, Closed, Tcp),
        new("UDP to a closed port", udp(ip4(PEER4), 5000, 9, b"hello"), four, Closed, Udp),
        row(
            "SYN to a port that opened a moment ago",
            tcp(ip4(PEER4), JUST_OPENED, SYN),
            Reason::NewFlow,
            Some((four, Closed, Tcp)),
            Some((four, Outcome::Public)),
        ),
        row(
            "UDP to a port that opened a moment ago",
            udp(ip4(PEER4), 5000, JUST_OPENED, b"hello"),
            Reason::NewFlow,
            Some((four, Closed, Udp)),
            Some((four, Outcome::Public)),
        ),
        new("a late answer to a port of our own clients", udp(ip4(PEER4), 5000, 41_001, b"late"), four, Unknown, Udp),
        new("a late answer of a name server", udp(ip4(PEER4), 53, 2000, b"late"), four, Unknown, Udp),
        probe("nmap -sA, to a closed port", tcp(ip4(PEER4), 9, ACK), Reason::AckProbe, Outcome::AckProbe),
        probe("nmap -sM, to a closed port", tcp(ip4(PEER4), 10, FIN | ACK), Reason::AckProbe, Outcome::AckProbe),
        probe("ACK to a canary port", tcp(ip4(PEER4), 23, ACK), Reason::AckProbe, Outcome::Canary),
        other("ACK of our own connection from a closed port", tcp(ip4(PEER4), OUTGOING, ACK), Reason::Established),
        other(
            "ACK to somebody else's port of that number",
            changed(tcp(ip4(PEER4), 9, ACK), ETHERNET + 19, 77),
            Reason::Established,
        ),
        other("RST to a closed port", tcp(ip4(PEER4), 9, RST), Reason::Established),
        other("ACK to a port of our own clients", tcp(ip4(PEER4), 41_001, ACK), Reason::Established),
        other("illegal flags on our own connection", tcp(ip4(PEER4), OUTGOING, FIN), Reason::Established),
        new("SYN that asks for ECN", tcp(ip4(PEER4), 443, SYN | 0xc0), four, Public, Tcp),
        new(
            "SYN to somebody else's address: the class is ours alone",
            changed(tcp(ip4(PEER4), 443, SYN), ETHERNET + 19, 77),
            four,
            Unknown,
            Tcp,
        ),
        new("SYN with IPv4 options", with_options(syn(), 1), four, Restricted, Tcp),
        new("SYN with the longest IPv4 header", with_options(syn(), 10), four, Restricted, Tcp),
        new("SYN behind a VLAN tag", tagged(syn(), &[0x8100]), four, Restricted, Tcp),
        new("SYN behind a service and a customer tag", tagged(syn(), &[0x88a8, 0x8100]), four, Restricted, Tcp),
        new("IPv6 SYN", syn6(), six, Restricted, Tcp),
        new("IPv6 SYN behind a VLAN tag", tagged(syn6(), &[0x8100]), six, Restricted, Tcp),
        new("IPv6 SYN behind hop-by-hop options", extended(syn6(), &[(0, PLAIN)]), six, Restricted, Tcp),
        new(
            "IPv6 SYN behind four extension headers",
            extended(syn6(), &[(0, PLAIN), (60, PLAIN), (43, PLAIN), (60, PLAIN)]),
            six,
            Restricted,
            Tcp,
        ),
        new(
            "IPv6 SYN behind an authentication header of 24 bytes",
            extended(syn6(), &[(51, &[4; 23])]),
            six,
            Restricted,
            Tcp,
        ),
        new("IPv6 SYN as the only fragment", extended(syn6(), &[(44, &[0, 0, 0, 0, 0, 0, 1])]), six, Restricted, Tcp),
        new("SYN through NAT64 is its IPv4 client", tcp(ip6(embedded), 443, SYN), four, Public, Tcp),
        new(
            "first fragment with the flags in it",
            fragment4(with_padding(syn(), 20), 0, true, 40),
            four,
            Restricted,
            Tcp,
        ),
        new("SYN from a private range", tcp(ip4([192, 168, 1, 10]), 22, SYN), "192.168.1.10", Restricted, Tcp),
        new("UDP nobody asked for", udp(ip4(PEER4), 5000, 161, b"hello"), four, Unknown, Udp),
        new("UDP to a public port", udp(ip4(PEER4), 5000, 443, b"quic"), four, Public, Udp),
        new("IPv6 UDP", udp(ip6(PEER6), 5000, 443, b"quic"), six, Public, Udp),
        new("IPv4 ping", echo4.clone(), four, Unknown, Icmp),
        new("IPv6 ping", echo6.clone(), six, Unknown, Icmp),
        row(
            "SYN and FIN asks for a port and is illegal",
            tcp(ip4(PEER4), 22, SYN | FIN),
            Reason::IllegalFlags,
            Some((four, Restricted, Tcp)),
            Some((four, Outcome::IllegalFlags)),
        ),
        row(
            "SYN and RST asks for a port and is illegal",
            tcp(ip4(PEER4), 22, SYN | RST),
            Reason::IllegalFlags,
            Some((four, Restricted, Tcp)),
            Some((four, Outcome::IllegalFlags)),
        ),
        other("ACK", tcp(ip4(PEER4), 80, ACK), Reason::Established),
        other("data", tcp(ip4(PEER4), 80, ACK | PSH), Reason::Established),
        other("FIN of a connection", tcp(ip4(PEER4), 80, FIN | ACK), Reason::Established),
        // Where nobody judges what leaves, sockets of restricted ports are looked up as packets arrive.
        probe("ACK to a restricted port", tcp(ip4(PEER4), 22, ACK), Reason::AckProbe, Outcome::Unknown),
        other("RST", tcp(ip4(PEER4), 22, RST), Reason::Established),
        other("IPv6 RST with ACK", tcp(ip6(PEER6), 22, RST | ACK), Reason::Established),
        other("SYN-ACK", tcp(ip4(PEER4), 22, SYN | ACK), Reason::SynAck),
        probe("nmap -sN", tcp(ip4(PEER4), 22, 0), Reason::IllegalFlags, Outcome::IllegalFlags),
        probe("nmap -sF", tcp(ip4(PEER4), 22, FIN), Reason::IllegalFlags, Outcome::IllegalFlags),
        probe("nmap -sX", tcp(ip4(PEER4), 22, FIN | PSH | URG), Reason::IllegalFlags, Outcome::IllegalFlags),
        probe("SYN, FIN and ACK", tcp(ip4(PEER4), 22, SYN | FIN | ACK), Reason::IllegalFlags, Outcome::IllegalFlags),
        other("the resolver's answer", udp(ip4(RESOLVER4), 53, 41_000, b"answer"), Reason::UdpEstablished),
        other("echo reply", changed(echo4.clone(), ETHERNET + 20, 0), Reason::IcmpMessage),
        other("IPv6 neighbour solicitation", changed(echo6, ETHERNET + IP6_HEADER, 135), Reason::IcmpMessage),
        other("later fragment", fragment4(syn(), 185, false, 20), Reason::Fragment),
        other("later IPv6 fragment", extended(syn6(), &[(44, &[0, 5, 200, 0, 0, 0, 1])]), Reason::Fragment),
        probe("nmap -f: eight bytes of TCP", fragment4(syn(), 0, true, 8), Reason::TinyFragment, Outcome::TinyFragment),
        probe(
            "flags in bytes of a first fragment that Linux does not take",
            fragment4(syn(), 0, true, 15),
            Reason::TinyFragment,
            Outcome::TinyFragment,
        ),
        probe("nmap -f: TCP at offset 8", fragment4(syn(), 1, true, 8), Reason::TinyFragment, Outcome::TinyFragment),
        other(
            "UDP at offset 8 is a fragment like others",
            fragment4(raw(ip4(PEER4), 17, &[0; 20]), 1, true, 8),
            Reason::Fragment,
        ),
        probe6(
            "nine extension headers",
            extended(syn6(), &[(60, PLAIN); 9]),
            Reason::OverlongChain,
            Outcome::LongChain,
        ),
        other("GRE", raw(ip4(PEER4), 47, &[0; 8]), Reason::OtherProtocol),
        other("SCTP over IPv6", raw(ip6(PEER6), 132, &[0; 12]), Reason::OtherProtocol),
        probe(
            "ICMPv6 over IPv4",
            raw(ip4(PEER4), 58, &[128, 0, 0, 0, 0, 0, 0, 0]),
            Reason::OtherProtocol,
            Outcome::Protocol,
        ),
        probe6(
            "ICMP over IPv6",
            raw(ip6(PEER6), 1, &[8, 0, 0, 0, 0, 0, 0, 0]),
            Reason::OtherProtocol,
            Outcome::Protocol,
        ),
        probe("nmap -sO", raw(ip4(PEER4), 200, &[]), Reason::OtherProtocol, Outcome::Protocol),
        other(
            "the same to somebody else",
            changed(raw(ip4(PEER4), 200, &[]), ETHERNET + 19, 77),
            Reason::OtherProtocol,
        ),
        other("loopback as source", tcp(ip4([127, 0, 0, 1]), 22, SYN), Reason::SpecialSource),
        other("multicast as source", tcp(ip4([224, 0, 0, 1]), 22, SYN), Reason::SpecialSource),
        other("broadcast as source", tcp(ip4([255; 4]), 22, SYN), Reason::SpecialSource),
        other("unspecified as source", udp(ip4([0; 4]), 68, 67, b"dhcp"), Reason::SpecialSource),
        other("our own address as source", tcp(ip4(HOST4), 22, SYN), Reason::SpecialSource),
        other("our own IPv6 address as source", tcp(ip6(HOST6), 22, SYN), Reason::SpecialSource),
        new("SYN from an IPv4-mapped address is its IPv4 client's", tcp(ip6(mapped), 22, SYN), four, Restricted, Tcp),
        other(
            "IPv6 loopback as source",
            tcp(ip6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), 22, SYN),
            Reason::SpecialSource,
        ),
        other("ARP", changed(cut(syn(), 42), 13, 6), Reason::NotIp),
        other("three VLAN tags", tagged(syn(), &[0x8100; 3]), Reason::NotIp),
        other("nothing behind the Ethernet header", cut(syn(), 14), Reason::Malformed),
        other("half a VLAN tag", cut(tagged(syn(), &[0x8100]), 16), Reason::Malformed),
        other("IPv4 header cut short", cut(syn(), ETHERNET + 19), Reason::Malformed),
        other("IPv4 header length below 20", changed(syn(), ETHERNET, 0x44), Reason::Malformed),
        other("IPv4 version 5", changed(syn(), ETHERNET, 0x55), Reason::Malformed),
        other("IPv4 total length below the header's", changed(syn(), IP4_TOTAL + 1, 19), Reason::Malformed),
        other("IPv4 total length that ends inside TCP", changed(syn(), IP4_TOTAL + 1, 30), Reason::Malformed),
        other("TCP header cut short", cut(syn(), ETHERNET + 20 + 13), Reason::Malformed),
        other("TCP data offset below 5", changed(syn(), ETHERNET + 20 + 12, 0x40), Reason::Malformed),
        other("TCP data offset beyond the packet", changed(syn(), ETHERNET + 20 + 12, 0xf0), Reason::Malformed),
        other("UDP header cut short", cut(udp(ip4(PEER4), 1, 2, b""), ETHERNET + 20 + 7), Reason::Malformed),
        other("ping cut short", cut(echo4, ETHERNET + 20 + 4), Reason::Malformed),
        other("IPv6 header cut short", cut(syn6(), ETHERNET + 39), Reason::Malformed),
        other("IPv6 with version 4", changed(syn6(), ETHERNET, 0x40), Reason::Malformed),
        other("extension header cut short", cut(extended(syn6(), &[(0, PLAIN)]), ETHERNET + 42), Reason::Malformed),
        other(
            "extension header longer than the packet",
            changed(extended(syn6(), &[(0, PLAIN)]), ETHERNET + IP6_HEADER + 1, 200),
            Reason::Malformed,
        ),
    ]
}

fn icmpv4_type(header: etherparse::IcmpEchoHeader) -> etherparse::Icmpv4Type {
    etherparse::Icmpv4Type::EchoRequest(header)
}

fn with_padding(mut frame: Vec<u8>, bytes: usize) -> Vec<u8> {
    frame.extend(vec![0; bytes]);
    frame
}

/// Shortest frame that the kernel takes for a trial run.
pub const SHORTEST: usize = 14;
const LONGEST: usize = 600;

/// An endless supply of frames: the table's, mutated, and random bytes behind a plausible start.
pub struct Mutations {
    random: SmallRng,
    seeds: Vec<Vec<u8>>,
}

impl Mutations {
    /// The same frames for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), seeds: table().into_iter().map(|row| row.frame).collect() }
    }

    /// The next frame.
    pub fn next_frame(&mut self) -> Vec<u8> {
        let mut frame = self.seeds[self.random.random_range(0..self.seeds.len())].clone();
        match self.random.random_range(0..10) {
            0 => {}
            1 => self.randomise(&mut frame, 12),
            2 => self.randomise(&mut frame, ETHERNET),
            3 => self.splice(&mut frame),
            _ => {
                for _ in 0..self.random.random_range(1..6) {
                    self.change(&mut frame);
                }
            }
        }
        // To a host behind ours, of which there are few, so that they are asked again and again.
        if self.random.random_ratio(1, 4) && frame[12..14] == [0x08, 0x00] && frame.len() > ETHERNET + 19 {
            frame[ETHERNET + 19] = 64 + self.random.random_range(0..6);
        } else if self.random.random_ratio(1, 8) && frame[12..14] == [0x08, 0x00] && frame.len() > ETHERNET + 19 {
            // To many hosts, ours among them; to an address that is ours by route.
            let to = [BROADCAST4, MULTICAST4, LOCAL4][self.random.random_range(0..3)];
            frame[ETHERNET + 16..ETHERNET + 20].copy_from_slice(&to);
        }
        if self.random.random_ratio(1, 8) {
            let length = self.random.random_range(0..=frame.len());
            frame.truncate(length);
        }
        if self.random.random_ratio(1, 8) {
            let more = self.random.random_range(0..64);
            frame.extend((0..more).map(|_| self.random.random::<u8>()));
        }
        frame.truncate(LONGEST);
        if frame.len() < SHORTEST {
            frame.resize(SHORTEST, 0);
        }
        frame
    }

    /// Changes a few bytes near the headers.
    pub fn spoil(&mut self, frame: &mut [u8]) {
        for _ in 0..self.random.random_range(1..4) {
            self.change(frame);
        }
    }

    /// Changes a byte near the headers: a random value, one bit, or a value that means something somewhere.
    fn change(&mut self, frame: &mut [u8]) {
        const TELLING: [u8; 20] = [0, 1, 4, 5, 6, 8, 14, 17, 20, 43, 44, 51, 58, 60, 64, 0x45, 0x81, 0x86, 0xdd, 0xff];
        let Some(last) = frame.len().checked_sub(1) else { return };
        let at = self.random.random_range(0..=last.min(110));
        frame[at] = match self.random.random_range(0..3) {
            0 => self.random.random(),
            1 => frame[at] ^ (1 << self.random.random_range(0..8)),
            _ => TELLING[self.random.random_range(0..TELLING.len())],
        };
    }

    /// Replaces everything from an offset on.
    fn randomise(&mut self, frame: &mut [u8], from: usize) {
        if let Some(tail) = frame.get_mut(from..) {
            self.random.fill_bytes(tail);
        }
    }

    /// The head of this frame with the tail of another.
    fn splice(&mut self, frame: &mut Vec<u8>) {
        let other = &self.seeds[self.random.random_range(0..self.seeds.len())];
        let at = self.random.random_range(0..=frame.len().min(other.len()));
        frame.truncate(at);
        frame.extend(&other[at..]);
    }
}
