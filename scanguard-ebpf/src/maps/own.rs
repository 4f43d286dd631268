//! OWN and PROTECTED: the addresses of this host, and the networks behind it that it protects.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{HashMap, LpmTrie};
use aya_ebpf::macros::btf_map;
use scanguard_common::address::Address;

use crate::maps::config;

/// Most addresses of one host that are followed.
const MAX_ADDRESSES: usize = 4096;

#[btf_map]
static OWN: HashMap<Address, u32, MAX_ADDRESSES> = HashMap::new();

/// Most networks that are protected.
const MAX_PROTECTED: usize = 1024;
const ADDRESS_BITS: u32 = 128;

#[btf_map]
static PROTECTED: LpmTrie<Address, u32, MAX_PROTECTED> = LpmTrie::new();

/// Whether an address is of a network that is protected.
#[inline(always)]
pub(crate) fn protects(address: &Address) -> bool {
    PROTECTED.get(&Key::new(ADDRESS_BITS, *address)).is_some()
}

/// Whether an address is ours.
#[inline(always)]
pub(crate) fn contains(address: &Address) -> bool {
    let Some(config) = config::get() else {
        return false; // An array has all its entries: only the verifier needs telling.
    };
    // Nearly all senders are told apart by one bit, without a lookup, and nearly all destinations are one of the first.
    if config.own_filter & address.filter_bit() == 0 {
        return false;
    }
    let [first, second, third, fourth] = &config.own_first;
    address == first || address == second || address == third || address == fourth || OWN.get_ptr(address).is_some()
}
