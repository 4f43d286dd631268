//! The policy: what is decided about sources, as a pure function of what it knows, an event and a clock.
//!
//! Nothing here reads a clock, a file or a map, or waits: [`Policy::step`] takes what happened and when, and says what is to be
//! done. Who calls it does that, in the kernel and in the store.
//!
//! The kernel part conceals suspects by itself; the policy decides on blocks. It blocks on proof, from private ports, for a
//! while that grows with each recurrence ([`recurrence`]), and within a budget that is counted per network ([`budget`]), so
//! that whoever holds many addresses of one network cannot use up what protects from all others. What it does not do, it says
//! ([`Deferral`]): the source stays concealed, and its next event is judged anew.
//!
//! Blocks from public ports need proof of harm ([`harm`]), and nobody else to be harmed by them: where the configuration does not let it go so
//! far, or many people may be behind the address, a person is asked ([`Action::Ask`]), and until he answers it stays with private ports. From a
//! customer nothing at all is taken without a person: whoever proves something there may be his neighbour behind one address.
//!
//! What others say of a source is heard as well: a log tool's signal counts as proof of harm if the source had a session here, which nobody
//! has who forges his address; and what a feed of the operator's names is blocked once it is a suspect, as far as he lets that feed go.

mod aged;
pub mod budget;
pub mod clock;
pub mod event;
mod explain;
mod facts;
pub mod harm;
mod keep;
pub mod proof;
pub mod recurrence;
#[cfg(test)]
mod tests;

use std::time::Duration;

use scanguard_common::source::SourceKey;
use scanguard_common::verdict::Scope;

use crate::config::{AutoLevel, Blocks};
use aged::Aged;
use budget::Budget;
use clock::{Moment, Timeline};
use proof::Proofs;

pub use clock::Clock;
pub use event::{Action, BlockReason, Deferral, Doubt, Ending, Event, Lifter, level};
pub use explain::{Decoys, Explanation};
pub use facts::{BACKED_WITHIN, Facts};
pub use keep::{KeptDecoy, KeptEnd, RunningBlock};

/// Sources whose finished blocks are remembered; those whose last block ended first are forgotten first.
pub const MOST_REMEMBERED: usize = 100_000;

/// What is decided about sources.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    timeline: Timeline,
    /// Blocks in force, by when they end.
    running: Aged<Running>,
    /// Blocks that have ended, by when the last one of a source did.
    finished: Aged<Finished>,
    budget: Budget,
    proofs: Proofs,
}

/// A block in force.
#[derive(Clone, Copy, Debug)]
struct Running {
    since: Moment,
    scope: Scope,
    reason: BlockReason,
    /// What was remembered of the source when it began.
    before: Option<(Moment, Finished)>,
}

impl Running {
    /// How many blocks came before it and made it longer.
    fn earlier(&self) -> u32 {
        self.before.map_or(0, |(_, finished)| finished.times)
    }
}

/// What is remembered of a source that is not blocked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Finished {
    /// Blocks, each begun while the one before it counted.
    times: u32,
}

impl Policy {
    /// Says what is to be done now that something happened. The facts are those about the source of the event.
    ///
    /// Blocks whose time is over end with any event, so that [`Event::Tick`] is needed only where nothing else happens.
    pub fn step(&mut self, settings: &Blocks, facts: &Facts, event: Event, now: Clock) -> Vec<Action> {
        let now = self.timeline.advance(now);
        let mut actions = self.settle(settings, now);
        match event {
            Event::Suspect { source } => {
                actions.extend(self.judge_listed(settings, facts, source, now));
            }
            Event::Eligible { source } => match self.proofs.proof(&source, now) {
                Some(ports) => self.prove(settings, facts, source, &ports, now, &mut actions),
                None => actions.extend(self.judge(settings, facts, source, Scope::Private, BlockReason::Score, now)),
            },
            Event::Completed { source, port } => {
                self.proofs.complete(source, port, now);
                match self.proofs.proof(&source, now) {
                    Some(ports) => {
                        self.prove(settings, facts, source, &ports, now, &mut actions);
                    }
                    None => actions.extend(self.judge_listed(settings, facts, source, now)),
                }
            }
            Event::Signal { source, proof } => {
                if proof {
                    self.heed(settings, facts, source, now, &mut actions);
                }
            }
            Event::Lifted { source, by } => actions.extend(self.lift(source, by)),
            Event::Tick => {}
        }
        actions
    }

    /// Takes note that the clock was set: it shows `shown` at the moment at which it would have shown `expected`. What is
    /// left of each block, and what is remembered, does not change; the times of both are by the clock as it is now.
    ///
    /// To be told before the first step with the new time.
    pub fn clock_set(&mut self, expected: Clock, shown: Clock) {
        self.timeline.set(expected, shown);
    }

    /// Whether a source is under an automatic block, as of the last step.
    #[must_use]
    pub fn is_blocked(&self, source: &SourceKey) -> bool {
        self.running.get(source).is_some()
    }

    /// Whether a source completed decoys lately that are proof, as of the last step.
    #[must_use]
    pub fn is_proven(&self, source: &SourceKey) -> bool {
        self.proofs.proof(source, self.timeline.latest()).is_some()
    }

    /// Whether no source of a network that has no block yet could be blocked now.
    #[must_use]
    pub fn breaker_open(&self, settings: &Blocks, now: Clock) -> bool {
        let now = self.timeline.moment(now);
        let in_force = self.running.iter().filter(|(_, until, _)| *until > now).map(|(source, ..)| source);
        self.budget.is_exhausted(settings, now, in_force)
    }

    /// Ends what is over and forgets what is too old to count.
    fn settle(&mut self, settings: &Blocks, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((source, until, running)) = self.running.pop_until(now) {
            actions.push(self.finish(source, running, until));
        }
        if let Some(oldest) = now.before(settings.recurrence) {
            while self.finished.pop_until(oldest).is_some() {}
        }
        self.budget.forget(now);
        self.proofs.forget(now);
        actions
    }

    /// Does what proof is good for: a block from private ports, and from all if it is proof of harm and nobody else is harmed.
    fn prove(
        &mut self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        ports: &[u16],
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if harm::is_proven(facts, ports) {
            self.prove_harm(settings, facts, source, [BlockReason::Proven, BlockReason::Harm], now, actions);
        } else {
            actions.extend(self.judge(settings, facts, source, Scope::Private, BlockReason::Proven, now));
        }
    }

    /// Does what proof of harm is good for: a block from all ports if nobody else is harmed, else one from private ports and a question. A
    /// customer loses neither before a person was asked. The reasons are those for the two.
    fn prove_harm(
        &mut self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        [private, all]: [BlockReason; 2],
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let doubt = doubt(settings, facts);
        if doubt.is_none() && !facts.denied {
            actions.extend(self.judge(settings, facts, source, Scope::All, all, now));
        } else if facts.allowed || !facts.is_customer {
            // Of a customer one question is enough: the one about all ports.
            actions.extend(self.judge(settings, facts, source, Scope::Private, private, now));
        }
        if let Some(why) = doubt.filter(|_| !facts.allowed && !facts.denied) {
            actions.push(self.ask(settings, facts, source, Scope::All, all, why, now));
        }
    }

    /// Does what a signal is good for whose deed is proof: that of harm, if a session backs it. Who only forges an address has none.
    fn heed(&mut self, settings: &Blocks, facts: &Facts, source: SourceKey, now: Moment, actions: &mut Vec<Action>) {
        if facts.allowed || facts.backed {
            self.prove_harm(settings, facts, source, [BlockReason::Signal; 2], now, actions);
        } else {
            actions.push(Action::Deferred { source, why: Deferral::Unproven });
        }
    }

    /// Blocks a suspect that a feed names, as far as the operator lets the feed go. Suspicion can be forged, also of who is on a list: public
    /// ports it loses only where it is really there, and nobody else is known behind it.
    fn judge_listed(&mut self, settings: &Blocks, facts: &Facts, source: SourceKey, now: Moment) -> Option<Action> {
        let feed = facts.feed.filter(|level| *level >= AutoLevel::BlockPrivate)?;
        let is_there = facts.backed || !self.proofs.of(&source, now).is_empty();
        let takes_all = feed == AutoLevel::BlockAll && is_there && doubt(settings, facts).is_none() && !facts.denied;
        let scope = if takes_all { Scope::All } else { Scope::Private };
        self.judge(settings, facts, source, scope, BlockReason::Feed, now)
    }

    /// A question for a person.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the question")]
    fn ask(
        &self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        scope: Scope,
        reason: BlockReason,
        why: Doubt,
        now: Moment,
    ) -> Action {
        let earlier = self.running.get(&source).map_or(0, |(_, running)| running.earlier());
        Action::Ask {
            source,
            scope,
            reason,
            why,
            lasts: recurrence::length(settings, earlier),
            people: harm::people(facts),
            until: self.timeline.clock(now.after(settings.question)),
        }
    }

    fn judge(
        &mut self,
        settings: &Blocks,
        facts: &Facts,
        source: SourceKey,
        scope: Scope,
        reason: BlockReason,
        now: Moment,
    ) -> Option<Action> {
        let running = self.running.get(&source).map(|(_, running)| *running);
        if !facts.allowed && running.is_some_and(|running| running.scope as u8 >= scope as u8) {
            return None; // Its block is running.
        }
        if let Err(why) = may_block(settings, facts, scope, reason) {
            return Some(Action::Deferred { source, why });
        }
        if facts.is_customer {
            let ask = || self.ask(settings, facts, source, scope, reason, Doubt::Customer, now);
            return (!facts.denied).then(ask);
        }
        // One that is blocked already takes nothing more from the budget.
        if let (None, Err(why)) = (running, self.budget.room(settings, &source)) {
            return Some(Action::Deferred { source, why });
        }
        // A block that becomes one of more ports begins anew, and is no recurrence of itself.
        let before = match running {
            Some(running) => running.before,
            None => self.finished.remove(&source),
        };
        let recurrence = before.map_or(0, |(_, finished)| finished.times);
        let until = now.after(recurrence::length(settings, recurrence));
        self.running.insert(source, until, Running { since: now, scope, reason, before });
        if running.is_none() {
            self.budget.begin(&source, now);
        }
        Some(Action::Block {
            source,
            scope,
            lasts: Duration::from_millis(until.since(now)),
            until: self.timeline.clock(until),
            reason,
            recurrence,
            people: harm::people(facts),
        })
    }

    fn finish(&mut self, source: SourceKey, running: Running, ended: Moment) -> Action {
        let times = running.earlier().saturating_add(1);
        self.budget.end(&source);
        self.remember(source, ended, Finished { times });
        Action::Ended { source, why: Ending::Expired }
    }

    /// Ends a block that somebody took back. It counts as none: a person said that it was wrong.
    fn lift(&mut self, source: SourceKey, by: Lifter) -> Option<Action> {
        let (_, running) = self.running.remove(&source)?;
        self.budget.end(&source);
        if let Some((ended, finished)) = running.before {
            self.remember(source, ended, finished);
        }
        Some(Action::Ended { source, why: Ending::Lifted(by) })
    }

    fn remember(&mut self, source: SourceKey, ended: Moment, finished: Finished) {
        self.finished.insert(source, ended, finished);
        if self.finished.len() > MOST_REMEMBERED {
            self.finished.pop_first();
        }
    }
}

/// Whether a source may be blocked for this, if the budget has room.
fn may_block(settings: &Blocks, facts: &Facts, scope: Scope, reason: BlockReason) -> Result<(), Deferral> {
    if facts.allowed {
        return Err(Deferral::Allowed);
    }
    if level(scope) > settings.max_auto_level {
        return Err(Deferral::MaxAutoLevel);
    }
    if reason == BlockReason::Score && (!settings.unproven || facts.is_customer) {
        return Err(Deferral::Unproven);
    }
    Ok(())
}

/// Why a person must be asked before a source is blocked from public ports, if one must. (Before it is blocked from private ones, one must only if
/// it is a customer: others who are known there keep restricted ports.)
fn doubt(settings: &Blocks, facts: &Facts) -> Option<Doubt> {
    let rows = [
        (facts.fronted, Doubt::Fronted),
        (facts.is_customer, Doubt::Customer),
        (facts.unseen || harm::people(facts) > settings.most_harmed, Doubt::Harmed),
        (level(Scope::All) > settings.max_auto_level, Doubt::MaxAutoLevel),
    ];
    rows.into_iter().find(|(applies, _)| *applies).map(|(_, doubt)| doubt)
}
