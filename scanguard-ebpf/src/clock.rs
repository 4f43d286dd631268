//! What time it is: coarse monotonic time, or the clock that a test or a replay holds in CONFIG.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use aya_ebpf::macros::btf_map;

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

/// A tick of the kernel's clock (jiffies), and the coarse time that was read in it.
#[btf_map]
static TICK: PerCpuArray<[u64; 2], 1> = PerCpuArray::new();

/// Nanoseconds of `CLOCK_MONOTONIC_COARSE`, which steps with the kernel's ticks, every 1 to 10 ms: so each CPU asks once a tick. (The verifier
/// makes a load of memory of the question for the tick, where the clock costs 12 ns.)
///
/// Time and ticks are not stepped in the same instant: who asks in between has the time of the tick before for one more.
#[inline(always)]
pub(crate) fn now_ns() -> u64 {
    if is_virtual() {
        return config::get().map_or(0, |config| config.virtual_now_ns);
    }
    // SAFETY: the helper takes nothing and only returns a number (Linux 5.6).
    let jiffies = unsafe { bpf_jiffies64() };
    let Some(tick) = TICK.get_ptr_mut(0).map(|tick| tick.cast::<u64>()) else {
        return coarse_ns(); // An array has all its entries: only the verifier needs telling.
    };
    // SAFETY: the entry is this CPU's own and has two words. A program of another hook may come in between: the tick is written last, so that it
    // never stands beside an older time.
    unsafe {
        if tick.read_volatile() == jiffies {
            return tick.add(1).read_volatile();
        }
        let now_ns = coarse_ns();
        tick.add(1).write_volatile(now_ns);
        tick.write_volatile(jiffies);
        now_ns
    }
}

#[inline(always)]
fn coarse_ns() -> u64 {
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
