//! A policy that goes on after a restart.

use scanguard_common::verdict::Scope;

use super::*;
use crate::policy::{KeptEnd, RunningBlock};

fn restarted(policy: &Policy, settings: &Blocks, now: Clock) -> Policy {
    let history: Vec<KeptEnd> = policy.history().collect();
    let running: Vec<RunningBlock> = policy.running().collect();
    Policy::restore(settings, history, running, policy.decoys().collect::<Vec<_>>(), now)
}

/// Blocks taken back are missing in the budget after a restart, as [`Policy::restore`] says.
fn is_kept(event: &Event) -> bool {
    !matches!(event, Event::Lifted { .. })
}

proptest! {
    #[test]
    fn a_restart_changes_no_later_decision(
        settings in any_settings(), before in any_story(), after in any_story(), back in prop_oneof![Just(0), 0_u64..1_000_000],
    ) {
        let mut policy = Policy::default();
        let mut now = START;
        for (pause, event) in before.into_iter().filter(|(_, event)| is_kept(event)) {
            now = Clock(now.0 + pause);
            policy.step(&settings, &facts(&event), event, now);
        }
        now = Clock(now.0 - back);
        policy.step(&settings, &STRANGER, Event::Tick, now);
        let mut other = restarted(&policy, &settings, now);
        for (pause, event) in after {
            now = Clock(now.0 + pause);
            let facts = facts(&event);
            let expected = policy.step(&settings, &facts, event, now);
            prop_assert_eq!(other.step(&settings, &facts, event, now), expected, "{:?}", event);
        }
    }

    #[test]
    fn no_state_however_damaged_gives_an_endless_block(
        settings in any_settings(),
        kept in prop::collection::vec((any_source(), any::<u64>(), any::<u64>(), any::<u32>()), 0..20),
        now in prop_oneof![any::<u64>(), START.0..START.0 + 1000],
    ) {
        let now = Clock(now.min(1 << 47));
        let history = kept.iter().map(|(source, ended, _, times)| KeptEnd { source: *source, ended: Clock(*ended), times: *times });
        let running = kept.iter().map(|(source, since, until, _)| RunningBlock {
            source: *source,
            since: Clock(*since),
            until: Clock(*until),
            scope: Scope::Private,
            reason: BlockReason::Proven,
        });
        let both = Policy::restore(&settings, history, running.clone(), [], now);
        let blocks = Policy::restore(&settings, [], running, [], now);
        for mut policy in [both, blocks] {
            for block in policy.running() {
                prop_assert!(block.until <= now.after(settings.longest), "{:?}", block);
            }
            policy.step(&settings, &STRANGER, Event::Tick, now.after(settings.longest));
            prop_assert_eq!(policy.running().count(), 0);
        }
    }
}

#[test]
fn a_block_whose_end_was_kept_before_it_was_removed_counts_once() {
    let (settings, scanner) = (Blocks::default(), source("203.0.113.9"));
    let until = START.after(10 * MINUTE);
    let block =
        RunningBlock { source: scanner, since: START, until, scope: Scope::Private, reason: BlockReason::Proven };
    let past = KeptEnd { source: scanner, ended: until, times: 1 };
    let mut policy = Policy::restore(&settings, [past], [block], [], until);
    assert_eq!(policy.step(&settings, &STRANGER, Event::Tick, until), []);
    assert_eq!(policy.history().collect::<Vec<_>>(), [past]);
}

#[test]
fn a_block_that_ended_while_the_daemon_was_down_counts() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START);
    let later = START.after(HOUR);
    let mut policy = restarted(&policy, &settings, later);
    let action = prove(&mut policy, &settings, scanner, later);
    assert!(matches!(action, Some(Action::Block { recurrence: 1, .. })), "{action:?}");
}

#[test]
fn a_clock_set_back_over_a_restart_leaves_a_block_its_length() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START.after(365 * DAY));
    let policy = restarted(&policy, &settings, START);
    assert_eq!(policy.running().map(|block| block.until).collect::<Vec<_>>(), [START.after(10 * MINUTE)]);
}
