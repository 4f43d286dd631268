//! EVENTS: what userspace is told as it happens.

use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::macros::btf_map;
use scanguard_common::event::Event;

/// Bytes of the ring; the loader may set another size.
const DEFAULT_BYTES: usize = 1 << 20;

#[btf_map]
static EVENTS: RingBuf<Event, DEFAULT_BYTES> = RingBuf::new();

/// Tells userspace; false when the ring is full.
#[inline(always)]
pub(crate) fn emit(event: &Event) -> bool {
    EVENTS.output(event, 0).is_ok()
}
