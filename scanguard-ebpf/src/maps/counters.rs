//! COUNTERS: packets and bytes, per CPU.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use scanguard_common::counter::{COUNTER_ENTRIES, Counter, CounterIndex};

#[btf_map]
static COUNTERS: PerCpuArray<Counter, { COUNTER_ENTRIES as usize }> = PerCpuArray::new();

/// Adds one packet.
#[inline(always)]
pub(crate) fn add(index: CounterIndex, bytes: u64) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index.get()) {
        // SAFETY: the entry is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes;
        }
    }
}
