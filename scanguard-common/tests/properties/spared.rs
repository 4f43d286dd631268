//! Who and what is never harmed: the allowlist, connections, public and open ports, known people, and anyone in mode observe.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use scanguard_common::address::Address;
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::datapath::Action;
use scanguard_common::packet::tcp_flags::{ACK, RST, SYN};
use scanguard_common::reason::Mode;
use scanguard_common::verdict::Origin;

use crate::cases;
use crate::frames::{Packet, What};
use crate::world::{
    Act, DAY_NS, Decision, ESTABLISHED, PORTS, SENDERS, TRANSLATED, World, acts, entry, gap, history_with, senders,
    syn, what,
};

type Entry = (Address, u8, u64);

/// A sender, and an entry that covers it: its address, a prefix, or, `within`, no more than an address of its source.
fn allowed() -> impl Strategy<Value = (IpAddr, Entry)> {
    let whole = select(SENDERS.to_vec()).prop_flat_map(|sender| {
        let bits = if sender.is_ipv4() { vec![32, 24, 8, 0] } else { vec![64, 48, 32, 0] };
        (Just(sender), select(bits)).prop_map(|(sender, bits)| (sender, entry(sender, bits)))
    });
    // Through a translator an entry of the IPv4 source counts as well.
    let translated = select(vec![32, 24]).prop_map(|bits| (TRANSLATED, entry(SENDERS[0], bits)));
    prop_oneof![4 => whole, 1 => translated, 2 => within()]
}

/// A sender and an entry for it alone, not for its whole source.
fn within() -> impl Strategy<Value = (IpAddr, Entry)> {
    let sender = select(vec![SENDERS[4], SENDERS[5], SENDERS[6], TRANSLATED]);
    (sender, select(vec![128, 112, 96])).prop_map(|(sender, bits)| (sender, entry(sender, bits)))
}

/// Entries that cover none of the senders, of either kind.
fn others() -> impl Strategy<Value = Vec<Entry>> {
    let other = [entry(crate::world::v4(192, 0, 2, 99), 32), entry(crate::world::v6(0x55, 1, 1), 128)];
    prop::sample::subsequence(other.to_vec(), 0..=2)
}

/// Storms begin at once.
fn stormy(config: &mut KernelConfig) {
    config.storm.suspects_per_second = 1;
}

/// All that is not userspace's decision.
fn nature() -> impl Strategy<Value = Act> {
    acts(&[Decision::Conceal]).prop_filter("no verdicts: userspace keeps them apart from the allowlist", |act| {
        !matches!(act, Act::Decide(..))
    })
}

fn is_sent_by(act: &Act, sender: IpAddr) -> bool {
    matches!(act, Act::Send(packet) if packet.from == sender)
}

/// The port a packet asks for, with its protocol.
fn asked(what: What) -> Option<(u16, Protocol)> {
    match what {
        What::Tcp { port, .. } | What::Segment { port, .. } | What::Tiny { port } => Some((port, Protocol::Tcp)),
        What::Udp { port, .. } => Some((port, Protocol::Udp)),
        _ => None,
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn nobody_on_the_allowlist_has_a_packet_dropped(
        (sender, entry) in allowed(),
        others in others(),
        before in history_with(nature()),
        after in history_with(nature()),
        is_late: bool,
    ) {
        let mut world = World::with(stormy);
        if is_late {
            world.run(&before); // The entry comes when the sender may be a suspect, and works with the very next packet.
        }
        world.tables.set_allowed([&[entry][..], &others].concat());
        for what in PORTS.all().into_iter().map(syn).chain([What::Ping, What::Protocol(200), What::Chain]) {
            prop_assert_eq!(world.ask(sender, what), Action::Pass, "{:?}", what);
        }
        for step in &after {
            world.wait(step.gap_ns);
            let action = world.act(&step.act);
            prop_assert!(!is_sent_by(&step.act, sender) || action == Some(Action::Pass), "{:?}", step);
        }
    }

    #[test]
    fn no_source_on_the_allowlist_becomes_a_suspect(
        (sender, entry) in allowed(),
        others in others(),
        steps in history_with(nature()),
    ) {
        // An entry within the source covers the sender alone.
        let covers_source = entry.0.is_mapped() || entry.1 <= 64;
        let mut world = World::with(stormy);
        world.tables.set_allowed([&[entry][..], &others].concat());
        let key = world.key(sender);
        for step in &steps {
            world.wait(step.gap_ns);
            let is_others = matches!(step.act, Act::Send(packet) if packet.from != sender && world.key(packet.from) == key);
            if is_others && !covers_source {
                continue;
            }
            world.act(&step.act);
            prop_assert!(!world.is_suspect(sender), "{:?}", step);
        }
    }

    // Whenever the entry came, and whether it was removed, ended by itself as a lease does, or was replaced.
    #[test]
    fn who_was_on_the_allowlist_is_scored_anew_when_the_entry_ends(
        before in 0..40_usize,
        meanwhile in 0..40_usize,
        is_told: bool,
        ends: bool,
        bits in select(vec![32, 24]),
    ) {
        // Of networks it is not about: theirs is scored by all of them.
        let mut world = World::with(|config| config.score.prefix_at = u32::MAX);
        let sender = SENDERS[0];
        let ports: Vec<u16> = (10_000..10_200).collect();
        for port in &ports {
            world.tables.set_port_class(Protocol::Tcp, *port, PortClass::Closed);
        }
        let ask = |world: &mut World, range: std::ops::Range<usize>| {
            ports[range].iter().filter(|port| world.opens(sender, **port)).count()
        };
        ask(&mut world, 0..before);
        let (address, length, _) = entry(sender, bits);
        let end = if ends { world.now_ns + DAY_NS / 24 } else { u64::MAX };
        world.tables.set_allowed(vec![(address, length, end)]);
        prop_assert_eq!(ask(&mut world, 40..40 + meanwhile), meanwhile, "never acted on");
        let held = world.record(sender).map_or(0, |record| record.score);
        prop_assert!(held < world.config.score.conceal_at, "{held} is held against it when the entry ends");
        if ends {
            world.wait(DAY_NS / 24);
        }
        if !ends || is_told {
            world.tables.set_allowed(vec![]);
        }
        // Those that it asked for before and those that it did not.
        let answered = ask(&mut world, 0..100);
        prop_assert!(answered <= 4, "{answered} ports were answered");
        prop_assert!(world.is_suspect(sender));
    }

    // A prefix no longer than a source's own, in which a translator's addresses lie.
    #[test]
    fn nobody_behind_a_translator_on_the_allowlist_has_a_packet_dropped(
        bits in select(vec![64_u8, 32, 0]),
        before in history_with(nature()),
        after in history_with(nature()),
    ) {
        let mut world = World::new();
        world.run(&before);
        world.tables.set_allowed(vec![entry(TRANSLATED, bits)]);
        for step in &after {
            world.wait(step.gap_ns);
            let action = world.act(&step.act);
            prop_assert!(!is_sent_by(&step.act, TRANSLATED) || action == Some(Action::Pass), "{:?}", step);
        }
    }

    #[test]
    fn no_packet_of_a_connection_is_dropped_below_a_hard_block(steps in history_with(acts(&Decision::SOFT))) {
        let mut world = World::with(stormy);
        for step in &steps {
            world.wait(step.gap_ns);
            let action = world.act(&step.act);
            let is_segment = matches!(step.act, Act::Send(Packet { what: What::Segment { .. }, .. }));
            prop_assert!(!is_segment || action == Some(Action::Pass), "{:?}", step);
        }
        // And whatever state that led to: everyone's connections.
        for (sender, port, flags) in every_segment() {
            prop_assert_eq!(world.ask(sender, What::Segment { flags, port }), Action::Pass);
        }
    }

    #[test]
    fn every_packet_of_a_connection_is_dropped_under_a_hard_block(
        steps in history_with(acts(&Decision::SOFT)),
        origin in select(vec![Origin::Controller, Origin::Operator]),
        blocked in select(SENDERS.to_vec()),
    ) {
        let mut world = World::new();
        world.run(&steps);
        world.decide(blocked, Decision::Hard, origin, DAY_NS);
        let key = world.key(blocked);
        for (sender, port, flags) in every_segment() {
            let expected = if world.key(sender) == key { Action::Drop } else { Action::Pass };
            prop_assert_eq!(world.ask(sender, What::Segment { flags, port }), expected, "{} {:#x}", sender, flags);
        }
    }

    #[test]
    fn concealing_denies_nobody_a_public_or_unknown_port(steps in history_with(acts(&[Decision::Conceal]))) {
        let mut world = World::with(stormy);
        for step in &steps {
            world.wait(step.gap_ns);
            let action = world.act(&step.act);
            let Act::Send(packet) = step.act else { continue };
            let is_open = match packet.what {
                What::Tcp { flags: SYN, port } | What::Udp { port, .. } => {
                    matches!(PORTS.class(port), PortClass::Public | PortClass::Unknown)
                }
                What::Ping => true,
                _ => false,
            };
            prop_assert!(!is_open || action == Some(Action::Pass), "{:?}", step);
        }
    }

    #[test]
    fn observing_drops_nothing_but_what_an_operator_blocked_and_counts_the_rest(
        steps in history_with(acts(&Decision::ALL)),
    ) {
        let (mut observing, mut enforcing) = (World::with(|config| config.mode = Mode::Observe as u32), World::new());
        let (mut dropped, mut enforced) = (0, 0);
        for step in &steps {
            observing.wait(step.gap_ns);
            enforcing.wait(step.gap_ns);
            enforced += u64::from(enforcing.act(&step.act) == Some(Action::Drop));
            if observing.act(&step.act) == Some(Action::Drop) {
                dropped += 1;
                let Act::Send(packet) = step.act else { unreachable!("only packets are dropped") };
                let is_operators = steps.iter().any(|step| match step.act {
                    Act::Decide(sender, decision, Origin::Operator, _) => {
                        decision != Decision::Conceal && observing.key(sender) == observing.key(packet.from)
                    }
                    _ => false,
                });
                prop_assert!(is_operators, "{:?}", step);
            }
        }
        prop_assert_eq!(observing.counted_drops(Mode::Enforce), dropped, "an operator's blocks are carried out");
        prop_assert_eq!(observing.counted_drops(Mode::Observe), enforced - dropped, "the others would have been");
        prop_assert_eq!(enforcing.counted_drops(Mode::Enforce), enforced);
        prop_assert_eq!(observing.records(), enforcing.records());
        for (origin, expected) in [(Origin::Operator, Action::Drop), (Origin::Controller, Action::Pass)] {
            observing.decide(SENDERS[0], Decision::BlockAll, origin, DAY_NS);
            prop_assert_eq!(observing.ask(SENDERS[0], syn(PORTS.public[0])), expected, "{:?}", origin);
        }
    }

    #[test]
    fn who_has_worked_here_keeps_restricted_ports(
        steps in history_with(acts(&Decision::MILD)),
        known in select(senders()),
    ) {
        let mut world = World::with(stormy);
        world.know(known, u64::MAX / 2);
        let key = world.key(known);
        for step in &steps {
            world.wait(step.gap_ns);
            let action = world.act(&step.act);
            let Act::Send(packet) = step.act else { continue };
            let is_restricted = asked(packet.what).is_some_and(|(port, _)| PORTS.class(port) == PortClass::Restricted);
            let is_spared = world.key(packet.from) == key && is_restricted && !is_refused(packet.from, packet.what);
            prop_assert!(!is_spared || action == Some(Action::Pass), "{:?}", step);
        }
        world.decide(known, Decision::BlockPrivate, Origin::Controller, DAY_NS);
        for port in &PORTS.restricted {
            prop_assert!(world.opens(known, *port));
        }
        prop_assert!(!world.opens(known, PORTS.closed[0]));
    }

    #[test]
    fn who_worked_here_too_long_ago_does_not(from in select(SENDERS.to_vec()), lifetime_ns in 0..DAY_NS) {
        let mut world = World::new();
        world.know(from, lifetime_ns);
        world.wait(lifetime_ns);
        world.scan(from, 4);
        prop_assert!(!world.opens(from, PORTS.restricted[0]));
    }

    #[test]
    fn a_port_with_a_socket_or_seen_open_lately_is_never_hidden_and_never_counts(
        steps in history_with(prop_oneof![acts(&Decision::MILD), any::<bool>().prop_map(Act::Listen)]),
        what in prop::collection::vec((select(senders()), what(), gap()), 1..20),
    ) {
        let mut world = World::with(stormy);
        world.run(&steps);
        for (from, what, gap_ns) in what {
            world.wait(gap_ns);
            let Some((what, protocol)) = aimed(what) else { continue };
            let packet = Packet::new(from, what);
            if is_refused(from, what) {
                continue;
            }
            let seen_ns = world.seen_open(&packet, PORTS.listening, protocol);
            let lately = seen_ns.is_some_and(|seen_ns| world.now_ns - seen_ns < world.config.opened_ns);
            if !lately {
                world.act(&Act::Listen(true));
            }
            let is_evidence = matches!(what, What::Tiny { .. }) || matches!(what, What::Tcp { flags, .. } if is_illegal(flags));
            let before = scores(&world);
            prop_assert_eq!(world.send(&packet), Action::Pass, "{:?}", packet);
            if !is_evidence {
                for (name, score) in scores(&world) {
                    prop_assert!(score <= before.get(&name).copied().unwrap_or(0), "{name} {packet:?}");
                }
            }
        }
    }
}

/// Whether a packet is dropped whoever sends it: over IPv6 a first fragment must hold its whole header chain.
fn is_refused(from: IpAddr, what: What) -> bool {
    from.is_ipv6() && matches!(what, What::Tiny { .. })
}

fn is_illegal(flags: u8) -> bool {
    flags != SYN && flags != SYN | ACK && !ESTABLISHED.contains(&flags)
}

/// The same packet to the port that is held closed but open.
fn aimed(what: What) -> Option<(What, Protocol)> {
    let port = PORTS.listening;
    match what {
        What::Tcp { flags, .. } => Some((What::Tcp { flags, port }, Protocol::Tcp)),
        What::Tiny { .. } => Some((What::Tiny { port }, Protocol::Tcp)),
        What::Udp { from, .. } => Some((What::Udp { from, port }, Protocol::Udp)),
        _ => None,
    }
}

/// The scores of all, of suspects that were washed out of the table as they are kept.
fn scores(world: &World) -> BTreeMap<String, u32> {
    let kept = world.tables.suspects().into_iter();
    let mut scores: BTreeMap<String, u32> =
        kept.map(|(source, backup)| (IpAddr::from(source.0).to_string(), backup.score)).collect();
    scores.extend(world.records().into_iter().map(|(name, record)| (name, record.score)));
    scores.extend(world.networks().into_iter().map(|(name, record)| (format!("network {name}"), record.score)));
    scores
}

/// Everyone's connections, and all flags that their segments have.
fn every_segment() -> impl Iterator<Item = (IpAddr, u16, u8)> {
    let flags = (0..=u8::MAX).filter(|flags| flags & SYN == 0 && flags & (ACK | RST) != 0);
    let segments: Vec<(u16, u8)> =
        PORTS.with_connections().into_iter().flat_map(|port| flags.clone().map(move |flags| (port, flags))).collect();
    senders()
        .into_iter()
        .flat_map(move |sender| segments.clone().into_iter().map(move |(port, flags)| (sender, port, flags)))
}
