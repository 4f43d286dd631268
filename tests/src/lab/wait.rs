//! Waiting for conditions that the kernel does not announce.

use std::env;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How many times longer everything may take than it is thought to on a machine of its own: `SCANGUARD_PATIENCE`, for emulated ones.
static PATIENCE: LazyLock<u32> =
    LazyLock::new(|| env::var("SCANGUARD_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1));

/// A limit that suits this machine.
pub(crate) fn patiently(limit: Duration) -> Duration {
    limit * *PATIENCE
}

/// Whether this machine is one on which everything takes longer.
pub(crate) fn is_emulated() -> bool {
    *PATIENCE > 1
}

/// Looks again and again until `condition` holds; an error that names `what` when `limit` passes first.
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = patiently(limit);
    let deadline = Instant::now() + limit;
    while !condition()? {
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}, in vain", limit.as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
