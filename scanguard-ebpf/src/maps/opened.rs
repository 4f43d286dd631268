//! OPENED: ports that were seen open by the datapath.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::opened::Endpoint;

#[btf_map]
static OPENED: LruHashMap<Endpoint, u64, 65_536> = LruHashMap::new();

/// When a port was last seen open.
#[inline(always)]
pub(crate) fn seen(endpoint: &Endpoint) -> Option<u64> {
    // SAFETY: one word, read whole.
    unsafe { OPENED.get(endpoint) }.copied()
}

/// A port was seen open.
#[inline(always)]
pub(crate) fn see(endpoint: &Endpoint, now_ns: u64) {
    // Should the table not take it, the next packet finds the socket again.
    let _ = OPENED.insert(endpoint, now_ns, 0);
}
