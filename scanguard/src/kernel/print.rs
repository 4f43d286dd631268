//! What a map holds, in a few bytes: enough to tell whether two have the same contents without going through them.

use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;
use zerocopy::{Immutable, IntoBytes};

/// A sum over the hashes of all entries, which does not depend on their order and follows each change in constant time. Two maps with
/// different contents have the same one with a chance of 1 in 2^64; nobody who may write these maps needs to forge it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Print {
    entries: u64,
    sum: u64,
}

impl Print {
    /// Of these entries.
    pub(super) fn of<'e, K: Printed + 'e, V: Printed + 'e>(entries: impl Iterator<Item = (&'e K, &'e V)>) -> Self {
        let mut print = Self::default();
        entries.for_each(|(key, value)| print.add(key, value));
        print
    }

    pub(super) fn add(&mut self, key: &impl Printed, value: &impl Printed) {
        self.entries = self.entries.wrapping_add(1);
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    /// An entry has another value, or there is one more or one less.
    pub(super) fn replace<V: Printed>(&mut self, key: &impl Printed, earlier: Option<&V>, now: Option<&V>) {
        if let Some(earlier) = earlier {
            self.take(key, earlier);
        }
        if let Some(now) = now {
            self.add(key, now);
        }
    }

    pub(super) fn take(&mut self, key: &impl Printed, value: &impl Printed) {
        self.entries = self.entries.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }
}

fn hash(key: &impl Printed, value: &impl Printed) -> u64 {
    FixedState::default().hash_one((key.as_bytes(), value.as_bytes()))
}

/// What lies in maps, as the kernel has it.
pub(super) trait Printed: IntoBytes + Immutable {}

impl<T: IntoBytes + Immutable> Printed for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_contents_and_not_their_order_or_history() {
        let of = |entries: &[(u32, u64)]| Print::of(entries.iter().map(|(key, value)| (key, value)));
        let both = of(&[(1, 10), (2, 20)]);
        assert_eq!(both, of(&[(2, 20), (1, 10)]));
        assert_ne!(both, of(&[(1, 10), (2, 21)]));
        assert_ne!(both, of(&[(1, 20), (2, 10)]));
        assert_ne!(both, of(&[(1, 10)]));
        let mut changed = both;
        changed.take(&2_u32, &20_u64);
        changed.add(&2_u32, &21_u64);
        assert_eq!(changed, of(&[(1, 10), (2, 21)]));
    }
}
