//! Storm mode: when suspects arise faster than any real scanners do, somebody forges them.
//!
//! Then whatever asks for closed and canary ports is hidden from everybody who is neither known nor allowed, and of the new sources
//! that ask for them only so many get a record ([`STORM_NEWCOMERS`]), so that the flood cannot wash real ones out of the table.
//! Everything else goes on as ever: a storm is no cloak, sources are scored in it.

use core::cell::UnsafeCell;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::atomic;
use crate::challenge::{Limit, SLOT_NS, TOTAL_LIMIT, URGENT_LIMIT};
use crate::newcomers::NewcomerRules;

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

/// New sources that get a record in a storm though they ask for closed ports: 1,000 a second on each CPU, and one in 64 beyond.
pub const STORM_NEWCOMERS: NewcomerRules = NewcomerRules { per_second: 1_000, reserved: 0 };

/// How many new suspects are backed up: 10 a second, 1,024 at once. A suspect is one for an hour after its last packet, in which so
/// no more than 37,024 of the 65,536 places are taken by others: forged suspects wash nobody out.
pub const BACKUP_LIMIT: Limit = Limit { interval_ns: 100_000_000, burst: 1_024 };

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
    /// Of the limit of suspects that are backed up.
    pub backups_ns: u64,
    /// Until when a decoy on a restricted port may be completed: as long as segments with ACK to restricted ports are looked at; 0 if
    /// there was never one.
    pub decoys_until_ns: u64,
    /// Whether a suspect with a session or a met challenge was ever kept: 1, or 0 where there is none to be looked for.
    pub has_proven: u64,
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

    /// Whether a suspect that is really there was ever kept apart.
    #[inline(always)]
    #[must_use]
    pub fn has_proven(self) -> bool {
        // SAFETY: as in `is_storm`.
        unsafe { (&raw const (*self.state.get()).has_proven).read_volatile() != 0 }
    }

    /// From now on there is one.
    #[inline(always)]
    pub fn keep_proven(self) {
        // SAFETY: as in `is_storm`.
        unsafe { (&raw mut (*self.state.get()).has_proven).write_volatile(1) }
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

    /// Takes a place among the new suspects that are backed up.
    #[inline(always)]
    #[must_use]
    pub fn take_backup(self, now_ns: u64) -> bool {
        // SAFETY: as in `take_answer`.
        unsafe { BACKUP_LIMIT.take_from(&raw mut (*self.state.get()).backups_ns, now_ns) }
    }

    /// Whether a decoy on a restricted port may be completed; the clock is asked only where there was one.
    #[inline(always)]
    #[must_use]
    pub fn has_decoys(self, now_ns: impl FnOnce() -> u64) -> bool {
        // SAFETY: as in `is_storm`.
        let until_ns = unsafe { (&raw const (*self.state.get()).decoys_until_ns).read_volatile() };
        until_ns != 0 && until_ns > now_ns()
    }

    /// A decoy was sent for a restricted port.
    #[inline(always)]
    pub fn expect_decoys(self, now_ns: u64) {
        // SAFETY: as in `is_storm`; of two writers at once either may win.
        unsafe { (&raw mut (*self.state.get()).decoys_until_ns).write_volatile(now_ns + 2 * SLOT_NS) }
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
