//! Sequential hypothesis testing: how likely is a source a scanner?
//!
//! Threshold Random Walk (Jung, Paxson, Berger, Balakrishnan, "Fast Portscan Detection Using Sequential Hypothesis Testing",
//! IEEE S&P 2004), over (destination, port) instead of hosts. The score of a source is the logarithm of a likelihood ratio,
//! "scanner : benign", in units of 1/1024 nat. Each first contact adds to it according to its outcome; it never falls below 0 and never
//! exceeds the cap. Step and thresholds are computed by userspace from the operator's error rates.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::contact::Outcome;

/// Units of the score in a nat.
pub const UNITS_PER_NAT: u32 = 1024;

/// Constants of the test, in units of the score.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct ScoreRules {
    /// After this many nanoseconds without evidence the score halves, and again after as many more.
    pub half_life_ns: u64,
    /// What one failed contact adds: ln((1 - t1) / (1 - t0)).
    pub step: u32,
    /// From here on a source is a suspect: ln((1 - b) / a).
    pub conceal_at: u32,
    /// From here on a network is: strangers share it, so it takes as much as a block.
    pub prefix_at: u32,
    /// The score goes no higher; here it is block-eligible.
    pub cap: u32,
}

impl ScoreRules {
    /// The constants for a = b = 0.01, 1e-6 for blocks, t0 = 0.8 and t1 = 0.2, half-life 6 h.
    #[must_use]
    pub const fn new() -> Self {
        // ln 4, ln 99 and ln 990,000 in units.
        Self { half_life_ns: 6 * 3_600_000_000_000, step: 1420, conceal_at: 4705, prefix_at: 14_137, cap: 14_137 }
    }

    /// What a first contact with this outcome adds to the score.
    #[inline(always)]
    #[must_use]
    pub const fn points(&self, outcome: Outcome) -> u32 {
        match outcome {
            Outcome::Unknown | Outcome::Public => 0,
            // A stranger may well try ssh once: half a step.
            Outcome::Restricted => self.step / 2,
            Outcome::Closed | Outcome::AckProbe | Outcome::Protocol => self.step,
            Outcome::Canary
            | Outcome::IllegalFlags
            | Outcome::TinyFragment
            | Outcome::LongChain
            | Outcome::CutChain => self.step * 2,
        }
    }
}

impl Default for ScoreRules {
    fn default() -> Self {
        Self::new()
    }
}

/// A score after so many half-lives.
#[inline(always)]
#[must_use]
pub const fn halved(score: u32, half_lives: u64) -> u32 {
    if half_lives > 31 { 0 } else { score >> half_lives as u32 }
}
