//! Carries the policy out: events in, blocks at the desk.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use scanguard_common::reason::Mode;
use scanguard_common::source::{KeyRules, SourceKey};
use tokio::select;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::incidents::Recorder;
use super::live::Live;
use super::stacks::StackWatch;
use crate::api::{WhyBehind, WouldHave};
use crate::config::{AutoLevel, Blocks};
use crate::duration;
use crate::known::Acquainted;
use crate::operator::{AutomaticBlock, Desk, NewBlock, Question};
use crate::policy::{
    Action, BlockReason, Clock, Event, Explanation, Facts, KeptDecoy, KeptEnd, Lifter, Policy, RunningBlock, harm,
};
use crate::store::{self, KeptRecurrence};

/// Events that may wait. More of them are of sources that go on, and tell of themselves again.
const QUEUE: usize = 4096;

/// Completed decoys are kept so often at most: a thousand scanners complete eight thousand in a second.
const DECOYS_EVERY: Duration = Duration::from_secs(1);

/// What is remembered no longer is taken out of what is kept so often at most.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Something for the policy, and when the packet came that it is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) event: Event,
    pub(super) time_ns: u64,
}

/// What there is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// Something was told.
    Told(Told),
    /// It was looked at the sessions of those of whom something was told before.
    Looked,
}

/// Tells the policy. Cheap to clone, never waits.
#[derive(Clone)]
pub(super) struct Informant(mpsc::Sender<Told>);

impl Informant {
    pub(super) fn tell(&self, event: Event, time_ns: u64) {
        let _ = self.0.try_send(Told { event, time_ns });
    }
}

/// The policy at work.
pub(super) struct Decider {
    policy: Policy,
    settings: Blocks,
    /// Networks of which many people share each address.
    shared: Vec<IpNetwork>,
    told: mpsc::Receiver<Told>,
    informant: Informant,
    /// Which stacks the sessions show of those who may be blocked.
    stacks: StackWatch,
    /// What was told of sources at which it was not looked yet, in that order.
    waiting: VecDeque<Told>,
    recorder: Recorder,
    live: Live,
    /// Whether decoys were completed that are not kept yet, and when they were last.
    decoys_unkept: bool,
    decoys_kept: Option<Instant>,
    /// When blocks that do not count any more were last taken out of what is kept.
    forgotten: Option<Instant>,
}

impl Decider {
    /// Takes up where an earlier daemon left.
    pub(super) fn start(
        desk: &Desk,
        settings: Blocks,
        (keys, shared): (KeyRules, Vec<IpNetwork>),
        recorder: Recorder,
        live: Live,
    ) -> Self {
        let (sender, told) = mpsc::channel(QUEUE);
        let history = desk.recurrences().filter_map(|KeptRecurrence { source, ended, times }| {
            Some(KeptEnd { source: desk.source_named(source).ok()?, ended: Clock(*ended), times: *times })
        });
        let running = desk.automatic_blocks().into_iter().map(|block| {
            let AutomaticBlock { source, since, until, scope, reason } = block;
            let reason = reason.and_then(|label| BlockReason::from_label(&label)).unwrap_or(BlockReason::Score);
            RunningBlock { source, since: clock_of(since), until: clock_of(until), scope, reason }
        });
        let decoys = desk.decoys().iter().map(|decoy| {
            let store::KeptDecoy { source, port, completed } = *decoy;
            KeptDecoy { source, port, completed: Clock(completed) }
        });
        let policy = Policy::restore(&settings, history, running, decoys, clock_of(SystemTime::now()));
        Self {
            policy,
            settings,
            shared,
            told,
            informant: Informant(sender),
            stacks: StackWatch::new(keys),
            waiting: VecDeque::new(),
            recorder,
            live,
            decoys_unkept: false,
            decoys_kept: None,
            forgotten: None,
        }
    }

    pub(super) fn informant(&self) -> Informant {
        self.informant.clone()
    }

    pub(super) fn set(&mut self, settings: Blocks, keys: KeyRules, shared: Vec<IpNetwork>) {
        self.settings = settings;
        self.shared = shared;
        self.stacks.set_keys(keys);
    }

    /// Waits for something to decide. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Due> {
        let Self { told, stacks, .. } = self;
        select! {
            told = told.recv() => told.map(Due::Told),
            () = stacks.looked() => Some(Due::Looked),
        }
    }

    /// Decides.
    pub(super) fn decide(&mut self, due: Due, desk: &mut Desk) {
        match due {
            Due::Told(told) => {
                if self.may_block(desk, told.event) {
                    self.watch(told.event);
                }
                let is_unseen = told.event.source().is_some_and(|source| self.stacks.is_awaited(source));
                if is_unseen && self.waiting.len() < QUEUE {
                    self.waiting.push_back(told);
                } else {
                    self.decide_on(told, desk);
                }
            }
            Due::Looked => {
                let (waiting, seen): (VecDeque<Told>, VecDeque<Told>) = std::mem::take(&mut self.waiting)
                    .into_iter()
                    .partition(|told| told.event.source().is_some_and(|source| self.stacks.is_awaited(source)));
                self.waiting = waiting;
                seen.into_iter().for_each(|told| self.decide_on(told, desk));
            }
        }
    }

    fn decide_on(&mut self, told: Told, desk: &mut Desk) {
        let Told { event, time_ns } = told;
        self.step(event, Some(time_ns), desk, SystemTime::now());
    }

    fn watch(&mut self, event: Event) {
        if let Some(source) = event.source() {
            self.stacks.watch(*source, Instant::now());
        }
    }

    /// It was looked, elsewhere, how many stacks the sessions of a source show.
    pub(super) fn saw(&mut self, source: SourceKey, stacks: u32) {
        self.stacks.saw(source, stacks, Instant::now());
    }

    /// Decides on something that no packet tells, and says what was decided.
    pub(super) fn hear(&mut self, event: Event, desk: &mut Desk, now: SystemTime) -> Vec<Action> {
        self.step(event, None, desk, now)
    }

    /// Takes note of blocks that are over, or were lifted, and of the time.
    pub(super) fn catch_up(&mut self, desk: &mut Desk, now: SystemTime) {
        self.step(Event::Tick, None, desk, now);
        let running = self.policy.running().map(|block| block.source);
        let lifted: Vec<SourceKey> = running.filter(|source| !desk.is_blocked_by_policy(source)).collect();
        for source in lifted {
            let by = if desk.spares(&source) { Lifter::Allowlist } else { Lifter::Operator };
            self.step(Event::Lifted { source, by }, None, desk, now);
        }
        self.forget(desk);
        let breaker_open = self.policy.breaker_open(&self.settings, clock_of(now));
        self.live.change(|state| state.breaker_open = breaker_open);
    }

    fn step(&mut self, event: Event, time_ns: Option<u64>, desk: &mut Desk, now: SystemTime) -> Vec<Action> {
        let facts = event.source().map(|source| self.facts(desk, source, event, now)).unwrap_or_default();
        let actions = self.policy.step(&self.settings, &facts, event, clock_of(now));
        self.suppose(event, &actions, desk);
        let mut ended = Vec::new();
        for action in actions.iter().copied() {
            self.live.decided(action.labels());
            self.recorder.note_action(&action);
            match action {
                Action::Block { source, scope, lasts, reason, .. } => {
                    let Some(until) = now.checked_add(lasts) else { continue };
                    let block = NewBlock { source, scope, until, reason: reason.label().to_owned() };
                    match desk.block_by_policy(block, now) {
                        Ok(Some(since_ns)) => {
                            let (scope, lasts) = (scope.label(), duration::format(lasts));
                            let took_ns = time_ns.map(|time_ns| since_ns.saturating_sub(time_ns));
                            if let Some(took_ns) = took_ns {
                                self.live.took(took_ns);
                            }
                            let took_us = took_ns.map(|took_ns| took_ns / 1_000);
                            info!(
                                source = desk.named(source),
                                scope,
                                reason = reason.label(),
                                lasts,
                                took_us,
                                "blocked"
                            );
                        }
                        // An operator's block is in force already, or it came onto the allowlist meanwhile.
                        Ok(None) => self.take_back(source, desk, now),
                        Err(error) => {
                            warn!(%error, source = desk.named(source), "cannot block");
                            self.take_back(source, desk, now);
                        }
                    }
                }
                Action::Ask { source, scope, reason, why, lasts, people, until } => {
                    let ports = self.policy.decoys().filter(|decoy| decoy.source == source).map(|decoy| decoy.port);
                    let question = Question {
                        scope,
                        reason,
                        doubt: why,
                        people,
                        lasts,
                        ports: ports.collect(),
                        since: now,
                        expires: time_of(until),
                    };
                    if desk.ask(source, question) {
                        info!(
                            source = desk.named(source),
                            scope = scope.label(),
                            doubt = why.label(),
                            people,
                            "a block waits for a person: `scanguard pending list` shows why"
                        );
                    }
                }
                Action::Ended { source, .. } => ended.push(source),
                Action::Deferred { .. } => {}
            }
        }
        // What is remembered of blocks changes when one ends, and is forgotten in time.
        let kept = ended.iter().filter_map(|source| Some(kept_end(self.policy.past_end(source)?, desk))).collect();
        desk.keep_recurrences(kept);
        self.decoys_unkept |= matches!(event, Event::Completed { .. });
        if self.decoys_unkept && self.decoys_kept.is_none_or(|kept| kept.elapsed() >= DECOYS_EVERY) {
            self.keep_decoys(desk);
        }
        actions
    }

    /// Keeps completed decoys, so that those before a restart count after it.
    fn keep_decoys(&mut self, desk: &mut Desk) {
        let decoys = self.policy.decoys().map(|decoy| {
            let KeptDecoy { source, port, completed } = decoy;
            store::KeptDecoy { source, port, completed: completed.0 }
        });
        let decoys: Vec<_> = decoys.collect();
        desk.keep_decoys(decoys);
        (self.decoys_unkept, self.decoys_kept) = (false, Some(Instant::now()));
    }

    /// Counts what enforcing would have done, while nothing is enforced.
    fn suppose(&self, event: Event, actions: &[Action], desk: &Desk) {
        if desk.mode_now() != Mode::Observe {
            return;
        }
        let hidden = matches!(event, Event::Suspect { .. }).then(|| event.source().copied()).flatten();
        let blocked = actions.iter().filter_map(|action| match action {
            Action::Block { source, .. } => Some(*source),
            Action::Ask { .. } | Action::Ended { .. } | Action::Deferred { .. } => None,
        });
        let mut more = WouldHave::default();
        for (source, count) in
            hidden.map(|source| (source, true)).into_iter().chain(blocked.map(|source| (source, false)))
        {
            *(if count { &mut more.hidden } else { &mut more.blocked }) += 1;
            more.with_sessions += u64::from(desk.acquainted(&source) != Acquainted::default());
        }
        if more != WouldHave::default() {
            self.live.change(|state| {
                state.would_have.hidden += more.hidden;
                state.would_have.blocked += more.blocked;
                state.would_have.with_sessions += more.with_sessions;
            });
        }
    }

    /// Whether an event may have its source blocked from public ports, or a person asked for that.
    fn may_block(&self, desk: &Desk, event: Event) -> bool {
        match event {
            Event::Completed { .. } | Event::Signal { proof: true, .. } => true,
            Event::Eligible { source } => self.policy.is_proven(&source),
            Event::Suspect { source } => desk.feed_of(&source) == Some(AutoLevel::BlockAll),
            _ => false,
        }
    }

    /// What is known of the source of an event: all of it where proof may be decided on, else what is cheap.
    fn facts(&self, desk: &Desk, source: &SourceKey, event: Event, now: SystemTime) -> Facts {
        let allowed = desk.spares(source);
        let decides = match event {
            Event::Eligible { .. } if self.settings.unproven => true,
            Event::Suspect { .. } => desk.feed_of(source).is_some_and(|feed| feed > AutoLevel::Conceal),
            _ => self.may_block(desk, event),
        };
        if allowed || !decides {
            return Facts { allowed, ..Facts::default() };
        }
        self.all_facts(desk, source, matches!(event, Event::Signal { .. }), now)
    }

    /// All of it; whether a session backs what others say only where that is asked for, or a feed says so much.
    fn all_facts(&self, desk: &Desk, source: &SourceKey, signalled: bool, now: SystemTime) -> Facts {
        let facts = desk.facts_of(source, &self.shared, now);
        let backed = (signalled || facts.feed == Some(AutoLevel::BlockAll)) && desk.is_backed(source);
        let stacks = self.stacks.count(source).unwrap_or(0);
        Facts { fronted: self.live.read().fronted.is_some(), backed, stacks, ..facts }
    }

    /// The block did not come to be.
    fn take_back(&mut self, source: SourceKey, desk: &Desk, now: SystemTime) {
        let by = if desk.spares(&source) { Lifter::Allowlist } else { Lifter::Operator };
        let lifted = Event::Lifted { source, by };
        let _ = self.policy.step(&self.settings, &Facts::default(), lifted, clock_of(now));
    }

    /// Whether a source is under an automatic block.
    pub(super) fn is_blocked(&self, source: &SourceKey) -> bool {
        self.policy.is_blocked(source)
    }

    /// What the policy has to say of a source, and who is taken to be behind it. It may have been looked at its stacks just now.
    pub(super) fn explain(&self, desk: &Desk, source: &SourceKey, stacks: Option<u32>) -> (Vec<String>, WhyBehind) {
        let now = SystemTime::now();
        let facts = self.all_facts(desk, source, false, now);
        let stacks = stacks.max(self.stacks.count(source));
        let facts = Facts { stacks: stacks.unwrap_or(0), ..facts };
        let Explanation { mut arithmetic, next_step } =
            self.policy.explain(&self.settings, &facts, source, clock_of(now));
        let shared_by = desk.sharing(source, &self.shared);
        if !shared_by.is_empty() {
            arithmetic.push(format!("Many people share its address, by {}.", shared_by.join(", ")));
        }
        arithmetic.push(next_step);
        (arithmetic, WhyBehind { people: harm::people(&facts), stacks, shared_by })
    }

    /// Takes out of what is kept what is remembered no longer; in flocks, because all of it is written.
    fn forget(&mut self, desk: &mut Desk) {
        let is_due = self.forgotten.is_none_or(|last| last.elapsed() >= FORGET_EVERY);
        if is_due && desk.recurrences().len() > self.policy.history().count() {
            self.forgotten = Some(Instant::now());
            desk.replace_recurrences(self.policy.history().map(|past| kept_end(past, desk)).collect());
        }
    }
}

fn kept_end(past: KeptEnd, desk: &Desk) -> KeptRecurrence {
    let KeptEnd { source, ended, times } = past;
    KeptRecurrence { source: desk.named(source), ended: ended.0, times }
}

fn time_of(clock: Clock) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(clock.0)).unwrap_or(UNIX_EPOCH)
}

fn clock_of(time: SystemTime) -> Clock {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Clock(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
