//! What waits for the thread of the state file: writes and questions in their order, and records of what happened.
//!
//! Whoever adds something waits neither for the disk nor for room. A write that finds no room is given up, and counts
//! as one that failed: whoever asks whether it is saved is told no, and everything is written anew once the disk takes
//! it. Records wait in the [`Journal`] instead.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::archivist::Archivist;
use super::journal::{Entry, Journal, Limits};

/// Writes that may wait for the disk. A disk that is that far behind is taken for one that fails.
pub(super) const WRITES: usize = 4096;
/// Questions that may wait besides.
pub(super) const QUESTIONS: usize = 256;
/// Runs of failed writes that are told apart; of more, the oldest two become one.
const MOST_RUNS: usize = 1024;

/// What the thread does, and what became of it.
pub(super) type Work = Box<dyn FnOnce(&mut Archivist) -> Outcome + Send>;

/// What became of some work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// It is done: what it was to write is on the disk.
    Done,
    /// What it was to write is not on the disk.
    Failed,
    /// Everything that was decided when it was ordered is on the disk, whatever became of earlier writes.
    AllSaved,
}

/// What is ordered: for lack of room one is given up sooner than the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Write,
    Question,
}

/// A moment in the order of writes and records: what was ordered before it has lower numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mark {
    write: u64,
    record: u64,
}

/// How far the thread has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Progress {
    /// The last work that it did.
    work: u64,
    /// The last record that it tried to write, and the last that it wrote.
    tried: u64,
    recorded: u64,
}

/// What the thread is to do next.
pub(super) enum Next {
    Work(u64, Work),
    /// New records wait, or other limits are set.
    LookAround,
    /// Nothing came in time.
    Nothing,
    /// Nobody can order anything any more, and all is done.
    End,
}

#[derive(Default)]
struct Inner {
    works: VecDeque<(u64, Work)>,
    /// How many of them are questions.
    questions: usize,
    /// The number of the last order.
    ordered: u64,
    failed: Runs,
    /// Writes for which there was no room, since that was asked last.
    overrun: u64,
    /// The number of the work that the thread is at.
    doing: Option<u64>,
    journal: Journal,
    /// Records that were lost.
    lost: Runs,
    limits: Option<Limits>,
    closed: bool,
    ended: bool,
}

/// The queue, for both sides.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { inner: Mutex::default(), wake: Condvar::new(), progress: watch::Sender::new(Progress::default()) }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders something. False where there is no room for it, or nobody to do it.
    pub(super) fn order(&self, kind: Kind, work: Work) -> bool {
        let mut inner = self.lock();
        inner.ordered += 1;
        let number = inner.ordered;
        let has_room = match kind {
            Kind::Write => inner.works.len() - inner.questions < WRITES,
            Kind::Question => inner.questions < QUESTIONS,
        };
        if inner.ended || !has_room {
            if kind == Kind::Write {
                inner.failed.add(number);
                inner.overrun += 1;
            }
            drop(inner); // What it holds may take a while to drop.
            return false;
        }
        inner.questions += usize::from(kind == Kind::Question);
        let work: Work = match kind {
            Kind::Write => work,
            Kind::Question => Box::new(move |archivist| {
                archivist.queue.lock().questions -= 1;
                work(archivist)
            }),
        };
        inner.works.push_back((number, work));
        drop(inner);
        self.wake.notify_one();
        true
    }

    /// Adds a record of what happened.
    pub(super) fn record(&self, entry: Entry) {
        let mut inner = self.lock();
        if let Some(lost) = inner.journal.push(entry) {
            inner.lost.add(lost);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Sets for how long records are kept.
    pub(super) fn limit(&self, limits: Limits) {
        self.lock().limits = Some(limits);
        self.wake.notify_one();
    }

    pub(super) fn mark(&self) -> Mark {
        let inner = self.lock();
        Mark { write: inner.ordered, record: inner.journal.last() }
    }

    /// Records that wait, and those that were lost for there were too many.
    pub(super) fn records(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.journal.len() as u64, inner.journal.lost())
    }

    /// Whether something that was ordered between two marks failed already.
    pub(super) fn has_failed(&self, since: Mark, until: Mark) -> bool {
        let inner = self.lock();
        (until.write > since.write && inner.failed.any_within(since.write + 1, until.write))
            || (until.record > since.record && inner.lost.any_within(since.record + 1, until.record))
    }

    /// Waits until it is known whether what was ordered between two marks is on the disk, and says whether.
    pub(super) async fn settled(&self, since: Mark, until: Mark) -> bool {
        let has_writes = until.write > since.write;
        let has_records = until.record > since.record;
        let mut progress = self.progress.subscribe();
        let is_known = |progress: &Progress| {
            (!has_writes || progress.work >= until.write) && (!has_records || progress.tried >= until.record)
        };
        let recorded = match progress.wait_for(is_known).await {
            Ok(progress) => progress.recorded,
            Err(_) => return false,
        };
        !self.has_failed(since, until) && (!has_records || recorded >= until.record)
    }

    /// Nobody orders anything any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits until the thread has ended, but no longer than so without seeing it get on. True when it has ended.
    pub(super) fn wait_for_end(&self, patience: Duration) -> bool {
        let mut seen = *self.progress.borrow();
        loop {
            let waited = self.wake.wait_timeout_while(self.lock(), patience, |inner| !inner.ended);
            if waited.unwrap_or_else(PoisonError::into_inner).0.ended {
                return true;
            }
            let progress = *self.progress.borrow();
            if progress == std::mem::replace(&mut seen, progress) {
                return false;
            }
        }
    }

    /// What to do next, for the thread, which has tried to write the records up to `tried`.
    pub(super) fn next(&self, tried: u64, patience: Duration) -> Next {
        let deadline = Instant::now() + patience;
        let mut inner = self.lock();
        loop {
            if let Some((number, work)) = inner.works.pop_front() {
                inner.doing = Some(number);
                return Next::Work(number, work);
            }
            if inner.journal.last() > tried || inner.limits.is_some() {
                return Next::LookAround;
            }
            if inner.closed {
                return Next::End;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Nothing;
            }
            inner = self.wake.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Some work is done, and it was tried to write all records up to `tried`.
    pub(super) fn done(&self, work: Option<(u64, Outcome)>, tried: u64) {
        let mut inner = self.lock();
        inner.doing = None;
        match work {
            Some((number, Outcome::Failed)) => inner.failed.add(number),
            Some((number, Outcome::AllSaved)) => inner.failed.forget_through(number),
            Some((_, Outcome::Done)) | None => {}
        }
        // Those for which there was no room are passed, too.
        let work = inner.works.front().map_or(inner.ordered, |(next, _)| next - 1);
        let progress = Progress { work, tried, recorded: inner.journal.written() };
        drop(inner);
        self.progress.send_replace(progress);
    }

    /// The thread is gone, whatever for.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        let undone: Vec<u64> = inner.doing.into_iter().chain(inner.works.iter().map(|(number, _)| *number)).collect();
        undone.into_iter().for_each(|number| inner.failed.add(number));
        let left = std::mem::take(&mut inner.works);
        let last = Progress { work: inner.ordered, tried: inner.journal.last(), recorded: inner.journal.written() };
        drop(inner);
        drop(left);
        self.progress.send_replace(last);
        self.wake.notify_all();
    }

    /// Writes that found no room since this was asked last.
    pub(super) fn take_overrun(&self) -> u64 {
        std::mem::take(&mut self.lock().overrun)
    }

    pub(super) fn take_limits(&self) -> Option<Limits> {
        self.lock().limits.take()
    }

    /// The oldest records that wait, and the number of the last of them.
    pub(super) fn oldest_records(&self) -> (Vec<Arc<Entry>>, u64) {
        self.lock().journal.oldest()
    }

    /// Records up to this one are written.
    pub(super) fn recorded(&self, last: u64) {
        self.lock().journal.forget_through(last);
    }

    pub(super) fn last_record(&self) -> u64 {
        self.lock().journal.last()
    }

    /// What waits in memory, as it is now.
    pub(super) fn journal(&self) -> Journal {
        self.lock().journal.clone()
    }
}

/// Numbers of writes that failed, as runs of them.
#[derive(Debug, Default)]
struct Runs(VecDeque<(u64, u64)>);

impl Runs {
    /// Adds a number. They come nearly in order: those for which there was no room before those that fail later.
    fn add(&mut self, number: u64) {
        let place = self.0.partition_point(|(_, last)| last.saturating_add(1) < number);
        match self.0.get_mut(place) {
            Some((first, last)) if *first <= number.saturating_add(1) => {
                (*first, *last) = ((*first).min(number), (*last).max(number));
                let end = *last;
                if let Some((next, next_last)) = self.0.get(place + 1).copied()
                    && next <= end + 1
                {
                    self.0.remove(place + 1);
                    self.0[place].1 = next_last.max(end);
                }
            }
            _ => self.0.insert(place, (number, number)),
        }
        if self.0.len() > MOST_RUNS
            && let Some((first, _)) = self.0.pop_front()
            && let Some(oldest) = self.0.front_mut()
        {
            oldest.0 = first; // Too much is taken for failed rather than too little.
        }
    }

    fn any_within(&self, first: u64, last: u64) -> bool {
        let place = self.0.partition_point(|(_, end)| *end < first);
        self.0.get(place).is_some_and(|(start, _)| *start <= last)
    }

    fn forget_through(&mut self, number: u64) {
        while let Some((first, last)) = self.0.front_mut() {
            if *last <= number {
                self.0.pop_front();
            } else {
                *first = (*first).max(number + 1);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_writes_are_told_apart_from_those_beside_them() {
        let mut runs = Runs::default();
        for number in [10, 11, 12, 20, 15, 14, 13] {
            runs.add(number);
        }
        assert_eq!(runs.0, [(10, 15), (20, 20)]);
        let rows = [((1, 9), false), ((9, 10), true), ((12, 12), true), ((16, 19), false), ((16, 20), true)];
        for ((first, last), expected) in rows {
            assert_eq!(runs.any_within(first, last), expected, "{first} to {last}");
        }
        runs.forget_through(12);
        assert_eq!(runs.0, [(13, 15), (20, 20)]);
        runs.forget_through(30);
        assert!(runs.0.is_empty());
    }

    #[test]
    fn of_very_many_failed_writes_too_many_are_taken_for_failed_and_never_too_few() {
        let mut runs = Runs::default();
        (0..MOST_RUNS as u64 + 2).for_each(|number| runs.add(1 + 2 * number));
        assert_eq!(runs.0.len(), MOST_RUNS);
        assert!((0..MOST_RUNS as u64 + 2).all(|number| runs.any_within(1 + 2 * number, 1 + 2 * number)));
        assert!(!runs.any_within(2 * MOST_RUNS as u64, 2 * MOST_RUNS as u64));
    }
}
