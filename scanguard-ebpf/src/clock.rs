//! What time it is: coarse monotonic time, or the clock that a test or a replay holds in CONFIG.

use aya_ebpf::Global;
use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};

use crate::maps::config;

/// 1 when the clock and the sockets are those of a test or a replay. Read-only for the verifier, which removes the
/// branches not taken.
#[unsafe(no_mangle)]
static SCANGUARD_VIRTUAL: Global<u8> = Global::new(0);

/// Whether this is a test or a replay.
#[inline(always)]
pub(crate) fn is_virtual() -> bool {
    SCANGUARD_VIRTUAL.load() != 0
}

/// Nanoseconds of `CLOCK_MONOTONIC_COARSE` (a third of the price of the fine clock; it steps every 1 to 10 ms).
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    if is_virtual() {
        return config::get().map_or(0, |config| config.virtual_now_ns);
    }
    // SAFETY: the helper takes nothing and only returns a number (Linux 5.11).
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The same by the fine clock, which is never behind, for what is rare and timed: the coarse one may be a step late.
#[inline(always)]
pub(crate) fn precise_ns() -> u64 {
    if is_virtual() {
        return now_ns();
    }
    // SAFETY: as above.
    unsafe { bpf_ktime_get_ns() }
}
