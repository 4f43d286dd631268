//! EVENTS: what userspace is told as it happens, but for what is urgent.

use aya_ebpf::btf_maps::RingBuf;
use aya_ebpf::macros::btf_map;
use scanguard_common::event::Event;

/// Bytes of the ring; the loader may set another size.
const DEFAULT_BYTES: usize = 1 << 20;

#[btf_map]
static EVENTS: RingBuf<Event, DEFAULT_BYTES> = RingBuf::new();

/// Tells userspace; false when the ring is full.
#[inline(always)]
pub(crate) fn emit(event: impl FnOnce() -> Event) -> bool {
    // Made where it will be read, and not before: on the stack there is no room for it. (Before Linux 6.13 there are 512 bytes for a
    // function and all its callers together.)
    let Some(mut place) = EVENTS.reserve(0) else { return false };
    place.write(event());
    place.submit(0);
    true
}
