//! Challenges: what a suspect is answered, so that a real stack behind its address shows itself and a forged one learns nothing.
//!
//! | kind | answer to | how a real stack shows itself |
//! |---|---|---|
//! | retry | a SYN to a hidden port | the acknowledgement number is a cookie and not what was sent: the stack resets with it (RFC 9293, section 3.10.7.3) and sends its SYN again |
//! | decoy | that SYN, if the port is closed | the sequence number is a cookie: the stack acknowledges it |
//!
//! Nothing is stored of what was asked: cookies are keyed hashes ([`Cookies`]). What is stored is who was answered lately, and how often.

use core::cell::UnsafeCell;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::atomic;
use crate::class::PortClass;
use crate::flow::Flow;
use crate::hash::siphash13;
use crate::labelled::labelled;
use crate::source::SourceKey;

/// Which hidden ports are challenged and not just silent.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum ChallengeMode {
    /// None.
    Off = 0,
    /// Canary ports.
    #[default]
    Canary = 1,
    /// All of them: canary, closed and restricted ones.
    On = 2,
}

impl ChallengeMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Canary, Self::On];

    /// The name in the configuration and in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Canary => "canary",
            Self::On => "on",
        }
    }
}

/// What whoever completes a decoy is answered.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum DecoyReply {
    /// A reset: a customer's mistake ends at once.
    #[default]
    Reset = 0,
    /// Nothing, so that a scanner waits.
    Silence = 1,
}

impl DecoyReply {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Reset, Self::Silence];

    /// The name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Silence => "silence",
        }
    }
}

/// How challenges are made.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct ChallengeRules {
    /// The keys of cookies; which of them one is made with, its slot tells.
    pub keys: [[u64; 2]; 2],
    /// [`ChallengeMode`].
    pub mode: u32,
    /// [`DecoyReply`].
    pub reply: u32,
}

impl ChallengeRules {
    /// Whether any port is challenged.
    #[inline(always)]
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.mode != ChallengeMode::Off as u32
    }

    /// Whether ports of this class are, once they are hidden.
    #[inline(always)]
    #[must_use]
    pub const fn covers(&self, class: PortClass) -> bool {
        match class {
            PortClass::Canary => self.mode != ChallengeMode::Off as u32,
            PortClass::Closed | PortClass::Restricted => self.mode == ChallengeMode::On as u32,
            PortClass::Public | PortClass::Unknown => false,
        }
    }
}

/// What kind of challenge a cookie is of.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum ChallengeKind {
    /// Send your SYN again.
    Retry = 0,
    /// A handshake with nobody.
    Decoy = 1,
}

impl ChallengeKind {
    /// How many there are.
    pub const COUNT: usize = 2;
    /// Both.
    pub const ALL: [Self; Self::COUNT] = [Self::Retry, Self::Decoy];

    /// The label of `challenges_total`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Decoy => "decoy",
        }
    }
}

labelled! {
    /// What became of a challenge.
    ChallengeResult;
    #[default]
    Sent = 0, "sent", "It was sent.";
    Met = 1, "met", "A real stack met it: it sent the cookie back.";
    Wrong = 2, "wrong", "Something came back that is no cookie.";
    Tired = 3, "tired", "The source sent too many wrong ones, so that none of it are looked at for a while.";
    SourceLimit = 4, "source_limit", "It was not sent: this source got enough of them.";
    Limit = 5, "limit", "It was not sent: enough of them were, to whomever.";
    Unanswerable = 6, "unanswerable", "It was not sent: the frame is one that a stack would not answer, or not for this host.";
    NotRefused = 7, "not_refused", "It was not sent: this host's stack was not lately seen refusing anything at this address.";
    Customer = 8, "customer", "It was not sent: the source worked on a public port before, and its browser or balancer may ask for this port by no will of its own.";
}

/// A time slot of cookies, in nanoseconds: one is good for this slot and the next.
pub const SLOT_NS: u64 = 64_000_000_000;
/// Slots for which one of the two keys is used before the other one's turn comes.
pub const KEY_SLOTS: u64 = 16;
/// For so long after a stack sent the cookie back, the SYN that it sends again passes, in nanoseconds.
pub const PASS_NS: u64 = 10_000_000_000;
/// For so long after our stack was last seen refusing something, an address of ours is one where closed ports refuse, in nanoseconds.
pub const REFUSED_NS: u64 = 24 * 3_600_000_000_000;
/// That is noted again after so long, in nanoseconds.
pub const REFUSED_REFRESH_NS: u64 = 60_000_000_000;
/// Wrong cookies of a source in a slot, beyond which none of it are looked at.
pub const MOST_WRONG: u64 = 32;

/// Restricted ports that one source may be let through to by challenges within [`OPENED_TO_NS`]: the next one is as closed.
pub const OPENED_TO_MOST: usize = 2;
/// The time in which they are numbered, in nanoseconds.
pub const OPENED_TO_NS: u64 = 3_600_000_000_000;

/// The limits of answers to one source, 8 a second and 16 at once, shared out among the three kinds: a scan of many ports would else use up
/// all of it for first answers, and nobody could go on from there. Of first answers 3 a second, 6 at once.
pub const RETRY_LIMIT: Limit = Limit { interval_ns: 333_333_334, burst: 6 };
/// Of decoys as many.
pub const DECOY_LIMIT: Limit = RETRY_LIMIT;
/// Of resets to those who completed one 2 a second, 4 at once.
pub const RESET_LIMIT: Limit = Limit { interval_ns: 500_000_000, burst: 4 };
/// Of proofs that userspace is told of 8 a second, 16 at once.
pub const PROOF_LIMIT: Limit = Limit { interval_ns: 125_000_000, burst: 16 };
/// The limit of answers to all together: 1,000 a second, 100 at once.
pub const TOTAL_LIMIT: Limit = Limit { interval_ns: 1_000_000, burst: 100 };
/// Of contacts that userspace is told of at once, beside the proofs: 1,000 a second, 200 at once, of the 819 for which their ring has room.
pub const URGENT_LIMIT: Limit = Limit { interval_ns: 1_000_000, burst: 200 };

/// A rate that is not to be exceeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    /// Nanoseconds from one to the next.
    pub interval_ns: u64,
    /// How many may come at once.
    pub burst: u64,
}

impl Limit {
    /// Takes one, if there is one to be had: the generic cell rate algorithm (ITU-T I.371), whose one word is the time at which the source
    /// has used up nothing.
    ///
    /// # Safety
    /// `word` is aligned, valid, and accessed by atomics only.
    #[inline(always)]
    unsafe fn take(self, word: *mut u64, now_ns: u64) -> bool {
        // SAFETY: the caller's word.
        let before = unsafe { word.read_volatile() };
        let start_ns = if before > now_ns { before } else { now_ns };
        if start_ns - now_ns > self.interval_ns * (self.burst - 1) {
            return false;
        }
        // Where another CPU was faster it has it: what two send at once is no loss to anyone.
        // SAFETY: the caller's word.
        unsafe { atomic::compare_exchange_u64(word, before, start_ns + self.interval_ns) == before }
    }

    /// [`Self::take`] from the state that all share.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn take_from(self, word: *mut u64, now_ns: u64) -> bool {
        // SAFETY: the caller's word.
        unsafe { self.take(word, now_ns) }
    }
}

/// The cookies of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Cookies<'a> {
    rules: &'a ChallengeRules,
    slot: u64,
}

impl<'a> Cookies<'a> {
    /// Those that are made now.
    #[inline(always)]
    #[must_use]
    pub const fn at(rules: &'a ChallengeRules, now_ns: u64) -> Self {
        Self { rules, slot: now_ns / SLOT_NS }
    }

    /// The number of this slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u64 {
        self.slot
    }

    /// The cookie of a connection that is asked for. Its lowest bit is the parity of its slot, so that one hash tells whether it is right.
    #[inline(always)]
    #[must_use]
    pub fn make(self, kind: ChallengeKind, flow: &Flow, isn: u32) -> u32 {
        let key = &self.rules.keys[(self.slot / KEY_SLOTS % 2) as usize];
        let [source, destination] = [flow.source.words(), flow.destination.words()];
        let ports = (flow.source_port as u64) << 16 | flow.destination_port as u64;
        let what = self.slot << 8 | kind as u64;
        let isn = ports << 32 | isn as u64;
        let hash = siphash13(key, [source[0], source[1], destination[0], destination[1], isn, what]);
        (hash as u32 & !1) | (self.slot & 1) as u32
    }

    /// Whether a cookie is that of this connection, made in this slot or the one before.
    #[inline(always)]
    #[must_use]
    pub fn is_right(self, cookie: u32, kind: ChallengeKind, flow: &Flow, isn: u32) -> bool {
        let is_this = cookie as u64 & 1 == self.slot & 1;
        let slot = if is_this { self.slot } else { self.slot.wrapping_sub(1) };
        Self { slot, ..self }.make(kind, flow, isn) == cookie
    }
}

/// Of a connection whose stack met the first challenge: its SYN passes when it comes again.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Pass {
    /// Until when, on the datapath's clock.
    pub until_ns: u64,
    /// The initial sequence number of the SYN that came again, plus [`Pass::BOUND`]; 0 until it came.
    pub isn: u64,
}

impl Pass {
    /// Set once the SYN came: no other one passes.
    pub const BOUND: u64 = 1 << 32;
    /// Set once a service answered it: a decoy cannot be sent again as a stack sends a SYN-ACK again, so a service's is not either.
    pub const ANSWERED: u64 = 1 << 33;
    /// Set once it was answered by a decoy.
    pub const DECOY: u64 = 1 << 34;

    /// Whether a SYN with this initial sequence number passes now.
    #[inline(always)]
    #[must_use]
    pub const fn lets_pass(&self, isn: u32, now_ns: u64) -> bool {
        self.until_ns > now_ns
            && (self.isn == 0 || self.isn & !(Self::ANSWERED | Self::DECOY) == Self::BOUND | isn as u64)
    }

    /// Whether a SYN-ACK may leave now: the SYN passed, and none left yet.
    #[inline(always)]
    #[must_use]
    pub const fn lets_answer(&self, now_ns: u64) -> bool {
        self.until_ns > now_ns && self.isn & (Self::BOUND | Self::ANSWERED | Self::DECOY) == Self::BOUND
    }

    /// Whether its SYN was answered, by whomever.
    #[inline(always)]
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.isn & (Self::ANSWERED | Self::DECOY) != 0
    }

    /// Whether it was answered by a decoy.
    #[inline(always)]
    #[must_use]
    pub const fn is_decoy(&self) -> bool {
        self.isn & Self::DECOY != 0
    }
}

/// What is kept of a source that was answered: the value of CHALLENGED.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct ChallengeRecord {
    /// Who.
    pub source: SourceKey,
    /// Of [`RETRY_LIMIT`].
    pub retries_ns: u64,
    /// Of [`DECOY_LIMIT`].
    pub decoys_ns: u64,
    /// Of [`RESET_LIMIT`].
    pub resets_ns: u64,
    /// Of [`PROOF_LIMIT`].
    pub proofs_ns: u64,
    /// Until when cookies of it may come back.
    pub until_ns: u64,
    /// The slot in which wrong cookies came, times 2^16, and how many.
    pub wrong: u64,
    /// When the time began in which restricted ports are numbered that the source was let through to.
    pub opened_to_ns: u64,
    /// These ports, host order, plus 2^16 each; 0 in places that are left.
    pub opened_to: [u32; OPENED_TO_MOST],
}

const _: () = assert!(size_of::<ChallengeRecord>() == 80);

/// A record in a table that other CPUs write to at the same time.
#[derive(Clone, Copy)]
pub struct ChallengeCell<'a> {
    record: &'a UnsafeCell<ChallengeRecord>,
}

const WRONG_BITS: u32 = 16;
const OPENED_TO_SET: u32 = 1 << 16;

impl<'a> ChallengeCell<'a> {
    /// A record shared through this cell alone.
    #[inline(always)]
    #[must_use]
    pub const fn new(record: &'a UnsafeCell<ChallengeRecord>) -> Self {
        Self { record }
    }

    /// Takes an answer of a kind from what this source may have.
    #[inline(always)]
    #[must_use]
    pub fn take_answer(self, kind: ChallengeKind, now_ns: u64) -> bool {
        let record = self.record.get();
        // SAFETY: the cell is valid and aligned for 'a; words are changed by atomics or written whole.
        unsafe {
            match kind {
                ChallengeKind::Retry => RETRY_LIMIT.take(&raw mut (*record).retries_ns, now_ns),
                ChallengeKind::Decoy => DECOY_LIMIT.take(&raw mut (*record).decoys_ns, now_ns),
            }
        }
    }

    /// The same for a reset to whoever completed a decoy.
    #[inline(always)]
    #[must_use]
    pub fn take_reset(self, now_ns: u64) -> bool {
        // SAFETY: as above.
        unsafe { RESET_LIMIT.take(&raw mut (*self.record.get()).resets_ns, now_ns) }
    }

    /// The same for telling userspace of a proof.
    #[inline(always)]
    #[must_use]
    pub fn take_proof(self, now_ns: u64) -> bool {
        // SAFETY: as above.
        unsafe { PROOF_LIMIT.take(&raw mut (*self.record.get()).proofs_ns, now_ns) }
    }

    /// A challenge was sent: cookies may come back.
    #[inline(always)]
    pub fn expect(self, now_ns: u64) {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.record.get()).until_ns).write_volatile(now_ns + 2 * SLOT_NS) }
    }

    /// Whether a cookie of this source may come back, and it has not sent too many wrong ones in this slot.
    #[inline(always)]
    #[must_use]
    pub fn is_expected(self, now_ns: u64) -> bool {
        // SAFETY: as above.
        unsafe { (&raw const (*self.record.get()).until_ns).read_volatile() > now_ns }
    }

    /// Whether too many wrong ones came in this slot.
    #[inline(always)]
    #[must_use]
    pub fn is_tired(self, slot: u64) -> bool {
        // SAFETY: as above.
        let wrong = unsafe { (&raw const (*self.record.get()).wrong).read_volatile() };
        wrong >> WRONG_BITS == slot && wrong & ((1 << WRONG_BITS) - 1) >= MOST_WRONG
    }

    /// Takes one of the restricted ports that the source may be let through to; true too for one that it took before.
    #[inline(always)]
    #[must_use]
    pub fn take_opening(self, port: u16, now_ns: u64) -> bool {
        let record = self.record.get();
        let wanted = u32::from(port) | OPENED_TO_SET;
        // SAFETY: as above; words are read and written whole. Two CPUs at once may give one place away twice: one more port.
        unsafe {
            let since = &raw mut (*record).opened_to_ns;
            let ports = (&raw mut (*record).opened_to).cast::<u32>();
            let (first, second) = (ports, ports.add(1));
            let began_ns = since.read_volatile();
            if began_ns == 0 || now_ns.saturating_sub(began_ns) >= OPENED_TO_NS {
                since.write_volatile(now_ns);
                first.write_volatile(wanted);
                second.write_volatile(0);
                return true;
            }
            if first.read_volatile() == wanted || second.read_volatile() == wanted {
                return true;
            }
            if second.read_volatile() == 0 {
                second.write_volatile(wanted);
                return true;
            }
            false
        }
    }

    /// Counts a wrong one.
    #[inline(always)]
    pub fn count_wrong(self, slot: u64) {
        let record = self.record.get();
        // SAFETY: as above. Two CPUs at once may begin the slot anew and forget one: a few more guesses of 2^32.
        unsafe {
            let wrong = &raw mut (*record).wrong;
            if wrong.read_volatile() >> WRONG_BITS == slot {
                atomic::fetch_add_u64(wrong, 1);
            } else {
                wrong.write_volatile(slot << WRONG_BITS | 1);
            }
        }
    }
}

/// The interface that a frame came by, as far as an answer needs it: the value of NICS.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Nic {
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// 1 where the program runs on what the stack made of a frame (generic mode): a checksum that was left to hardware is then left to it in
    /// the answer too.
    pub generic: u8,
    /// 1 where frames without a tag are not answered: their tag may have been taken off before, and would be missing in the answer.
    pub tagged_only: u8,
}

const _: () = assert!(size_of::<Nic>() == 8);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::Address;

    const RULES: ChallengeRules = ChallengeRules { keys: [[1, 2], [3, 4]], mode: 2, reply: 0 };

    fn flow(source: u32) -> Flow {
        Flow {
            source: Address::from_ipv4_word(source),
            destination: Address::from_ipv4_word(7),
            source_port: 40_000,
            destination_port: 23,
            protocol: 0,
        }
    }

    proptest! {
        #[test]
        fn a_cookie_is_good_for_its_slot_and_the_next(source: u32, isn: u32, now_ns in SLOT_NS..u64::MAX / 2, later in 0..4 * SLOT_NS) {
            for kind in ChallengeKind::ALL {
                let cookie = Cookies::at(&RULES, now_ns).make(kind, &flow(source), isn);
                let slots = (now_ns + later) / SLOT_NS - now_ns / SLOT_NS;
                let then = Cookies::at(&RULES, now_ns + later);
                prop_assert_eq!(then.is_right(cookie, kind, &flow(source), isn), slots <= 1, "{} slots later", slots);
                prop_assert!(!then.is_right(cookie, kind, &flow(source ^ 1), isn));
                prop_assert!(!then.is_right(cookie, kind, &flow(source), isn ^ 1));
            }
        }
    }

    #[test]
    fn keys_take_turns_and_overlap() {
        let end_ns = KEY_SLOTS * SLOT_NS;
        let cookie = Cookies::at(&RULES, end_ns - 1).make(ChallengeKind::Decoy, &flow(1), 5);
        assert!(Cookies::at(&RULES, end_ns).is_right(cookie, ChallengeKind::Decoy, &flow(1), 5), "the key before");
        let other = ChallengeRules { keys: [[9, 9], RULES.keys[1]], ..RULES };
        assert!(!Cookies::at(&other, end_ns).is_right(cookie, ChallengeKind::Decoy, &flow(1), 5), "that key is gone");
    }

    #[test]
    fn no_source_gets_more_than_its_limit() {
        let record = UnsafeCell::new(ChallengeRecord::default());
        let cell = ChallengeCell::new(&record);
        let start_ns = 1_000_000_000_000;
        let answers = |from_ns: u64, to_ns: u64| {
            (from_ns..to_ns).step_by(1_000_000).filter(|now_ns| cell.take_answer(ChallengeKind::Retry, *now_ns)).count()
        };
        assert_eq!(answers(start_ns, start_ns + 1_000_000_000), 6 + 2, "a burst, and 3 a second");
        let more = answers(start_ns + 1_000_000_000, start_ns + 11_000_000_000);
        assert!((29..=31).contains(&more), "{more} in ten seconds");
    }

    #[test]
    fn after_too_many_wrong_cookies_none_is_looked_at_in_that_slot() {
        let record = UnsafeCell::new(ChallengeRecord::default());
        let cell = ChallengeCell::new(&record);
        for _ in 0..MOST_WRONG {
            assert!(!cell.is_tired(5));
            cell.count_wrong(5);
        }
        assert!(cell.is_tired(5) && !cell.is_tired(6));
        cell.count_wrong(6);
        assert!(!cell.is_tired(6));
    }
}
