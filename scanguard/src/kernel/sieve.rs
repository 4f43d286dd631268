//! The sieve before VERDICTS as the kernel should have it, and how many verdicts each bit stands for, so that it can be taken away again.

use std::collections::HashSet;

use scanguard_common::sieve::{SIEVE_WORDS, SieveBits};
use scanguard_common::source::SourceKey;

/// Bits of a word.
const BITS: usize = u64::BITS as usize;

/// The words of SIEVE.
#[derive(Debug)]
pub(super) struct Sieve {
    words: Vec<u64>,
    /// Verdicts of each bit. One that stands for 255 stays set for good: that costs lookups and hides no verdict.
    counts: Vec<u8>,
    /// Words that changed since the latest reading of the kernel's tables began.
    touched: HashSet<u32>,
}

impl Default for Sieve {
    fn default() -> Self {
        let words = SIEVE_WORDS as usize;
        Self { words: vec![0; words], counts: vec![0; words * BITS], touched: HashSet::new() }
    }
}

/// A word, by its number, and what it is now.
pub(super) type Changed = (u32, u64);

impl Sieve {
    /// There is a verdict on a source more. The word to write before the verdict is, if it changed.
    pub(super) fn put(&mut self, source: &SourceKey) -> Option<Changed> {
        self.step(SieveBits::of(source), |count| count.saturating_add(1))
    }

    /// There is one less. The word to write after the verdict was deleted, if it changed.
    pub(super) fn take(&mut self, source: &SourceKey) -> Option<Changed> {
        self.step(SieveBits::of(source), |count| if count == u8::MAX { count } else { count.saturating_sub(1) })
    }

    fn step(&mut self, bits: SieveBits, step: impl Fn(u8) -> u8) -> Option<Changed> {
        let index = bits.word() as usize;
        let (word, counts) = (&mut self.words[index], &mut self.counts[index * BITS..][..BITS]);
        let before = *word;
        for (bit, count) in counts.iter_mut().enumerate().filter(|(bit, _)| bits.mask() >> bit & 1 != 0) {
            *count = step(*count);
            *word = if *count == 0 { *word & !(1 << bit) } else { *word | 1 << bit };
        }
        if *word == before {
            return None;
        }
        let changed = (bits.word(), *word);
        self.touched.insert(bits.word());
        Some(changed)
    }

    /// A reading of the kernel's tables begins.
    pub(super) fn forget_touched(&mut self) {
        self.touched.clear();
    }

    /// Words that are not those that were read, but for those that changed since the reading began.
    pub(super) fn other_than<'w>(&'w self, found: &'w [u64]) -> impl Iterator<Item = Changed> + 'w {
        let words = (0..).zip(self.words.iter().copied());
        words.filter(|(index, word)| found.get(*index as usize) != Some(word) && !self.touched.contains(index))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(number: u32) -> SourceKey {
        SourceKey(IpAddr::from(Ipv4Addr::from(number)).into())
    }

    fn may_have(sieve: &Sieve, number: u32) -> bool {
        let bits = SieveBits::of(&source(number));
        bits.are_in(sieve.words[bits.word() as usize])
    }

    #[test]
    fn whoever_was_put_and_not_taken_is_never_missed_and_nothing_is_left_of_nobody() {
        let mut sieve = Sieve::default();
        let mut kernel = vec![0; SIEVE_WORDS as usize];
        let mut write = |changed: Option<Changed>| {
            if let Some((index, word)) = changed {
                kernel[index as usize] = word;
            }
        };
        for number in 0..200_000 {
            write(sieve.put(&source(number)));
        }
        for number in 0..200_000 {
            write(sieve.take(&source(number)));
            if number % 1_000 == 0 {
                assert!((number + 1..200_000).all(|left| may_have(&sieve, left)), "{number}");
            }
        }
        sieve.forget_touched();
        assert_eq!(sieve.other_than(&kernel).count(), 0, "the kernel was told of every change");
        assert!(sieve.words.iter().all(|word| *word == 0));
    }

    #[test]
    fn what_somebody_else_wrote_is_told_apart_from_what_changed_meanwhile() {
        let mut sieve = Sieve::default();
        let (one, other) = (source(1), source(2));
        let told = sieve.put(&one).expect("a word");
        let mut found = vec![0; SIEVE_WORDS as usize];
        assert_eq!(sieve.other_than(&found).count(), 0, "it changed meanwhile");
        sieve.forget_touched();
        assert_eq!(sieve.other_than(&found).collect::<Vec<_>>(), [told]);
        found[told.0 as usize] = told.1;
        assert_eq!(sieve.put(&other).map(|_| sieve.other_than(&found).count()), Some(0));
        found[77] = 1;
        assert_eq!(sieve.other_than(&found).collect::<Vec<_>>(), [(77, 0)]);
    }

    #[test]
    fn a_bit_that_stood_for_too_many_stays() {
        let mut sieve = Sieve::default();
        for _ in 0..300 {
            let _ = sieve.put(&source(7));
        }
        for _ in 0..300 {
            let _ = sieve.take(&source(7));
        }
        assert!(may_have(&sieve, 7));
    }
}
