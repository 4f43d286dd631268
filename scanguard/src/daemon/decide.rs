//! Carries the policy out: events in, blocks at the desk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use scanguard_common::reason::{Level, Mode};
use scanguard_common::source::{KeyRules, SourceKey};
use tokio::select;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::{info, warn};

use super::incidents::Recorder;
use super::live::Live;
use super::stacks::{Looked, StackWatch};
use crate::api::{WhyBehind, WouldHave};
use crate::config::{AutoLevel, Blocks};
use crate::duration;
use crate::kernel::clock::{self, WallClock};
use crate::known::Acquainted;
use crate::operator::{Asked, AutomaticBlock, Desk, NewBlock, Question};
use crate::policy::{
    Action, BlockReason, Clock, Event, Explanation, Facts, KeptDecoy, KeptEnd, Lifter, Policy, RunningBlock, harm,
};
use crate::store::{self, KeptRecurrence};

/// Events that may wait in each lane; more are counted as lost. Those are mostly of sources that go on, and tell of
/// themselves again.
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

/// In which of two queues an event waits: noise is not to push out what proves something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lane {
    /// What proves that a source is really there. It is decided first.
    Proofs,
    /// Everything else.
    Rest,
}

impl Lane {
    const fn of(event: &Event) -> Self {
        match event {
            Event::Completed { .. } => Self::Proofs,
            _ => Self::Rest,
        }
    }
}

/// Events that found their lane full, since the start: nothing was decided on them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct LostEvents {
    pub(super) proofs: u64,
    pub(super) rest: u64,
}

/// Tells the policy. Cheap to clone, never waits.
#[derive(Clone)]
pub(super) struct Informant {
    proofs: mpsc::Sender<Told>,
    rest: mpsc::Sender<Told>,
    lost: Arc<[AtomicU64; 2]>,
}

/// The other end.
struct Lanes {
    proofs: mpsc::Receiver<Told>,
    rest: mpsc::Receiver<Told>,
}

impl Informant {
    fn new() -> (Self, Lanes) {
        let (proofs, proofs_told) = mpsc::channel(QUEUE);
        let (rest, rest_told) = mpsc::channel(QUEUE);
        (Self { proofs, rest, lost: Arc::default() }, Lanes { proofs: proofs_told, rest: rest_told })
    }

    pub(super) fn tell(&self, event: Event, time_ns: u64) {
        let lane = Lane::of(&event);
        let sender = match lane {
            Lane::Proofs => &self.proofs,
            Lane::Rest => &self.rest,
        };
        if let Err(TrySendError::Full(_)) = sender.try_send(Told { event, time_ns }) {
            self.lost[lane as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that found their lane full.
    pub(super) fn lost(&self) -> LostEvents {
        let lost = |lane: Lane| self.lost[lane as usize].load(Ordering::Relaxed);
        LostEvents { proofs: lost(Lane::Proofs), rest: lost(Lane::Rest) }
    }
}

impl Lanes {
    /// The next event, those that prove something first. Cancel safe.
    async fn next(&mut self) -> Option<Told> {
        select! {
            biased;
            Some(told) = self.proofs.recv() => Some(told),
            told = self.rest.recv() => told,
        }
    }
}

/// What the policy has to say of a source.
pub(super) struct Explained {
    /// How it came to what is done and what comes next, a sentence each.
    pub(super) policy: Vec<String>,
    /// Who is taken to be behind it.
    pub(super) behind: WhyBehind,
    /// The ports on which it completed decoys lately, and when.
    pub(super) decoys: Vec<(u16, SystemTime)>,
}

/// The policy at work.
pub(super) struct Decider {
    policy: Policy,
    settings: Blocks,
    /// Networks of which many people share each address.
    shared: Vec<IpNetwork>,
    told: Lanes,
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
    /// How the wall clock is set, as far as the policy was told.
    clock: WallClock,
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
        let (informant, told) = Informant::new();
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
        let now = SystemTime::now();
        let policy = Policy::restore(&settings, history, running, decoys, clock_of(now));
        Self {
            policy,
            settings,
            shared,
            told,
            informant,
            stacks: StackWatch::new(keys),
            waiting: VecDeque::new(),
            recorder,
            live,
            decoys_unkept: false,
            decoys_kept: None,
            forgotten: None,
            clock: WallClock::at(now, clock::monotonic_ns()),
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
            told = told.next() => told.map(Due::Told),
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
    pub(super) fn saw(&mut self, source: SourceKey, looked: Looked) {
        self.stacks.saw(source, looked, Instant::now());
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
        if follow(&mut self.policy, &mut self.clock, now, clock::monotonic_ns()) {
            // What is kept is by the clock as it is now.
            desk.replace_recurrences(self.policy.history().map(|past| kept_end(past, desk)).collect());
            self.decoys_unkept = true;
        }
        let facts = event.source().map(|source| self.facts(desk, source, event, now)).unwrap_or_default();
        let actions = self.policy.step(&self.settings, &facts, event, clock_of(now));
        let mut carried_out = Vec::with_capacity(actions.len());
        for action in actions.iter().copied() {
            if !self.carry_out(action, time_ns, desk, now) {
                continue;
            }
            self.live.decided(action.labels());
            self.recorder.note_action(&action);
            carried_out.push(action);
        }
        self.suppose(event, &carried_out, desk);
        let ended: Vec<SourceKey> = carried_out
            .iter()
            .filter_map(|action| if let Action::Ended { source, .. } = action { Some(*source) } else { None })
            .collect();
        // What is remembered of blocks changes when one ends, and is forgotten in time.
        let kept = ended.iter().filter_map(|source| Some(kept_end(self.policy.past_end(source)?, desk))).collect();
        desk.keep_recurrences(kept);
        self.decoys_unkept |= matches!(event, Event::Completed { .. });
        if self.decoys_unkept && self.decoys_kept.is_none_or(|kept| kept.elapsed() >= DECOYS_EVERY) {
            self.keep_decoys(desk);
        }
        carried_out
    }

    /// Does what the policy decided. False where that did not come to be: it is neither counted nor told of then.
    fn carry_out(&mut self, action: Action, time_ns: Option<u64>, desk: &mut Desk, now: SystemTime) -> bool {
        match action {
            Action::Block { source, scope, lasts, reason, .. } => {
                let Some(until) = now.checked_add(lasts) else { return false };
                let block = NewBlock { source, scope, until, reason: reason.label().to_owned() };
                match desk.block_by_policy(block, now) {
                    Ok(Some(since_ns)) => {
                        let (scope, lasts) = (scope.label(), duration::format(lasts));
                        let took_ns = time_ns.map(|time_ns| since_ns.saturating_sub(time_ns));
                        if let Some(took_ns) = took_ns {
                            self.live.took(took_ns);
                        }
                        let took_us = took_ns.map(|took_ns| took_ns / 1_000);
                        info!(source = desk.named(source), scope, reason = reason.label(), lasts, took_us, "blocked");
                        true
                    }
                    // An operator's block is in force already, or it came onto the allowlist meanwhile.
                    Ok(None) => {
                        self.take_back(source, desk, now);
                        false
                    }
                    Err(error) => {
                        warn!(%error, source = desk.named(source), "cannot block");
                        self.take_back(source, desk, now);
                        false
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
                match desk.ask(source, question) {
                    Asked::New => info!(
                        source = desk.named(source),
                        scope = scope.label(),
                        doubt = why.label(),
                        people,
                        "a block waits for a person: `scanguard pending list` shows why"
                    ),
                    Asked::Waits => {}
                    Asked::NoRoom => {
                        info!(
                            source = desk.named(source),
                            scope = scope.label(),
                            "nobody is asked about a block: too many of its network wait"
                        );
                        return false;
                    }
                }
                true
            }
            Action::Ended { .. } | Action::Deferred { .. } => true,
        }
    }

    /// Keeps what was completed since decoys were last kept.
    pub(super) fn keep_all(&mut self, desk: &mut Desk) {
        if self.decoys_unkept {
            self.keep_decoys(desk);
        }
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
            let acquainted = desk.acquainted(&source);
            more.with_sessions += u64::from(acquainted != Acquainted::default());
            let level = if count { Level::Conceal } else { Level::Block };
            self.live.supposed().note(source, level, acquainted);
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

    /// All of it; whether a session backs what others say only where that is asked for, or a feed says so much. Of
    /// whom it was not looked at the sessions, for whatever reason, several people count as behind it.
    fn all_facts(&self, desk: &Desk, source: &SourceKey, signalled: bool, now: SystemTime) -> Facts {
        let facts = desk.facts_of(source, &self.shared, now);
        let backed = (signalled || facts.feed == Some(AutoLevel::BlockAll)) && desk.is_backed(source);
        let facts = Facts { fronted: self.live.read().fronted.is_some(), backed, ..facts };
        with_stacks(facts, self.stacks.known(source).unwrap_or(Looked::Unseen))
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
    pub(super) fn explain(&self, desk: &Desk, source: &SourceKey, now_seen: Option<Looked>) -> Explained {
        let now = SystemTime::now();
        let shown = self.shown(now);
        let most = match (now_seen, self.stacks.known(source)) {
            (Some(Looked::Seen(now)), Some(Looked::Seen(before))) => Some(Looked::Seen(now.max(before))),
            (Some(seen @ Looked::Seen(_)), _) => Some(seen),
            (unseen, before) => before.or(unseen),
        };
        // Nothing is decided here: of whom nobody looked at the sessions nothing is said of them.
        let facts = with_stacks(self.all_facts(desk, source, false, now), most.unwrap_or(Looked::Seen(0)));
        let stacks = most.and_then(|looked| match looked {
            Looked::Seen(count) => Some(count),
            Looked::Unseen => None,
        });
        let Explanation { mut arithmetic, next_step } =
            self.policy.explain(&self.settings, desk.decoys_offered(), &facts, source, shown);
        let shared_by = desk.sharing(source, &self.shared);
        if !shared_by.is_empty() {
            arithmetic.push(format!("Many people share its address, by {}.", shared_by.join(", ")));
        }
        arithmetic.push(next_step);
        let decoys = self.policy.decoys_of(source, shown);
        Explained {
            policy: arithmetic,
            behind: WhyBehind { people: harm::people(&facts), stacks, shared_by },
            decoys: decoys.into_iter().map(|(port, completed)| (port, time_of(completed))).collect(),
        }
    }

    /// What the wall clock would show now, as it was set when the policy was last told.
    fn shown(&self, now: SystemTime) -> Clock {
        let (mut clock, ns) = (self.clock, clock::monotonic_ns());
        let was_set = clock.follow(WallClock::at(now, ns)).is_some();
        clock_of(if was_set { self.clock.time(ns) } else { now })
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

/// Tells the policy that the wall clock was set, if it was: it shows `now` at this moment of the kernel's clock. True if so.
fn follow(policy: &mut Policy, clock: &mut WallClock, now: SystemTime, ns: u64) -> bool {
    let expected = clock.time(ns);
    let was_set = clock.follow(WallClock::at(now, ns)).is_some();
    if was_set {
        policy.clock_set(clock_of(expected), clock_of(now));
    }
    was_set
}

fn with_stacks(facts: Facts, looked: Looked) -> Facts {
    match looked {
        Looked::Seen(stacks) => Facts { stacks, unseen: false, ..facts },
        Looked::Unseen => Facts { stacks: 0, unseen: true, ..facts },
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(number: u32) -> SourceKey {
        SourceKey(IpAddr::from(std::net::Ipv4Addr::from(0xc633_0000 + number)).into())
    }

    #[test]
    fn a_block_that_runs_while_the_wall_clock_is_set_lasts_as_long_as_it_was_to() {
        const DAY: Duration = Duration::from_secs(86_400);
        let (settings, scanner) = (Blocks::default(), source(1));
        let noon = UNIX_EPOCH + 20_000 * DAY;
        let second_ns = |seconds: u64| 1_000_000_000 * (1_000 + seconds);
        for set_to in [noon + DAY, noon - DAY, noon + 400 * DAY, noon] {
            let (mut policy, mut clock) = (Policy::default(), WallClock::at(noon, second_ns(0)));
            let completed = |port| Event::Completed { source: scanner, port };
            let actions: Vec<Action> = [23, 8081, 9000, 9001]
                .into_iter()
                .flat_map(|port| policy.step(&settings, &Facts::default(), completed(port), clock_of(noon)))
                .collect();
            assert!(matches!(actions[..], [Action::Block { .. }]), "{actions:?}");
            // A minute later it is another day. What there is to be kept is by that.
            let mut step = |seconds: u64| {
                let now = set_to + Duration::from_secs(seconds - 60);
                let was_set = follow(&mut policy, &mut clock, now, second_ns(seconds));
                let ended = policy.step(&settings, &Facts::default(), Event::Tick, clock_of(now));
                (was_set, ended, policy.running().map(|block| time_of(block.until)).collect::<Vec<_>>())
            };
            let until = set_to + settings.first - Duration::from_secs(60);
            assert_eq!(step(60), (true, vec![], vec![until]), "{set_to:?}");
            let last = settings.first.as_secs();
            assert_eq!(step(last - 1), (false, vec![], vec![until]), "{set_to:?}");
            let (_, ended, running) = step(last);
            assert!(matches!(ended[..], [Action::Ended { .. }]) && running.is_empty(), "{set_to:?}: {ended:?}");
            assert_eq!(policy.history().map(|past| time_of(past.ended)).collect::<Vec<_>>(), [until], "{set_to:?}");
        }
    }

    #[tokio::test]
    async fn noise_pushes_out_no_proof_and_what_is_lost_is_counted_by_lane() {
        let (informant, mut lanes) = Informant::new();
        let queue = QUEUE as u32;
        (0..queue + 7).for_each(|number| informant.tell(Event::Eligible { source: source(number) }, 1));
        informant.tell(Event::Completed { source: source(1), port: 23 }, 2);
        assert_eq!(informant.lost(), LostEvents { proofs: 0, rest: 7 });
        let first = lanes.next().await.expect("an event");
        assert!(matches!(first.event, Event::Completed { .. }), "proofs come first: {first:?}");
        assert!(matches!(lanes.next().await.expect("an event").event, Event::Eligible { .. }));
        (0..queue + 3).for_each(|number| informant.tell(Event::Completed { source: source(number), port: 23 }, 3));
        assert_eq!(informant.lost(), LostEvents { proofs: 3, rest: 7 });
    }
}
