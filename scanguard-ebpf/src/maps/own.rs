//! OWN: the addresses of this host.

use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::address::Address;

use crate::maps::config;

/// Most addresses of one host that are followed.
const MAX_ADDRESSES: usize = 4096;

#[btf_map]
static OWN: HashMap<Address, u32, MAX_ADDRESSES> = HashMap::new();

/// Whether an address is ours.
#[inline(always)]
pub(crate) fn contains(address: &Address) -> bool {
    // Nearly all senders are told apart by one bit, without a lookup.
    let filter = config::get().map_or(u64::MAX, |config| config.own_filter);
    filter & address.filter_bit() != 0 && OWN.get_ptr(address).is_some()
}
