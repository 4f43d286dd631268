//! Times of several rounds.

use std::time::Duration;

use serde::Serialize;

/// Times of one row in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The shortest.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// Of some times, at least one.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of(times: &[Duration]) -> Self {
        Self::of_ns(times.iter().map(|time| time.as_secs_f64() * 1e9).collect())
    }

    /// The same of nanoseconds.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn of_ns(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let (min, max) = (times[0], times[times.len() - 1]);
        Self { min, median: times[times.len() / 2], max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_in_the_middle() {
        let times = [30, 10, 20].map(Duration::from_nanos);
        let Spread { min, median, max } = Spread::of(&times);
        assert_eq!((min.round(), median.round(), max.round()), (10.0, 20.0, 30.0));
    }
}
