//! CASE: the packet that is being judged, see [`Case`] for why it lies in a map.

use core::ptr::NonNull;

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;
use scanguard_common::datapath::{Case, CaseRef};

#[btf_map]
static CASE: PerCpuArray<Case, 2> = PerCpuArray::new();

/// Whose case it is: a frame that leaves may be in hand while one arrives.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Way {
    /// Of a frame that arrives.
    In = 0,
    /// Of a frame that leaves.
    Out = 1,
}

/// This CPU's case. All its bytes are those of a case: zeros at first, which is one, and what the last packet left.
#[inline(always)]
pub(crate) fn get(way: Way) -> Option<CaseRef<'static>> {
    let case = NonNull::new(CASE.get_ptr_mut(way as u32)?)?;
    // SAFETY: the entry is this CPU's own and stays where it is. Programs of one hook do not interrupt each other on a CPU, and the
    // stages of one program wait for each other: who calls one keeps no reference, only a handle.
    Some(unsafe { CaseRef::from_raw(case) })
}
