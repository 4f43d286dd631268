//! What the listeners show of the daemon itself. The main loop writes it, everybody reads it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use prometheus::{Histogram, HistogramOpts};
use scanguard_common::reason::Mode;
use scanguard_common::score::ScoreRules;
use scanguard_common::source::KeyRules;

use super::interfaces::Guarded;
use super::supposed::Supposed;
use crate::api::{LockdownBrief, ProposedKnown, SessionsWatch, WouldHave};
use crate::config::{Config, Feed, Safety, SignalLimits};
use crate::feeds::Listed;
use crate::kernel::Altered;
use crate::known::Fronted;

/// Upper ends of the buckets of `decision_seconds`: a millisecond is the target.
const BUCKETS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0];

/// Everything that changes while it runs.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) mode: Mode,
    /// Since when; none where nobody knows.
    pub(super) mode_since: Option<SystemTime>,
    /// The configuration in force.
    pub(super) config: Arc<Config>,
    /// When enforcing ends unless it is confirmed.
    pub(super) reverts: Option<SystemTime>,
    /// The lockdown that is in force, and when it ends.
    pub(super) lockdown: Option<(SystemTime, LockdownBrief)>,
    /// The mode that the configuration asks for; an operator may have set another.
    pub(super) configured: Mode,
    /// How reading the configuration went last.
    pub(super) config_read: ConfigRead,
    pub(super) keys: KeyRules,
    pub(super) rules: ScoreRules,
    pub(super) safety: Safety,
    pub(super) signals: SignalLimits,
    pub(super) guarded: Vec<Guarded>,
    /// Lists that others make.
    pub(super) feeds: Vec<FeedRead>,
    /// Whose TCP sessions are counted.
    pub(super) sessions: SessionsWatch,
    /// Why some who are logged in are not seen, where it matters.
    pub(super) logins_unseen: Option<String>,
    /// Entries that the kernel held and should not have, or the other way round, when it was last looked.
    pub(super) drift: u64,
    /// When there were such last, and how many in which tables.
    pub(super) drifted: Option<Drifted>,
    /// Entries that were put right, by table.
    pub(super) repairs: BTreeMap<&'static str, u64>,
    /// Whether no more automatic blocks are made now.
    pub(super) breaker_open: bool,
    /// Questions that wait for a person.
    pub(super) pending: u64,
    /// Where most sessions come from, if that is few networks.
    pub(super) fronted: Option<Fronted>,
    /// Clients that may be worth adding to those who are known.
    pub(super) known_proposed: Vec<ProposedKnown>,
    /// What enforcing would have done.
    pub(super) would_have: WouldHave,
    /// Decisions by action and reason.
    pub(super) decisions: BTreeMap<(&'static str, &'static str), u64>,
}

/// When the configuration was put in force last, and whether the latest attempt to read it anew succeeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ConfigRead {
    pub(super) in_force_since: SystemTime,
    pub(super) succeeded: bool,
}

impl ConfigRead {
    /// It was put in force now.
    pub(super) fn now() -> Self {
        Self { in_force_since: SystemTime::now(), succeeded: true }
    }
}

/// A feed as it was read last.
#[derive(Clone, Debug)]
pub(super) struct FeedRead {
    pub(super) feed: Feed,
    pub(super) prefixes: u64,
    pub(super) read_at: SystemTime,
}

impl FeedRead {
    pub(super) fn of(listed: &Listed) -> Self {
        Self { feed: listed.feed.clone(), prefixes: listed.len() as u64, read_at: listed.read_at }
    }
}

/// What somebody else altered.
#[derive(Clone, Debug)]
pub(super) struct Drifted {
    /// When it was put right.
    pub(super) at: SystemTime,
    /// Entries by table.
    pub(super) tables: Vec<(&'static str, u64)>,
}

impl State {
    /// Since when the mode at a time has been in force.
    pub(super) fn mode_since_at(&self, now: SystemTime) -> Option<SystemTime> {
        self.reverts.filter(|reverts| *reverts <= now).or(self.mode_since)
    }

    /// The mode at a time, and when it ends: the kernel part goes back to observing on time, the main loop takes note a little later.
    pub(super) fn mode_at(&self, now: SystemTime) -> (Mode, Option<SystemTime>) {
        match self.reverts {
            Some(reverts) if reverts <= now => (Mode::Observe, None),
            reverts => (self.mode, reverts),
        }
    }
}

impl State {
    /// The lockdown that is in force at a time: the kernel part ends it on time, the main loop takes note a little later.
    pub(super) fn lockdown_at(&self, now: SystemTime) -> Option<&LockdownBrief> {
        self.lockdown.as_ref().filter(|(until, _)| now < *until).map(|(_, brief)| brief)
    }
}

/// A shared handle on it.
#[derive(Clone)]
pub(super) struct Live {
    state: Arc<RwLock<State>>,
    /// From the packet to what was decided about its source.
    decision_seconds: Histogram,
    /// Whom enforcing would have acted on.
    supposed: Arc<Mutex<Supposed>>,
}

impl Live {
    pub(super) fn new(state: State) -> anyhow::Result<Self> {
        let options = HistogramOpts::new(
            "scanguard_decision_seconds",
            "Seconds from the packet that gave the reason to the decision in force.",
        );
        let decision_seconds = Histogram::with_opts(options.buckets(BUCKETS.to_vec()))?;
        Ok(Self { state: Arc::new(RwLock::new(state)), decision_seconds, supposed: Arc::default() })
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whom enforcing would have acted on.
    pub(super) fn supposed(&self) -> MutexGuard<'_, Supposed> {
        self.supposed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what somebody else altered in the kernel's tables, and was put right.
    pub(super) fn drifted(&self, altered: &[Altered]) {
        let tables: Vec<(&'static str, u64)> =
            altered.iter().map(|Altered { map, missing, foreign }| (*map, missing + foreign)).collect();
        self.change(|state| {
            for (map, entries) in &tables {
                *state.repairs.entry(map).or_default() += entries;
            }
            state.drifted = Some(Drifted { at: SystemTime::now(), tables });
        });
    }

    /// Counts a decision by action and reason.
    pub(super) fn decided(&self, labels: (&'static str, &'static str)) {
        self.change(|state| *state.decisions.entry(labels).or_default() += 1);
    }

    /// Notes how long it took from the packet to the decision in force.
    pub(super) fn took(&self, nanoseconds: u64) {
        self.decision_seconds.observe(Duration::from_nanos(nanoseconds).as_secs_f64());
    }

    pub(super) fn decision_seconds(&self) -> Histogram {
        self.decision_seconds.clone()
    }
}
