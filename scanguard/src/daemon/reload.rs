//! Reads the configuration anew while the daemon runs: all of it or nothing.

use std::time::SystemTime;

use tracing::info;

use super::Options;
use crate::api::{Change, Reloaded, SCHEMA_VERSION};
use crate::config::changes::{changes, in_force};
use crate::config::{Config, file};
use crate::feeds::Feeds;
use crate::operator::{Desk, OperatorError};

/// The configuration as its file has it, and the feeds that it names.
pub(super) struct Read {
    loaded: file::Loaded,
    feeds: Feeds,
}

/// Reads it, and the feeds, whose files may be long: keep it off the thread that decides.
///
/// # Errors
/// When a file is wrong.
pub(super) fn read(options: &Options) -> Result<Read, OperatorError> {
    let loaded = options.load().map_err(|error| OperatorError::Usage(format!("nothing was changed: {error}")))?;
    let feeds = Feeds::read(&loaded.config.feeds, SystemTime::now())
        .map_err(|error| OperatorError::Usage(format!("nothing was changed: {error}")))?;
    Ok(Read { loaded, feeds })
}

/// Puts it in force as far as that can be done without a restart; `config` says then what is in force.
///
/// # Errors
/// When the kernel part does not take it: then everything is as it was.
pub(super) fn put_in_force(read: Read, config: &mut Config, desk: &mut Desk) -> Result<Reloaded, OperatorError> {
    let Read { loaded: file::Loaded { config: wanted, file }, feeds } = read;
    let changes = changes(config, &wanted);
    let new = in_force(config, wanted);
    desk.apply(config, &new).map_err(|error| OperatorError::Failed(error.context("nothing was changed")))?;
    desk.set_feeds(feeds);
    *config = new;
    let file = file.map(|file| file.display().to_string());
    Ok(Reloaded { schema_version: SCHEMA_VERSION, file, changes })
}

/// Says what changed.
pub(super) fn tell(reloaded: &Reloaded) {
    info!(changes = reloaded.changes.len(), "the configuration was read anew");
    for Change { key, old, new, applied } in &reloaded.changes {
        if *applied {
            info!(key, old, new, "changed");
        } else {
            info!(key, old, new, "changed, and in force only after a restart");
        }
    }
}
