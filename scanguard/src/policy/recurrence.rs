//! How long a block lasts: longer with each recurrence.

use std::time::Duration;

use crate::config::Blocks;

/// How long a block lasts that comes after so many others: the first one's length times the factor for each of them, at most the
/// longest.
#[must_use]
pub fn length(settings: &Blocks, earlier: u32) -> Duration {
    uncapped(settings, earlier).map_or(settings.longest, |length| length.min(settings.longest))
}

/// The same without the cap; none when it is longer than can be counted.
pub(super) fn uncapped(settings: &Blocks, earlier: u32) -> Option<Duration> {
    settings.first.checked_mul(settings.factor.checked_pow(earlier)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_grow_by_the_factor_up_to_the_longest() {
        let minutes: Vec<u64> = (0..8).map(|earlier| length(&Blocks::default(), earlier).as_secs() / 60).collect();
        assert_eq!(minutes, [10, 40, 160, 640, 1440, 1440, 1440, 1440]);
    }

    #[test]
    fn no_number_of_recurrences_is_too_many() {
        let settings = Blocks { factor: 100, ..Blocks::default() };
        for earlier in [15, 16, 17, 1000, u32::MAX] {
            assert_eq!(length(&settings, earlier), settings.longest, "{earlier}");
        }
        let same = Blocks { factor: 1, ..Blocks::default() };
        assert_eq!(length(&same, u32::MAX), same.first);
    }
}
