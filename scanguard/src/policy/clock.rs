//! Time as an argument.

use std::time::Duration;

/// Unix time in milliseconds: the wall clock, because what is decided outlives the daemon.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Clock(pub u64);

impl Clock {
    /// The time this much later, or the last there is.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

/// No clock is believed beyond this, some 8,900 years after 1970: sums of several such times still fit.
const LAST: u64 = 1 << 48;

/// A time that never goes back, in milliseconds: what everything inside the policy is measured in.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// None where that is before all time.
    pub(super) fn before(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub(millis(duration)).map(Self)
    }

    /// Milliseconds from an earlier moment on; 0 if that is later.
    pub(super) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Makes moments of what the clock shows.
///
/// Where the clock is set, what was left of each block and memory is left of it still: without that, a block begun while
/// the clock was a year ahead would last a year, and one that runs while it is set ahead would be over. That it was set
/// back shows by itself, as far as that is behind the last step; that it was set ahead has to be told ([`Self::set`]).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeline {
    latest: Moment,
    /// How far the clock was set back, in all, in milliseconds; less than 0 where it was set ahead.
    offset: i64,
}

impl Timeline {
    pub(super) fn starting(now: Clock) -> Self {
        Self { latest: Moment(now.0.min(LAST)), offset: 0 }
    }

    /// The moment that it is now; the next one is not earlier.
    pub(super) fn advance(&mut self, now: Clock) -> Moment {
        let shown = now.0.min(LAST).saturating_add_signed(self.offset);
        self.offset = self.offset.saturating_add_unsigned(self.latest.0.saturating_sub(shown));
        self.latest = self.latest.max(Moment(shown));
        self.latest
    }

    /// The clock was set: it shows `shown` at the moment at which it would have shown `expected`.
    pub(super) fn set(&mut self, expected: Clock, shown: Clock) {
        let [expected, shown] = [expected, shown].map(|clock| clock.0.min(LAST));
        self.offset = self.offset.saturating_add_unsigned(expected).saturating_sub_unsigned(shown);
    }

    /// The moment of the last step.
    pub(super) const fn latest(&self) -> Moment {
        self.latest
    }

    /// The moment that it would be.
    pub(super) fn moment(&self, now: Clock) -> Moment {
        let mut next = *self;
        next.advance(now)
    }

    /// What the clock shows at a moment, as it is set now.
    pub(super) const fn clock(&self, moment: Moment) -> Clock {
        Clock(moment.0.saturating_add_signed(self.offset.saturating_neg()))
    }
}

/// A time that was kept, on a timeline that has just begun.
pub(super) const fn kept(clock: Clock) -> Moment {
    Moment(clock.0)
}

/// Whole milliseconds, or as many as there are numbers for.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_leaves_what_was_left() {
        let mut timeline = Timeline::starting(Clock(10_000));
        let until = timeline.advance(Clock(10_000)).after(Duration::from_secs(5));
        let now = timeline.advance(Clock(3_000));
        assert_eq!(until.since(now), 5_000);
        assert_eq!(timeline.clock(until), Clock(8_000));
        assert_eq!(until.since(timeline.advance(Clock(4_000))), 4_000);
    }

    #[test]
    fn a_clock_of_which_it_is_told_that_it_was_set_leaves_what_was_left() {
        let set = 1_000_000;
        for shown in [set + 86_400_000, set - 400_000, set, LAST, u64::MAX, 0] {
            let mut timeline = Timeline::starting(Clock(set));
            let until = timeline.advance(Clock(set)).after(Duration::from_secs(500));
            // 100 s later.
            timeline.set(Clock(set + 100_000), Clock(shown));
            let now = timeline.advance(Clock(shown));
            assert_eq!(until.since(now), 400_000, "{shown}");
            assert_eq!(timeline.clock(until), Clock(shown.min(LAST) + 400_000), "{shown}");
            if shown < LAST {
                assert_eq!(until.since(timeline.advance(Clock(shown + 1_000))), 399_000, "{shown}");
            }
        }
    }

    #[test]
    fn a_clock_that_was_absurd_once_goes_on() {
        let mut timeline = Timeline::starting(Clock(10_000));
        let absurd = timeline.advance(Clock(u64::MAX));
        timeline.advance(Clock(10_000));
        assert_eq!(timeline.advance(Clock(12_000)).since(absurd), 2_000);
    }
}
