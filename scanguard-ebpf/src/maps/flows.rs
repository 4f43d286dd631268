//! UFLOWS and SENT: datagrams that left, by flow, and by source and port.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::capacity;
use scanguard_common::flow::{Flow, SentKey};

#[btf_map]
static UFLOWS: LruHashMap<Flow, u64, { capacity::UFLOWS as usize }> = LruHashMap::new();

#[btf_map]
static SENT: LruHashMap<SentKey, u64, { capacity::SENT as usize }> = LruHashMap::new();

/// When a datagram last left that one of this flow answers.
#[inline(always)]
pub(crate) fn left(flow: &Flow) -> Option<u64> {
    // SAFETY: one word, read whole.
    unsafe { UFLOWS.get(flow) }.copied()
}

/// A datagram left that one of this flow answers.
#[inline(always)]
pub(crate) fn leave(flow: &Flow, now_ns: u64) {
    // Should the table not take it, the next datagram is noted.
    let _ = UFLOWS.insert(flow, now_ns, 0);
}

/// When a datagram of ours last left for a source from a port.
#[inline(always)]
pub(crate) fn sent(sent: &SentKey) -> Option<u64> {
    // SAFETY: one word, read whole.
    unsafe { SENT.get(sent) }.copied()
}

/// A datagram of ours left for a source from a port.
#[inline(always)]
pub(crate) fn send(sent: &SentKey, now_ns: u64) {
    let _ = SENT.insert(sent, now_ns, 0);
}
