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

/// How long this thread has had a processor: what something costs, whatever else the host does meanwhile.
#[must_use]
pub fn thread_time() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

/// How long all threads of this process have had a processor.
#[must_use]
pub fn process_time() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID))
}

/// Whether somebody keeps the wall clock right (NTP): the kernel's word for it, which needs no rights to read. None where it says nothing.
#[must_use]
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: all zeros is a value of this plain C struct; with `modes` 0 nothing is set, and the kernel writes into what is ours.
    let state = unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        nix::libc::adjtimex(&raw mut timex)
    };
    (state >= 0).then_some(state != nix::libc::TIME_ERROR)
}

/// Wall-clock time of a moment of the kernel's clock. Exact as long as the wall clock was not stepped since.
#[must_use]
pub fn monotonic_to_system(ns: u64) -> SystemTime {
    WallClock::now().time(ns)
}

/// The moment of the kernel's clock that a wall-clock time is; one before the kernel started is 0.
#[must_use]
pub fn system_to_monotonic(time: SystemTime) -> u64 {
    WallClock::now().ns(time)
}

/// Steps of the wall clock up to this are none: it is slewed all the time, and the two clocks are read one after the
/// other.
const SLEWED: Duration = Duration::from_secs(2);

/// How the wall clock is set: a moment on it and on the kernel's clock, `CLOCK_MONOTONIC`, which nobody sets. Kept, it
/// tells when the wall clock was set anew, so that what is to end after a while ends after that while.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WallClock {
    wall: SystemTime,
    ns: u64,
}

/// By how much the wall clock was set anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClockStep {
    /// It shows later times than it would have.
    Ahead(Duration),
    /// It shows earlier times.
    Back(Duration),
}

impl WallClock {
    /// As it is set now.
    #[must_use]
    pub fn now() -> Self {
        Self { wall: SystemTime::now(), ns: monotonic_ns() }
    }

    /// As it is set where it shows `wall` at a moment of the kernel's clock.
    #[must_use]
    pub const fn at(wall: SystemTime, ns: u64) -> Self {
        Self { wall, ns }
    }

    /// What it shows at a moment of the kernel's clock.
    #[must_use]
    pub fn time(&self, ns: u64) -> SystemTime {
        let moment = match self.ns.checked_sub(ns) {
            Some(age) => self.wall.checked_sub(Duration::from_nanos(age)),
            None => self.wall.checked_add(Duration::from_nanos(ns - self.ns)),
        };
        moment.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The moment of the kernel's clock at which it shows a time; 0 for a time before the kernel started.
    #[must_use]
    pub fn ns(&self, time: SystemTime) -> u64 {
        let span_ns = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        match time.duration_since(self.wall) {
            Ok(ahead) => self.ns.saturating_add(span_ns(ahead)),
            Err(behind) => self.ns.saturating_sub(span_ns(behind.duration())),
        }
    }

    /// Takes over how it is set now, if that is more than a slewed clock moves away from how it was set.
    pub fn follow(&mut self, now: Self) -> Option<ClockStep> {
        let expected = self.time(now.ns);
        let step = match now.wall.duration_since(expected) {
            Ok(ahead) => ClockStep::Ahead(ahead),
            Err(behind) => ClockStep::Back(behind.duration()),
        };
        let (ClockStep::Ahead(by) | ClockStep::Back(by)) = step;
        if by <= SLEWED {
            return None;
        }
        *self = now;
        Some(step)
    }
}

impl ClockStep {
    /// A time that is as far from now as `time` was before the step.
    #[must_use]
    pub fn shifted(self, time: SystemTime) -> SystemTime {
        match self {
            // A time that no clock shows never comes; it stays one.
            Self::Ahead(by) => time.checked_add(by).unwrap_or(time),
            Self::Back(by) => time.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    // Linux has these clocks since 2.6.32; a failure would mean a broken kernel, where 0 is as good as any.
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

    #[test]
    fn a_thread_that_waits_takes_no_time_of_a_processor() {
        let (waits, released) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || {
            let before = thread_time();
            let _ = released.recv();
            thread_time() - before
        });
        // However long that takes, it is this thread's time.
        let (before, mut sum) = (thread_time(), 0_u64);
        while thread_time() - before < Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        drop(waits);
        let waited = waiting.join().expect("a thread");
        assert!(waited < thread_time() - before, "{waited:?}");
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_NS: u64 = 3_600_000_000_000;

    #[test]
    fn a_wall_clock_that_is_set_leaves_what_was_left() {
        let noon = SystemTime::UNIX_EPOCH + 500_000 * HOUR;
        let set = WallClock::at(noon, 100 * HOUR_NS);
        let ends = noon + 2 * HOUR;
        assert_eq!((set.ns(ends), set.time(102 * HOUR_NS)), (102 * HOUR_NS, ends));
        // An hour later it is 18:00, or 9:00, or what it should be.
        for (wall, step) in [
            (noon + 6 * HOUR, Some(ClockStep::Ahead(5 * HOUR))),
            (noon - 3 * HOUR, Some(ClockStep::Back(4 * HOUR))),
            (noon + HOUR + SLEWED, None),
            (noon + HOUR - SLEWED, None),
        ] {
            let mut clock = set;
            assert_eq!(clock.follow(WallClock::at(wall, 101 * HOUR_NS)), step);
            let ends = step.map_or(ends, |step| step.shifted(ends));
            assert_eq!(clock.ns(ends), 102 * HOUR_NS, "{step:?}");
        }
    }

    #[test]
    fn times_beyond_every_clock_stay_in_it() {
        let clock = WallClock::at(SystemTime::UNIX_EPOCH + HOUR, HOUR_NS / 2);
        assert_eq!(clock.ns(SystemTime::UNIX_EPOCH), 0, "before the kernel started");
        assert!(clock.ns(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60)) == u64::MAX);
        let far = ClockStep::Ahead(Duration::MAX).shifted(SystemTime::UNIX_EPOCH + HOUR);
        assert_eq!(far, SystemTime::UNIX_EPOCH + HOUR);
        assert_eq!(ClockStep::Back(Duration::MAX).shifted(far), SystemTime::UNIX_EPOCH);
    }
}
