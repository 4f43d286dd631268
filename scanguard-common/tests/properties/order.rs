//! Packets of one instant in any order, and by either way through the datapath.
//!
//! Not meant to be independent of the order, and so left out here: a storm begins with the suspect that is one too many, and the sources
//! here are too few for it. Ports of one service family are one contact, that of the port asked first; the world has at most one
//! port of each. The network of a source takes evidence only until the source is a suspect itself, so that one scanner is not its
//! whole network: which evidence that was, and so the network's score, depends on the order once a source sends more than
//! makes it a suspect; what holds then is in [`one_scanner_is_not_its_network`]. And where the allowlist has single addresses of a source,
//! the packet that crosses the threshold makes no suspect if it is theirs: the next evidence does.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use scanguard_common::class::PortClass;
use scanguard_common::packet::tcp_flags::{ACK, FIN, RST};
use scanguard_common::reason::Mode;

use crate::cases;
use crate::frames::{ASKING_FROM, Packet, What};
use crate::world::{PORTS, SENDERS, Step, TRANSLATED, World, gap, history, packet, segment, syn, v4, what};

/// After this history, and so long after it, these packets at once: the suspects, and the suspect networks.
fn outcome(history: &[Step], gap_ns: u64, packets: &[Packet]) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut world = World::new();
    world.run(history);
    world.wait(gap_ns);
    for packet in packets {
        world.send(packet);
    }
    (world.suspects(), world.suspect_networks())
}

/// Neither a TCP packet with ACK to a canary port nor a datagram from a service's port: these have tests of their own. And not
/// through a translator: such a source asks at both of the host's addresses, whose contacts may collide with each other.
fn is_plain(packet: &Packet) -> bool {
    match packet.what {
        _ if packet.from == TRANSLATED => false,
        What::Tcp { flags, port } => {
            flags & (ACK | RST) != ACK || flags & 2 != 0 || PORTS.class(port) != PortClass::Canary
        }
        What::Udp { from, .. } => from >= 1024,
        _ => true,
    }
}

/// Packets of one sender each by host number, which no one becomes a suspect by.
fn one_each() -> impl Strategy<Value = Vec<Packet>> {
    prop::collection::vec(what(), 1..60).prop_map(|sent| {
        let hosts = (1..).map(|host| v4(203, 0, 113, host));
        hosts.zip(sent).map(|(from, what)| Packet::new(from, what)).filter(is_plain).collect()
    })
}

fn shuffled(packets: impl Strategy<Value = Vec<Packet>>) -> impl Strategy<Value = (Vec<Packet>, Vec<Packet>)> {
    packets.prop_flat_map(|packets| (Just(packets.clone()), Just(packets).prop_shuffle()))
}

/// The score after these packets.
fn score(from: std::net::IpAddr, sent: &[What]) -> u32 {
    let mut world = World::new();
    for what in sent {
        world.ask(from, *what);
    }
    world.record(from).map_or(0, |record| record.score)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn packets_of_one_instant_make_the_same_suspects_in_any_order(
        history in history(),
        gap_ns in gap(),
        (packets, others) in shuffled(
            prop::collection::vec(prop_oneof![packet(), scan_packet()].prop_filter("plain", is_plain), 1..60)
        ),
    ) {
        prop_assert_eq!(outcome(&history, gap_ns, &packets).0, outcome(&history, gap_ns, &others).0);
    }

    #[test]
    fn packets_of_one_instant_make_the_same_suspect_networks_while_no_source_is_a_suspect_itself(
        (packets, others) in shuffled(one_each()),
    ) {
        prop_assert_eq!(outcome(&[], 0, &packets), outcome(&[], 0, &others));
    }

    #[test]
    fn one_scanner_is_not_its_network(
        sent in prop::collection::vec(what(), 1..60),
        from in select(SENDERS.to_vec()),
    ) {
        let packets: Vec<Packet> = sent.into_iter().map(|what| Packet::new(from, what)).collect();
        prop_assert!(outcome(&[], 0, &packets).1.is_empty());
    }

    #[test]
    fn plain_frames_and_tagged_ones_take_two_ways_to_the_same_end(
        history in history(),
        gap_ns in gap(),
        packets in prop::collection::vec(prop_oneof![packet(), scan_packet()], 1..80),
    ) {
        let [short, long] = [false, true].map(|tagged| {
            let mut world = World::new();
            world.run(&history);
            world.wait(gap_ns);
            let ends: Vec<_> = packets.iter().map(|packet| world.send(&Packet { tagged, ..*packet })).collect();
            (ends, world.records(), world.networks(), world.counted_drops(Mode::Enforce), world.counted_drops(Mode::Observe))
        });
        prop_assert_eq!(short, long);
    }

    #[test]
    fn segments_of_connections_are_no_evidence(sent in prop::collection::vec(segment(), 1..40)) {
        prop_assert_eq!(score(SENDERS[0], &sent), 0);
    }
}

/// Much evidence from few.
fn scan_packet() -> impl Strategy<Value = Packet> {
    (select(SENDERS.to_vec()), select([&PORTS.closed[..], &PORTS.canary, &PORTS.restricted].concat()))
        .prop_map(|(from, port)| Packet::new(from, syn(port)))
}

#[test]
fn a_syn_and_an_ack_probe_score_the_same_in_any_order() {
    for (port, flags) in PORTS.all().into_iter().flat_map(|port| [(port, ACK), (port, FIN | ACK)]) {
        assert_same_score([syn(port), What::Tcp { flags, port }]);
    }
}

#[test]
fn datagrams_from_any_ports_score_the_same_in_any_order() {
    for port in PORTS.all() {
        assert_same_score([ASKING_FROM, 53].map(|from| What::Udp { from, port }));
    }
}

fn assert_same_score([one, other]: [What; 2]) {
    let class = |what| matches!(what, What::Tcp { port, .. } | What::Udp { port, .. } if PORTS.class(port) == PortClass::Canary);
    let [there, back] = [[one, other], [other, one]].map(|both| score(SENDERS[3], &both));
    assert_eq!(there, back, "{one:?} before {other:?} and after it; to a canary: {}", class(one));
}
