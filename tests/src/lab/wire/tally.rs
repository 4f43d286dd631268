//! What a capture says about who asked and who answered.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::frame::{Seen, What};
use crate::lab::plan::{Source, is_edge, is_open};

/// Something that was asked for: destination, IP protocol number, port (or what stands in its place).
pub type Asked = (IpAddr, u8, u16);

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// Types of echo requests (RFC 792, RFC 4443).
const ECHO: u16 = 8;
const ECHO6: u16 = 128;

/// Connection attempts towards the edge per source: TCP segments with SYN and without ACK (retransmissions too), UDP
/// datagrams, echo requests. Of fragments, those count that show the flags.
#[must_use]
pub fn attempts(packets: &[Seen]) -> BTreeMap<Source, u64> {
    let mut sources = BTreeMap::new();
    for packet in packets.iter().filter(|packet| is_edge(packet.destination)) {
        let attempt = match packet.what {
            What::Tcp(segment) => segment.syn && !segment.ack,
            What::Udp { .. } | What::EchoRequest => true,
            What::TcpFragment { opens, .. } => opens,
            What::IcmpRequest { .. } | What::Protocol { .. } | What::Unreachable { .. } | What::Other => false,
        };
        if attempt {
            *sources.entry(packet.source.into()).or_default() += 1;
        }
    }
    sources
}

impl Seen {
    /// What of the edge the packet asks for: a TCP, UDP or SCTP port, an IP protocol (with port 0), or an ICMP answer (with
    /// the request's type as port). Segments that only end what went before (RST) ask for nothing.
    #[must_use]
    pub fn asks(&self) -> Option<Asked> {
        let (protocol, port) = match self.what {
            What::Tcp(segment) if !segment.rst => (TCP, segment.destination_port),
            // A connection is not ended by what begins one: nmap --scanflags SYNRST.
            What::Tcp(segment) if segment.syn => (TCP, segment.destination_port),
            What::TcpFragment { destination_port, .. } => (TCP, destination_port),
            What::Udp { destination_port, .. } => (UDP, destination_port),
            What::EchoRequest if self.destination.is_ipv4() => (ICMP, ECHO),
            What::EchoRequest => (ICMP6, ECHO6),
            What::IcmpRequest { kind } => (ICMP, kind.into()),
            What::Protocol { number, port } => (number, port),
            What::Tcp(_) | What::Unreachable { .. } | What::Other => return None,
        };
        is_edge(self.destination).then_some((self.destination, protocol, port))
    }
}

/// All that packets on this link asked of the edge (see [`Seen::asks`]).
#[must_use]
pub fn asked(packets: &[Seen]) -> BTreeSet<Asked> {
    packets.iter().filter_map(Seen::asks).collect()
}

/// The addresses of the edge, or behind it, that answered on the link of the one who asked: with a segment, a datagram, an echo. What a
/// router says of them is no answer of theirs.
#[must_use]
pub fn answering_hosts(packets: &[Seen]) -> BTreeSet<IpAddr> {
    let answered = packets.iter().filter(|packet| {
        is_edge(packet.source) && matches!(packet.what, What::Tcp(_) | What::Udp { .. } | What::Other)
    });
    answered.map(|packet| packet.source).collect()
}

/// What the edge gave away on a link.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answers {
    /// Ports without a listener, and IP protocols, for which the edge's stack answered: RST or ICMP unreachable.
    pub closed: BTreeSet<Asked>,
    /// Listeners that answered a SYN as a stack does.
    pub open: BTreeSet<Asked>,
    /// SYN-ACKs that no stack sends: from ports without a listener, or acknowledging what was never sent.
    pub challenged: BTreeSet<Asked>,
}

/// Reads the answers of the edge on the link of the one who asked.
#[must_use]
pub fn answers(packets: &[Seen]) -> Answers {
    let mut answers = Answers::default();
    // What a stack would acknowledge: source port, destination, port, sequence number behind the SYN.
    let mut sent = HashSet::new();
    // Connections that were challenged: what resets them is no stack.
    let mut in_challenge = HashSet::new();
    for packet in packets {
        match packet.what {
            What::Tcp(segment) if is_edge(packet.destination) && segment.syn && !segment.ack => {
                let next = segment.sequence.wrapping_add(1);
                sent.insert((segment.source_port, packet.destination, segment.destination_port, next));
            }
            What::TcpFragment { source_port, destination_port, sequence, .. } if is_edge(packet.destination) => {
                sent.insert((source_port, packet.destination, destination_port, sequence.wrapping_add(1)));
            }
            What::Tcp(segment) if is_edge(packet.source) => {
                let port = segment.source_port;
                let asked = (packet.source, TCP, port);
                if segment.syn && segment.ack {
                    let answered = (segment.destination_port, packet.source, port, segment.acknowledgement);
                    let genuine = is_open(port) && sent.contains(&answered);
                    if !genuine {
                        in_challenge.insert((segment.destination_port, packet.source, port));
                    }
                    if genuine { &mut answers.open } else { &mut answers.challenged }.insert(asked);
                } else if segment.rst
                    && !is_open(port)
                    && !in_challenge.contains(&(segment.destination_port, packet.source, port))
                {
                    answers.closed.insert(asked);
                }
            }
            What::Unreachable { protocol, destination, port }
                if is_edge(packet.source) && (protocol != TCP || !is_open(port)) =>
            {
                answers.closed.insert((destination, protocol, port));
            }
            _ => {}
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::{IpNumber, PacketBuilder};

    use super::*;
    use crate::lab::plan::{EDGE, EDGE6, SCANNER, SCANNER6, customer};

    const ISN: u32 = 0xffff_ffff;

    /// A segment from the scanner to a port of the edge, through a frame as tcpdump would have it.
    fn ask(port: u16, flags: &str) -> Seen {
        let to = |bytes: &mut Vec<u8>| {
            let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(SCANNER.octets(), EDGE.octets(), 64);
            let mut tcp = ip.tcp(40000, port, ISN, 1024);
            for flag in flags.chars() {
                tcp = match flag {
                    'S' => tcp.syn(),
                    'A' => tcp.ack(7),
                    'R' => tcp.rst(),
                    'F' => tcp.fin(),
                    other => panic!("no flag {other}"),
                };
            }
            tcp.write(bytes, &[])
        };
        read(to)
    }

    fn answer(port: u16, syn: bool, acknowledgement: u32) -> Seen {
        read(|bytes| {
            let ip = PacketBuilder::ethernet2([2; 6], [1; 6]).ipv4(EDGE.octets(), SCANNER.octets(), 64);
            let tcp = ip.tcp(port, 40000, 9, 1024).ack(acknowledgement);
            if syn { tcp.syn() } else { tcp.rst() }.write(bytes, &[])
        })
    }

    fn read<E: std::fmt::Debug>(write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Seen {
        let mut bytes = Vec::new();
        write(&mut bytes).expect("a packet");
        Seen::read(Duration::ZERO, &bytes).expect("an IP packet")
    }

    #[test]
    fn every_syn_without_ack_is_an_attempt_and_nothing_else_of_tcp() {
        let packets =
            [ask(1, "S"), ask(1, "S"), ask(2, "SF"), ask(3, "SA"), ask(4, "A"), ask(5, "R"), answer(1, false, 0)];
        assert_eq!(attempts(&packets), BTreeMap::from([(IpAddr::from(SCANNER).into(), 3)]));
    }

    #[test]
    fn datagrams_and_pings_are_attempts_of_both_families() {
        let datagram = read(|bytes| {
            let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6(SCANNER6.octets(), EDGE6.octets(), 64);
            ip.udp(40000, 53).write(bytes, b"question")
        });
        let ping = read(|bytes| {
            let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv6(SCANNER6.octets(), EDGE6.octets(), 64);
            ip.icmpv6_echo_request(1, 1).write(bytes, &[])
        });
        let elsewhere = read(|bytes| {
            let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(customer(0).octets(), SCANNER.octets(), 64);
            ip.udp(40000, 53).write(bytes, b"question")
        });
        let packets = [datagram, ping, elsewhere];
        assert_eq!(attempts(&packets), BTreeMap::from([(IpAddr::from(SCANNER6).into(), 2)]));
        assert_eq!(asked(&packets), BTreeSet::from([(EDGE6.into(), UDP, 53), (EDGE6.into(), ICMP6, ECHO6)]));
    }

    #[test]
    fn protocols_and_icmp_requests_are_asked_for_by_their_numbers() {
        const SCTP: u8 = 132;
        let packet = |protocol: u8, payload: &[u8]| {
            read(|bytes| {
                let ip = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(SCANNER.octets(), EDGE.octets(), 64);
                ip.write(bytes, IpNumber(protocol), payload)
            })
        };
        let timestamp = packet(ICMP, &[&[13, 0, 0xf2, 0xff][..], &[0; 16]].concat());
        let packets = [timestamp, packet(SCTP, &[0x9c, 0x40, 0, 80, 0, 0, 0, 0]), packet(200, &[])];
        let asked_for = [(ICMP, 13), (SCTP, 80), (200, 0)].map(|(protocol, port)| (EDGE.into(), protocol, port));
        assert_eq!(asked(&packets), BTreeSet::from(asked_for));
    }

    #[test]
    fn a_port_asked_twice_is_one_probe() {
        let packets = [ask(1, "S"), ask(1, "S"), ask(2, "S"), ask(3, "F"), ask(4, "R")];
        assert_eq!(asked(&packets), [1, 2, 3].map(|port| (EDGE.into(), TCP, port)).into());
    }

    #[test]
    fn answers_are_told_apart() {
        let packets = [
            ask(1, "S"),
            answer(1, false, 0), // closed
            ask(22, "S"),
            answer(22, true, ISN.wrapping_add(1)), // listening
            answer(22, false, 0),                  // what a listener resets is not a closed port
            ask(80, "S"),
            answer(80, true, 77), // acknowledges what nobody sent
            ask(9, "S"),
            answer(9, true, ISN.wrapping_add(1)), // nobody listens there
        ];
        let port = |number| BTreeSet::from([(IpAddr::from(EDGE), TCP, number)]);
        let challenged = port(80).union(&port(9)).copied().collect();
        assert_eq!(answers(&packets), Answers { closed: port(1), open: port(22), challenged });
    }
}
