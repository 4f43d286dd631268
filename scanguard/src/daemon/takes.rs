//! What the daemon and the kernel part take of this host.

use std::time::Duration;

use crate::api::Takes;
use crate::kernel::{clock, memory, probe};

/// Now; `up` is how long the daemon has been at work. Reads files of `/proc`.
pub(super) fn now(up: Duration) -> Takes {
    Takes {
        kernel_bytes: probe::memory_of("self"),
        daemon_bytes: memory::resident("self").unwrap_or_default(),
        cpu_percent: 100.0 * clock::process_time().as_secs_f64() / up.as_secs_f64().max(1.0),
    }
}
