//! The promises as properties, against a model that is small enough to read.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use proptest::prelude::*;
use scanguard_common::source::KeyRules;

use super::*;

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 3_600_000;

fn source(text: &str) -> SourceKey {
    SourceKey(text.parse::<IpAddr>().expect("an address").into())
}

/// The /64 with this number in a /48 with that number.
fn subscriber(network: u16, number: u16) -> SourceKey {
    source(&format!("2001:db8:{network:x}:{number:x}::"))
}

fn open() -> Blocks {
    Blocks { unproven: true, ..Blocks::default() }
}

fn nobody(_: &SourceKey) -> bool {
    false
}

fn is_block(decision: &Decision) -> bool {
    matches!(decision, Decision::Block { .. })
}

#[test]
fn blocks_escalate_to_the_cap_and_begin_anew_after_a_quiet_week() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.66"));
    let mut now = Clock(1_800_000_000_000);
    let mut minutes = Vec::new();
    for _ in 0..6 {
        let decision = policy.step(&settings, nobody, Event::Proven(scanner), now);
        let Decision::Block { until, scope: Scope::Private, .. } = decision else { panic!("{decision:?}") };
        minutes.push((until.0 - now.0) / MINUTE_MS);
        assert_eq!(
            policy.step(&settings, nobody, Event::Proven(scanner), now),
            Decision::Nothing(Deferral::Blocked),
            "while it is blocked"
        );
        now = until;
        policy.step(&settings, nobody, Event::Ended(scanner), now);
    }
    assert_eq!(minutes, [10, 40, 160, 640, 1440, 1440]);
    now = Clock(now.0 + 7 * DAY_MS + 1);
    let Decision::Block { until, earlier: 0, .. } = policy.step(&settings, nobody, Event::Proven(scanner), now) else {
        panic!("a first block")
    };
    assert_eq!(until.0 - now.0, 10 * MINUTE_MS);
}

#[test]
fn the_arithmetic_is_told() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.66"));
    let now = Clock(1_800_000_000_000);
    policy.step(&settings, nobody, Event::Proven(scanner), now);
    let told = policy.explain(&settings, &scanner, now);
    assert_eq!(
        told,
        [
            "Its block lasts 10m, its first.",
            "The next one would last 10m x 4^1 = 40m (1 earlier within 7d, at most 24h)."
        ]
    );
    policy.step(&settings, nobody, Event::Ended(scanner), now.after(Duration::from_secs(600)));
    assert_eq!(
        policy.explain(&settings, &scanner, now.after(Duration::from_secs(700))),
        ["It was blocked 1 times; the next block lasts 10m x 4^1 = 40m (1 earlier within 7d, at most 24h)."]
    );
}

#[test]
fn a_hostile_network_leaves_the_budget_of_others_whole() {
    let (mut policy, settings, now) = (Policy::default(), Blocks::default(), Clock(1_800_000_000_000));
    let hostile = (0..100).map(|number| policy.step(&settings, nobody, Event::Proven(subscriber(1, number)), now));
    assert_eq!(hostile.filter(is_block).count(), 20);
    for network in 2..=20 {
        assert!(is_block(&policy.step(&settings, nobody, Event::Proven(subscriber(network, 0)), now)), "{network}");
    }
    assert!(policy.is_exhausted(&settings, now));
    let late = subscriber(21, 0);
    assert_eq!(policy.step(&settings, nobody, Event::Proven(late), now), Decision::Nothing(Deferral::PerMinute));
    let later = Clock(now.0 + MINUTE_MS);
    assert!(!policy.is_exhausted(&settings, later), "it refills");
    assert!(is_block(&policy.step(&settings, nobody, Event::Proven(late), later)));
}

#[test]
fn what_was_a_mistake_does_not_count_as_an_earlier_block() {
    let (mut policy, settings, customer) = (Policy::default(), Blocks::default(), source("198.51.100.7"));
    let now = Clock(1_800_000_000_000);
    policy.step(&settings, nobody, Event::Proven(customer), now);
    policy.step(&settings, nobody, Event::Lifted(customer), now);
    let Decision::Block { earlier, .. } = policy.step(&settings, nobody, Event::Proven(customer), now) else {
        panic!("a block")
    };
    assert_eq!(earlier, 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Suspect(u16, u16),
    Eligible(u16, u16),
    Proven(u16, u16),
    Lifted(u16, u16),
    Pass(u64),
    Back(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || (0_u16..6, 0_u16..6);
    let step = prop_oneof![
        1 => who().prop_map(|(network, number)| Step::Suspect(network, number)),
        4 => who().prop_map(|(network, number)| Step::Eligible(network, number)),
        4 => who().prop_map(|(network, number)| Step::Proven(network, number)),
        1 => who().prop_map(|(network, number)| Step::Lifted(network, number)),
        3 => prop_oneof![0_u64..MINUTE_MS, 0..DAY_MS, Just(8 * DAY_MS)].prop_map(Step::Pass),
        1 => (0_u64..DAY_MS).prop_map(Step::Back),
    ];
    prop::collection::vec(step, 0..200)
}

fn settings() -> impl Strategy<Value = Blocks> {
    let levels = prop::sample::select(AutoLevel::ALL.to_vec());
    (levels, any::<bool>(), 0_u32..6, 0_u32..8).prop_map(|(max_auto_level, unproven, per_minute, most)| Blocks {
        max_auto_level,
        unproven,
        per_minute,
        most,
        ..Blocks::default()
    })
}

/// The promises, kept by a model that only looks at what was decided.
#[derive(Default)]
struct Witness {
    /// Who is blocked until when.
    blocked: HashMap<SourceKey, Clock>,
    /// When which network got a new block, since the clock was last set back.
    made: Vec<(Clock, SourceKey)>,
}

impl Witness {
    fn check(&mut self, settings: &Blocks, proven: bool, decision: &Decision, now: Clock) -> Result<(), TestCaseError> {
        let Decision::Block { source, scope, until, .. } = decision else { return Ok(()) };
        prop_assert!(settings.max_auto_level >= AutoLevel::BlockPrivate, "the operator's limit");
        prop_assert!(proven || settings.unproven, "no block without proof");
        prop_assert_eq!(*scope, Scope::Private, "nobody is kept from public ports");
        prop_assert!(*until > now && *until <= now.after(settings.longest), "it ends, and within the cap");
        prop_assert!(self.blocked.insert(*source, *until).is_none(), "one block a source");
        let network = KeyRules::network(source).expect("a network");
        self.made.push((now, network));
        let minute: Vec<&SourceKey> =
            self.made.iter().filter(|(at, _)| at.0 + MINUTE_MS > now.0).map(|(_, network)| network).collect();
        let networks: HashSet<&SourceKey> = minute.iter().copied().collect();
        prop_assert!(networks.len() <= settings.per_minute as usize, "networks in a minute");
        let of_this = minute.iter().filter(|other| ***other == network).count();
        prop_assert!(of_this <= settings.per_minute as usize, "of one network in a minute");
        let networks: HashSet<SourceKey> = self.blocked.keys().filter_map(KeyRules::network).collect();
        prop_assert!(networks.len() <= settings.most as usize, "networks at once");
        let of_this = self.blocked.keys().filter(|source| KeyRules::network(source) == Some(network)).count();
        prop_assert!(of_this <= settings.most as usize, "of one network at once");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_whatever_happens(steps in steps(), settings in settings(), allowed in 0_u16..6) {
        let mut policy = Policy::default();
        let mut witness = Witness::default();
        let mut now = Clock(1_800_000_000_000);
        let is_allowed = |source: &SourceKey| (0..6).any(|network| *source == subscriber(network, allowed));
        for step in steps {
            let event = match step {
                Step::Suspect(network, number) => Event::Suspect(subscriber(network, number)),
                Step::Eligible(network, number) => Event::Eligible(subscriber(network, number)),
                Step::Proven(network, number) => Event::Proven(subscriber(network, number)),
                Step::Lifted(network, number) => {
                    witness.blocked.remove(&subscriber(network, number));
                    Event::Lifted(subscriber(network, number))
                }
                Step::Pass(milliseconds) => {
                    now = Clock(now.0 + milliseconds);
                    let over: Vec<SourceKey> =
                        witness.blocked.iter().filter(|(_, until)| **until <= now).map(|(source, _)| *source).collect();
                    for source in over {
                        witness.blocked.remove(&source);
                        policy.step(&settings, nobody, Event::Ended(source), now);
                    }
                    continue;
                }
                Step::Back(milliseconds) => {
                    now = Clock(now.0 - milliseconds);
                    witness.made.clear();
                    // The policy hears of it with the next event.
                    policy.is_exhausted(&settings, now);
                    continue;
                }
            };
            let decision = policy.step(&settings, is_allowed, event, now);
            if let Decision::Block { source, .. } = &decision {
                prop_assert!(!is_allowed(source), "the allowlist");
            }
            witness.check(&settings, matches!(event, Event::Proven(_)), &decision, now)?;
            let running: HashMap<SourceKey, Clock> = policy.running().collect();
            prop_assert_eq!(&running, &witness.blocked);
        }
    }

    #[test]
    fn a_restart_changes_no_later_decision_but_the_minutes(steps in steps(), later in steps()) {
        let settings = Blocks { per_minute: 1000, ..open() };
        let mut policy = Policy::default();
        let mut now = Clock(1_800_000_000_000);
        let play = |policy: &mut Policy, steps: &[Step], mut now: Clock| {
            let mut decisions = Vec::new();
            for step in steps {
                let event = match *step {
                    Step::Pass(milliseconds) => {
                        now = Clock(now.0 + milliseconds);
                        let mut over: Vec<SourceKey> =
                            policy.running().filter(|(_, until)| *until <= now).map(|(source, _)| source).collect();
                        over.sort_unstable_by_key(|source| source.0.bytes());
                        for source in over {
                            policy.step(&settings, nobody, Event::Ended(source), now);
                        }
                        continue;
                    }
                    Step::Suspect(network, number) => Event::Suspect(subscriber(network, number)),
                    Step::Eligible(network, number) => Event::Eligible(subscriber(network, number)),
                    Step::Proven(network, number) => Event::Proven(subscriber(network, number)),
                    Step::Lifted(network, number) => Event::Lifted(subscriber(network, number)),
                    Step::Back(_) => continue,
                };
                decisions.push(policy.step(&settings, nobody, event, now));
            }
            (decisions, now)
        };
        (_, now) = play(&mut policy, &steps, now);
        let mut restored = Policy::restore(policy.past().collect::<Vec<_>>(), policy.running().collect::<Vec<_>>());
        prop_assert_eq!(play(&mut policy, &later, now), play(&mut restored, &later, now));
    }
}
