//! Kernel time to wall-clock time.
//!
//! Records and events carry `CLOCK_MONOTONIC` in nanoseconds (in its coarse form, steps of 1 to 10 ms).

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds of `CLOCK_MONOTONIC_COARSE`, the clock of the kernel part.
#[must_use]
pub fn monotonic_coarse_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC_COARSE)
}

/// Now, in nanoseconds of `CLOCK_MONOTONIC`, which the coarse clock follows by up to 10 ms.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// Wall-clock time of a moment of the kernel's clock. Exact as long as the wall clock was not stepped since.
#[must_use]
pub fn monotonic_to_system(ns: u64) -> SystemTime {
    let (now, now_ns) = (SystemTime::now(), nanoseconds(ClockId::CLOCK_MONOTONIC));
    let moment = match now_ns.checked_sub(ns) {
        Some(age) => now.checked_sub(Duration::from_nanos(age)),
        None => now.checked_add(Duration::from_nanos(ns - now_ns)),
    };
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The moment of the kernel's clock that a wall-clock time is; one before the kernel started is 0.
#[must_use]
pub fn system_to_monotonic(time: SystemTime) -> u64 {
    let (now, now_ns) = (SystemTime::now(), nanoseconds(ClockId::CLOCK_MONOTONIC));
    let span_ns = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    match time.duration_since(now) {
        Ok(ahead) => now_ns.saturating_add(span_ns(ahead)),
        Err(behind) => now_ns.saturating_sub(span_ns(behind.duration())),
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    // Linux has both clocks since 2.6.32; a failure would mean a broken kernel, where 0 is as good as any.
    clock_gettime(clock).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_on_the_kernels_clock_is_now_on_the_wall() {
        let wall = monotonic_to_system(monotonic_coarse_ns());
        let away = SystemTime::now().duration_since(wall).unwrap_or_default();
        assert!(away < Duration::from_secs(1), "{away:?}");
    }
}
