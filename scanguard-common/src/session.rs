//! Who really got in: the values of SESSIONS, LIVE and SYN_ACKS.
//!
//! A session is a TCP connection that was completed by both sides, so that nobody who forges his address has one. It counts as *work* when
//! its answer to the SYN, by its sequence number, left by a guarded interface (so that nobody on this host has one in somebody else's name),
//! data went both ways, and when it began while nothing was held against its source: who scans first has not worked here by what he
//! does afterwards. Whoever guesses passwords does such work as well: to be known takes more ([`login_time_ns`]).

use core::cell::UnsafeCell;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::atomic;
use crate::source::SourceKey;

/// What is counted of a source's sessions on one kind of port. Times are nanoseconds of `CLOCK_MONOTONIC_COARSE`.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SessionTally {
    /// Sessions that began.
    pub sessions: u64,
    /// Of those that ended, the ones that were work.
    pub worked: u64,
    /// Bytes received in those that ended.
    pub bytes_in: u64,
    /// Bytes that the other side acknowledged in those that ended.
    pub bytes_out: u64,
    /// When the first began.
    pub first_ns: u64,
    /// When the latest began.
    pub last_ns: u64,
    /// When the latest that was work ended; 0 for never.
    pub worked_ns: u64,
}

/// What is counted of a source's sessions: the values of SESSIONS.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SessionRecord {
    /// Whose record this is, see [`crate::record::SourceRecord::source`].
    pub source: SourceKey,
    /// On public ports.
    pub public: SessionTally,
    /// On restricted ports.
    pub restricted: SessionTally,
    /// The day, counted from the clock's start, of [`Self::credits`].
    pub credit_day: u32,
    /// How often work on a public port lowered the score that day.
    pub credits: u32,
    /// Sessions on restricted ports that were work and went on for longer than their service waits for a login, as long as neither side had
    /// ended them.
    pub held: u64,
    /// When the latest of those ended; 0 for never.
    pub held_ns: u64,
    /// When a session of the source that came by a guarded interface last began, or ended and was work; 0 for never.
    pub there_ns: u64,
}

const _: () = assert!(size_of::<SessionTally>() == 56 && size_of::<SessionRecord>() == 160);

const SECOND_NS: u64 = 1_000_000_000;

/// How long the services of a port wait, by default and all steps together, for somebody to log in: who is connected longer has. None of a
/// port whose services wait for ever, or from one byte to the next: an idle session proves nothing there.
///
/// - 22, ssh: 120 s in OpenSSH (`LoginGraceTime`, sshd_config(5)), 300 s in Dropbear (`AUTH_TIMEOUT`, src/sysoptions.h). It is not seen which
///   of them listens, so that the longer one holds.
/// - 5432, PostgreSQL: 60 s for the startup packet and 60 s for the login (`authentication_timeout`, applied to each in `BackendInitialize`
///   and `PerformAuthentication`).
///
/// MySQL's `connect_timeout` is no such time: it is that of each read, and who sends a byte now and then is not timed out.
#[inline(always)]
#[must_use]
pub const fn login_time_ns(port: u16) -> Option<u64> {
    match port {
        22 => Some(300 * SECOND_NS),
        5432 => Some(120 * SECOND_NS),
        _ => None,
    }
}

/// A session that goes on: the values of LIVE, by the socket's cookie.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct LiveSession {
    /// With whom.
    pub source: SourceKey,
    /// When it began, in nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub since_ns: u64,
    /// 1 on a restricted port.
    pub restricted: u32,
    /// 1 when nothing was held against the source when it began, and the source had arrived by an interface that is guarded.
    pub clean: u32,
    /// 1 when this host's SYN-ACK was seen to leave by such an interface; 0 where that cannot be seen, see [`SYN_ACK_NS`].
    pub arrived: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<LiveSession>() == 40);

/// A SYN-ACK of this host that left by a guarded interface: the keys of SYN_ACKS. The port and address of this side are not in it, because
/// those that the socket has may be others, as in a container; the sequence number is the same on all the way.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SynAck {
    /// To whom.
    pub source: SourceKey,
    /// Its sequence number, host order.
    pub sequence: u32,
    /// The other side's port, host order.
    pub port: u16,
    /// Zero.
    pub reserved: u16,
}

impl SynAck {
    /// The key of one to a port of a source.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: SourceKey, port: u16, sequence: u32) -> Self {
        Self { source, sequence, port, reserved: 0 }
    }
}

/// What is kept of a SYN-ACK: the values of SYN_ACKS.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SynAckLeft {
    /// When it last left; 0 for never.
    pub time_ns: u64,
    /// What the kernel calls the socket that sent it, which the connection's socket inherits (`inet_csk_clone_lock`); 0 where that is of another
    /// namespace, or the answer is a SYN cookie. The kernel's initial numbers are a function of addresses, ports and the time (RFC 6528), the same
    /// in all namespaces: whoever makes many connections of his own at the right time meets one.
    pub cookie: u64,
}

/// For so long a SYN-ACK may be completed: twice the longest time to the next try (`TCP_SYNACK_RETRIES`, the last of them after 32 s). Since the
/// egress program is there for less, or is not there, it is not known of every one whether it left.
pub const SYN_ACK_NS: u64 = 64 * SECOND_NS;

const _: () = assert!(size_of::<SynAck>() == 24 && size_of::<SynAckLeft>() == 16);

/// How often a day work on a public port lowers the score.
pub const CREDITS_A_DAY: u32 = 2;

const DAY_NS: u64 = 24 * 3_600_000_000_000;

/// Data: more than the end of the stream, which both counters of a socket take for one byte (`tcp_rcv_nxt_update` and
/// `tcp_snd_una_update` in `net/ipv4/tcp_input.c`).
pub const END_OF_STREAM: u64 = 1;

/// A record in a table that other CPUs write to at the same time.
#[derive(Clone, Copy)]
pub struct SessionCell<'a> {
    record: &'a UnsafeCell<SessionRecord>,
}

impl<'a> SessionCell<'a> {
    /// A record shared through this cell alone.
    #[inline(always)]
    #[must_use]
    pub const fn new(record: &'a UnsafeCell<SessionRecord>) -> Self {
        Self { record }
    }

    #[inline(always)]
    const fn tally(self, restricted: bool) -> *mut SessionTally {
        let record = self.record.get();
        // SAFETY: the cell is valid for 'a; the address of a field.
        unsafe { if restricted { &raw mut (*record).restricted } else { &raw mut (*record).public } }
    }

    /// Counts a session that begins.
    #[inline(always)]
    pub fn begin(self, restricted: bool, now_ns: u64) {
        let tally = self.tally(restricted);
        // SAFETY: the cell is valid and aligned for 'a; words are changed by atomics or written whole.
        unsafe {
            if atomic::fetch_add_u64(&raw mut (*tally).sessions, 1) == 0 {
                (&raw mut (*tally).first_ns).write_volatile(now_ns);
            }
            (&raw mut (*tally).last_ns).write_volatile(now_ns);
        }
    }

    /// Counts what went over a session that ended.
    #[inline(always)]
    pub fn end(self, restricted: bool, bytes_in: u64, bytes_out: u64) {
        let tally = self.tally(restricted);
        // SAFETY: as in `begin`.
        unsafe {
            atomic::fetch_add_u64(&raw mut (*tally).bytes_in, bytes_in);
            atomic::fetch_add_u64(&raw mut (*tally).bytes_out, bytes_out);
        }
    }

    /// Counts a session that was work.
    #[inline(always)]
    pub fn work(self, restricted: bool, now_ns: u64) {
        let tally = self.tally(restricted);
        // SAFETY: as in `begin`.
        unsafe {
            atomic::fetch_add_u64(&raw mut (*tally).worked, 1);
            (&raw mut (*tally).worked_ns).write_volatile(now_ns);
        }
    }

    /// Takes note that the source is really at its address.
    #[inline(always)]
    pub fn is_there(self, now_ns: u64) {
        // SAFETY: as in `begin`.
        unsafe { (&raw mut (*self.record.get()).there_ns).write_volatile(now_ns) };
    }

    /// Counts a session that outlasted the time for a login.
    #[inline(always)]
    pub fn hold(self, now_ns: u64) {
        let record = self.record.get();
        // SAFETY: as in `begin`.
        unsafe {
            atomic::fetch_add_u64(&raw mut (*record).held, 1);
            (&raw mut (*record).held_ns).write_volatile(now_ns);
        }
    }

    /// Whether there was work on a public port. (That began before anything was held against the source, or it would not be work.)
    #[inline(always)]
    #[must_use]
    pub fn has_worked(self) -> bool {
        // SAFETY: as in `begin`.
        unsafe { (&raw const (*self.tally(false)).worked).read_volatile() != 0 }
    }

    /// Whether work on a public port may lower the score now; that is one time less from then on.
    #[inline(always)]
    #[must_use]
    pub fn take_credit(self, now_ns: u64) -> bool {
        let record = self.record.get();
        let day = (now_ns / DAY_NS) as u32;
        // SAFETY: as in `begin`. Two CPUs at a time may take one credit too many.
        unsafe {
            if (&raw const (*record).credit_day).read_volatile() != day {
                (&raw mut (*record).credit_day).write_volatile(day);
                (&raw mut (*record).credits).write_volatile(0);
            }
            let credits = (&raw const (*record).credits).read_volatile();
            if credits >= CREDITS_A_DAY {
                return false;
            }
            (&raw mut (*record).credits).write_volatile(credits + 1);
        }
        true
    }
}
