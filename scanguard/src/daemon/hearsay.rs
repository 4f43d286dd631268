//! What log tools say of sources: weighed, remembered, and put to the policy.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use scanguard_common::address::Address;
use scanguard_common::class::PortClass;
use scanguard_common::contact::{ContactKind, Outcome};
use scanguard_common::event::{Answer, Event as KernelEvent, EventKind};
use scanguard_common::source::SourceKey;
use tracing::info;

use super::decide::Decider;
use super::incidents::Recorder;
use super::memory::Memory;
use crate::api::{SCHEMA_VERSION, Signal, SignalDecision, Signalled, WhySignal, timestamp};
use crate::duration;
use crate::kernel::{Weighed, clock};
use crate::operator::{Desk, OperatorError, Remembered};
use crate::policy::{Action, Deferral, Event};

/// Those who take note of a signal.
pub(super) struct Hearsay<'h> {
    pub(super) memory: &'h Memory,
    pub(super) recorder: &'h Recorder,
}

impl Hearsay<'_> {
    /// Adds the weight to the source's score, as if the kernel part had seen it, and asks the policy.
    pub(super) fn hear(
        &self,
        signal: &Signal,
        decider: &mut Decider,
        desk: &mut Desk,
        now: SystemTime,
    ) -> Result<Signalled, OperatorError> {
        signal.check()?;
        let Signal { address, weight, reason, proof } = signal;
        let source = desk.signalled(address)?;
        let backed = desk.is_backed(&source);
        if desk.spares(&source) {
            let why = Deferral::Allowed;
            let decision = decision("defer", Some(why.label()), why.sentence().to_owned());
            return told(desk, source, backed, false, decision);
        }
        let Weighed { score, accused } = desk.weigh(&source, *weight)?;
        self.memory.note_signal(
            source,
            WhySignal { time: timestamp(now), weight: *weight, reason: reason.clone(), backed, proof: *proof },
        );
        let name = desk.named(source);
        info!(source = name, weight, reason, backed, proof, "a signal");
        if *proof && backed {
            desk.distrust(&source, now);
        } else {
            desk.fail_now(&source, now);
        }
        let mut actions = Vec::new();
        if accused {
            self.recorder.note(&accusation(source, score));
            info!(source = name, "a source is a suspect, for a signal: what is not for customers is hidden from it");
            actions.extend(decider.hear(Event::Suspect { source }, desk, now));
        }
        if score >= desk.read_tables().config().score.cap {
            actions.extend(decider.hear(Event::Eligible { source }, desk, now));
        }
        actions.extend(decider.hear(Event::Signal { source, proof: *proof }, desk, now));
        actions.retain(|action| is_about(action, &source));
        let decision = decided(&actions, accused, decider.is_blocked(&source));
        told(desk, source, backed, true, decision)
    }
}

fn told(
    desk: &Desk,
    source: SourceKey,
    backed: bool,
    applied: bool,
    decision: SignalDecision,
) -> Result<Signalled, OperatorError> {
    let name = desk.named(source);
    let why = desk.why(&name, Remembered { is_watched: true, ..Remembered::default() })?;
    Ok(Signalled {
        schema_version: SCHEMA_VERSION,
        source: name,
        backed,
        applied,
        score: why.score,
        level: why.verdict.level,
        scope: why.verdict.scope,
        decision,
        next_step: why.next_step,
    })
}

fn is_about(action: &Action, whom: &SourceKey) -> bool {
    match action {
        Action::Block { source, .. } | Action::Ask { source, .. } | Action::Deferred { source, .. } => source == whom,
        Action::Ended { .. } => false,
    }
}

/// What was decided, in a word and in words: the most that was done.
fn decided(actions: &[Action], accused: bool, was_blocked: bool) -> SignalDecision {
    let block = actions.iter().rev().find_map(|action| match action {
        Action::Block { scope, lasts, reason, .. } => Some((scope, *lasts, *reason)),
        _ => None,
    });
    let question = actions.iter().rev().find_map(|action| match action {
        Action::Ask { scope, why, .. } => Some((scope, *why)),
        _ => None,
    });
    let asked = question.map(|(scope, why)| {
        format!(
            "Whether to block it from {} waits for a person (`scanguard pending`). {}",
            ports(scope.label()),
            why.sentence()
        )
    });
    if let Some((scope, lasts, reason)) = block {
        let blocked = format!("It is blocked from {} for {}.", ports(scope.label()), duration::format(whole(lasts)));
        let sentence = [Some(blocked), asked].into_iter().flatten().collect::<Vec<_>>().join(" ");
        return decision("block", Some(reason.label()), sentence);
    }
    if let (Some((_, why)), Some(sentence)) = (question, asked) {
        return decision("ask", Some(why.label()), sentence);
    }
    if was_blocked {
        return decision("none", None, "It is blocked already.".to_owned());
    }
    let deferred = actions.iter().rev().find_map(|action| match action {
        Action::Deferred { why, .. } => Some(*why),
        _ => None,
    });
    let concealed = "It is a suspect now: what is not for customers is hidden from it.";
    if let Some(why) = deferred {
        let hidden = if accused { format!("{concealed} ") } else { String::new() };
        return decision("defer", Some(why.label()), format!("{hidden}It is not blocked. {}", why.sentence()));
    }
    if accused {
        return decision("conceal", Some("signal"), concealed.to_owned());
    }
    decision("none", None, "The weight was added to its score, and nothing else is done.".to_owned())
}

fn decision(action: &str, reason: Option<&str>, sentence: String) -> SignalDecision {
    SignalDecision { action: action.to_owned(), reason: reason.map(str::to_owned), sentence }
}

fn ports(scope: &str) -> &'static str {
    if scope == "all" { "all ports" } else { "private ports" }
}

/// Whole seconds: what is told in words needs no fractions.
const fn whole(lasts: Duration) -> Duration {
    Duration::from_secs(lasts.as_secs())
}

/// What the kernel part would have told.
fn accusation(source: SourceKey, score: u32) -> KernelEvent {
    KernelEvent {
        time_ns: clock::monotonic_coarse_ns(),
        source,
        destination: Address::from(IpAddr::from([0, 0, 0, 0])),
        port: 0,
        kind: EventKind::Suspect as u8,
        asked: ContactKind::Tcp as u8,
        class: PortClass::Unknown as u8,
        outcome: Outcome::Unknown as u8,
        tcp_flags: 0,
        answer: Answer::None as u8,
        score,
        points: 0,
        bytes_in: 0,
        bytes_out: 0,
    }
}

#[cfg(test)]
mod tests {
    use scanguard_common::verdict::Scope;

    use super::*;
    use crate::policy::{BlockReason, Clock, Doubt};

    fn block(scope: Scope) -> Action {
        let (lasts, reason) = (Duration::from_secs(600), BlockReason::Signal);
        Action::Block { source: whom(), scope, lasts, until: Clock(0), reason, recurrence: 0, people: 0 }
    }

    fn ask(why: Doubt) -> Action {
        let (lasts, reason) = (Duration::from_secs(600), BlockReason::Signal);
        Action::Ask { source: whom(), scope: Scope::All, reason, why, lasts, people: 0, until: Clock(0) }
    }

    fn whom() -> SourceKey {
        SourceKey(Address::from(IpAddr::from([192, 0, 2, 7])))
    }

    #[test]
    fn the_most_that_was_done_is_told_in_a_word() {
        let deferred = Action::Deferred { source: whom(), why: Deferral::Unproven };
        /// What was done, whether it made a suspect, whether a block is in force; the word and the reason.
        type Row<'r> = (&'r [Action], bool, bool, &'r str, Option<&'r str>);
        let rows: [Row<'_>; 8] = [
            (&[], false, false, "none", None),
            (&[], true, false, "conceal", Some("signal")),
            (&[], true, true, "none", None),
            (&[deferred], true, false, "defer", Some("unproven")),
            (&[deferred, block(Scope::All)], true, true, "block", Some("signal")),
            (&[block(Scope::Private), ask(Doubt::MaxAutoLevel)], false, true, "block", Some("signal")),
            (&[ask(Doubt::Customer)], true, false, "ask", Some("customer")),
            (&[deferred], false, true, "none", None),
        ];
        for (actions, accused, was_blocked, action, reason) in rows {
            let told = decided(actions, accused, was_blocked);
            assert_eq!((told.action.as_str(), told.reason.as_deref()), (action, reason), "{actions:?}");
        }
        let told = decided(&[block(Scope::Private), ask(Doubt::MaxAutoLevel)], false, true).sentence;
        assert!(
            told.starts_with("It is blocked from private ports for 10m. Whether to block it from all ports waits"),
            "{told}"
        );
    }
}
