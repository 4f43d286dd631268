//! Floods of new sources: when they come faster than anybody's customers do, most are forged, and a record for each would wash real ones out of the
//! table and cost more than all else that is done for a packet.
//!
//! So each CPU records so many new sources a second; of those beyond only one in [`ONE_IN`], unless what they ask for says something against
//! them: a first contact with a closed, canary or restricted port is recorded and weighed always. What is lost is how many attempts at public ports a new source
//! made before it was recorded, and nothing that is ever held against anyone. The limit is refilled every second, and never latches.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Of the new sources beyond the limit one in so many is recorded: who goes on to send is recorded soon.
pub const ONE_IN: u32 = 64;

const SECOND_NS: u64 = 1_000_000_000;

/// How many new sources are recorded.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct NewcomerRules {
    /// In a second, on each CPU.
    pub per_second: u32,
    /// Zero.
    pub reserved: u32,
}

impl NewcomerRules {
    /// Twenty thousand a second.
    #[must_use]
    pub const fn new() -> Self {
        Self { per_second: 20_000, reserved: 0 }
    }

    /// All of them.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { per_second: u32::MAX, reserved: 0 }
    }
}

impl Default for NewcomerRules {
    fn default() -> Self {
        Self::new()
    }
}

/// The new sources of one CPU.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Newcomers {
    /// When the second began in which they are being counted.
    second_ns: u64,
    /// How many came in it.
    came: u64,
}

impl Newcomers {
    /// Whether one more is recorded.
    #[inline(always)]
    #[must_use]
    pub const fn admits(&mut self, rules: &NewcomerRules, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.second_ns) >= SECOND_NS {
            (self.second_ns, self.came) = (now_ns, 0);
        }
        self.came += 1;
        self.came <= rules.per_second as u64 || self.came.is_multiple_of(ONE_IN as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_one_in_sixty_four_is_recorded_and_the_next_second_begins_anew() {
        let rules = NewcomerRules { per_second: 100, reserved: 0 };
        let mut newcomers = Newcomers::default();
        let mut admitted = |second: u64| (0..6_500).filter(|n| newcomers.admits(&rules, (second << 30) + n)).count();
        assert_eq!(admitted(5), 100 + 100);
        assert_eq!(admitted(6), 100 + 100);
        assert!((0..100_000).all(|n| newcomers.admits(&NewcomerRules::unlimited(), n)));
    }
}
