//! VERDICTS and the SIEVE before it, PREFIX_VERDICTS, KNOWN and ALLOW: what userspace decided about sources.

use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie};
use aya_ebpf::macros::btf_map;
use scanguard_common::address::Address;
use scanguard_common::capacity;
use scanguard_common::sieve::{SIEVE_WORDS, SieveBits};
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Allowance, Known, Verdict};

use crate::maps::ports::MMAPABLE;

/// Never an LRU: a verdict does not go before its time.
#[btf_map]
static VERDICTS: HashMap<SourceKey, Verdict, { capacity::VERDICTS as usize }> = HashMap::new();

/// Who surely is not in VERDICTS, see [`scanguard_common::sieve`].
#[btf_map]
static SIEVE: Array<u64, { SIEVE_WORDS as usize }, MMAPABLE> = Array::new();

/// Prefixes that are no single source.
#[btf_map]
static PREFIX_VERDICTS: LpmTrie<Address, Verdict, { capacity::PREFIX_VERDICTS as usize }> = LpmTrie::new();

#[btf_map]
static KNOWN: HashMap<SourceKey, Known, { capacity::KNOWN as usize }> = HashMap::new();

#[btf_map]
static ALLOW: LpmTrie<Address, Allowance, { capacity::ALLOW as usize }> = LpmTrie::new();

const ADDRESS_BITS: u32 = 128;

/// The verdict on a source.
#[inline(always)]
pub(crate) fn verdict(source: &SourceKey) -> Option<&'static Verdict> {
    let bits = SieveBits::of(source);
    if !bits.are_in(SIEVE.get(bits.word()).copied().unwrap_or(0)) {
        return None;
    }
    // SAFETY: userspace replaces whole values; a torn one mixes two verdicts on the same source for one packet.
    unsafe { VERDICTS.get(source) }
}

/// The verdict on the longest prefix that covers an address.
#[inline(always)]
pub(crate) fn prefix_verdict(address: &Address) -> Option<&'static Verdict> {
    PREFIX_VERDICTS.get(&Key::new(ADDRESS_BITS, *address))
}

/// Whether a source has worked here.
#[inline(always)]
pub(crate) fn known(source: &SourceKey) -> Option<&'static Known> {
    // SAFETY: one word, read whole.
    unsafe { KNOWN.get(source) }
}

/// Whether the allowlist covers an address.
#[inline(always)]
pub(crate) fn allowed(address: &Address, now_ns: u64) -> bool {
    let key = Key::new(ADDRESS_BITS, *address);
    ALLOW.get(&key).is_some_and(|allowance| allowance.expires_ns > now_ns)
}
