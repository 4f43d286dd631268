//! Waiting for conditions that the kernel does not announce.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks again and again until `condition` holds; an error that names `what` when `limit` passes first.
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !condition()? {
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}, in vain", limit.as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
