//! Reads the table of sources, not too often.
//!
//! A full table takes tens of milliseconds. So it is read in one blocking thread at a time, whoever asks
//! meanwhile shares the result, and the next reading waits for [`REST`] times as long as the last one took of a
//! processor: a small table is always fresh, also on a host that is busy with other things, and a full one costs at most a
//! twentieth of a core however often somebody asks.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use scanguard_common::record::SourceRecord;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::kernel::{KernelError, MapUse, Readings, clock};
use crate::turns;

/// How many times as long as a reading took of a processor the next one waits.
const REST: u32 = 20;

/// The table of sources at one moment.
pub(super) struct Snapshot {
    pub(super) records: Vec<SourceRecord>,
    pub(super) suspects: u64,
    /// Whether suspects arise faster than real ones do.
    pub(super) storm: bool,
    pub(super) maps: Vec<MapUse>,
    pub(super) as_of: SystemTime,
    pub(super) fresh_until: Instant,
}

/// Reads the table of sources.
pub(super) struct Census {
    readings: Readings,
    latest: RwLock<Option<Arc<Snapshot>>>,
    /// Held while reading, so that one reads and the others wait for it.
    reading: Mutex<()>,
}

impl Census {
    pub(super) fn new(readings: Readings) -> Arc<Self> {
        Arc::new(Self { readings, latest: RwLock::default(), reading: Mutex::default() })
    }

    /// The table, read now or lately.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Arc<Snapshot>> {
        if let Some(fresh) = self.fresh() {
            return Ok(fresh);
        }
        let census = Arc::clone(self);
        // A task of its own: whoever asked may go away, the reading is of use to the next one.
        tokio::spawn(async move {
            let _reading = census.reading.lock().await;
            if let Some(fresh) = census.fresh() {
                return Ok(fresh); // Somebody else read it while this one waited.
            }
            let readings = census.readings.clone();
            let snapshot = tokio::task::spawn_blocking(move || turns::in_the_background(|| read(&readings))).await??;
            let snapshot = Arc::new(snapshot);
            *census.latest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&snapshot));
            Ok(snapshot)
        })
        .await
        .context("the reading of the table of sources was broken off")?
    }

    /// The table as it was when last read, if reading it anew takes longer than `patience`.
    pub(super) async fn take_within(self: &Arc<Self>, patience: Duration) -> Result<Arc<Snapshot>> {
        // The reading goes on when the patience ends; the next one who asks finds it done.
        let taken = timeout(patience, self.take()).await;
        match (taken, self.latest()) {
            (Ok(taken), _) => taken,
            (Err(_), Some(old)) => Ok(old),
            (Err(_), None) => self.take().await,
        }
    }

    fn latest(&self) -> Option<Arc<Snapshot>> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Option<Arc<Snapshot>> {
        self.latest().filter(|snapshot| Instant::now() < snapshot.fresh_until)
    }
}

fn read(readings: &Readings) -> Result<Snapshot, KernelError> {
    let started = clock::thread_time();
    let as_of = SystemTime::now();
    let records = readings.sources()?;
    let maps = readings.maps(records.len());
    let now_ns = clock::monotonic_coarse_ns();
    let suspects = records.iter().filter(|record| record.is_suspect(now_ns)).count() as u64;
    let state = readings.state()?;
    let took = clock::thread_time().saturating_sub(started);
    Ok(Snapshot {
        records,
        suspects,
        storm: state.storm_until_ns > now_ns,
        maps,
        as_of,
        fresh_until: Instant::now() + REST * took,
    })
}
