//! Keeps what outlives the daemon, off the async threads. Without its file the daemon works, and says what is lost.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use scanguard_common::opened::Endpoint;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info, warn};

use crate::operator::SharedStore;
use crate::store::{Opened, Store, StoreError};

/// Shortest time between two savings of something that changed.
const RARELY: Duration = Duration::from_secs(10);
/// Longest time between two savings, changed or not: times go on even so.
const HOURLY: Duration = Duration::from_secs(3600);

/// What was kept from before.
pub(super) struct Kept {
    /// When the first daemon ran here, in seconds since 1970.
    pub(super) first_run: u64,
    /// Ports that were open.
    pub(super) opened: Vec<Opened>,
    /// Ports that answered, and when last, in seconds since 1970.
    pub(super) answering: Vec<(Endpoint, u64)>,
}

/// What is to be kept for later.
#[derive(Default)]
pub(super) struct ToKeep {
    /// Ports that were open.
    pub(super) opened: Vec<Opened>,
    /// Ports that answered, and when last, in seconds since 1970; none to leave what is kept.
    pub(super) answering: Option<Vec<(Endpoint, u64)>>,
}

/// Writes the file of state.
pub(super) struct Keeper {
    store: Option<SharedStore>,
    saving: Option<JoinHandle<Result<(), StoreError>>>,
    saved: Instant,
    changed: bool,
    failing: bool,
}

impl Keeper {
    /// Opens the file. A file that cannot be used is complained of, and does without.
    pub(super) async fn open(path: &Path, now: u64) -> (Self, Kept) {
        let owned = path.to_owned();
        let opening = spawn_blocking(move || {
            let mut store = Store::open(&owned)?;
            let (opened, answering) = (store.load_opened()?, store.load_answering()?);
            let kept = Kept { first_run: store.first_run(now)?, opened, answering };
            Ok::<_, StoreError>((store, kept))
        });
        let (store, kept) = match opening.await {
            Ok(Ok((store, kept))) => {
                info!(file = %path.display(), ports = kept.opened.len(), "memory of open ports is there");
                (Some(store), kept)
            }
            Ok(Err(error)) => (without(&error), Kept { first_run: now, opened: Vec::new(), answering: Vec::new() }),
            Err(error) => (without(&error), Kept { first_run: now, opened: Vec::new(), answering: Vec::new() }),
        };
        let store = store.map(|store| Arc::new(Mutex::new(store)));
        (Self { store, saving: None, saved: Instant::now(), changed: false, failing: false }, kept)
    }

    /// The store, for others who keep something in it.
    pub(super) fn store(&self) -> Option<SharedStore> {
        self.store.clone()
    }

    /// Since when all of these networks are protected, in seconds since 1970. Without a file it is `now`.
    pub(super) fn protecting_since(&self, networks: &[IpNetwork], now: u64) -> u64 {
        let Some(store) = &self.store else { return now };
        let since = store.lock().unwrap_or_else(PoisonError::into_inner).protecting_since(networks, now);
        since.unwrap_or_else(|error| {
            warn!(%error, "it is not kept since when networks are protected: it is learnt anew what is open there");
            now
        })
    }

    /// Takes note that something changed since the last saving.
    pub(super) const fn changed(&mut self) {
        self.changed = true;
    }

    /// Begins to save if it is time.
    pub(super) async fn tick(&mut self, to_keep: impl FnOnce() -> ToKeep) {
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        self.finish().await;
        if self.saved.elapsed() >= if self.changed { RARELY } else { HOURLY } {
            self.begin(to_keep());
        }
    }

    /// Saves a last time and waits for it.
    pub(super) async fn stop(mut self, to_keep: ToKeep) {
        self.finish().await;
        self.begin(to_keep);
        self.finish().await;
    }

    fn begin(&mut self, to_keep: ToKeep) {
        (self.saved, self.changed) = (Instant::now(), false);
        if let Some(store) = self.store.clone() {
            self.saving = Some(spawn_blocking(move || {
                let ToKeep { opened, answering } = to_keep;
                let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
                store.save_opened(opened)?;
                answering.map_or(Ok(()), |answering| store.save_answering(&answering))
            }));
        }
    }

    /// Waits for the saving under way. One that failed is tried again, and complained of once.
    async fn finish(&mut self) {
        let Some(saving) = self.saving.take() else { return };
        let outcome = match saving.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(()) if self.failing => info!("the file of state can be written again"),
            Ok(()) => {}
            Err(error) => {
                if !self.failing {
                    warn!(%error, "open ports will be forgotten at a restart unless the file of state can be written");
                }
                self.changed = true;
                self.failing = true;
                return;
            }
        }
        self.failing = false;
    }
}

/// Says loudly that there is no memory.
fn without(error: &dyn std::error::Error) -> Option<Store> {
    error!(
        %error,
        "there is no memory: after each restart ports that were open before count as closed, and learning begins anew"
    );
    None
}

#[cfg(test)]
mod tests {
    use scanguard_common::class::Protocol;

    use super::*;

    #[tokio::test]
    async fn what_is_saved_at_the_stop_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let opened = vec![Opened { protocol: Protocol::Tcp, port: 22, last_seen: 5 }];
        let (keeper, kept) = Keeper::open(&path, 7).await;
        assert_eq!((kept.first_run, kept.opened), (7, Vec::new()));
        keeper.stop(ToKeep { opened: opened.clone(), answering: None }).await;
        let (_, kept) = Keeper::open(&path, 9).await;
        assert_eq!((kept.first_run, kept.opened), (7, opened));
    }

    #[tokio::test]
    async fn without_a_usable_file_it_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        std::fs::write(&path, "no database, but long enough to be taken for one").expect("a file");
        let (mut keeper, kept) = Keeper::open(&path, 7).await;
        assert_eq!((kept.first_run, kept.opened), (7, Vec::new()));
        keeper.changed();
        keeper.tick(ToKeep::default).await;
        keeper.stop(ToKeep::default()).await;
    }
}
