//! What is remembered of a source, or of a network of sources: the values of SOURCES, PREFIXES and SUSPECTS.

use core::cell::UnsafeCell;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::atomic;
use crate::contact::ContactBit;
use crate::score::{ScoreRules, halved};
use crate::source::SourceKey;

const HOUR_NS: u64 = 3_600_000_000_000;

#[inline(always)]
const fn hour_of(now_ns: u64) -> u16 {
    ((now_ns / HOUR_NS) as u16).wrapping_add(1)
}

/// What is remembered of a source. Times are nanoseconds of `CLOCK_MONOTONIC_COARSE`.
///
/// What each SYN asks for fills the first 64 bytes. With its key and the kernel's node (`struct htab_elem` of `kernel/bpf/hashtab.c`, 64 bytes together)
/// an entry takes three lines of a cache, of which a SYN of a known source touches two.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SourceRecord {
    /// New flows sent.
    pub attempts: u64,
    /// When the latest of them came.
    pub last_seen_ns: u64,
    /// When the score last changed, or was last due to be halved.
    pub decayed_ns: u64,
    /// Until when; in the past when it is none.
    pub suspect_until_ns: u64,
    /// One bit per contact, see [`crate::contact`]. It decides which contacts are told and counted, and nothing else.
    pub contact_set: [u64; 4],
    /// Whose record this is: nodes of an LRU map are recycled under a held pointer, so the value carries its key.
    pub source: SourceKey,
    /// Distinct (destination, protocol, port) asked for, as far as the 256-bit set tells them apart.
    pub contacts: u32,
    /// Contacts that failed.
    pub failures: u32,
    /// Log-likelihood ratio "scanner : benign", see [`crate::score`].
    pub score: u32,
    /// [`crate::contact::Outcome`] of the contact that made it a suspect.
    pub reason: u16,
    /// The hour, counted from 1 at the clock's start and around after seven years, in which a contact last failed that weighs a step or more:
    /// no first contact with a restricted port. 0 for never.
    pub failed_hour: u16,
    /// One bit per contact that added to the score. Whatever is worth nothing leaves no mark here, so that nothing a source sends
    /// beforehand changes what its failures are worth.
    pub failure_set: [u64; 4],
    /// When the first attempt came.
    pub first_seen_ns: u64,
    /// When the latest first contact that counted against it came.
    pub evidence_ns: u64,
    /// Since when it is a suspect.
    pub suspect_since_ns: u64,
    /// [`crate::verdict::Census::allow_generation`] under which ALLOW was last asked.
    pub allow_generation: u32,
    /// The span of time, counted from 0, in which answers to it were last told, times 256, and how many were told in it.
    pub told: u32,
}

const _: () = assert!(size_of::<SourceRecord>() == 160 && align_of::<SourceRecord>() == 8);
const _: () = assert!(core::mem::offset_of!(SourceRecord, source) == 64, "a line of a cache");

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
            reason: 0,
            failed_hour: 0,
            decayed_ns: now_ns,
            evidence_ns: 0,
            suspect_since_ns: 0,
            suspect_until_ns: 0,
            allow_generation: 0,
            contact_set: [0; 4],
            told: 0,
            failure_set: [0; 4],
        }
    }

    /// Whether it is a suspect at this time.
    #[must_use]
    pub const fn is_suspect(&self, now_ns: u64) -> bool {
        self.suspect_until_ns > now_ns
    }

    /// Ends suspicion and forgets what it rested on and what was asked for: the source is on the allowlist.
    pub const fn absolve(&mut self) {
        (self.score, self.suspect_until_ns, self.evidence_ns, self.failed_hour) = (0, 0, 0, 0);
        (self.contact_set, self.failure_set) = ([0; 4], [0; 4]);
    }

    /// When a contact of the source last failed, to the hour, as seen from now; none where none did.
    #[must_use]
    pub const fn failed_ns(&self, now_ns: u64) -> Option<u64> {
        if self.failed_hour == 0 {
            return None;
        }
        let ago = hour_of(now_ns).wrapping_sub(self.failed_hour);
        Some((now_ns / HOUR_NS).saturating_sub(ago as u64) * HOUR_NS)
    }

    /// The score as it is at this time, halvings that no packet has carried out yet included.
    #[must_use]
    pub fn score_at(&self, rules: &ScoreRules, now_ns: u64) -> u32 {
        let half_lives = now_ns.saturating_sub(self.decayed_ns).checked_div(rules.half_life_ns).unwrap_or(0);
        halved(self.score.min(rules.cap), half_lives)
    }
}

/// What SUSPECTS keeps of a suspect, so that a flood of other sources cannot wash it out of SOURCES.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Backup {
    /// As in [`SourceRecord`].
    pub suspect_since_ns: u64,
    /// As in [`SourceRecord`].
    pub suspect_until_ns: u64,
    /// As in [`SourceRecord`].
    pub evidence_ns: u64,
    /// As in [`SourceRecord`].
    pub decayed_ns: u64,
    /// As in [`SourceRecord`].
    pub allow_generation: u32,
    /// As in [`SourceRecord`].
    pub score: u32,
    /// As in [`SourceRecord`].
    pub reason: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Backup>() == 48);

/// How long suspicion lasts.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct ConcealRules {
    /// After the last packet to something hidden, in nanoseconds.
    pub duration_ns: u64,
    /// After the last new evidence, whatever else comes, in nanoseconds.
    pub longest_ns: u64,
}

impl ConcealRules {
    /// An hour, a day at most.
    #[must_use]
    pub const fn new() -> Self {
        Self { duration_ns: 3_600_000_000_000, longest_ns: 24 * 3_600_000_000_000 }
    }
}

impl Default for ConcealRules {
    fn default() -> Self {
        Self::new()
    }
}

/// Marks a bit of a set; true when it was not marked.
///
/// # Safety
/// `set` has four aligned words that are valid, and changed by atomics or written whole.
#[inline(always)]
unsafe fn mark(set: *mut u64, bit: ContactBit) -> bool {
    // SAFETY: the caller's word; the word index is below 4.
    unsafe {
        let word = set.add(bit.word());
        if word.read_volatile() & bit.mask() != 0 {
            return false; // The common case costs a read, no locked instruction.
        }
        atomic::fetch_or_u64(word, bit.mask()) & bit.mask() == 0 // Else another CPU was first.
    }
}

/// Clears a set.
///
/// # Safety
/// As for [`mark`].
#[inline(always)]
unsafe fn empty(set: *mut u64) {
    // SAFETY: the caller's word.
    unsafe {
        set.write_volatile(0);
        set.add(1).write_volatile(0);
        set.add(2).write_volatile(0);
        set.add(3).write_volatile(0);
    }
}

/// SUSPECTS is told of a suspect that goes on when its end enters another span of this length.
const BACKUP_EVERY_NS: u64 = 60_000_000_000;

/// So many failures the set of 256 bits tells apart well: one more is taken for one of them with a chance of a quarter.
const MOST_TOLD_APART: u32 = 64;

/// A span of time in which not more than [`TOLD_MOST`] answers to a source are told, in nanoseconds.
const TOLD_SPAN_NS: u64 = 10_000_000_000;
const TOLD_MOST: u32 = 32;
/// Spans are told apart for five years.
const TOLD_COUNT_BITS: u32 = 8;

/// A record in a table that other CPUs write to at the same time.
///
/// Shared fields are changed by atomics or written whole; where two CPUs may write the same word, either may win, and
/// what is lost is at most one packet's worth.
#[derive(Clone, Copy)]
pub struct SourceCell<'a> {
    record: &'a UnsafeCell<SourceRecord>,
}

/// Reads a field.
macro_rules! get {
    ($cell:expr, $field:ident) => {
        // SAFETY: the cell is valid and aligned for 'a; the word is read whole.
        unsafe { (&raw const (*$cell.record.get()).$field).read_volatile() }
    };
}

/// Writes a field.
macro_rules! set {
    ($cell:expr, $field:ident, $value:expr) => {
        // SAFETY: the cell is valid and aligned for 'a; the word is written whole.
        unsafe { (&raw mut (*$cell.record.get()).$field).write_volatile($value) }
    };
}

impl<'a> SourceCell<'a> {
    /// A record shared through this cell alone.
    #[inline(always)]
    #[must_use]
    pub const fn new(record: &'a UnsafeCell<SourceRecord>) -> Self {
        Self { record }
    }

    /// Whether this still is the record of that source.
    #[inline(always)]
    #[must_use]
    pub fn is_of(self, source: &SourceKey) -> bool {
        // SAFETY: the cell is valid for 'a; a torn read of a recycled key differs from `source`, which is the answer then.
        unsafe { (&raw const (*self.record.get()).source).read_volatile() == *source }
    }

    /// Counts one attempt.
    #[inline(always)]
    pub fn count_attempt(self, now_ns: u64) {
        // SAFETY: the cell is valid and aligned for 'a.
        unsafe { atomic::fetch_add_u64(&raw mut (*self.record.get()).attempts, 1) };
        set!(self, last_seen_ns, now_ns);
    }

    /// Notes that the source was seen, without an attempt.
    #[inline(always)]
    pub fn see(self, now_ns: u64) {
        set!(self, last_seen_ns, now_ns);
    }

    /// Whether the score is due to be halved.
    #[inline(always)]
    #[must_use]
    pub fn is_due(self, rules: &ScoreRules, now_ns: u64) -> bool {
        now_ns.saturating_sub(get!(self, decayed_ns)) >= rules.half_life_ns
    }

    /// Brings the record up to now: halves the score as often as it is due and forgets the contacts when it does, and forgets the
    /// failures once suspicion has ended. A suspect's contacts are not forgotten: what it asked for before would be new evidence,
    /// and suspicion never end.
    #[inline(always)]
    pub fn decay(self, rules: &ScoreRules, now_ns: u64) {
        let decayed_ns = get!(self, decayed_ns);
        let elapsed_ns = now_ns.saturating_sub(decayed_ns);
        if elapsed_ns >= rules.half_life_ns {
            self.halve(rules, decayed_ns, elapsed_ns, self.is_suspect(now_ns));
        }
        if self.has_ended(now_ns) {
            set!(self, suspect_until_ns, 0);
            // While the score is that of a suspect the next failure accuses it again, whichever it is. Below that its failures count
            // anew, or whoever asked for everything while it was concealed could ask again for nothing; so they do where there
            // are so many that the set tells new ones from old ones no more.
            if get!(self, score) < rules.conceal_at || get!(self, failures) > MOST_TOLD_APART {
                self.forget_failures();
            }
        }
    }

    /// Whether suspicion has ended and [`Self::decay`] was not called since.
    #[inline(always)]
    #[must_use]
    pub fn has_ended(self, now_ns: u64) -> bool {
        let until_ns = get!(self, suspect_until_ns);
        until_ns != 0 && until_ns <= now_ns
    }

    #[inline(always)]
    fn halve(self, rules: &ScoreRules, decayed_ns: u64, elapsed_ns: u64, keep_contacts: bool) {
        let Some(half_lives) = elapsed_ns.checked_div(rules.half_life_ns) else {
            return;
        };
        let record = self.record.get();
        let due_ns = decayed_ns + half_lives * rules.half_life_ns;
        // SAFETY: the cell is valid and aligned for 'a. One CPU wins the exchange and halves; what others add meanwhile
        // stays, because the difference is added and not the result written.
        unsafe {
            if atomic::compare_exchange_u64(&raw mut (*record).decayed_ns, decayed_ns, due_ns) != decayed_ns {
                return;
            }
            let score = (&raw const (*record).score).read_volatile();
            atomic::fetch_add_u32(&raw mut (*record).score, halved(score, half_lives).wrapping_sub(score));
        }
        if keep_contacts {
            return;
        }
        self.forget_failures();
        // SAFETY: the cell is valid and aligned for 'a.
        unsafe { empty((&raw mut (*record).contact_set).cast()) };
    }

    /// Forgets which contacts failed.
    #[inline(always)]
    fn forget_failures(self) {
        // SAFETY: the cell is valid and aligned for 'a.
        unsafe { empty((&raw mut (*self.record.get()).failure_set).cast()) };
    }

    /// Marks a contact; true when it is the first one.
    #[inline(always)]
    #[must_use]
    pub fn mark_contact(self, bit: ContactBit) -> bool {
        let record = self.record.get();
        // SAFETY: the cell is valid and aligned for 'a; a set has four words.
        unsafe {
            let is_first = mark((&raw mut (*record).contact_set).cast(), bit);
            if is_first {
                atomic::fetch_add_u32(&raw mut (*record).contacts, 1);
            }
            is_first
        }
    }

    /// Whether this contact added to the score already.
    #[inline(always)]
    #[must_use]
    pub fn has_failed(self, bit: ContactBit) -> bool {
        // SAFETY: the cell is valid and aligned for 'a; the word index is below 4.
        let word =
            unsafe { (&raw const (*self.record.get()).failure_set).cast::<u64>().add(bit.word()).read_volatile() };
        word & bit.mask() != 0
    }

    /// Marks a contact that failed; true when it had not before.
    #[inline(always)]
    #[must_use]
    pub fn mark_failure(self, bit: ContactBit) -> bool {
        // SAFETY: the cell is valid and aligned for 'a; a set has four words.
        unsafe { mark((&raw mut (*self.record.get()).failure_set).cast(), bit) }
    }

    /// Takes back [`Self::mark_failure`].
    #[inline(always)]
    fn unmark_failure(self, bit: ContactBit) {
        // SAFETY: the cell is valid and aligned for 'a; the word index is below 4. Where another CPU marks another bit at the same
        // moment, this one stays: the contact counts no second time until the score halves.
        unsafe {
            let word = (&raw mut (*self.record.get()).failure_set).cast::<u64>().add(bit.word());
            let before = word.read_volatile();
            let _ = atomic::compare_exchange_u64(word, before, before & !bit.mask());
        }
    }

    /// Counts a failed contact.
    #[inline(always)]
    pub fn count_failure(self) {
        // SAFETY: the cell is valid and aligned for 'a.
        unsafe { atomic::fetch_add_u32(&raw mut (*self.record.get()).failures, 1) };
    }

    /// Adds points to the score, up to the cap, and returns what it is then.
    #[inline(always)]
    #[must_use]
    pub fn add_points(self, rules: &ScoreRules, points: u32, now_ns: u64) -> u32 {
        if points == 0 {
            return get!(self, score);
        }
        set!(self, evidence_ns, now_ns);
        set!(self, decayed_ns, now_ns);
        if points >= rules.step {
            set!(self, failed_hour, hour_of(now_ns));
        }
        let room = rules.cap.saturating_sub(get!(self, score));
        let added = if points < room { points } else { room };
        // SAFETY: the cell is valid and aligned for 'a.
        unsafe { atomic::fetch_add_u32(&raw mut (*self.record.get()).score, added).wrapping_add(added) }
    }

    /// Takes back what a contact (`bit`) added that turned out to be no failure, as was asked at `asked_ns`. Suspicion that began with it or later
    /// ends if there would be none without it, and with it goes what it hid meanwhile: nothing that is hidden can answer. Says whether
    /// it ended.
    #[inline(always)]
    #[must_use]
    pub fn give_back(self, rules: &ScoreRules, bit: ContactBit, points: u32, asked_ns: u64) -> bool {
        self.unmark_failure(bit);
        let score = get!(self, score);
        let is_later = get!(self, suspect_until_ns) != 0 && get!(self, suspect_since_ns) >= asked_ns;
        let hidden = if is_later { score.saturating_sub(rules.conceal_at) } else { 0 };
        self.lower(hidden + points);
        if get!(self, failures) > 0 {
            // SAFETY: the cell is valid and aligned for 'a; all ones is -1.
            unsafe { atomic::fetch_add_u32(&raw mut (*self.record.get()).failures, u32::MAX) };
        }
        if !is_later || get!(self, score) >= rules.conceal_at {
            return false;
        }
        set!(self, suspect_until_ns, 0);
        true
    }

    /// The same of a network, whose suspicion stays.
    #[inline(always)]
    pub fn give_back_to_network(self, bit: ContactBit, points: u32) {
        self.unmark_failure(bit);
        self.lower(points);
    }

    /// Lowers the score, not below 0.
    #[inline(always)]
    pub fn lower(self, points: u32) {
        let score = get!(self, score);
        let left = score.saturating_sub(points);
        // SAFETY: the cell is valid and aligned for 'a. The difference is added, so that what others add meanwhile stays.
        unsafe { atomic::fetch_add_u32(&raw mut (*self.record.get()).score, left.wrapping_sub(score)) };
    }

    /// Whether userspace is to be told of one more answer: not of more than 32 in ten seconds.
    #[inline(always)]
    #[must_use]
    pub fn may_tell(self, now_ns: u64) -> bool {
        let none = ((now_ns / TOLD_SPAN_NS) as u32) << TOLD_COUNT_BITS;
        let told = get!(self, told);
        let told = if told & !((1 << TOLD_COUNT_BITS) - 1) == none { told } else { none };
        if told - none >= TOLD_MOST {
            return false;
        }
        set!(self, told, told + 1);
        true
    }

    /// The score.
    #[inline(always)]
    #[must_use]
    pub fn score(self) -> u32 {
        get!(self, score)
    }

    /// Whether it is a suspect, or was one and [`Self::decay`] did not see to it yet.
    #[inline(always)]
    #[must_use]
    pub fn was_suspect(self) -> bool {
        get!(self, suspect_until_ns) != 0
    }

    /// Whether it is a suspect.
    #[inline(always)]
    #[must_use]
    pub fn is_suspect(self, now_ns: u64) -> bool {
        get!(self, suspect_until_ns) > now_ns
    }

    /// When suspicion ends at the latest that a packet of now begins or prolongs.
    #[inline(always)]
    fn latest_end_ns(self, rules: &ConcealRules, now_ns: u64) -> u64 {
        let latest_ns = get!(self, evidence_ns).saturating_add(rules.longest_ns);
        let wanted_ns = now_ns + rules.duration_ns;
        if wanted_ns < latest_ns { wanted_ns } else { latest_ns }
    }

    /// Begins suspicion; false when another CPU was first, or when all evidence is too old.
    #[inline(always)]
    #[must_use]
    pub fn suspect(self, rules: &ConcealRules, generation: u32, reason: u8, now_ns: u64) -> bool {
        let until_ns = get!(self, suspect_until_ns);
        let ends_ns = self.latest_end_ns(rules, now_ns);
        if until_ns > now_ns || ends_ns <= now_ns {
            return false;
        }
        let record = self.record.get();
        // SAFETY: the cell is valid and aligned for 'a.
        if unsafe { atomic::compare_exchange_u64(&raw mut (*record).suspect_until_ns, until_ns, ends_ns) } != until_ns {
            return false;
        }
        set!(self, suspect_since_ns, now_ns);
        set!(self, reason, u16::from(reason));
        set!(self, allow_generation, generation);
        true
    }

    /// Suspicion goes on: it ends so long after this packet, but no later than so long after the last new evidence. True
    /// when SUSPECTS should be told.
    #[inline(always)]
    #[must_use]
    pub fn prolong(self, rules: &ConcealRules, now_ns: u64) -> bool {
        let until_ns = self.latest_end_ns(rules, now_ns);
        let before_ns = get!(self, suspect_until_ns);
        if until_ns <= before_ns {
            return false;
        }
        set!(self, suspect_until_ns, until_ns);
        until_ns / BACKUP_EVERY_NS != before_ns / BACKUP_EVERY_NS
    }

    /// Ends suspicion and forgets what it rested on: the source is on the allowlist.
    #[inline(always)]
    pub fn absolve(self) {
        set!(self, suspect_until_ns, 0);
        set!(self, score, 0);
        set!(self, evidence_ns, 0);
        self.forget_failures();
    }

    /// The generation of ALLOW under which it was last asked.
    #[inline(always)]
    #[must_use]
    pub fn allow_generation(self) -> u32 {
        get!(self, allow_generation)
    }

    /// ALLOW was asked under this generation.
    #[inline(always)]
    pub fn set_allow_generation(self, generation: u32) {
        set!(self, allow_generation, generation);
    }

    /// What SUSPECTS should keep.
    #[inline(always)]
    #[must_use]
    pub fn backup(self) -> Backup {
        Backup {
            suspect_since_ns: get!(self, suspect_since_ns),
            suspect_until_ns: get!(self, suspect_until_ns),
            evidence_ns: get!(self, evidence_ns),
            decayed_ns: get!(self, decayed_ns),
            allow_generation: get!(self, allow_generation),
            score: get!(self, score),
            reason: u32::from(get!(self, reason)),
            reserved: 0,
        }
    }

    /// Puts back what SUSPECTS kept, into a record that is new. SUSPECTS is told with the next packet: what was kept may be old.
    #[inline(always)]
    pub fn restore(self, backup: &Backup) {
        set!(self, suspect_since_ns, backup.suspect_since_ns);
        set!(self, suspect_until_ns, backup.suspect_until_ns);
        set!(self, evidence_ns, backup.evidence_ns);
        set!(self, decayed_ns, backup.decayed_ns);
        set!(self, allow_generation, backup.allow_generation);
        set!(self, score, backup.score);
        set!(self, reason, backup.reason as u16);
    }
}
