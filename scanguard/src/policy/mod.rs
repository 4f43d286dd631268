//! What is done about sources without a person: a pure function of (state, event, clock) to (state, decision).
//!
//! Concealing is the kernel part's own doing. A block is deliberate, temporary and budgeted: it takes proof (or an operator who does without), lasts longer
//! each time a source comes back, and no more of them are made than a person can look through. Nothing here does I/O or knows the time.
//!
//! | module | does |
//! |---|---|
//! | `budget` | how many blocks are made |
//! | `tests` | the promises as properties, against a model that is small enough to read |

mod budget;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use scanguard_common::source::SourceKey;
use scanguard_common::verdict::Scope;

use crate::config::{AutoLevel, Blocks};
use crate::duration;
use budget::Budget;

/// Sources whose earlier blocks are remembered; the longest past are forgotten first.
const MOST_REMEMBERED: usize = 100_000;

/// Unix time in milliseconds. Blocks outlive the daemon, so it is the wall clock's; that it may be set back harms nobody.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Clock(pub u64);

impl Clock {
    /// So much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A source became a suspect; the kernel conceals it already.
    Suspect(SourceKey),
    /// Its score reached that of a block, by evidence that can be forged.
    Eligible(SourceKey),
    /// It has proven that it is really there and scans.
    Proven(SourceKey),
    /// Its block has ended by itself.
    Ended(SourceKey),
    /// A person, or the allowlist, lifted its block: it was a mistake.
    Lifted(SourceKey),
}

/// Why a source is blocked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BlockReason {
    /// It has proven that it is there.
    Proven,
    /// Its score is that of a block, and the operator does without proof.
    Unproven,
}

impl BlockReason {
    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Unproven => "unproven",
        }
    }
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Deferral {
    /// It is on the allowlist.
    Allowlisted,
    /// It is blocked already.
    Blocked,
    /// The operator's settings do not let it go so far.
    Level,
    /// Nothing proves that the address is real.
    NoProof,
    /// Concealing is enough.
    Concealed,
    /// Too many new blocks in a minute.
    PerMinute,
    /// Too many blocks at once.
    AtOnce,
}

impl Deferral {
    /// The label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowlisted => "allowlisted",
            Self::Blocked => "blocked_already",
            Self::Level => "max_auto_level",
            Self::NoProof => "no_proof",
            Self::Concealed => "concealed",
            Self::PerMinute => "budget_per_minute",
            Self::AtOnce => "budget_at_once",
        }
    }
}

/// What is decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Block a source.
    Block {
        /// Whom.
        source: SourceKey,
        /// From what.
        scope: Scope,
        /// Until when.
        until: Clock,
        /// Why.
        reason: BlockReason,
        /// Earlier blocks that count.
        earlier: u32,
    },
    /// Nothing, and why.
    Nothing(Deferral),
    /// The event was one to take note of.
    Noted,
}

impl Decision {
    /// Labels in metrics: action and reason; none for what decides nothing.
    #[must_use]
    pub const fn labels(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Block { reason, .. } => Some(("block_private", reason.label())),
            Self::Nothing(deferral) => Some(("none", deferral.label())),
            Self::Noted => None,
        }
    }
}

/// A block under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Running {
    until: Clock,
    earlier: u32,
}

/// Blocks that are over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Past {
    /// When the latest ended.
    pub ended: Clock,
    /// How many.
    pub times: u32,
}

/// The state.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    running: HashMap<SourceKey, Running>,
    past: HashMap<SourceKey, Past>,
    /// The same by time, to forget the oldest.
    by_end: BTreeMap<(Clock, [u8; 16]), SourceKey>,
    budget: Budget,
}

impl Policy {
    /// The state of earlier: blocks that are over, and blocks under way with their ends.
    #[must_use]
    pub fn restore(
        past: impl IntoIterator<Item = (SourceKey, Past)>,
        running: impl IntoIterator<Item = (SourceKey, Clock)>,
    ) -> Self {
        let mut policy = Self::default();
        for (source, past) in past {
            policy.remember(source, past);
        }
        for (source, until) in running {
            let earlier = policy.past.get(&source).map_or(0, |past| past.times);
            policy.running.insert(source, Running { until, earlier });
            policy.budget.occupy(source);
        }
        policy
    }

    /// Blocks that are over, in no order.
    pub fn past(&self) -> impl Iterator<Item = (SourceKey, Past)> {
        self.past.iter().map(|(source, past)| (*source, *past))
    }

    /// Blocks under way, in no order.
    pub fn running(&self) -> impl Iterator<Item = (SourceKey, Clock)> {
        self.running.iter().map(|(source, running)| (*source, running.until))
    }

    /// Whether there is room for no more new blocks now, whoever they are for.
    #[must_use]
    pub fn is_exhausted(&mut self, settings: &Blocks, now: Clock) -> bool {
        self.budget.is_exhausted(settings, now)
    }

    /// Takes an event in and decides.
    pub fn step(
        &mut self,
        settings: &Blocks,
        is_allowed: impl FnOnce(&SourceKey) -> bool,
        event: Event,
        now: Clock,
    ) -> Decision {
        match event {
            Event::Suspect(_) => Decision::Nothing(Deferral::Concealed),
            Event::Ended(source) => {
                if let Some(Running { until, earlier }) = self.running.remove(&source) {
                    self.budget.release(source);
                    self.remember(source, Past { ended: until.min(now), times: earlier.saturating_add(1) });
                }
                Decision::Noted
            }
            Event::Lifted(source) => {
                if self.running.remove(&source).is_some() {
                    self.budget.release(source);
                }
                self.forget(&source);
                Decision::Noted
            }
            Event::Eligible(_) if settings.max_auto_level < AutoLevel::BlockPrivate => {
                Decision::Nothing(Deferral::Level)
            }
            Event::Eligible(_) if !settings.unproven => Decision::Nothing(Deferral::NoProof),
            Event::Eligible(source) => self.block(settings, is_allowed, source, BlockReason::Unproven, now),
            Event::Proven(_) if settings.max_auto_level < AutoLevel::BlockPrivate => Decision::Nothing(Deferral::Level),
            Event::Proven(source) => self.block(settings, is_allowed, source, BlockReason::Proven, now),
        }
    }

    fn block(
        &mut self,
        settings: &Blocks,
        is_allowed: impl FnOnce(&SourceKey) -> bool,
        source: SourceKey,
        reason: BlockReason,
        now: Clock,
    ) -> Decision {
        if is_allowed(&source) {
            return Decision::Nothing(Deferral::Allowlisted);
        }
        if self.running.contains_key(&source) {
            return Decision::Nothing(Deferral::Blocked);
        }
        if let Err(deferral) = self.budget.charge(settings, source, now) {
            return Decision::Nothing(deferral);
        }
        let earlier = self.earlier(settings, &source, now);
        let until = now.after(length(settings, earlier));
        self.running.insert(source, Running { until, earlier });
        // Block all takes proof of harm, which nothing gives yet: every block is of private ports.
        Decision::Block { source, scope: Scope::Private, until, reason, earlier }
    }

    /// Earlier blocks that count.
    fn earlier(&mut self, settings: &Blocks, source: &SourceKey, now: Clock) -> u32 {
        let Some(past) = self.past.get(source).copied() else { return 0 };
        if now > past.ended.after(settings.recurrence) {
            self.forget(source);
            return 0;
        }
        past.times
    }

    /// What the policy has to say of a source: sentences for people.
    #[must_use]
    pub fn explain(&self, settings: &Blocks, source: &SourceKey, now: Clock) -> Vec<String> {
        let mut sentences = Vec::new();
        let arithmetic = |earlier: u32| {
            let [first, lasts] = [settings.first, length(settings, earlier)].map(duration::format);
            match earlier {
                0 => format!("{first}, its first"),
                _ => format!(
                    "{first} x {}^{earlier} = {lasts} ({earlier} earlier within {}, at most {})",
                    settings.factor,
                    duration::format(settings.recurrence),
                    duration::format(settings.longest)
                ),
            }
        };
        if let Some(running) = self.running.get(source) {
            sentences.push(format!("Its block lasts {}.", arithmetic(running.earlier)));
            sentences.push(format!("The next one would last {}.", arithmetic(running.earlier.saturating_add(1))));
        } else if let Some(past) = self.past.get(source)
            && now <= past.ended.after(settings.recurrence)
        {
            sentences.push(format!(
                "It was blocked {} times; the next block lasts {}.",
                past.times,
                arithmetic(past.times)
            ));
        }
        sentences
    }

    fn remember(&mut self, source: SourceKey, past: Past) {
        self.forget(&source);
        self.past.insert(source, past);
        self.by_end.insert((past.ended, source.0.bytes()), source);
        while self.past.len() > MOST_REMEMBERED {
            let Some((_, oldest)) = self.by_end.pop_first() else { return };
            self.past.remove(&oldest);
        }
    }

    fn forget(&mut self, source: &SourceKey) {
        if let Some(past) = self.past.remove(source) {
            self.by_end.remove(&(past.ended, source.0.bytes()));
        }
    }
}

/// How long a block lasts: the first time `first`, then `factor` times as long each time, at most `longest`.
fn length(settings: &Blocks, earlier: u32) -> Duration {
    let mut length = settings.first.min(settings.longest);
    for _ in 0..earlier {
        if length >= settings.longest || settings.factor <= 1 {
            break;
        }
        length = length.saturating_mul(settings.factor).min(settings.longest);
    }
    length
}
