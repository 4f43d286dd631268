//! How suspicion and verdicts end, with and without a daemon, and what survives the table of sources.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;
use scanguard_common::datapath::Action;
use scanguard_common::record::{ConcealRules, SourceRecord};
use scanguard_common::score::ScoreRules;
use scanguard_common::verdict::Origin;

use crate::cases;
use crate::frames::What;
use crate::world::{
    Act, DAY_NS, Decision, HOUR_NS, MINUTE_NS, PORTS, SECOND_NS, SENDERS, World, acts, datagram, gap, history,
    history_with, senders, syn,
};

const RULES: ConcealRules = ConcealRules::new();

/// Until when each is a suspect, by the records or by what is kept of suspects.
fn ends(world: &World) -> BTreeMap<String, u64> {
    let named = |record: &SourceRecord| (IpAddr::from(record.source.0).to_string(), record.suspect_until_ns);
    let mut ends: BTreeMap<String, u64> = world.tables.records().iter().map(named).collect();
    for (source, backup) in world.tables.suspects() {
        let end = ends.entry(IpAddr::from(source.0).to_string()).or_default();
        *end = (*end).max(backup.suspect_until_ns);
    }
    ends.extend(
        world.networks().into_iter().map(|(name, record)| (format!("network {name}"), record.suspect_until_ns)),
    );
    ends
}

/// What nobody below a block is denied.
fn harmless() -> Vec<What> {
    vec![syn(PORTS.public[0]), datagram(PORTS.public[1]), syn(PORTS.unknown[0]), datagram(PORTS.unknown[1]), What::Ping]
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn suspicion_ends_so_long_after_the_last_hidden_packet_or_evidence(steps in history_with(acts(&[Decision::Conceal]))) {
        let mut world = World::new();
        let mut hidden: BTreeMap<String, u64> = BTreeMap::new();
        for step in &steps {
            world.wait(step.gap_ns);
            if let (Act::Send(packet), Some(Action::Drop)) = (step.act, world.act(&step.act)) {
                hidden.insert(IpAddr::from(world.key(packet.from).0).to_string(), world.now_ns);
            }
            for (name, record) in world.records() {
                let last_ns = hidden.get(&name).copied().unwrap_or(0).max(record.suspect_since_ns);
                prop_assert!(record.suspect_until_ns <= last_ns + RULES.duration_ns, "{name} {record:?}");
                prop_assert!(record.suspect_until_ns <= record.evidence_ns + RULES.longest_ns, "{name} {record:?}");
            }
            for (name, record) in world.networks() {
                prop_assert!(record.suspect_until_ns <= world.now_ns + RULES.duration_ns, "{name} {record:?}");
                prop_assert!(record.suspect_until_ns <= record.evidence_ns + RULES.longest_ns, "{name} {record:?}");
            }
        }
        world.wait(RULES.duration_ns);
        prop_assert!(world.suspects().is_empty() && world.suspect_networks().is_empty());
    }

    #[test]
    fn a_suspect_of_before_is_one_at_its_next_failure_until_its_score_has_halved(
        count in 4..10_usize,
        from in select(SENDERS.to_vec()),
        gaps in prop::collection::vec(0..50 * MINUTE_NS, 0..5),
    ) {
        let mut world = World::new();
        world.scan(from, count);
        for gap_ns in gaps {
            world.wait(gap_ns);
            prop_assert!(!world.opens(from, PORTS.closed[0]));
        }
        world.wait(RULES.duration_ns - 1);
        prop_assert!(world.is_suspect(from));
        world.wait(1);
        prop_assert!(!world.is_suspect(from));
        for what in harmless() {
            prop_assert_eq!(world.ask(from, what), Action::Pass);
        }
        prop_assert!(!world.is_suspect(from));
        // Whether it asks again or for something new: the score is still that of a suspect.
        let again = PORTS.closed[if count % 2 == 0 { 0 } else { count }];
        prop_assert!(!world.opens(from, again) && world.is_suspect(from));
        world.wait(DAY_NS);
        prop_assert!(world.opens(from, PORTS.closed[0]), "what it asked a day ago is forgiven");
    }

    // The promise "24 h at most without new evidence": what was asked for already is nothing new.
    #[test]
    fn asking_for_the_same_again_and_again_is_held_against_nobody_for_longer_than_a_day(
        count in 4..12_usize,
        from in select(SENDERS.to_vec()),
        every_ns in MINUTE_NS..HOUR_NS,
    ) {
        let mut world = World::new();
        world.scan(from, count);
        let began_ns = world.now_ns;
        while world.now_ns < began_ns + RULES.longest_ns {
            world.wait(every_ns);
            world.ask(from, syn(PORTS.closed[count - 1]));
        }
        prop_assert!(!world.is_suspect(from), "{:?}", world.record(from));
    }

    #[test]
    fn a_verdict_that_has_ended_changes_nothing(
        steps in history(),
        verdicts in prop::collection::vec((select(senders()), select(&Decision::ALL[..]), gap()), 1..6),
    ) {
        let (mut world, mut other) = (World::new(), World::new());
        for (sender, decision, lifetime_ns) in &verdicts {
            other.decide(*sender, *decision, Origin::Operator, *lifetime_ns);
        }
        let longest_ns = verdicts.iter().map(|(.., lifetime_ns)| *lifetime_ns).max().unwrap_or(0);
        world.wait(longest_ns);
        other.wait(longest_ns);
        for step in &steps {
            world.wait(step.gap_ns);
            other.wait(step.gap_ns);
            prop_assert_eq!(world.act(&step.act), other.act(&step.act), "{:?}", step);
        }
        prop_assert_eq!((world.records(), world.networks()), (other.records(), other.networks()));
    }

    #[test]
    fn without_a_daemon_no_suspicion_begins_or_is_prolonged(
        steps in history_with(acts(&Decision::SOFT)),
        alone in history_with(select(senders()).prop_map(Act::Evict)),
        gap_ns in 0..2 * HOUR_NS,
    ) {
        let mut world = World::new();
        world.run(&steps);
        world.watch(false);
        world.wait(gap_ns);
        let before = ends(&world);
        for step in &alone {
            world.wait(step.gap_ns);
            world.act(&step.act);
            for (name, until_ns) in ends(&world) {
                let allowed_ns = before.get(&name).copied().unwrap_or(0);
                prop_assert!(until_ns <= allowed_ns, "{name} is a suspect until {until_ns}, not {allowed_ns}");
            }
        }
        world.wait(RULES.duration_ns);
        for sender in senders() {
            prop_assert!(!world.is_suspect(sender));
        }
    }

    #[test]
    fn without_new_evidence_suspicion_ends_when_it_must_whatever_is_asked(
        from in select(SENDERS.to_vec()),
        longest_ns in RULES.duration_ns..5 * HOUR_NS,
        every_ns in MINUTE_NS..30 * MINUTE_NS,
    ) {
        let mut world = World::with(|config| config.conceal.longest_ns = longest_ns);
        world.scan(from, 4);
        let began_ns = world.now_ns;
        while world.now_ns + every_ns < began_ns + longest_ns {
            world.wait(every_ns);
            prop_assert!(!world.opens(from, PORTS.closed[0]));
        }
        world.wait(began_ns + longest_ns - world.now_ns);
        prop_assert!(!world.is_suspect(from) && world.opens(from, PORTS.closed[0]));
    }

    #[test]
    fn a_suspect_washed_out_of_the_table_once_is_one_at_its_next_packet(
        from in select(SENDERS.to_vec()),
        gap_ns in 0..RULES.duration_ns,
    ) {
        let mut world = World::new();
        world.scan(from, 4);
        world.act(&Act::Evict(from));
        world.wait(gap_ns);
        prop_assert!(!world.opens(from, PORTS.closed[0]) && world.is_suspect(from));
    }

    // SUSPECTS is told of one that goes on every minute, so a minute may be lost.
    #[test]
    fn a_suspect_washed_out_of_the_table_is_one_at_its_next_packet(
        from in select(SENDERS.to_vec()),
        steps in prop::collection::vec((1..100 * SECOND_NS, any::<bool>()), 1..20),
    ) {
        let mut world = World::with(|config| config.conceal.duration_ns = 3 * MINUTE_NS);
        world.scan(from, 4);
        for (gap_ns, is_washed_out) in steps {
            let until_ns = world.record(from).map_or(0, |record| record.suspect_until_ns);
            if is_washed_out {
                world.act(&Act::Evict(from));
            }
            world.wait(gap_ns);
            if until_ns <= world.now_ns + MINUTE_NS {
                break;
            }
            prop_assert!(!world.opens(from, PORTS.closed[0]), "it was a suspect for {} s more", (until_ns - world.now_ns) / SECOND_NS);
            prop_assert!(world.is_suspect(from));
        }
    }

    #[test]
    fn a_suspect_washed_out_of_the_table_comes_back_with_no_higher_score(
        from in select(SENDERS.to_vec()),
        count in 4..12_usize,
        gaps in prop::collection::vec(MINUTE_NS..HOUR_NS, 0..20),
        last_ns in 0..HOUR_NS,
    ) {
        let mut world = World::new();
        world.scan(from, count);
        for gap_ns in gaps {
            world.wait(gap_ns);
            world.ask(from, syn(PORTS.closed[0]));
        }
        world.wait(last_ns);
        let before = world.record(from).expect("its record").score_at(&ScoreRules::new(), world.now_ns);
        world.act(&Act::Evict(from));
        world.ask(from, What::Ping);
        let after = world.record(from).expect("a new record").score;
        prop_assert!(after <= before, "{after} after {before}");
    }
}
