//! HEADERS: scratch memory for the headers of a frame that lies in several buffers.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::macros::btf_map;

/// Bytes gathered: Ethernet, two tags, IPv6, and more extension headers than any real chain has.
pub(crate) const HEADER_BYTES: usize = 512;

#[btf_map]
static HEADERS: PerCpuArray<[u8; HEADER_BYTES], 1> = PerCpuArray::new();

/// This CPU's scratch memory.
#[inline(always)]
pub(crate) fn scratch() -> Option<*mut [u8; HEADER_BYTES]> {
    HEADERS.get_ptr_mut(0)
}
