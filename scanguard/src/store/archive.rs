//! The file of state on a thread of its own, whatever becomes of the disk: nobody waits for it who must not, and nothing that fails here stops
//! anything else.
//!
//! What is written here is in somebody's memory as well. So a write that fails is not kept for later: when the file takes writes again, or a
//! new one has begun, [`Archive::epoch`] grows, and whoever keeps something here writes all of it anew. Only what is nowhere else, the
//! audit and the lives of verdicts, waits in [`Journal`]. Whoever answers for a write asks [`Archive::saved`] what
//! became of it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::time::timeout;
use tracing::{debug, error, warn};

use super::Store;
use super::archivist::Archivist;
use super::error::{StoreError, TroubleKind};
use super::journal::{Entry, Journal, Limits, MANY_WAITING};
use super::queue::{Kind, Mark, Outcome, Queue};
use crate::turns;

/// How long a command or a question waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// A handle on the file of state. Cheap to clone; when the last one goes, all that waits is written first.
#[derive(Clone)]
pub struct Archive {
    hand: Arc<Hand>,
}

struct Hand {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.queue.close();
        if !self.queue.wait_for_end(PATIENCE) {
            warn!("the disk of the state file does not answer: what waits for it is given up");
        } else if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // What it panicked of is in the log.
        }
    }
}

/// Tells that the thread has ended, also by a panic.
struct Ends(Arc<Queue>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[derive(Default)]
pub(super) struct Shared {
    health: Mutex<Health>,
    pub(super) epoch: AtomicU64,
    pub(super) remembers: AtomicBool,
}

impl Shared {
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the file is.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Why what is decided is not kept now.
    pub trouble: Option<Trouble>,
    /// The last damaged file that was set aside.
    pub set_aside: Option<SetAside>,
    /// Reads and writes that failed.
    pub failures: u64,
    /// Damaged files that were set aside.
    pub files_set_aside: u64,
    /// Records (the audit, the lives of blocks) that wait in memory for the file.
    pub records_waiting: u64,
    /// Records that were lost, because too many waited.
    pub records_lost: u64,
}

/// What was decided is in force and not on the disk.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Unsaved {
    /// Why not, for people.
    pub why: String,
}

/// Why the file cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// What kind of failure it is.
    pub kind: TroubleKind,
    /// What happened, for people.
    pub message: String,
}

/// A damaged file that was set aside.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SetAside {
    /// When.
    pub at: SystemTime,
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

/// Why something cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// There is no file to ask.
    #[error("the file of state cannot be used: {0}")]
    NoFile(String),
    /// The disk hangs.
    #[error("the file of state did not answer within {} s: its disk is slow", PATIENCE.as_secs())]
    TooSlow,
    /// It was asked and failed.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl Unavailable {
    /// Whether the archive itself has told of it in the log, with what that means.
    const fn is_told(&self) -> bool {
        matches!(self, Self::NoFile(_) | Self::Failed(StoreError::Closed))
    }

    /// Says in the log what is lost by it, unless there is no file at all: that is said once, by the archive.
    pub fn complain(&self, lost: &str) {
        if self.is_told() {
            debug!(error = %self, "{lost}");
        } else {
            error!(error = %self, "{lost}");
        }
    }
}

impl Archive {
    /// Opens a file, or makes it; returns when it is known whether that can be done. A damaged file is set aside and a new one begun; one that
    /// cannot be written is read at least; without any the archive keeps nothing and tries again and again.
    ///
    /// # Panics
    /// When no thread can be started.
    #[must_use]
    pub fn open(path: &Path, limits: Limits) -> Self {
        Self::open_and(path, limits, true)
    }

    /// The same without setting anything aside, for who only looks in while no daemon runs: a damaged file is the next daemon's to find and tell.
    ///
    /// # Panics
    /// When no thread can be started.
    #[must_use]
    pub fn open_whole(path: &Path, limits: Limits) -> Self {
        Self::open_and(path, limits, false)
    }

    fn open_and(path: &Path, limits: Limits, sets_aside: bool) -> Self {
        let (shared, queue) = (Arc::<Shared>::default(), Arc::<Queue>::default());
        let (opened, wait) = sync_channel(1);
        let mut archivist = Archivist::new(path, limits, (Arc::clone(&shared), Arc::clone(&queue)), sets_aside);
        let ends = Ends(Arc::clone(&queue));
        let thread = thread::Builder::new().name("state".into()).spawn(move || {
            let _ends = ends;
            archivist.begin();
            turns::come_second();
            let _ = opened.send(());
            archivist.serve();
        });
        let thread = thread.expect("a thread can be started");
        let _ = wait.recv();
        Self { hand: Arc::new(Hand { queue, thread: Some(thread), shared }) }
    }

    /// How the file is.
    #[must_use]
    pub fn health(&self) -> Health {
        let (records_waiting, records_lost) = self.hand.queue.records();
        Health { records_waiting, records_lost, ..self.hand.shared.health().clone() }
    }

    /// Whether so many records wait for the file that those of further requests might be lost.
    #[must_use]
    pub fn has_many_waiting(&self) -> bool {
        self.hand.queue.records().0 >= MANY_WAITING
    }

    /// Whether there was a file with something in it at the start.
    #[must_use]
    pub fn remembers(&self) -> bool {
        self.hand.shared.remembers.load(Ordering::Acquire)
    }

    /// Grows when everything must be written anew, because what was written may be lost.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.hand.shared.epoch.load(Ordering::Acquire)
    }

    /// Keeps something. Returns at once; what fails shows in [`Self::health`] and makes the epoch grow once writing works again.
    pub fn write(&self, work: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static) {
        self.hand.queue.order(
            Kind::Write,
            Box::new(move |archivist| if archivist.write(work) { Outcome::Done } else { Outcome::Failed }),
        );
    }

    /// As [`Self::write`], for what is everything that a new epoch asks for: if it succeeds the trouble is over.
    pub fn write_all(&self, work: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static) {
        self.hand.queue.order(Kind::Write, Box::new(move |archivist| archivist.write_all(work)));
    }

    /// Adds to what only grows. Returns at once; kept in memory while the file fails.
    pub fn append(&self, entry: Entry) {
        self.hand.queue.record(entry);
    }

    /// As [`Self::write`], for who keeps it himself until it is written: waits for the outcome. Blocks: keep it off the async threads.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn save(
        &self,
        work: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), Unavailable> {
        self.answer(move |archivist| {
            let saved = archivist.try_write(work);
            if let Err(error) = &saved {
                archivist.trouble_with(error);
            }
            Ok(saved?)
        })
    }

    /// Asks for something, after all that was ordered before. Blocks: keep it off the async threads.
    ///
    /// # Errors
    /// When there is no file, or it cannot be read.
    pub fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.answer(move |archivist| archivist.ask(work))
    }

    /// Asks what was recorded, that which waits in memory included. Blocks: keep it off the async threads.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn journal<T: Send + 'static>(
        &self,
        work: impl FnOnce(Option<&Store>, &Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.answer(move |archivist| Ok(work(archivist.store.as_ref(), &archivist.queue.journal())?))
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Archivist) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (sender, answer) = sync_channel(1);
        let work = move |archivist: &mut Archivist| {
            let _ = sender.send(work(archivist)); // Whoever asked may be gone.
            Outcome::Done
        };
        if !self.hand.queue.order(Kind::Question, Box::new(work)) {
            return Err(Unavailable::TooSlow);
        }
        match answer.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Unavailable::TooSlow),
        }
    }

    /// A moment in the order of writes: with two of them [`Self::saved`] knows which ones are meant.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.hand.queue.mark()
    }

    /// Waits until what was written and appended between two marks is on the disk, or known not to get there for now,
    /// and says which; not for ever where the disk hangs.
    ///
    /// # Errors
    /// When some of it is not on the disk.
    pub async fn saved(&self, since: Mark, until: Mark) -> Result<(), Unsaved> {
        if self.hand.queue.has_failed(since, until) {
            return Err(Unsaved { why: self.trouble() }); // Others' writes are not waited for.
        }
        self.settle(since, until).await
    }

    /// Waits until all that was ordered is on the disk, or known not to get there; not for ever either.
    ///
    /// # Errors
    /// When some of it is not on the disk.
    pub async fn settled(&self) -> Result<(), Unsaved> {
        self.settle(Mark::default(), self.mark()).await
    }

    async fn settle(&self, since: Mark, until: Mark) -> Result<(), Unsaved> {
        let why = match timeout(PATIENCE, self.hand.queue.settled(since, until)).await {
            Ok(true) => return Ok(()),
            Ok(false) => self.trouble(),
            Err(_) => Unavailable::TooSlow.to_string(),
        };
        Err(Unsaved { why })
    }

    fn trouble(&self) -> String {
        let trouble = self.hand.shared.health().trouble.clone();
        trouble.map_or_else(
            || "more waits for the state file than there is room for".to_owned(),
            |trouble| trouble.message,
        )
    }

    /// Sets for how long what only grows is kept.
    pub fn limit(&self, limits: Limits) {
        self.hand.queue.limit(limits);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::store::journal::MOST_WAITING;
    use crate::store::queue::{QUESTIONS, WRITES};
    use crate::store::{AuditRecord, KeptAllow};

    const LIMIT: Duration = Duration::from_secs(30);

    fn allow(prefix: &str) -> KeptAllow {
        KeptAllow { prefix: prefix.into(), ..KeptAllow::default() }
    }

    fn keep(archive: &Archive, prefix: &str) {
        let entry = allow(prefix);
        archive.write(move |store| store.save_allow(&[entry]));
    }

    fn kept(archive: &Archive) -> Vec<String> {
        let entries = archive.ask(|store| store.load_allow()).expect("a list");
        entries.into_iter().map(|entry| entry.prefix).collect()
    }

    fn audit(archive: &Archive, verb: &str) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
        let at = u64::try_from(since.as_millis()).expect("this age");
        let record = AuditRecord {
            at,
            verb: verb.into(),
            arguments: "{}".into(),
            result: "done".into(),
            ..AuditRecord::default()
        };
        archive.append(Entry::Audit(record));
    }

    fn verbs(archive: &Archive) -> Vec<String> {
        let records = archive.ask(|store| store.audit(0, 100)).expect("a list");
        records.into_iter().map(|(_, record)| record.verb).collect()
    }

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the daemon does in a new epoch.
    fn write_all(archive: &Archive, prefixes: &[&str]) {
        let entries: Vec<KeptAllow> = prefixes.iter().map(|prefix| allow(prefix)).collect();
        archive.write_all(move |store| store.save_allow(&entries));
    }

    /// A disk that hangs until this is dropped.
    struct Hang(#[expect(dead_code, reason = "it is dropped")] std::sync::mpsc::Sender<()>);

    /// Returns when the thread hangs.
    fn hang(archive: &Archive) -> Hang {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (reached, hangs) = std::sync::mpsc::channel();
        archive.write(move |_| {
            let _ = reached.send(());
            let _ = released.recv();
            Ok(())
        });
        hangs.recv().expect("it hangs");
        Hang(release)
    }

    /// Fills the queue of writes. They change nothing.
    fn fill(archive: &Archive) {
        (0..WRITES).for_each(|_| archive.write(|_| Ok(())));
    }

    /// Does something as a command does, and waits for what its answer waits for.
    async fn command(archive: &Archive, work: impl FnOnce(&Archive)) -> Result<(), Unsaved> {
        let since = archive.mark();
        work(archive);
        archive.saved(since, archive.mark()).await
    }

    /// More than fits into pages that the file has already.
    fn many() -> Vec<KeptAllow> {
        (0..2000).map(|number| allow(&format!("2001:db8:{number:x}::/48"))).collect()
    }

    #[tokio::test]
    async fn a_command_whose_write_finds_the_queue_full_is_told_that_it_is_not_saved() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        command(&archive, |archive| keep(archive, "192.0.2.1")).await.expect("saved");
        let hang = hang(&archive);
        fill(&archive);
        let (since, started) = (archive.mark(), Instant::now());
        keep(&archive, "192.0.2.2");
        let until = archive.mark();
        archive.saved(since, until).await.expect_err("there was no room for it");
        assert!(started.elapsed() < PATIENCE / 2, "there is nothing to wait for");
        drop(hang);
        archive.saved(until, archive.mark()).await.expect("others are not to blame");
        assert_eq!(kept(&archive), ["192.0.2.1"], "so it is");
        wait_for("everything to be asked for", || archive.epoch() > 0);
        write_all(&archive, &["192.0.2.1", "192.0.2.2"]);
        archive.settled().await.expect("all of it");
        archive.saved(since, until).await.expect("it is saved now");
        assert_eq!(archive.health().trouble, None);
    }

    #[tokio::test]
    async fn a_command_whose_write_fails_is_told_so_and_it_is_written_when_there_is_room_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        archive.ask(|store| store.fill_disk(true)).expect("a full disk");
        let unsaved = command(&archive, |archive| archive.write(|store| store.save_allow(&many()))).await;
        assert!(unsaved.as_ref().is_err_and(|unsaved| unsaved.why.contains("full")), "{unsaved:?}");
        assert_eq!(archive.health().trouble.map(|trouble| trouble.kind), Some(TroubleKind::Full));
        archive.ask(|store| store.fill_disk(false)).expect("room");
        wait_for("everything to be asked for", || archive.epoch() > 0);
        archive.write_all(|store| store.save_allow(&many()));
        archive.settled().await.expect("saved");
        assert_eq!((kept(&archive).len(), archive.health().trouble), (2000, None));
    }

    #[tokio::test]
    async fn a_command_whose_record_cannot_be_written_is_told_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        archive.ask(|store| store.fill_disk(true)).expect("a full disk");
        let long = "x".repeat(1_000_000);
        command(&archive, |archive| audit(archive, &long)).await.expect_err("there is no room");
        assert_eq!(archive.health().records_waiting, 1);
        archive.ask(|store| store.fill_disk(false)).expect("room");
        command(&archive, |archive| audit(archive, "next")).await.expect("both are written");
        assert_eq!(verbs(&archive), [long, "next".to_owned()]);
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_disk_that_hangs_a_command_is_told_so_in_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        let hang = hang(&archive);
        let unsaved = command(&archive, |archive| keep(archive, "192.0.2.1")).await.expect_err("it hangs");
        assert!(unsaved.why.contains("slow"), "{unsaved}");
        command(&archive, |archive| audit(archive, "refused")).await.expect_err("its record waits, too");
        command(&archive, |_| ()).await.expect("what changes nothing has nothing to wait for");
        drop(hang);
        tokio::time::resume();
        archive.settled().await.expect("it is written now");
        assert_eq!((kept(&archive), verbs(&archive)), (vec!["192.0.2.1".to_owned()], vec!["refused".to_owned()]));
    }

    #[tokio::test]
    async fn no_record_and_no_limit_is_lost_to_a_full_queue_and_nobody_waits_to_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        (0..3).for_each(|_| audit(&archive, "before"));
        archive.settled().await.expect("written");
        let hang = hang(&archive);
        fill(&archive);
        let started = Instant::now();
        (0..1000).for_each(|number| audit(&archive, &number.to_string()));
        archive.limit(Limits { audit_rows: 1, ..Limits::default() });
        (0..1000).for_each(|_| keep(&archive, "192.0.2.1"));
        assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
        assert_eq!((archive.health().records_waiting, archive.health().records_lost), (1000, 0));
        let since = archive.mark();
        drop(hang);
        archive.saved(since, archive.mark()).await.expect("nothing was ordered");
        archive.settled().await.expect_err("a thousand writes found no room");
        let records = archive.journal(|store, journal| Ok((store.map(|store| store.audit(0, 2000)), journal.len())));
        let (written, waiting) = records.expect("records");
        let written = written.expect("a file").expect("a list");
        assert_eq!((written.len(), waiting), (1001, 0), "two of those before are beyond the new limit");
        assert!(
            written
                .iter()
                .skip(1)
                .map(|(_, record)| record.verb.clone())
                .eq((0..1000).map(|number| number.to_string()))
        );
    }

    #[tokio::test]
    async fn records_beyond_the_bound_are_counted_and_who_asked_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        let hang = hang(&archive);
        let since = archive.mark();
        audit(&archive, "lost");
        let until = archive.mark();
        assert!(!archive.has_many_waiting());
        (0..MOST_WAITING + 2).for_each(|_| audit(&archive, "x"));
        assert!(archive.has_many_waiting());
        let Health { records_waiting, records_lost, .. } = archive.health();
        assert_eq!((records_waiting, records_lost), (MOST_WAITING as u64, 3));
        drop(hang);
        archive.saved(since, until).await.expect_err("its record is lost");
        archive.saved(until, archive.mark()).await.expect_err("some of these, too");
        let records = archive.ask(|store| store.audit(0, 100_000)).expect("a list");
        assert_eq!((records.len(), archive.health().records_waiting), (MOST_WAITING, 0));
    }

    #[test]
    fn a_question_that_finds_too_many_others_is_answered_at_once_and_writes_have_room_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive = Archive::open(&folder.path().join("state.db"), Limits::default());
        let hang = hang(&archive);
        let question = || archive.hand.queue.order(Kind::Question, Box::new(|_| Outcome::Done));
        assert!((0..QUESTIONS).all(|_| question()));
        assert!(!question());
        let started = Instant::now();
        assert!(matches!(archive.ask(|_| Ok(())), Err(Unavailable::TooSlow)));
        assert!(started.elapsed() < PATIENCE / 2, "nobody waited");
        keep(&archive, "192.0.2.1");
        drop(hang);
        wait_for("room for questions", &question);
        assert_eq!(kept(&archive), ["192.0.2.1"]);
    }

    #[test]
    fn the_last_handle_does_not_wait_for_a_disk_that_hangs_for_ever() {
        let queue = Queue::default();
        assert!(!queue.wait_for_end(Duration::from_millis(10)));
        queue.end();
        assert!(queue.wait_for_end(PATIENCE));
    }

    #[test]
    fn what_is_written_is_there_when_the_last_handle_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let archive = Archive::open(&path, Limits::default());
        assert!(!archive.remembers());
        archive.ask(|store| store.first_run(7)).expect("a fact");
        keep(&archive, "192.0.2.1");
        audit(&archive, "one");
        drop(archive);
        let archive = Archive::open(&path, Limits::default());
        assert!(archive.remembers());
        assert_eq!((kept(&archive), verbs(&archive)), (vec!["192.0.2.1".to_owned()], vec!["one".to_owned()]));
        assert_eq!(archive.epoch(), 0);
    }

    #[test]
    fn who_only_looks_in_leaves_a_damaged_file_where_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let garbage = [0x5a; 4096];
        std::fs::write(&path, garbage).expect("a file");
        let archive = Archive::open_whole(&path, Limits::default());
        assert_eq!((archive.health().files_set_aside, archive.health().trouble.is_some()), (0, true));
        drop(archive);
        assert_eq!(std::fs::read(&path).expect("still there"), garbage);
    }

    #[test]
    fn a_file_that_is_damaged_before_the_start_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let rubbish = vec![0x5a; 9000];
        fs::write(&path, &rubbish).expect("a file");
        let archive = Archive::open(&path, Limits::default());
        let health = archive.health();
        let aside = health.set_aside.expect("it was set aside");
        assert_eq!(fs::read(&aside.path).expect("a file"), rubbish);
        assert!(aside.path.display().to_string().contains("state.db.damaged-"), "{aside:?}");
        assert!(health.trouble.is_none() && !archive.remembers());
        keep(&archive, "192.0.2.1");
        assert_eq!(kept(&archive), ["192.0.2.1"]);
    }

    #[test]
    fn a_file_that_is_overwritten_meanwhile_is_set_aside_and_everything_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let archive = Archive::open(&path, Limits::default());
        archive.ask(|store| store.first_run(7)).expect("a fact");
        keep(&archive, "192.0.2.1");
        archive.ask(|_| Ok(())).expect("written");
        fs::write(&path, vec![0x5a; 9000]).expect("overwritten");
        // It may have been seen while it was half written, too.
        wait_for("the damage to be seen", || archive.health().files_set_aside > 0 && archive.epoch() > 0);
        audit(&archive, "meanwhile");
        write_all(&archive, &["192.0.2.1", "192.0.2.2"]);
        assert_eq!(kept(&archive), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(verbs(&archive), ["meanwhile"]);
        assert_eq!(archive.ask(|store| store.first_run(9)).expect("a fact"), 7, "facts are carried over");
        assert_eq!(archive.health().trouble, None);
    }

    #[test]
    fn a_file_that_is_removed_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let archive = Archive::open(&path, Limits::default());
        keep(&archive, "192.0.2.1");
        archive.ask(|_| Ok(())).expect("written");
        fs::remove_file(&path).expect("removed");
        wait_for("that to be seen", || archive.epoch() > 0);
        write_all(&archive, &["192.0.2.1"]);
        wait_for("the trouble to be over", || archive.health().trouble.is_none());
        drop(archive);
        assert_eq!(kept(&Archive::open(&path, Limits::default())), ["192.0.2.1"]);
    }

    #[test]
    fn where_no_file_can_be_it_goes_on_and_recovers_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("place");
        fs::write(&place, "a file where a folder should be").expect("a file");
        let archive = Archive::open(&place.join("state.db"), Limits::default());
        assert!(archive.health().trouble.is_some());
        keep(&archive, "192.0.2.1");
        audit(&archive, "meanwhile");
        assert!(archive.ask(|store| store.load_allow()).is_err());
        assert_eq!(archive.journal(|_, journal| Ok(journal.waiting().count())).expect("an answer"), 1);
        fs::remove_file(&place).expect("removed");
        wait_for("everything to be asked for", || archive.epoch() > 0);
        write_all(&archive, &["192.0.2.1"]);
        wait_for("the trouble to be over", || archive.health().trouble.is_none());
        assert_eq!((kept(&archive), verbs(&archive)), (vec!["192.0.2.1".to_owned()], vec!["meanwhile".to_owned()]));
    }

    #[test]
    fn somebody_elses_database_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("theirs.db");
        let theirs = rusqlite::Connection::open(&path).expect("a database");
        theirs.execute_batch("CREATE TABLE songs(title TEXT)").expect("a table");
        drop(theirs);
        let before = fs::read(&path).expect("a file");
        let archive = Archive::open(&path, Limits::default());
        let trouble = archive.health().trouble.expect("it cannot be used");
        assert_eq!(trouble.kind, TroubleKind::Other);
        drop(archive);
        assert_eq!(fs::read(&path).expect("a file"), before);
    }
}
