//! What is remembered of a source: the value of the SOURCES map.

use core::cell::UnsafeCell;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::atomic;
use crate::contact::ContactBit;
use crate::source::SourceKey;

/// What is remembered of a source. Times are nanoseconds of `CLOCK_MONOTONIC_COARSE`.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SourceRecord {
    /// Whose record this is: nodes of an LRU map are recycled under a held pointer, so the value carries its key.
    pub source: SourceKey,
    /// New flows sent.
    pub attempts: u64,
    /// When the first of them came.
    pub first_seen_ns: u64,
    /// When the latest of them came.
    pub last_seen_ns: u64,
    /// Distinct (destination, protocol, port) asked for, as far as the 256-bit set tells them apart.
    pub contacts: u32,
    /// Contacts that failed.
    pub failures: u32,
    /// Log-likelihood ratio "scanner : benign" in 1/1024 nat.
    pub score: u32,
    /// [`crate::reason::Level`] in force.
    pub level: u32,
    /// One bit per contact, see [`crate::contact`].
    pub contact_set: [u64; 4],
}

const _: () = assert!(size_of::<SourceRecord>() == 88 && align_of::<SourceRecord>() == 8);

impl SourceRecord {
    /// A source seen for the first time, nothing counted yet.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: SourceKey, now_ns: u64) -> Self {
        Self {
            source,
            attempts: 0,
            first_seen_ns: now_ns,
            last_seen_ns: now_ns,
            contacts: 0,
            failures: 0,
            score: 0,
            level: 0,
            contact_set: [0; 4],
        }
    }
}

/// A record in a table that other CPUs write to at the same time.
#[derive(Clone, Copy)]
pub struct SourceCell<'a> {
    record: &'a UnsafeCell<SourceRecord>,
}

impl<'a> SourceCell<'a> {
    /// A record shared through this cell alone.
    #[inline(always)]
    #[must_use]
    pub const fn new(record: &'a UnsafeCell<SourceRecord>) -> Self {
        Self { record }
    }

    /// Counts one attempt.
    #[inline(always)]
    pub fn count_attempt(self, now_ns: u64) {
        let record = self.record.get();
        // SAFETY: the cell is valid and aligned for 'a, and shared fields are touched by atomics only; the time is
        // one aligned word, where the latest writer may win.
        unsafe {
            atomic::fetch_add_u64(&raw mut (*record).attempts, 1);
            (&raw mut (*record).last_seen_ns).write_volatile(now_ns);
        }
    }

    /// Marks a contact; true when it is the first one.
    #[inline(always)]
    #[must_use]
    pub fn mark_contact(self, bit: ContactBit) -> bool {
        let record = self.record.get();
        // SAFETY: as in `count_attempt`; the word index is below 4.
        unsafe {
            let word = (&raw mut (*record).contact_set).cast::<u64>().add(bit.word());
            if word.read_volatile() & bit.mask() != 0 {
                return false; // The common case costs a read, no locked instruction.
            }
            if atomic::fetch_or_u64(word, bit.mask()) & bit.mask() != 0 {
                return false; // Another CPU was first.
            }
            atomic::fetch_add_u32(&raw mut (*record).contacts, 1);
            true
        }
    }
}
