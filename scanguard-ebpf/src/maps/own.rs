//! OWN: the addresses of this host.

use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::address::Address;

/// Most addresses of one host that are followed.
const MAX_ADDRESSES: usize = 4096;

#[btf_map]
static OWN: HashMap<Address, u32, MAX_ADDRESSES> = HashMap::new();

/// Whether an address is ours.
#[inline(always)]
pub(crate) fn contains(address: &Address) -> bool {
    OWN.get_ptr(address).is_some()
}
