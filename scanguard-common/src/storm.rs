//! Storm mode: when suspects arise faster than any real scanners do, somebody forges them.
//!
//! Then SYNs to closed ports are dropped whoever sends them, without a look at the tables of sources, so that the flood cannot wash
//! real suspects out of them. Nothing else is touched.

use core::cell::UnsafeCell;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::atomic;
use crate::challenge::{TOTAL_LIMIT, URGENT_LIMIT};

/// When a storm begins and how long it lasts.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct StormRules {
    /// How long it lasts after suspects last arose too fast, in nanoseconds.
    pub duration_ns: u64,
    /// Suspects within a second beyond which it begins.
    pub suspects_per_second: u32,
    /// Zero.
    pub reserved: u32,
}

impl StormRules {
    /// A hundred suspects a second, for a minute.
    #[must_use]
    pub const fn new() -> Self {
        Self { duration_ns: 60_000_000_000, suspects_per_second: 100, reserved: 0 }
    }
}

impl Default for StormRules {
    fn default() -> Self {
        Self::new()
    }
}

/// What the datapath remembers beyond single sources: the one entry of STATE.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct State {
    /// When the second began in which suspects are being counted.
    pub second_ns: u64,
    /// Suspects that arose in it.
    pub arisen: u64,
    /// When the storm ends; in the past when there is none.
    pub storm_until_ns: u64,
    /// When the last network ceases to be a suspect; in the past when none is.
    pub networks_until_ns: u64,
    /// Of the limit of answers to all sources together.
    pub answers_ns: u64,
    /// Until when sources may be without a record because of the limit of [`crate::newcomers`]; in the past when all
    /// have one.
    pub unrecorded_until_ns: u64,
    /// Of the limit of contacts that userspace is told of at once.
    pub urgent_ns: u64,
}

/// The state in a table that other CPUs write to at the same time.
#[derive(Clone, Copy)]
pub struct StateCell<'a> {
    state: &'a UnsafeCell<State>,
}

const SECOND_NS: u64 = 1_000_000_000;
/// For how long after an attempt that was not recorded its sender may complete it: longer than a stack tries to connect.
const UNRECORDED_NS: u64 = 180 * SECOND_NS;

impl<'a> StateCell<'a> {
    /// State shared through this cell alone.
    #[inline(always)]
    #[must_use]
    pub const fn new(state: &'a UnsafeCell<State>) -> Self {
        Self { state }
    }

    /// Whether there is a storm.
    #[inline(always)]
    #[must_use]
    pub fn is_storm(self, now_ns: u64) -> bool {
        // SAFETY: the cell is valid and aligned for 'a, and its words are read and written whole.
        unsafe { (&raw const (*self.state.get()).storm_until_ns).read_volatile() > now_ns }
    }

    /// Whether any network may be a suspect.
    #[inline(always)]
    #[must_use]
    pub fn has_networks(self, now_ns: u64) -> bool {
        // SAFETY: as in `is_storm`.
        unsafe { (&raw const (*self.state.get()).networks_until_ns).read_volatile() > now_ns }
    }

    /// Whether a source may be without a record though it came by a guarded interface.
    #[inline(always)]
    #[must_use]
    pub fn has_unrecorded(self, now_ns: u64) -> bool {
        // SAFETY: as in `is_storm`.
        unsafe { (&raw const (*self.state.get()).unrecorded_until_ns).read_volatile() > now_ns }
    }

    /// A source got no record.
    #[inline(always)]
    pub fn leave_unrecorded(self, now_ns: u64) {
        // SAFETY: as in `is_storm`; of two writers at once either may win, which costs at most a second.
        unsafe {
            let until = &raw mut (*self.state.get()).unrecorded_until_ns;
            // Once a second: the line is every CPU's.
            if until.read_volatile() < now_ns + UNRECORDED_NS - SECOND_NS {
                until.write_volatile(now_ns + UNRECORDED_NS);
            }
        }
    }

    /// Takes an answer from what all sources together may have.
    #[inline(always)]
    #[must_use]
    pub fn take_answer(self, now_ns: u64) -> bool {
        // SAFETY: as in `is_storm`; the word is changed by atomics.
        unsafe { TOTAL_LIMIT.take_from(&raw mut (*self.state.get()).answers_ns, now_ns) }
    }

    /// Takes a place among the contacts that userspace is told of at once.
    #[inline(always)]
    #[must_use]
    pub fn take_urgent(self, now_ns: u64) -> bool {
        // SAFETY: as in `take_answer`.
        unsafe { URGENT_LIMIT.take_from(&raw mut (*self.state.get()).urgent_ns, now_ns) }
    }

    /// A network is a suspect until then.
    #[inline(always)]
    pub fn keep_networks(self, until_ns: u64) {
        let state = self.state.get();
        // SAFETY: as in `is_storm`; of two writers at once either may win, which costs at most the difference between
        // two packets.
        unsafe {
            let kept = &raw mut (*state).networks_until_ns;
            if kept.read_volatile() < until_ns {
                kept.write_volatile(until_ns);
            }
        }
    }

    /// Counts a new suspect; true when a storm begins with it.
    #[inline(always)]
    #[must_use]
    pub fn count_suspect(self, rules: &StormRules, now_ns: u64) -> bool {
        let state = self.state.get();
        // SAFETY: as in `is_storm`, read-modify-write by atomics only.
        unsafe {
            let second = &raw mut (*state).second_ns;
            let arisen = &raw mut (*state).arisen;
            let began = second.read_volatile();
            if now_ns.saturating_sub(began) >= SECOND_NS && atomic::compare_exchange_u64(second, began, now_ns) == began
            {
                arisen.write_volatile(0);
            }
            if atomic::fetch_add_u64(arisen, 1) < u64::from(rules.suspects_per_second) {
                return false;
            }
            let until = &raw mut (*state).storm_until_ns;
            let before = until.read_volatile();
            until.write_volatile(now_ns + rules.duration_ns);
            before <= now_ns
        }
    }
}
