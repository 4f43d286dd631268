//! Single stories.

use super::*;
use crate::policy::budget::MOST_BLOCKS;
use crate::policy::{Deferral, Ending, MOST_REMEMBERED};

/// Minutes that the block lasts which comes of a proof.
fn minutes(action: Option<Action>) -> u64 {
    match action {
        Some(Action::Block { lasts, .. }) => lasts.as_secs() / 60,
        other => panic!("no block: {other:?}"),
    }
}

#[test]
fn blocks_escalate_and_begin_again_after_seven_quiet_days() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    let mut now = START;
    let mut lengths = Vec::new();
    for _ in 0..7 {
        let length = minutes(prove(&mut policy, &settings, scanner, now));
        lengths.push(length);
        now = now.after(MINUTE * u32::try_from(length).expect("a length")).after(HOUR);
    }
    assert_eq!(lengths, [10, 40, 160, 640, 1440, 1440, 1440]);
    let ended = Clock(now.0 - 3_600_000);
    let almost = Clock(ended.after(7 * DAY).0 - 1);
    assert_eq!(minutes(prove(&mut policy.clone(), &settings, scanner, almost)), 1440);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, ended.after(7 * DAY))), 10);
}

#[test]
fn a_blocked_source_that_goes_on_changes_nothing() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START);
    let before: Vec<_> = policy.running().collect();
    for minute in 1..10 {
        assert_eq!(prove(&mut policy, &settings, scanner, START.after(MINUTE * minute)), None);
    }
    assert_eq!(policy.running().collect::<Vec<_>>(), before);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, START.after(MINUTE * 10))), 40);
}

#[test]
fn suspects_are_counted_and_forgeable_evidence_blocks_nobody() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    assert_eq!(policy.step(&settings, &nobody, Event::Suspect { source: scanner }, START), []);
    let actions = policy.step(&settings, &nobody, Event::Eligible { source: scanner }, START);
    assert_eq!(actions, [Action::Deferred { source: scanner, why: Deferral::Unproven }]);
    assert_eq!(actions[0].labels(), ("defer", "unproven"));
    let tally = policy.tally();
    assert_eq!((tally.suspects, tally.eligible, tally.proven), (1, 1, 0));
}

#[test]
fn sources_of_one_network_leave_the_budget_of_others_whole() {
    let (mut policy, settings) = (Policy::default(), Blocks::default());
    for host in 0..21 {
        let action = prove(&mut policy, &settings, hostile(1, host), START);
        assert_eq!(is_block(action.as_ref()), host < 20, "{host}: {action:?}");
    }
    for network in 0..19 {
        let other = source(&format!("198.51.{network}.7"));
        assert!(is_block(prove(&mut policy, &settings, other, START).as_ref()), "{network}");
    }
    assert!(policy.breaker_open(&settings, START), "the network itself is the twentieth");
    let late = source("203.0.113.9");
    let deferred = Some(Action::Deferred { source: late, why: Deferral::MinuteBudget });
    assert_eq!(prove(&mut policy, &settings, late, START), deferred);
    let almost = Clock(START.after(MINUTE).0 - 1);
    assert!(policy.breaker_open(&settings, almost));
    assert_eq!(prove(&mut policy, &settings, late, almost), deferred);
    assert!(!policy.breaker_open(&settings, START.after(MINUTE)));
    assert!(is_block(prove(&mut policy, &settings, late, START.after(MINUTE)).as_ref()), "judged anew");
}

#[test]
fn a_block_taken_back_counts_as_none() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START);
    let second = START.after(HOUR);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, second)), 40);
    let lifted = Event::Lifted { source: scanner, by: Lifter::Operator };
    let ended = Action::Ended { source: scanner, why: Ending::Lifted(Lifter::Operator) };
    assert_eq!(policy.step(&settings, &nobody, lifted, second), [ended]);
    assert_eq!(policy.step(&settings, &nobody, lifted, second), [], "there is none");
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, second)), 40);
}

#[test]
fn a_block_that_ended_in_the_kernel_has_ended() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START);
    let early = START.after(MINUTE);
    let ended = Action::Ended { source: scanner, why: Ending::Expired };
    assert_eq!(policy.step(&settings, &nobody, Event::Expired { source: scanner }, early), [ended]);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, early)), 40);
}

#[test]
fn settings_of_the_moment_hold() {
    let (mut policy, scanner) = (Policy::default(), source("203.0.113.9"));
    let conceal = Blocks { max_auto_level: AutoLevel::Conceal, unproven: true, ..Blocks::default() };
    let deferred = Some(Action::Deferred { source: scanner, why: Deferral::MaxAutoLevel });
    assert_eq!(prove(&mut policy, &conceal, scanner, START), deferred);
    let unproven = Blocks { unproven: true, ..Blocks::default() };
    let actions = policy.step(&unproven, &nobody, Event::Eligible { source: scanner }, START);
    assert!(matches!(actions[..], [Action::Block { reason: BlockReason::Score, .. }]), "{actions:?}");
}

#[test]
fn a_clock_that_was_a_year_ahead_leaves_no_block_of_a_year() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START.after(365 * DAY));
    policy.step(&settings, &nobody, Event::Tick, START);
    assert_eq!(policy.running().map(|block| block.until).collect::<Vec<_>>(), [START.after(10 * MINUTE)]);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, START.after(10 * MINUTE))), 40);
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let settings = Blocks { per_minute: 100_000, most: 100_000, ..Blocks::default() };
    let mut policy = Policy::default();
    let numbered = |number: usize| source(&format!("2001:db8:{:x}:{:x}::", number >> 16, number & 0xffff));
    for number in 0..MOST_BLOCKS {
        assert!(is_block(prove(&mut policy, &settings, numbered(number), Clock(START.0 + number as u64)).as_ref()));
    }
    let full = Clock(START.0 + MOST_BLOCKS as u64);
    let late = source("203.0.113.9");
    assert!(policy.breaker_open(&settings, full));
    let deferred = Some(Action::Deferred { source: late, why: Deferral::Full });
    assert_eq!(prove(&mut policy, &settings, late, full), deferred);
    let ended = full.after(HOUR);
    assert!(is_block(prove(&mut policy, &settings, late, ended).as_ref()));
    assert_eq!(policy.history().count(), MOST_REMEMBERED);
    policy.step(&settings, &nobody, Event::Tick, ended.after(HOUR));
    let remembered: std::collections::HashSet<SourceKey> = policy.history().map(|past| past.source).collect();
    assert_eq!(remembered.len(), MOST_REMEMBERED);
    assert!(remembered.contains(&late) && remembered.contains(&numbered(1)) && !remembered.contains(&numbered(0)));
}
