//! The thread that has the file of state: opens it, writes what it is told, and looks after it when it fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, error, info, warn};

use super::Store;
use super::archive::{SetAside, Shared, Trouble, Unavailable};
use super::aside;
use super::error::StoreError;
use super::journal::Limits;
use super::queue::{Next, Outcome, Queue};
use super::watch::{Marks, Seen};

/// How often it is looked whether the file is still there and whole, and whether one that failed works again.
const LOOK: Duration = Duration::from_secs(2);
/// How often what is too old is taken out.
const TRIM: Duration = Duration::from_secs(3600);

/// What runs on the thread.
pub(super) struct Archivist {
    path: PathBuf,
    limits: Limits,
    shared: Arc<Shared>,
    pub(super) queue: Arc<Queue>,
    pub(super) store: Option<Store>,
    /// Whether the store can be written as far as is known; if not it was opened to be read.
    writable: bool,
    /// Whether something that was to be written was not.
    lost: bool,
    /// It is opened for the first time: one message tells what came of that.
    begins: bool,
    marks: Option<Marks>,
    /// Single facts of the file, for a new one to begin with.
    facts: Vec<(String, u64)>,
    /// The last record that it was tried to write.
    tried: u64,
    looked: Instant,
    trimmed: Option<Instant>,
    /// Whether a damaged file is set aside.
    sets_aside: bool,
}

impl Archivist {
    pub(super) fn new(
        path: &Path,
        limits: Limits,
        (shared, queue): (Arc<Shared>, Arc<Queue>),
        sets_aside: bool,
    ) -> Self {
        Self {
            path: path.to_owned(),
            limits,
            shared,
            queue,
            store: None,
            writable: false,
            lost: false,
            begins: false,
            marks: None,
            facts: Vec::new(),
            tried: 0,
            looked: Instant::now(),
            trimmed: None,
            sets_aside,
        }
    }

    pub(super) fn serve(&mut self) {
        let queue = Arc::clone(&self.queue);
        loop {
            let work = match queue.next(self.tried, LOOK.saturating_sub(self.looked.elapsed())) {
                Next::Work(number, work) => Some((number, work(self))),
                Next::LookAround | Next::Nothing => None,
                Next::End => break,
            };
            if let Some(limits) = queue.take_limits() {
                self.limits = limits;
                self.trim();
            }
            if queue.last_record() > self.tried {
                self.flush_journal();
            }
            queue.done(work, self.tried);
            if self.looked.elapsed() >= LOOK {
                self.look();
                self.looked = Instant::now();
            }
        }
        self.flush_journal();
    }

    /// Opens the file for the first time.
    pub(super) fn begin(&mut self) {
        self.begins = true;
        self.open();
        self.begins = false;
        if self.store.is_none() {
            let trouble = self.shared.health().trouble.clone().map_or_else(String::new, |trouble| trouble.message);
            // Better to know what was than to begin with nothing.
            match Store::open_to_read(&self.path) {
                Ok(store) => {
                    error!(
                        error = trouble,
                        "the file of state can be read, but not written: what is decided from now on is in force, but is not kept \
                         for a restart"
                    );
                    self.store = Some(store);
                    self.remember_facts();
                }
                Err(error) => {
                    debug!(%error, "what was kept of earlier cannot be read either");
                    error!(
                        error = trouble,
                        "there is no file of state: nothing of before is known (allowlist, blocks, mode, who has worked here, which \
                         ports were open), and what is decided is in force, but is not kept for a restart"
                    );
                }
            }
        }
        self.shared.remembers.store(!self.facts.is_empty(), Ordering::Release);
        self.trim();
    }

    /// Opens the file to be written, whatever must be set aside for that. False where that fails.
    fn open(&mut self) -> bool {
        let mut opened = Store::open(&self.path);
        if let Err(StoreError::Damaged { reason, .. }) = &opened
            && self.sets_aside
        {
            let reason = reason.clone();
            self.abandon();
            if !self.set_aside(&reason) {
                return false;
            }
            opened = Store::open(&self.path);
        }
        // A new one begins with the facts of the one before.
        let opened = opened.and_then(|mut store| {
            if store.load_facts()?.is_empty() {
                store.save_facts(&self.facts)?;
            }
            Ok(store)
        });
        match opened {
            Ok(store) => {
                self.marks = Marks::of(&self.path);
                self.store = Some(store);
                self.writable = true;
                self.remember_facts();
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn set_aside(&mut self, reason: &str) -> bool {
        match aside::set_aside(&self.path, SystemTime::now()) {
            Ok(path) => {
                error!(file = %self.path.display(), aside = %path.display(), reason, "the file of state is damaged: it is set aside, a new one begins");
                let mut health = self.shared.health();
                health.files_set_aside += 1;
                health.set_aside = Some(SetAside { at: SystemTime::now(), path, reason: reason.to_owned() });
                drop(health);
                self.renew();
                true
            }
            Err(source) => {
                self.fail(&StoreError::File { path: self.path.clone(), source });
                false
            }
        }
    }

    /// Closes the file as it is.
    fn abandon(&mut self) {
        if let Some(store) = self.store.take() {
            store.abandon();
        }
    }

    /// Asks everybody to write everything.
    fn renew(&mut self) {
        self.lost = false;
        self.shared.epoch.fetch_add(1, Ordering::AcqRel);
    }

    fn remember_facts(&mut self) {
        if let Some(Ok(facts)) = self.store.as_ref().map(Store::load_facts)
            && !facts.is_empty()
        {
            self.facts = facts;
        }
    }

    pub(super) fn write(&mut self, work: impl FnOnce(&mut Store) -> Result<(), StoreError>) -> bool {
        let outcome = self.try_write(work);
        if let Err(error) = &outcome {
            self.lost = true;
            self.trouble_with(error);
        }
        outcome.is_ok()
    }

    pub(super) fn write_all(&mut self, work: impl FnOnce(&mut Store) -> Result<(), StoreError>) -> Outcome {
        if !self.write(work) {
            return Outcome::Failed;
        }
        if self.flush_journal() && self.shared.health().trouble.take().is_some() {
            info!(file = %self.path.display(), "the file of state has everything again");
        }
        Outcome::AllSaved
    }

    /// Writes the records that wait; true when none of those does any more.
    fn flush_journal(&mut self) -> bool {
        let until = self.queue.last_record();
        self.tried = until;
        loop {
            let (oldest, last) = self.queue.oldest_records();
            if oldest.is_empty() {
                return true;
            }
            if let Err(error) = self.try_write(|store| store.record(oldest.iter().map(|entry| &**entry))) {
                self.trouble_with(&error);
                return false;
            }
            self.queue.recorded(last);
            if last >= until {
                return true;
            }
        }
    }

    pub(super) fn ask<T>(&mut self, work: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, Unavailable> {
        let Some(store) = &mut self.store else {
            let trouble = self.shared.health().trouble.clone();
            return Err(Unavailable::NoFile(trouble.map_or_else(|| "it is closed".into(), |trouble| trouble.message)));
        };
        let answer = work(store);
        self.marks = Marks::of(&self.path);
        self.remember_facts();
        if let Err(error) = &answer {
            self.trouble_with(error);
        }
        Ok(answer?)
    }

    pub(super) fn try_write<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.look_at_file();
        match &mut self.store {
            Some(store) if self.writable => {
                let written = work(store);
                self.marks = Marks::of(&self.path);
                written
            }
            _ => Err(StoreError::Closed),
        }
    }

    /// Takes note of a failure; a damaged file is replaced.
    pub(super) fn trouble_with(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Closed) {
            return; // Why was noted when it was closed.
        }
        self.fail(error);
        if matches!(error, StoreError::Damaged { .. }) {
            self.abandon();
            self.writable = false;
            self.open();
        }
    }

    fn fail(&mut self, error: &StoreError) {
        let trouble = Trouble { kind: error.kind(), message: error.to_string() };
        let mut health = self.shared.health();
        health.failures += 1;
        if health.trouble.as_ref() != Some(&trouble) {
            if !self.begins {
                error!(%error, "what is decided is in force, but is not kept for a restart until the file of state can be written");
            }
            health.trouble = Some(trouble);
        }
    }

    /// Every few seconds: is the file as it was left, and does one that failed work again?
    fn look(&mut self) {
        self.look_at_file();
        let overrun = self.queue.take_overrun();
        if overrun > 0 {
            self.lost = true;
            self.fail(&StoreError::TooSlow { path: self.path.clone(), writes: overrun });
        }
        let in_trouble = self.shared.health().trouble.is_some();
        if in_trouble || self.lost || !self.writable {
            self.recover();
        }
        if self.trimmed.is_none_or(|trimmed| trimmed.elapsed() >= TRIM) {
            self.trim();
        }
    }

    /// Tries whether it can be written again.
    fn recover(&mut self) {
        if !self.writable {
            let readable = self.store.take();
            if !self.open() {
                self.store = self.store.take().or(readable);
                return;
            }
        }
        match self.try_write(Store::probe) {
            Ok(()) => {
                self.flush_journal();
                self.renew();
            }
            Err(error) => self.trouble_with(&error),
        }
    }

    /// Whether somebody else took the file away or wrote it since this process did.
    fn look_at_file(&mut self) {
        if self.store.is_none() || !self.writable {
            return;
        }
        let seen = Marks::of(&self.path);
        match self.marks.as_ref().map_or(Seen::Same, |marks| marks.compare(seen.as_ref())) {
            Seen::Same => {}
            Seen::Written => match Store::verify(&self.path) {
                Ok(()) => self.marks = seen,
                Err(error @ StoreError::Damaged { .. }) => self.trouble_with(&error),
                Err(StoreError::Foreign { path }) => {
                    self.trouble_with(&StoreError::Damaged {
                        path,
                        reason: "it has lost the mark of this program".into(),
                    });
                }
                Err(error) => warn!(%error, "somebody else wrote the file of state, and it cannot be looked at"),
            },
            Seen::Gone => {
                self.fail(&StoreError::Gone { path: self.path.clone() });
                self.abandon();
                self.writable = false;
                // What is left of it would be taken for a part of the new one.
                if let Err(error) = aside::forget_companions(&self.path) {
                    warn!(%error, "what belonged to the file of state that is gone cannot be removed");
                }
                if self.open() {
                    self.renew();
                }
            }
        }
    }

    pub(super) fn trim(&mut self) {
        self.trimmed = Some(Instant::now());
        if self.writable {
            let limits = self.limits;
            self.write(move |store| store.trim(&limits));
        }
    }
}
