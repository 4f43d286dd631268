//! The desk without a daemon: over what one that ran with `--keep` left in the kernel.

use std::time::SystemTime;

use tracing::{debug, warn};

use super::desk::Desk;
use crate::config::Config;
use crate::feeds::Feeds;
use crate::kernel::pins::Pins;
use crate::kernel::{KernelError, Tables};
use crate::store::Archive;

/// What was found without a daemon.
pub struct Offline {
    /// What can be asked and changed.
    pub desk: Desk,
    /// The pins, which nobody else can use meanwhile.
    pub pins: Pins,
}

/// Opens what is pinned; nothing when nothing is.
///
/// # Errors
/// When it is of another version, in use, or not for this user.
pub fn open(config: &Config, now: SystemTime) -> Result<Option<Offline>, KernelError> {
    let Some(pins) = Pins::open(&config.pins, false)? else {
        return Ok(None);
    };
    if !pins.hold_state() {
        return Ok(None);
    }
    let tables = Tables::pinned(&pins)?;
    // As they are now: nobody acts on them.
    let feeds = Feeds::read(&config.feeds, now).unwrap_or_else(|error| {
        warn!(%error, "feeds are left out");
        Feeds::default()
    });
    let mut desk = Desk::over(tables, config, Archive::open_whole(&config.state, config.retention), now);
    desk.set_feeds(feeds);
    // What has ended is cleared up first, so that nobody sees it any more.
    if let Err(error) = desk.expire(now) {
        debug!(%error, "what is over could not be cleared up");
    }
    Ok(Some(Offline { desk, pins }))
}
