//! SESSIONS, LIVE and SYN_ACKS: what is counted of each source's TCP sessions, those that go on, and answers to those that may begin.

use core::cell::UnsafeCell;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::capacity;
use scanguard_common::session::{LiveSession, SessionCell, SessionRecord, SynAck, SynAckLeft};
use scanguard_common::source::SourceKey;

#[btf_map]
static SESSIONS: LruHashMap<SourceKey, SessionRecord, { capacity::SESSIONS as usize }> = LruHashMap::new();

#[btf_map]
static LIVE: LruHashMap<u64, LiveSession, { capacity::LIVE as usize }> = LruHashMap::new();

#[btf_map]
static SYN_ACKS: LruHashMap<SynAck, SynAckLeft, { capacity::SYN_ACKS as usize }> = LruHashMap::new();

/// A SYN-ACK of this host leaves.
#[inline(always)]
pub(crate) fn leave_syn_ack(syn_ack: &SynAck, left: &SynAckLeft) {
    // Should the table not take it, the session does not count.
    let _ = SYN_ACKS.insert(syn_ack, left, 0);
}

/// What is kept of a SYN-ACK of this host; it is kept no longer.
#[inline(always)]
pub(crate) fn take_syn_ack(syn_ack: &SynAck) -> SynAckLeft {
    // SAFETY: should the node be recycled meanwhile, a session does not count.
    let left = unsafe { SYN_ACKS.get(syn_ack) }.copied().unwrap_or_default();
    let _ = SYN_ACKS.remove(syn_ack);
    left
}

/// What is counted of a source.
#[inline(always)]
pub(crate) fn get(source: &SourceKey) -> Option<SessionCell<'static>> {
    let record = SESSIONS.get_ptr_mut(source)?;
    // SAFETY: the kernel keeps the node's memory valid for the run of the program, and all access goes through the cell.
    Some(SessionCell::new(unsafe { &*record.cast::<UnsafeCell<SessionRecord>>() }))
}

/// The same for a source of which nothing is; nothing when the table took no new entry.
#[inline(never)]
pub(crate) fn new(source: &SourceKey) -> Option<SessionCell<'static>> {
    let record = SessionRecord { source: *source, ..SessionRecord::default() };
    // When another CPU was faster this fails, and its record is found afterwards.
    let _ = SESSIONS.insert(source, record, u64::from(BPF_NOEXIST));
    get(source)
}

/// A session began; false when it is known already, as it is when two programs see it while one takes over from the other.
#[inline(always)]
pub(crate) fn begin(cookie: u64, session: &LiveSession) -> bool {
    LIVE.insert(cookie, session, u64::from(BPF_NOEXIST)).is_ok()
}

/// What is known of a session that goes on.
#[inline(always)]
pub(crate) fn live(cookie: u64) -> Option<LiveSession> {
    // SAFETY: written once, when it begins.
    unsafe { LIVE.get(cookie) }.copied()
}

/// A session ends: what was known of it.
#[inline(always)]
pub(crate) fn end(cookie: u64) -> Option<LiveSession> {
    // SAFETY: the node stays valid for the run of the program; a socket ends once.
    let live = *unsafe { LIVE.get(cookie) }?;
    LIVE.remove(cookie).is_ok().then_some(live)
}
