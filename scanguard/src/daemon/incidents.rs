//! Feeds the incidents with what happens, tells of them, and keeps them. Whoever has something to tell never waits.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scanguard_common::event::Event;
use scanguard_common::session::SessionRecord;
use scanguard_common::source::{KeyRules, SourceKey};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::live::Live;
use crate::incidents::{self, Brief, Change, Deed, Head, Heard, Incidents, Kind, Moment, Record, told};
use crate::kernel::clock;
use crate::policy::Action;
use crate::store::Archive;
use crate::turns;

/// Things that may wait to be heard; more are counted as lost.
const QUEUE: usize = 32_768;
/// Room that is kept for them where few come.
const SPARE: usize = QUEUE / 2;
/// How often what waits is heard: the queue takes some 130,000 a second.
const HEAR: Duration = Duration::from_millis(250);
/// So many are heard before whoever decides gets his turn on this processor: some tens of microseconds.
const IN_TURN: u32 = 64;
/// Every so many times it is looked what opened and closed, and what changed is written.
const TICK: u32 = 4;
/// Every so many of those what is too old is forgotten.
const FORGET: u64 = 600;
/// Changes that may wait for a file that cannot be written; of more the oldest are dropped.
const UNSAVED: usize = 2048;
/// For how long closed incidents are kept.
pub(super) const KEPT: Duration = Duration::from_secs(90 * 86_400);
/// How many incidents are kept.
pub(super) const MOST_KEPT: usize = 10_000;

/// A shared handle on all of it.
#[derive(Clone)]
pub(super) struct Recorder(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    desk: Mutex<Desk>,
    /// Held while changes are collected and written, so that older ones never follow newer ones.
    turn: Mutex<()>,
    /// Where they are kept; none without a daemon.
    archive: Option<Archive>,
    keys: KeyRules,
    /// Where the mode is told; none without a daemon.
    live: Option<Live>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<(Heard, u64)>,
    /// Lost since the start.
    lost: u64,
}

#[derive(Default)]
struct Desk {
    incidents: Incidents,
    /// Of what was lost, what the incidents know of.
    lost: u64,
    /// Room for what waits, empty: who tells of something is not to wait for memory.
    spare: Vec<(Heard, u64)>,
    /// What is to be written.
    unsaved: Vec<Record>,
    failing: bool,
    /// The epoch of the archive in which all that are open were written last.
    epoch: u64,
    /// Times that something was written, or tried to be.
    writings: u64,
}

/// What the metrics show.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Opened since the start.
    pub(super) opened: Vec<(Kind, u64)>,
    /// Open now.
    pub(super) open: u64,
    /// What was lost because it came too fast.
    pub(super) lost: u64,
}

impl Recorder {
    /// Takes up those that were open when an earlier daemon ended, or may be opened again.
    pub(super) fn start(archive: Option<Archive>, keys: KeyRules, live: Option<Live>) -> Self {
        let now = Now::read();
        let since = now.wall.saturating_sub(incidents::LONGEST);
        let kept =
            archive.as_ref().map(|archive| archive.ask(move |store| store.open_incidents(since, incidents::MOST_OPEN)));
        let incidents = match kept {
            Some(Ok((records, next_id))) => Incidents::restore(records, next_id, now.moment(now.ns)),
            Some(Err(error)) => {
                error.complain("incidents of before cannot be read: those that go on begin anew");
                Incidents::default()
            }
            None => Incidents::default(),
        };
        let epoch = archive.as_ref().map_or(0, Archive::epoch);
        let desk = Desk { incidents, epoch, ..Desk::default() };
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            desk: Mutex::new(desk),
            turn: Mutex::default(),
            archive,
            keys,
            live,
        }))
    }

    /// Takes note of an event of the kernel part.
    pub(super) fn note(&self, event: &Event) {
        if let Some(heard) = Heard::of(event) {
            self.push(heard, event.time_ns);
        }
    }

    /// Takes note of what the policy decided.
    pub(super) fn note_action(&self, action: &Action) {
        let (name, reason) = action.labels();
        let (source, scope) = match *action {
            Action::Block { source, scope, .. } | Action::Ask { source, scope, .. } => (source, scope.label()),
            Action::Ended { source, .. } | Action::Deferred { source, .. } => (source, ""),
        };
        let deed = Deed { action: name.into(), scope: scope.into(), reason: reason.into() };
        self.push(Heard::Done { source, deed }, clock::monotonic_coarse_ns());
    }

    /// Takes note of who had sessions, as the kernel part counts them.
    pub(super) fn meet(&self, records: &[SessionRecord]) {
        let mut desk = self.hear();
        let now = Now::read();
        for record in records {
            let last_ns = record.public.last_ns.max(record.restricted.last_ns);
            if last_ns > 0 {
                desk.incidents.hear(&Heard::Met { source: record.source }, now.moment(last_ns));
            }
        }
    }

    fn push(&self, heard: Heard, time_ns: u64) {
        let mut queue = lock(&self.0.queue);
        if queue.waiting.len() < QUEUE {
            queue.waiting.push((heard, time_ns));
        } else {
            queue.lost += 1;
        }
    }

    /// Hears, tells and keeps until the task is dropped.
    pub(super) async fn run(self) {
        let mut beat = interval(HEAR);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beats = 0_u32;
        loop {
            beat.tick().await;
            beats = beats.wrapping_add(1);
            let (recorder, is_tick) = (self.clone(), beats.is_multiple_of(TICK));
            // Off the async threads: a flood may take a while, and so may the disk.
            let turn = move || if is_tick { recorder.tick() } else { drop(recorder.hear()) };
            let _ = spawn_blocking(|| turns::in_the_background(turn)).await;
        }
    }

    /// Hears what waits.
    fn hear(&self) -> MutexGuard<'_, Desk> {
        let mut desk = lock(&self.0.desk);
        // Taken under that lock, so that nothing overtakes it.
        let spare = mem::take(&mut desk.spare);
        let (mut waiting, lost) = {
            let mut queue = lock(&self.0.queue);
            (mem::replace(&mut queue.waiting, spare), queue.lost)
        };
        let now = Now::read();
        if let Some(live) = &self.0.live {
            let mode = live.read().mode_at(SystemTime::now()).0;
            desk.incidents.set_mode(mode);
        }
        // What is urgent is told before what came a moment earlier: a suspect's later contacts before its suspicion.
        waiting.sort_by_key(|(_, time_ns)| *time_ns);
        for (number, (heard, time_ns)) in (1..).zip(waiting.drain(..)) {
            desk.incidents.hear(&heard, now.moment(time_ns));
            if number % IN_TURN == 0 {
                thread::yield_now();
            }
        }
        waiting.shrink_to(SPARE);
        desk.spare = waiting;
        let newly_lost = lost - mem::replace(&mut desk.lost, lost);
        if newly_lost > 0 {
            desk.incidents.lose(newly_lost);
        }
        desk
    }

    /// Looks what opened and closed, tells of it, and writes what changed. Blocks for as long as the disk takes.
    pub(super) fn tick(&self) {
        let _turn = lock(&self.0.turn);
        let unsaved = {
            let mut desk = self.hear();
            let now = Now::read();
            for change in desk.incidents.tick(now.moment(now.ns)) {
                alarm(&change, &self.0.keys);
            }
            let changed = desk.incidents.take_changed();
            desk.unsaved.extend(changed);
            let epoch = self.0.archive.as_ref().map_or(0, Archive::epoch);
            if mem::replace(&mut desk.epoch, epoch) != epoch {
                let open: Vec<u64> = desk.incidents.heads().iter().map(|brief| brief.head.id).collect();
                let all: Vec<Record> = open.into_iter().filter_map(|id| desk.incidents.record(id)).collect();
                desk.unsaved.extend(all);
            }
            let surplus = desk.unsaved.len().saturating_sub(UNSAVED);
            desk.unsaved.drain(..surplus);
            mem::take(&mut desk.unsaved)
        };
        let Some(archive) = &self.0.archive else { return };
        let forget = {
            let mut desk = lock(&self.0.desk);
            desk.writings += 1;
            desk.writings % FORGET == 1
        };
        if unsaved.is_empty() && !forget {
            return;
        }
        let records = unsaved.clone();
        let saved = archive.save(move |store| {
            store.save_incidents(&records)?;
            if forget {
                let before = SystemTime::now().checked_sub(KEPT).unwrap_or(UNIX_EPOCH);
                store.forget_incidents(unix_ms(before), MOST_KEPT)?;
            }
            Ok(())
        });
        let mut desk = lock(&self.0.desk);
        match saved {
            Ok(()) if mem::take(&mut desk.failing) => info!("incidents can be kept again"),
            Ok(()) => {}
            Err(error) => {
                if !mem::replace(&mut desk.failing, true) {
                    error.complain("incidents cannot be kept: they are told from memory until the file can be written");
                }
                // Sums replace sums: what was written already does no harm.
                let later = mem::replace(&mut desk.unsaved, unsaved);
                desk.unsaved.extend(later);
            }
        }
    }

    /// Those that are open or may be opened again, the latest first.
    pub(super) fn open(&self) -> Vec<Brief> {
        self.hear().incidents.heads()
    }

    /// All of one that is open or may be opened again.
    pub(super) fn record(&self, id: u64) -> Option<Record> {
        self.hear().incidents.record(id)
    }

    /// The open incident that a source is in.
    pub(super) fn of_source(&self, source: &SourceKey) -> Option<u64> {
        self.hear().incidents.of_source(source)
    }

    pub(super) fn keys(&self) -> &KeyRules {
        &self.0.keys
    }

    /// What the metrics show.
    pub(super) fn tally(&self) -> Tally {
        let desk = self.hear();
        let Desk { incidents, lost, .. } = &*desk;
        Tally { opened: incidents.opened(), open: incidents.open() as u64, lost: *lost }
    }
}

/// One line in the log for each that opens: the alarm.
fn alarm(change: &Change, keys: &KeyRules) {
    match change {
        Change::Opened(Brief { head, ports }) => {
            let Head { id, cause, subject, totals, .. } = head;
            let (kind, ports) = (cause.kind(), told::named(ports).join(" "));
            let subject = subject.map(|subject| told::display(kind, subject, keys)).unwrap_or_default();
            let (sources, contacts, because) = (totals.sources, totals.contacts, cause.sentence());
            let (kind, cause) = (kind.label(), cause.label());
            if kind == Kind::Campaign.label() {
                warn!(incident = id, kind, cause, subject, sources, contacts, ports, "an incident opens. {because}");
            } else {
                info!(incident = id, kind, cause, subject, sources, contacts, ports, "an incident opens. {because}");
            }
        }
        Change::Joined { part, whole } => {
            info!(incident = part, whole, "an incident turns out to be a part of another")
        }
        Change::Reopened(Head { id, cause, totals, .. }) => {
            let (kind, sources, contacts) = (cause.kind().label(), totals.sources, totals.contacts);
            info!(incident = id, kind, sources, contacts, "an incident that was over goes on");
        }
        Change::Closed(Head { id, totals, .. }) => {
            info!(incident = id, sources = totals.sources, contacts = totals.contacts, "an incident is over");
        }
    }
}

/// One moment on both clocks.
#[derive(Clone, Copy)]
struct Now {
    ns: u64,
    wall: u64,
}

impl Now {
    fn read() -> Self {
        Self { ns: clock::monotonic_ns(), wall: unix_ms(SystemTime::now()) }
    }

    /// A moment of the kernel part's clock.
    fn moment(self, ns: u64) -> Moment {
        const NS_PER_MS: u64 = 1_000_000;
        let (ticks, now) = (ns / NS_PER_MS, self.ns / NS_PER_MS);
        let wall = if ticks <= now { self.wall.saturating_sub(now - ticks) } else { self.wall };
        Moment { ticks, wall }
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
