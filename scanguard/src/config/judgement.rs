//! When a source is suspected, and what follows.
//!
//! The test is Threshold Random Walk: Jung, Paxson, Berger, Balakrishnan, "Fast Portscan Detection Using Sequential Hypothesis
//! Testing", IEEE Symposium on Security and Privacy 2004. The names `a` and `b` are Wald's for the two errors; the paper
//! calls them α and β, and `t0` and `t1` θ0 and θ1.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What the test assumes and which errors it may make. All but the half-life are probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Benign sources that may be suspected, 1e-9 to 0.5; less than 1 together with `b`.
    pub a: f64,
    /// Scanners that may be missed, 1e-9 to 0.5.
    pub b: f64,
    /// Benign sources that may become eligible for blocking, 1e-9 to `a`.
    pub block_a: f64,
    /// That a benign source's first contact finds an open port; above `t1`, below 1.
    pub t0: f64,
    /// That a scanner's does; above 0.
    pub t1: f64,
    /// How long after the last evidence a score is half of what it was, 1 minute to 30 days.
    pub half_life: Duration,
}

impl Default for Score {
    fn default() -> Self {
        Self { a: 0.01, b: 0.01, block_a: 1e-6, t0: 0.8, t1: 0.2, half_life: 6 * HOUR }
    }
}

/// How long suspects are kept from hidden ports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Conceal {
    /// After the last packet to a hidden port, 1 minute to 24 hours.
    pub duration: Duration,
    /// Without new evidence at most, `duration` to 7 days.
    pub longest: Duration,
}

impl Default for Conceal {
    fn default() -> Self {
        Self { duration: HOUR, longest: 24 * HOUR }
    }
}

/// When suspects arise so fast that somebody must be forging them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Storm {
    /// New suspects in a second, 1 to 1,000,000.
    pub suspects_per_second: u32,
    /// How long after the last such second it is over, 1 second to 1 hour.
    pub duration: Duration,
}

impl Default for Storm {
    fn default() -> Self {
        Self { suspects_per_second: 100, duration: MINUTE }
    }
}
