//! Keeps what is known of ports over restarts, and since when that is so.

use std::path::Path;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use scanguard_common::opened::Endpoint;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::store::{Archive, Limits, Opened};

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

/// Has it written to the file of state.
pub(super) struct Keeper {
    archive: Archive,
    /// The epoch of the archive in which it was written last.
    epoch: u64,
    saved: Instant,
    changed: bool,
}

impl Keeper {
    /// Opens the file. One that cannot be used is complained of, and done without.
    pub(super) async fn open(path: &Path, limits: Limits, now: u64) -> anyhow::Result<(Self, Kept)> {
        let owned = path.to_owned();
        let opening = spawn_blocking(move || {
            let archive = Archive::open(&owned, limits);
            // What can only be read is better than nothing.
            let opened = archive.ask(|store| Ok((store.load_opened()?, store.load_answering()?)));
            let first_run = archive.ask(move |store| store.first_run(now));
            (archive, opened, first_run)
        });
        let (archive, opened, first_run) = opening.await?;
        let (opened, answering) = match opened {
            Ok((opened, answering)) => {
                info!(file = %path.display(), ports = opened.len(), "which ports were open is known");
                (opened, answering)
            }
            Err(error) => {
                error.complain(
                    "there is no memory: ports that were open before count as closed, and learning begins anew",
                );
                Default::default()
            }
        };
        let first_run = first_run.unwrap_or(now);
        let epoch = archive.epoch();
        Ok((Self { archive, epoch, saved: Instant::now(), changed: false }, Kept { first_run, opened, answering }))
    }

    /// The archive, for others who keep something in it.
    pub(super) const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Takes note that something changed since the last saving.
    pub(super) const fn changed(&mut self) {
        self.changed = true;
    }

    /// Saves if it is time.
    pub(super) fn tick(&mut self, to_keep: impl FnOnce() -> ToKeep) {
        let is_due = self.saved.elapsed() >= if self.changed { RARELY } else { HOURLY };
        if is_due || self.archive.epoch() != self.epoch {
            self.save(to_keep());
        }
    }

    /// Saves a last time and waits for it.
    pub(super) async fn stop(mut self, to_keep: ToKeep) {
        self.save(to_keep);
        if let Err(unsaved) = self.archive.settled().await {
            warn!(%unsaved, "not all that was decided is kept for the next daemon");
        }
    }

    fn save(&mut self, ToKeep { opened, answering }: ToKeep) {
        (self.saved, self.changed, self.epoch) = (Instant::now(), false, self.archive.epoch());
        self.archive.write(move |store| {
            store.save_opened(opened)?;
            answering.map_or(Ok(()), |answering| store.save_answering(&answering))
        });
    }
}

/// Since when all of these networks are protected, in seconds since 1970. Without a file it is `now`. Blocks for as
/// long as the disk takes.
pub(super) fn protecting_since(archive: &Archive, networks: &[IpNetwork], now: u64) -> u64 {
    let networks = networks.to_vec();
    archive.ask(move |store| store.protecting_since(&networks, now)).unwrap_or_else(|error| {
        error.complain("it is not kept since when networks are protected: it is learnt anew what is open there");
        now
    })
}

#[cfg(test)]
mod tests {
    use scanguard_common::class::Protocol;

    use super::*;

    #[tokio::test]
    async fn what_is_saved_at_the_stop_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let open = |now| Keeper::open(&path, Limits::default(), now);
        let opened = vec![Opened { protocol: Protocol::Tcp, port: 22, last_seen: 5 }];
        let (keeper, kept) = open(7).await.expect("a keeper");
        assert_eq!((kept.first_run, kept.opened), (7, Vec::new()));
        keeper.stop(ToKeep { opened: opened.clone(), answering: None }).await;
        let (_, kept) = open(9).await.expect("a keeper");
        assert_eq!((kept.first_run, kept.opened), (7, opened));
    }
}
