//! What tests of the real daemon ask again and again. It panics where a test is to fail.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::defender::Daemon;
use crate::lab::process::Finished;

/// How long anything may take that is to happen.
pub const LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs a verb of the command line, whatever it exits with.
///
/// # Panics
/// When it cannot be run, or hangs.
#[must_use]
pub fn cli(daemon: &Daemon, arguments: &[&str]) -> Finished {
    daemon.cli(arguments).expect("an answer")
}

/// Runs a verb that must succeed, and reads its JSON.
///
/// # Panics
/// When it fails, or prints none.
pub fn done(daemon: &Daemon, arguments: &[&str]) -> Value {
    daemon.done(arguments).expect("an answer")
}

/// Looks again and again until a condition holds.
///
/// # Panics
/// When it does not within [`LIMIT`].
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(LOOK_EVERY);
    }
}
