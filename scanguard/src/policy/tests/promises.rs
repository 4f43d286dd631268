//! What is promised whatever happens in whatever order.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::Scope;

use super::model::Model;
use super::*;
use crate::policy::harm::is_beyond_browsers;
use crate::policy::proof::{PORTS as PROOF_PORTS, WITHIN_MS};
use crate::policy::{Deferral, Doubt, Ending, level};

/// Plays a story and gives each event with its time and what came of it, ends left out.
fn play(settings: &Blocks, story: &[(u64, Event)]) -> Vec<(Clock, Event, Vec<Action>)> {
    let mut policy = Policy::default();
    let mut now = START;
    let mut played = Vec::new();
    for (pause, event) in story {
        now = Clock(now.0 + pause);
        let mut actions = policy.step(settings, &facts(event), *event, now);
        actions.retain(|action| !matches!(action, Action::Ended { .. }));
        played.push((now, *event, actions));
    }
    played
}

/// Sources of the most numerous network, and how many networks there are.
fn crowd(sources: impl Iterator<Item = SourceKey>) -> (usize, usize) {
    let mut networks: HashMap<SourceKey, usize> = HashMap::new();
    for source in sources {
        *networks.entry(KeyRules::network(&source)).or_default() += 1;
    }
    (networks.values().copied().max().unwrap_or(0), networks.len())
}

proptest! {
    #[test]
    fn it_decides_as_the_model_does(settings in any_settings(), story in any_story()) {
        let mut model = Model::default();
        for (now, event, actions) in play(&settings, &story) {
            prop_assert_eq!(actions, model.step(&settings, &facts(&event), event, now), "{:?} at {:?}", event, now);
        }
    }

    #[test]
    fn what_was_recorded_gives_the_same_verdicts_when_it_is_played_again(settings in any_settings(), story in any_story()) {
        // Tables are hashed with other keys in each of them: no order of theirs may decide anything.
        prop_assert_eq!(play(&settings, &story), play(&settings, &story));
    }

    #[test]
    fn nothing_is_ever_done_to_a_source_of_the_allowlist_nor_asked_about_it(settings in any_settings(), story in any_story()) {
        for (_, event, actions) in play(&settings, &story) {
            for action in actions {
                if let Action::Block { source, .. } | Action::Ask { source, .. } = action {
                    prop_assert!(!facts_of(&source).allowed, "{:?}", event);
                }
            }
        }
    }

    #[test]
    fn every_block_and_question_has_an_end_and_none_is_longer_than_the_longest(settings in any_settings(), story in any_story()) {
        for (now, _, actions) in play(&settings, &story) {
            for action in actions {
                match action {
                    Action::Block { lasts, until, .. } => {
                        prop_assert!(lasts >= settings.first && lasts <= settings.longest, "{:?}", lasts);
                        prop_assert_eq!(until, now.after(lasts));
                    }
                    Action::Ask { lasts, until, .. } => {
                        prop_assert!(lasts >= settings.first && lasts <= settings.longest, "{:?}", lasts);
                        prop_assert_eq!(until, now.after(settings.question));
                    }
                    Action::Deferred { .. } | Action::Ended { .. } => {}
                }
            }
        }
    }

    #[test]
    fn no_block_goes_beyond_what_the_operator_allows(settings in any_settings(), story in any_story()) {
        for (_, event, actions) in play(&settings, &story) {
            for action in actions {
                if let Action::Block { source, scope, reason, .. } = action {
                    prop_assert!(settings.max_auto_level >= level(scope), "{:?}", event);
                    prop_assert!(scope as u8 <= reason.widest() as u8, "{:?} for {:?}", scope, reason);
                    // Each reason has its events, and its grounds.
                    let facts = facts_of(&source);
                    let is_founded = match (reason, event) {
                        (BlockReason::Proven, Event::Completed { .. } | Event::Eligible { .. }) => true,
                        (BlockReason::Harm, Event::Completed { .. } | Event::Eligible { .. }) => scope == Scope::All,
                        (BlockReason::Score, Event::Eligible { .. }) => settings.unproven,
                        (BlockReason::Signal, Event::Signal { proof, .. }) => proof && facts.backed,
                        (BlockReason::Feed, Event::Suspect { .. } | Event::Completed { .. }) => {
                            facts.feed.is_some_and(|feed| feed >= level(scope))
                        }
                        _ => false,
                    };
                    prop_assert!(is_founded, "{:?} for {:?} after {:?}", scope, reason, event);
                }
            }
        }
    }

    #[test]
    fn what_others_say_takes_nothing_from_who_is_not_there(settings in any_settings(), story in any_story()) {
        // Whoever can make a log tool write a line, or forges packets of a listed address, has neither a session nor a decoy there.
        let story: Vec<_> = story.into_iter().filter(|(_, event)| !matches!(event, Event::Completed { .. })).collect();
        let mut policy = Policy::default();
        let mut now = START;
        for (pause, event) in story {
            now = Clock(now.0 + pause);
            let facts = Facts { backed: false, ..facts(&event) };
            for action in policy.step(&settings, &facts, event, now) {
                match action {
                    Action::Block { scope, reason, .. } => {
                        prop_assert!(scope == Scope::Private && reason != BlockReason::Signal, "{:?} for {:?}", scope, reason);
                    }
                    Action::Ask { reason, .. } => prop_assert_eq!(reason, BlockReason::Feed, "{:?}", event),
                    Action::Deferred { .. } | Action::Ended { .. } => {}
                }
            }
        }
    }

    #[test]
    fn public_ports_are_taken_only_from_proven_scanners_behind_whom_nobody_else_is_known(
        settings in any_settings(), story in any_story(),
    ) {
        // Forged packets make suspects and scores; only whoever is really there completes decoys and has sessions, and only where he is.
        let mut completed: HashMap<SourceKey, Vec<(u16, Clock)>> = HashMap::new();
        for (now, event, actions) in play(&settings, &story) {
            if let Event::Completed { source, port } = event {
                completed.entry(source).or_default().push((port, now));
            }
            for action in actions {
                let Action::Block { source, scope: Scope::All, people, reason, .. } = action else { continue };
                let facts = facts_of(&source);
                let lately = completed.get(&source).into_iter().flatten().filter(|(_, at)| now.0 - at.0 <= WITHIN_MS);
                let ports: HashSet<u16> = lately.map(|(port, _)| *port).collect();
                let is_proof = ports.len() >= PROOF_PORTS && ports.iter().any(|port| is_beyond_browsers(*port));
                let is_founded = match reason {
                    BlockReason::Harm => is_proof && facts.eligible,
                    BlockReason::Signal => facts.backed,
                    BlockReason::Feed => facts.feed == Some(AutoLevel::BlockAll) && (facts.backed || !ports.is_empty()),
                    BlockReason::Proven | BlockReason::Score => false,
                };
                prop_assert!(is_founded, "{:?}: {:?}, {:?}", reason, ports, facts);
                prop_assert!(!facts.is_customer && !facts.fronted && !facts.denied, "{:?}", facts);
                prop_assert!(people <= settings.most_harmed);
            }
        }
    }

    #[test]
    fn nothing_is_taken_from_a_customer_without_a_person(settings in any_settings(), story in any_story()) {
        for (_, event, actions) in play(&settings, &story) {
            for action in actions {
                if let Action::Block { source, .. } = action {
                    prop_assert!(!facts_of(&source).is_customer, "{:?}", event);
                }
            }
        }
    }

    #[test]
    fn the_budgets_hold_in_every_minute_and_at_once(settings in any_settings(), story in any_story()) {
        let mut begun: Vec<(Clock, SourceKey)> = Vec::new();
        let mut standing: HashMap<SourceKey, Clock> = HashMap::new();
        for (now, event, actions) in play(&settings, &story) {
            standing.retain(|_, until| *until > now);
            if let Event::Lifted { source, .. } = event {
                standing.remove(&source);
            }
            for action in actions {
                if let Action::Block { source, until, .. } = action {
                    // One that becomes a block of more ports is no new one.
                    if standing.insert(source, until).is_none() {
                        begun.push((now, source));
                    }
                }
            }
            let (in_network, networks) = crowd(standing.keys().copied());
            prop_assert!(in_network.max(networks) <= settings.most as usize, "at once");
        }
        for (start, _) in &begun {
            let minute = begun.iter().filter(|(now, _)| now >= start && now.0 - start.0 < 60_000);
            let (in_network, networks) = crowd(minute.map(|(_, source)| *source));
            prop_assert!(in_network.max(networks) <= settings.per_minute as usize, "in a minute");
        }
    }

    #[test]
    fn the_budget_of_a_minute_refills(
        story in any_story(), per_minute in 1_u32..5, clocks in prop::collection::vec(0_u64..60_000, 0..4),
    ) {
        let settings = Blocks { per_minute, ..Blocks::default() };
        let mut policy = Policy::default();
        let mut now = START;
        for (pause, event) in story {
            now = Clock(now.0 + pause);
            policy.step(&settings, &STRANGER, event, now);
        }
        let end = now.after(MINUTE);
        for pause in clocks {
            policy.step(&settings, &STRANGER, Event::Tick, Clock(now.0 + pause));
        }
        prop_assert!(is_block(prove(&mut policy, &settings, source("192.0.2.1"), end).as_ref()));
    }

    #[test]
    fn the_breaker_is_open_exactly_when_a_new_network_finds_no_room(
        settings in any_settings(), story in any_story(), later in any_pause(),
    ) {
        let settings = Blocks { max_auto_level: settings.max_auto_level.max(AutoLevel::BlockPrivate), ..settings };
        let mut policy = Policy::default();
        let mut now = START;
        for (pause, event) in story {
            now = Clock(now.0 + pause);
            policy.step(&settings, &STRANGER, event, now);
        }
        let later = Clock(now.0 + later);
        let open = policy.breaker_open(&settings, later);
        let action = prove(&mut policy, &settings, source("192.0.2.1"), later);
        prop_assert_eq!(open, !is_block(action.as_ref()), "{:?}", action);
    }

    #[test]
    fn ends_are_told_once_for_each_block(settings in any_settings(), story in any_story()) {
        let mut policy = Policy::default();
        let mut now = START;
        let mut blocked = HashSet::new();
        for (pause, event) in story {
            now = Clock(now.0 + pause);
            for action in policy.step(&settings, &facts(&event), event, now) {
                match action {
                    Action::Block { source, scope, .. } => {
                        prop_assert!(blocked.insert(source) || scope == Scope::All, "blocked twice");
                    }
                    Action::Ended { source, .. } => prop_assert!(blocked.remove(&source), "ended twice"),
                    Action::Deferred { .. } | Action::Ask { .. } => {}
                }
            }
            prop_assert_eq!(policy.running().map(|block| block.source).collect::<HashSet<_>>(), blocked.clone());
        }
    }

    #[test]
    fn what_is_decided_does_not_depend_on_how_the_clock_is_set_if_it_is_told(
        settings in any_settings(),
        story in any_story(),
        shown in prop::collection::vec(prop_oneof![
            4 => Just(None), 2 => (START.0 - 1_000_000_000..START.0 + 100_000_000_000).prop_map(Some), 1 => (0_u64..1 << 48).prop_map(Some),
        ], 100),
    ) {
        // How far the clock is ahead of one that nobody sets, from each event on.
        let (mut policy, mut ahead, mut now) = (Policy::default(), 0_i64, START);
        let at = |clock: Clock, ahead: i64| Clock(clock.0.saturating_add_signed(ahead));
        let set = shown.into_iter().cycle();
        for ((expected_at, event, expected), shown) in play(&settings, &story).into_iter().zip(set) {
            now = now.max(expected_at);
            if let Some(shown) = shown {
                policy.clock_set(at(now, ahead), Clock(shown));
                ahead = shown.cast_signed() - now.0.cast_signed();
            }
            let mut actions = policy.step(&settings, &facts(&event), event, at(now, ahead));
            actions.retain(|action| !matches!(action, Action::Ended { .. }));
            // Times are told by the clock as it is set.
            for action in &mut actions {
                if let Action::Block { until, .. } | Action::Ask { until, .. } = action {
                    *until = at(*until, -ahead);
                }
            }
            prop_assert_eq!(actions, expected, "{:?} at {:?}, {} ms ahead", event, now, ahead);
        }
    }

    #[test]
    fn no_setting_of_the_clock_harms_anybody(
        settings in any_settings(),
        story in prop::collection::vec((prop_oneof![any::<u64>(), 0_u64..10_000_000, START.0..START.0 + 10_000_000], any_event()), 1..60),
        quiet in START.0..START.0 + 1_000_000_000,
    ) {
        let mut policy = Policy::default();
        for (clock, event) in story {
            for action in policy.step(&settings, &facts(&event), event, Clock(clock)) {
                match action {
                    Action::Block { source, lasts, .. } => {
                        prop_assert!(lasts <= settings.longest && !facts_of(&source).allowed);
                    }
                    Action::Deferred { .. } | Action::Ended { .. } | Action::Ask { .. } => {}
                }
            }
        }
        policy.step(&settings, &STRANGER, Event::Tick, Clock(quiet));
        for block in policy.running() {
            prop_assert!(block.until <= Clock(quiet).after(settings.longest), "{:?}", block);
        }
        policy.step(&settings, &STRANGER, Event::Tick, Clock(quiet).after(settings.longest));
        prop_assert_eq!(policy.running().count(), 0, "all have ended");
    }
}

#[test]
fn stories_meet_every_block_question_deferral_and_end_that_small_settings_can() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut met, mut asked, mut blocked) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (mut asked_for, mut ended) = (HashSet::new(), HashSet::new());
    for _ in 0..300 {
        let settings = any_settings().new_tree(&mut runner).expect("settings").current();
        let story = any_story().new_tree(&mut runner).expect("a story").current();
        let (mut policy, mut now, mut actions) = (Policy::default(), START, Vec::new());
        for (pause, event) in story {
            now = Clock(now.0 + pause);
            actions.extend(policy.step(&settings, &facts(&event), event, now));
        }
        for action in actions {
            match action {
                Action::Deferred { why, .. } => {
                    met.insert(why);
                }
                Action::Ask { scope, why, reason, .. } => {
                    asked.insert((scope as u8, why));
                    asked_for.insert(reason);
                }
                Action::Block { scope, reason, .. } => {
                    blocked.insert((scope as u8, reason));
                }
                Action::Ended { why, .. } => {
                    ended.insert(why);
                }
            }
        }
    }
    assert_eq!(ended, HashSet::from(Ending::ALL));
    let missing: Vec<Deferral> = Deferral::ALL.into_iter().filter(|why| !met.contains(why)).collect();
    assert_eq!(missing, [Deferral::Full]);
    // Each doubt about all ports, and one about private ones alone: that of a customer.
    assert_eq!(asked.len(), Doubt::ALL.len() + 1, "{asked:?}");
    // All but for the score, of which customers are never asked.
    assert_eq!(asked_for.len(), BlockReason::ALL.len() - 1, "{asked_for:?}");
    // Signals and feeds take private ports or all.
    assert_eq!(blocked.len(), BlockReason::ALL.len() + 2, "{blocked:?}");
}
