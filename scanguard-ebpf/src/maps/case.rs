//! CASE: the packet that is being judged, see [`Case`] for why it lies in a map.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use scanguard_common::datapath::Case;

#[btf_map]
static CASE: PerCpuArray<Case, 1> = PerCpuArray::new();

/// This CPU's case. All its bytes are those of a case: zeros at first, which is one, and what the last packet left.
#[inline(always)]
pub(crate) fn get() -> Option<&'static mut Case> {
    // SAFETY: the entry is this CPU's own, XDP programs do not interrupt each other on a CPU, and each asks once.
    CASE.get_ptr_mut(0).map(|case| unsafe { &mut *case })
}
