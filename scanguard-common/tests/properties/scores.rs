//! Scores, thresholds and networks.

use proptest::prelude::*;
use proptest::sample::select;
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::contact::Outcome;
use scanguard_common::datapath::Action;
use scanguard_common::record::SourceRecord;
use scanguard_common::score::ScoreRules;

use crate::cases;
use crate::frames::What;
use crate::world::{Act, DAY_NS, Decision, HOUR_NS, PORTS, World, acts, datagram, history, history_with, syn, v4};

const RULES: ScoreRules = ScoreRules::new();

fn all(world: &World) -> Vec<SourceRecord> {
    [world.tables.records(), world.tables.networks()].concat()
}

/// The contacts of so many packets with this outcome of which every one passes, the threshold not being reached.
fn answered(outcome: Outcome) -> usize {
    (RULES.conceal_at.div_ceil(RULES.points(outcome)) - 1) as usize
}

/// How many of these are let through before the first is not.
fn passing(world: &mut World, ports: &[u16]) -> usize {
    ports.iter().take_while(|port| world.opens(v4(198, 51, 100, 7), **port)).count()
}

/// So many restricted ports, of which the world has fewer.
fn restricted(world: &mut World, count: u16) -> Vec<u16> {
    let ports: Vec<u16> = (10_000..10_000 + count).collect();
    for port in &ports {
        world.tables.set_port_class(Protocol::Tcp, *port, PortClass::Restricted);
    }
    ports
}

#[test]
fn three_closed_ports_are_answered_and_the_fourth_is_hidden() {
    assert_eq!(answered(Outcome::Closed), 3);
    assert_eq!(passing(&mut World::new(), &PORTS.closed), 3);
}

#[test]
fn one_canary_is_answered_and_the_second_is_hidden() {
    assert_eq!(answered(Outcome::Canary), 1);
    assert_eq!(passing(&mut World::new(), &PORTS.canary), 1);
}

#[test]
fn six_restricted_ports_are_shown_to_a_stranger_and_the_seventh_is_hidden() {
    assert_eq!(answered(Outcome::Restricted), 6);
    let mut world = World::new();
    let ports = restricted(&mut world, 8);
    assert_eq!(passing(&mut world, &ports), 6);
}

#[test]
fn nine_closed_ports_are_answered_to_a_network_that_hops_and_the_tenth_is_hidden() {
    let mut world = World::new();
    let threshold = RULES.prefix_at.div_ceil(RULES.points(Outcome::Closed)) as usize;
    assert_eq!(threshold, 10);
    for (host, port) in (1..).zip(&PORTS.closed[..threshold - 1]) {
        assert!(world.opens(v4(203, 0, 113, host), *port), "host {host}");
    }
    assert!(!world.opens(v4(203, 0, 113, 100), PORTS.closed[threshold - 1]), "it crosses the threshold");
    let fresh = v4(203, 0, 113, 101);
    for port in [&PORTS.closed[..], &PORTS.canary].concat() {
        assert!(!world.opens(fresh, port), "closed port {port}");
    }
    let fresh = v4(203, 0, 113, 102);
    for port in [&PORTS.public[..], &PORTS.restricted, &PORTS.unknown, &[PORTS.listening]].concat() {
        assert!(world.opens(fresh, port), "port {port}");
    }
    assert!(world.opens(v4(203, 0, 114, 1), PORTS.closed[0]), "the network next door");
    world.wait(HOUR_NS);
    assert!(!world.opens(v4(203, 0, 113, 103), PORTS.closed[0]), "its score is still that of a suspect");
    world.wait(RULES.half_life_ns);
    assert!(world.opens(v4(203, 0, 113, 103), PORTS.closed[0]), "it ends");
}

#[test]
fn many_who_ask_for_the_same_port_are_no_suspect_network() {
    let mut world = World::new();
    for host in 1..=250 {
        assert!(world.opens(v4(203, 0, 113, host), PORTS.closed[0]), "host {host}");
    }
    assert!(world.suspect_networks().is_empty());
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn no_score_exceeds_the_cap_or_wraps(steps in history_with(acts(&Decision::SOFT))) {
        let mut world = World::new();
        for step in &steps {
            world.wait(step.gap_ns);
            world.act(&step.act);
            for record in all(&world) {
                prop_assert!(record.score <= RULES.cap, "{record:?}");
            }
        }
    }

    #[test]
    fn no_score_exceeds_a_cap_that_was_lowered(steps in history(), more in history(), cap in 0..RULES.cap) {
        let mut world = World::new();
        world.run(&steps);
        world.config.score.cap = cap;
        for step in &more {
            let before: u32 = all(&world).iter().map(|record| record.score).max().unwrap_or(0);
            world.wait(step.gap_ns);
            world.act(&step.act);
            for record in all(&world) {
                prop_assert!(record.score <= before.max(cap), "{record:?}");
                prop_assert!(record.score_at(&world.config.score, world.now_ns) <= cap, "{record:?}");
            }
        }
    }

    #[test]
    fn a_score_never_grows_with_time_alone(
        steps in history(),
        mut times in prop::collection::vec(0..30 * DAY_NS, 1..20),
    ) {
        let mut world = World::new();
        world.run(&steps);
        times.sort_unstable();
        for record in all(&world) {
            let mut last = record.score.min(RULES.cap);
            for time_ns in &times {
                let score = record.score_at(&RULES, world.now_ns + time_ns);
                prop_assert!(score <= last, "{score} after {last}, {record:?}");
                last = score;
            }
        }
    }

    #[test]
    fn a_packet_that_is_no_evidence_leaves_the_score_that_time_made(steps in history(), gap_ns in 0..10 * DAY_NS) {
        let mut world = World::new();
        world.run(&steps);
        world.wait(gap_ns);
        for record in world.tables.records() {
            let now_ns = world.now_ns;
            let sender = std::net::IpAddr::from(record.source.0);
            world.ask(sender, What::Ping);
            let after = world.record(sender).expect("its record");
            prop_assert_eq!(after.score, record.score_at(&RULES, now_ns));
        }
    }

    #[test]
    fn the_packet_that_crosses_the_threshold_is_the_first_that_is_hidden(
        contacts in Just([&PORTS.closed[..], &PORTS.canary, &PORTS.restricted].concat()).prop_shuffle(),
        uses_udp in prop::collection::vec(any::<bool>(), 18),
    ) {
        let mut world = World::new();
        let mut score = 0;
        for (port, uses_udp) in contacts.iter().zip(uses_udp) {
            score += match PORTS.class(*port) {
                PortClass::Restricted => RULES.step / 2,
                PortClass::Canary => 2 * RULES.step,
                _ => RULES.step,
            };
            let what = if uses_udp { datagram(*port) } else { syn(*port) };
            let expected = if score < RULES.conceal_at { Action::Pass } else { Action::Drop };
            prop_assert_eq!(world.ask(v4(198, 51, 100, 7), what), expected, "{} at {}", port, score);
        }
    }

    #[test]
    fn synacks_resets_and_icmp_errors_are_never_evidence(
        steps in history_with(acts(&Decision::SOFT)),
        from in select(crate::world::senders()),
        flags in select(vec![0x12_u8, 0x1a, 0x52, 0x04, 0x14, 0x0c, 0x1c, 0x15]),
        port in crate::world::port(),
        gap_ns in crate::world::gap(),
    ) {
        let mut world = World::new();
        world.run(&steps);
        world.wait(gap_ns);
        let before = (world.records(), world.networks(), world.tables.suspects().len());
        for what in [What::Tcp { flags, port }, What::IcmpError, What::Later] {
            world.ask(from, what);
        }
        prop_assert_eq!(before, (world.records(), world.networks(), world.tables.suspects().len()));
    }

    #[test]
    fn what_was_asked_before_is_no_evidence_when_it_is_asked_again(port in crate::world::port(), times in 2..50_usize) {
        let mut world = World::new();
        let from = v4(198, 51, 100, 7);
        let act = Act::Send(crate::frames::Packet::new(from, syn(port)));
        world.act(&act);
        let before = world.record(from).map(|record| record.score);
        (0..times).for_each(|_| { world.act(&act); });
        prop_assert_eq!(before, world.record(from).map(|record| record.score));
    }
}
