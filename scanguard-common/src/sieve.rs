//! Which sources surely have no verdict: a Bloom filter small enough for a processor's cache, asked before VERDICTS.
//!
//! A lookup in a table of megabytes that finds nothing costs one or two misses of the cache, and most senders have no verdict. Each source has two
//! bits in one word (a blocked Bloom filter: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", WEA 2007): if either is not set, there is
//! no verdict on it. With 100,000 verdicts some 3 of 100 other sources find both set by others, and VERDICTS is asked.
//!
//! The same filter says of which addresses behind this host anything ever left, where networks are protected: an ACK to one that never sent
//! belongs to no connection.
//!
//! The hash has no key: whoever aims at others' bits gets nothing but the lookup that there was before.

use crate::address::Address;
use crate::source::SourceKey;

/// Words: 128 KiB, eight bits for each verdict that there is room for.
pub const SIEVE_WORDS: u32 = 1 << WORD_BITS;

const WORD_BITS: u32 = 14;
/// Bits of a word's number of a bit.
const BIT_BITS: u32 = 6;

/// Where the bits of a source are.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SieveBits {
    word: u32,
    mask: u64,
}

impl SieveBits {
    /// Those of a source.
    #[inline(always)]
    #[must_use]
    pub const fn of(source: &SourceKey) -> Self {
        Self::of_address(&source.0)
    }

    /// Those of an address.
    #[inline(always)]
    #[must_use]
    pub const fn of_address(address: &Address) -> Self {
        let [high, low] = address.words();
        // Fibonacci hashing (Knuth, "The Art of Computer Programming", volume 3, section 6.4): 2^64 over the golden ratio. The fold brings what differs
        // between addresses to the low bits, of which all bits of the product that are used depend.
        let mixed = low ^ high.wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (mixed ^ (mixed >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (hash >> (64 - WORD_BITS)) as u32;
        let first = (hash >> (64 - WORD_BITS - BIT_BITS)) & 63;
        let second = (hash >> (64 - WORD_BITS - 2 * BIT_BITS)) & 63;
        Self { word, mask: (1 << first) | (1 << second) }
    }

    /// Number of the word, below [`SIEVE_WORDS`].
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u32 {
        self.word
    }

    /// The bits in it: two, or one.
    #[inline(always)]
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.mask
    }

    /// Whether they are all set in their word.
    #[inline(always)]
    #[must_use]
    pub const fn are_in(self, word: u64) -> bool {
        word & self.mask == self.mask
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    type Sources = Box<dyn Iterator<Item = Address>>;

    fn filled(sources: impl Iterator<Item = Address>) -> Vec<u64> {
        let mut words = vec![0; SIEVE_WORDS as usize];
        for source in sources {
            let bits = SieveBits::of(&SourceKey(source));
            words[bits.word() as usize] |= bits.mask();
        }
        words
    }

    /// Of 100,000 others, how many pass for sources with a verdict.
    fn mistaken(words: &[u64], others: impl Iterator<Item = Address>) -> usize {
        others
            .take(100_000)
            .filter(|source| {
                let bits = SieveBits::of(&SourceKey(*source));
                bits.are_in(words[bits.word() as usize])
            })
            .count()
    }

    fn ipv4(step: u32) -> impl Iterator<Item = Address> {
        (0_u32..).map(move |number| {
            let address = Ipv4Addr::from(0x0a00_0000_u32.wrapping_add(number.wrapping_mul(step)));
            IpAddr::from(address).into()
        })
    }

    fn ipv6(shift: u32) -> impl Iterator<Item = Address> {
        (0_u128..).map(move |number| IpAddr::from(Ipv6Addr::from((0x2001_0db8 << 96) | (number << shift))).into())
    }

    #[test]
    fn whoever_has_a_verdict_passes_and_few_others() {
        // Neighbours, hosts of networks, anybody, subscribers, hosts of one subscriber.
        let kinds: [fn() -> Sources; 5] = [
            || Box::new(ipv4(1)),
            || Box::new(ipv4(256)),
            || Box::new(ipv4(2_654_435_761)),
            || Box::new(ipv6(64)),
            || Box::new(ipv6(0)),
        ];
        for kind in kinds {
            let words = filled(kind().take(100_000));
            assert_eq!(mistaken(&words, kind()), 100_000);
            for other in [ipv4(7_919), ipv4(1 << 16 | 1)] {
                let others = other.skip(200_000);
                assert!(mistaken(&words, others) < 6_000, "{}", mistaken(&words, ipv4(7_919).skip(200_000)));
            }
            assert!(mistaken(&words, kind().skip(100_000)) < 6_000, "{}", mistaken(&words, kind().skip(100_000)));
        }
    }

    #[test]
    fn neighbours_are_in_many_words() {
        let words: HashSet<u32> = ipv4(1).take(256).map(|source| SieveBits::of(&SourceKey(source)).word()).collect();
        assert!(words.len() > 200, "{}", words.len());
    }
}
