//! The file of state on a thread of its own, whatever becomes of the disk: nobody waits for it who must not, and nothing that fails here stops
//! anything else.
//!
//! What is written here is in somebody's memory as well. So a write that fails is not kept for later: when the file takes writes again, or a
//! new one has begun, [`Archive::epoch`] grows, and whoever keeps something here writes all of it anew. Only what is nowhere else, the
//! audit and the lives of verdicts, waits in [`Journal`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tracing::warn;

use super::Store;
use super::archivist::Archivist;
use super::error::{StoreError, TroubleKind};
use super::journal::{Entry, Journal, Limits};
use crate::turns;

/// Writes that may wait for the disk. A disk that is that far behind is taken for one that fails.
const QUEUE: usize = 4096;
/// How long a command waits for the disk before it is answered all the same.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Work = Box<dyn FnOnce(&mut Archivist) + Send>;

/// A handle on the file of state. Cheap to clone; when the last one goes, all that waits is written first.
#[derive(Clone)]
pub struct Archive {
    hand: Arc<Hand>,
}

struct Hand {
    /// None while it is being dropped.
    orders: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // What it panicked of is in the log.
        }
    }
}

#[derive(Default)]
pub(super) struct Shared {
    health: Mutex<Health>,
    pub(super) epoch: AtomicU64,
    /// Writes for which there was no room in the queue.
    pub(super) overrun: AtomicU64,
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
        let (orders, queue) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let (opened, wait) = sync_channel(1);
        let mut archivist = Archivist::new(path, limits, Arc::clone(&shared), sets_aside);
        let thread = thread::Builder::new().name("state".into()).spawn(move || {
            archivist.begin();
            turns::come_second();
            let _ = opened.send(());
            archivist.serve(&queue);
        });
        let thread = thread.expect("a thread can be started");
        let _ = wait.recv();
        Self { hand: Arc::new(Hand { orders: Some(orders), thread: Some(thread), shared }) }
    }

    /// How the file is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.hand.shared.health().clone()
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
        self.order(Box::new(move |archivist| {
            archivist.write(work);
        }));
    }

    /// As [`Self::write`], for what is everything that a new epoch asks for: if it succeeds the trouble is over.
    pub fn write_all(&self, work: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static) {
        self.order(Box::new(move |archivist| archivist.write_all(work)));
    }

    /// Adds to what only grows. Kept in memory while the file fails.
    pub fn append(&self, entry: Entry) {
        self.order(Box::new(move |archivist| archivist.append(entry)));
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
        self.answer(move |archivist| Ok(work(archivist.store.as_ref(), &archivist.journal)?))
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Archivist) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (sender, answer) = sync_channel(1);
        self.insist(Box::new(move |archivist| {
            let _ = sender.send(work(archivist)); // Whoever asked may be gone.
        }));
        answer.recv_timeout(PATIENCE).map_err(|_| Unavailable::TooSlow)?
    }

    /// Waits until all that was ordered is on the disk, or known not to get there; not for ever where the disk hangs.
    pub async fn settled(&self) {
        let (sender, settled) = oneshot::channel();
        self.order(Box::new(move |_| {
            let _ = sender.send(()); // Whoever waited may be gone.
        }));
        if tokio::time::timeout(PATIENCE, settled).await.is_err() {
            warn!("the disk of the file of state is slow: a command was answered before what it did is kept");
        }
    }

    /// Sets for how long what only grows is kept.
    pub fn limit(&self, limits: Limits) {
        self.order(Box::new(move |archivist| {
            archivist.limits = limits;
            archivist.trim();
        }));
    }

    fn order(&self, work: Work) {
        let Some(orders) = &self.hand.orders else { return };
        if let Err(TrySendError::Full(_)) = orders.try_send(work) {
            self.hand.shared.overrun.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn insist(&self, work: Work) {
        if let Some(orders) = &self.hand.orders {
            let _ = orders.send(work); // If the thread is gone there is no answer.
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
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
