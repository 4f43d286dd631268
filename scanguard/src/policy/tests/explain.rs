//! What people read.

use super::*;
use crate::policy::{Decoys, Explanation};

/// Blocks a source so many times, an hour between two, and gives when the last began.
fn blocked(policy: &mut Policy, settings: &Blocks, scanner: SourceKey, times: u32) -> Clock {
    let mut now = START;
    for time in 0..times {
        let Some(Action::Block { until, .. }) = prove(policy, settings, scanner, now) else { panic!("no block") };
        if time + 1 < times {
            now = until.after(HOUR);
        }
    }
    now
}

fn text(explanation: &Explanation) -> String {
    format!("{} > {}", explanation.arithmetic.join(" "), explanation.next_step)
}

#[test]
fn the_arithmetic_of_a_block_is_told() {
    let (settings, scanner) = (Blocks::default(), source("203.0.113.9"));
    let rows = [
        (
            1,
            "It is the first block within 7d: it lasts 10m. It ends by itself in 9m. > If it comes again within 7d of its end, the next block lasts 40m.",
        ),
        (
            2,
            "It is the second block in a row, each within 7d of the one before: 10m x 4 = 40m. It ends by itself in 39m. > If it comes again within 7d of its end, the next block lasts 160m.",
        ),
        (
            3,
            "It is the third block in a row, each within 7d of the one before: 10m x 4^2 = 160m. It ends by itself in 159m. > If it comes again within 7d of its end, the next block lasts 640m.",
        ),
        (
            5,
            "It is the fifth block in a row, each within 7d of the one before: 10m x 4^4 = 2560m, but 24h at most. It ends by itself in 1439m. > If it comes again within 7d of its end, the next block lasts 24h.",
        ),
        (
            21,
            "It is the 21st block in a row, each within 7d of the one before: 10m x 4^20, but 24h at most. It ends by itself in 1439m. > If it comes again within 7d of its end, the next block lasts 24h.",
        ),
    ];
    for (times, expected) in rows {
        let mut policy = Policy::default();
        let now = blocked(&mut policy, &settings, scanner, times).after(MINUTE);
        let mut explanation = policy.explain(&settings, Decoys::Somewhere, &STRANGER, &scanner, now);
        explanation.arithmetic.truncate(3); // What follows is about the decoys.
        assert_eq!(text(&explanation), format!("{} {expected}", BlockReason::Proven.sentence()), "{times}");
    }
}

#[test]
fn settings_that_changed_since_are_told() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    let now = blocked(&mut policy, &settings, scanner, 1);
    let changed = Blocks { first: HOUR, ..settings };
    let explanation = text(&policy.explain(&changed, Decoys::Somewhere, &STRANGER, &scanner, now));
    assert!(explanation.contains("It lasts 10m, by the settings of when it began."), "{explanation}");
}

#[test]
fn what_counts_after_a_block_is_told_until_it_does_not() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    let ended = blocked(&mut policy, &settings, scanner, 2).after(40 * MINUTE);
    let expected = "2 earlier blocks count, the last ended 3h ago; each counts for 7d. > \
                    Once it proves that it is really there, it is blocked from private ports for 160m.";
    let now = ended.after(3 * HOUR);
    assert_eq!(
        text(&policy.explain(&settings, Decoys::Somewhere, &STRANGER, &scanner, now)),
        expected,
        "before the next step"
    );
    policy.step(&settings, &STRANGER, Event::Tick, now);
    assert_eq!(text(&policy.explain(&settings, Decoys::Somewhere, &STRANGER, &scanner, now)), expected, "after it");
    let forgotten = " > Once it proves that it is really there, it is blocked from private ports for 10m.";
    assert_eq!(
        text(&policy.explain(&settings, Decoys::Somewhere, &STRANGER, &scanner, ended.after(7 * DAY))),
        forgotten
    );
}

#[test]
fn why_nothing_would_be_done_is_told() {
    let (policy, scanner) = (Policy::default(), source("203.0.113.9"));
    let conceal = Blocks { max_auto_level: AutoLevel::Conceal, ..Blocks::default() };
    let none = Blocks { per_minute: 0, ..Blocks::default() };
    let unproven = Blocks { unproven: true, ..Blocks::default() };
    let rows = [
        (Blocks::default(), true, "allowlist"),
        (conceal, false, "`block.max_auto_level`"),
        (none, false, "`block.per_minute`"),
        (unproven, false, "Once its score is high enough"),
    ];
    for (settings, allowed, expected) in rows {
        let Explanation { arithmetic, next_step } =
            policy.explain(&settings, Decoys::Somewhere, &Facts { allowed, ..STRANGER }, &scanner, START);
        assert!(arithmetic.is_empty() && next_step.contains(expected), "{expected}: {next_step}");
    }
}

#[test]
fn several_machines_behind_an_address_are_told() {
    let explain = |stacks| {
        let facts = Facts { stacks, ..STRANGER };
        Policy::default()
            .explain(&Blocks::default(), Decoys::Somewhere, &facts, &source("203.0.113.9"), START)
            .arithmetic
    };
    assert!(explain(0).is_empty() && explain(1).is_empty());
    assert!(explain(2)[0].starts_with("Its sessions show 2 TCP stacks at one time"), "{:?}", explain(2));
}

#[test]
fn what_being_on_a_feed_means_is_told() {
    let all = Blocks { max_auto_level: AutoLevel::BlockAll, ..Blocks::default() };
    let conceal = Blocks { max_auto_level: AutoLevel::Conceal, ..Blocks::default() };
    let listed = Facts { feed: Some(AutoLevel::BlockAll), ..STRANGER };
    let rows = [
        (all, listed, "from all only if a session"),
        (all, Facts { backed: true, ..listed }, "it is really there"),
        (all, Facts { backed: true, is_customer: true, ..listed }, "a person is asked"),
        (all, Facts { feed: Some(AutoLevel::BlockPrivate), ..listed }, "from private ports."),
        (Blocks::default(), Facts { backed: true, ..listed }, "from private ports."),
        (conceal, listed, "nothing more is done"),
    ];
    for (settings, facts, expected) in rows {
        let Explanation { arithmetic, .. } =
            Policy::default().explain(&settings, Decoys::Somewhere, &facts, &source("203.0.113.9"), START);
        assert!(arithmetic.len() == 1 && arithmetic[0].contains(expected), "{expected}: {arithmetic:?}");
    }
    assert!(
        Policy::default()
            .explain(&all, Decoys::Somewhere, &STRANGER, &source("203.0.113.9"), START)
            .arithmetic
            .is_empty()
    );
}

#[test]
fn why_promises_no_block_where_nothing_can_be_proven() {
    let (policy, scanner) = (Policy::default(), source("203.0.113.9"));
    let unproven = Blocks { unproven: true, ..Blocks::default() };
    let customer = Facts { is_customer: true, ..STRANGER };
    let listed = Facts { feed: Some(AutoLevel::BlockPrivate), ..STRANGER };
    let none = "no automatic block is possible with this configuration";
    let rows: [(_, _, _, &[&str]); 7] = [
        (
            Decoys::Off,
            Blocks::default(),
            STRANGER,
            &[none, "`challenge = \"on\"`", "`canary` of [ports]", "`unproven = true`"],
        ),
        (Decoys::NoCanary, Blocks::default(), STRANGER, &[none, "`challenge = \"on\"`", "`canary` of [ports]"]),
        (Decoys::NoCanary, Blocks::default(), listed, &[none, "but for the feed"]),
        (Decoys::NoCanary, Blocks::default(), customer, &["nobody is even asked"]),
        (Decoys::Off, unproven, STRANGER, &["Once its score is high enough, it is blocked"]),
        (Decoys::Observe, Blocks::default(), STRANGER, &["In mode observe it can prove nothing"]),
        (Decoys::Observe, unproven, STRANGER, &["Once its score is high enough, it is blocked"]),
    ];
    for (decoys, settings, facts, expected) in rows {
        let Explanation { next_step, .. } = policy.explain(&settings, decoys, &facts, &scanner, START);
        assert!(expected.iter().all(|words| next_step.contains(words)), "{decoys:?} {facts:?}: {next_step}");
        assert!(!next_step.contains("or it proves"), "{decoys:?} {facts:?}: {next_step}");
    }
}

#[test]
fn a_later_decoy_of_who_is_blocked_for_proof_does_not_call_the_proof_into_question() {
    let (mut policy, scanner) = (Policy::default(), source("203.0.113.9"));
    let settings = Blocks { first: HOUR, ..Blocks::default() };
    let later = blocked(&mut policy, &settings, scanner, 1).after(20 * MINUTE);
    policy.step(&settings, &STRANGER, Event::Completed { source: scanner, port: 23 }, later);
    let told = text(&policy.explain(&settings, Decoys::Somewhere, &STRANGER, &scanner, later));
    assert!(told.contains(BlockReason::Proven.sentence()), "{told}");
    assert!(told.contains("It completed decoys on 1 port in the last 10m.") && !told.contains("are proof"), "{told}");
}

#[test]
fn the_decoys_that_a_source_completed_lately_are_told_with_their_times() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    policy.step(&settings, &STRANGER, Event::Completed { source: scanner, port: 22 }, START);
    let later = START.after(MINUTE);
    policy.step(&settings, &STRANGER, Event::Completed { source: scanner, port: 23 }, later);
    assert_eq!(policy.decoys_of(&scanner, later), [(22, START), (23, later)]);
    assert_eq!(policy.decoys_of(&scanner, START.after(11 * MINUTE)), [(23, later)]);
    assert_eq!(policy.decoys_of(&source("203.0.113.10"), later), []);
}
