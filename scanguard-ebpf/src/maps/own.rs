//! OWN, LOCAL, PROTECTED and SENDERS: the addresses of this host, the networks behind it that it protects, and who ever sent there.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie};
use aya_ebpf::macros::btf_map;
use scanguard_common::address::Address;
use scanguard_common::atomic;
use scanguard_common::sieve::{SIEVE_WORDS, SieveBits};

use crate::maps::config;

/// Most addresses of one host that are followed, and as many of groups that it is of.
const MAX_ADDRESSES: usize = 8192;

/// An address of this host's, in OWN.
const OURS: u32 = 1;

/// Own addresses, and those of groups of which this host is one: broadcast, anycast.
#[btf_map]
static OWN: HashMap<Address, u32, MAX_ADDRESSES> = HashMap::new();

/// Most prefixes that are local by route.
const MAX_LOCAL: usize = 256;

/// Prefixes all of whose addresses are this host's, by its routes.
#[btf_map]
static LOCAL: LpmTrie<Address, u32, MAX_LOCAL> = LpmTrie::new();

/// Most networks that are protected.
const MAX_PROTECTED: usize = 1024;
const ADDRESS_BITS: u32 = 128;

#[btf_map]
static PROTECTED: LpmTrie<Address, u32, MAX_PROTECTED> = LpmTrie::new();

/// From which addresses anything ever left, as [`SieveBits`]; written where networks are protected.
#[btf_map]
static SENDERS: Array<u64, { SIEVE_WORDS as usize }> = Array::new();

/// Whether anything ever left from an address.
#[inline(always)]
pub(crate) fn has_sent(address: &Address) -> bool {
    let bits = SieveBits::of_address(address);
    bits.are_in(SENDERS.get(bits.word()).copied().unwrap_or(0))
}

/// Notes that something left from an address. Where another CPU notes another address of the same word at the same moment, both are noted.
#[inline(always)]
pub(crate) fn see_sender(address: &Address) {
    let bits = SieveBits::of_address(address);
    let Some(word) = SENDERS.get_ptr_mut(bits.word()) else { return };
    // SAFETY: a word of the array, which stays where it is; others write to it by atomic operations alone.
    unsafe {
        if !bits.are_in(word.read_volatile()) {
            atomic::fetch_or_u64(word, bits.mask());
        }
    }
}

/// Whether an address is of a network that is protected. A function of its own, for the stack of those who ask.
#[inline(never)]
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
    if config.own_filter & address.filter_bit() != 0 {
        let [first, second, third, fourth] = &config.own_first;
        if address == first || address == second || address == third || address == fourth {
            return true;
        }
        if let Some(kind) = kind(address) {
            return kind == OURS;
        }
    }
    config.census.local != 0 && is_local(address)
}

/// Whether an address is of a prefix that is local by route. A function of its own, for the stack of those who ask.
#[inline(never)]
fn is_local(address: &Address) -> bool {
    LOCAL.get(&Key::new(ADDRESS_BITS, *address)).is_some()
}

/// Whether an address is of many hosts, and we are one of them.
#[inline(always)]
pub(crate) fn is_group(address: &Address) -> bool {
    address.is_multicast()
        || (config::get().is_some_and(|config| config.own_filter & address.filter_bit() != 0)
            && kind(address).is_some_and(|kind| kind != OURS))
}

/// What OWN says of an address.
#[inline(always)]
fn kind(address: &Address) -> Option<u32> {
    // SAFETY: one word, read whole.
    unsafe { OWN.get(address) }.copied()
}
