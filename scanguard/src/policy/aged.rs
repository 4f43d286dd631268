//! Values by source that also stand in the order of a time.

use std::collections::{BTreeSet, HashMap};

use scanguard_common::address::Address;
use scanguard_common::source::SourceKey;

use super::clock::Moment;

/// Values by source, each with its time.
#[derive(Clone, Debug)]
pub(super) struct Aged<V> {
    values: HashMap<SourceKey, (Moment, V)>,
    /// The same in the order of the times; sources of one time in that of their addresses, so that the order is always one.
    order: BTreeSet<(Moment, [u8; 16])>,
}

impl<V> Default for Aged<V> {
    fn default() -> Self {
        Self { values: HashMap::new(), order: BTreeSet::new() }
    }
}

impl<V> Aged<V> {
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn get(&self, source: &SourceKey) -> Option<(Moment, &V)> {
        self.values.get(source).map(|(time, value)| (*time, value))
    }

    /// Adds a value or replaces that of the source.
    pub(super) fn insert(&mut self, source: SourceKey, time: Moment, value: V) {
        if let Some((earlier, _)) = self.values.insert(source, (time, value)) {
            self.order.remove(&(earlier, source.0.bytes()));
        }
        self.order.insert((time, source.0.bytes()));
    }

    pub(super) fn remove(&mut self, source: &SourceKey) -> Option<(Moment, V)> {
        let (time, value) = self.values.remove(source)?;
        self.order.remove(&(time, source.0.bytes()));
        Some((time, value))
    }

    /// Takes the earliest.
    pub(super) fn pop_first(&mut self) -> Option<(SourceKey, Moment, V)> {
        let (time, bytes) = self.order.pop_first()?;
        let source = key(bytes);
        let (_, value) = self.values.remove(&source)?;
        Some((source, time, value))
    }

    /// Takes the earliest, if its time is not after this one.
    pub(super) fn pop_until(&mut self, latest: Moment) -> Option<(SourceKey, Moment, V)> {
        if self.order.first()?.0 > latest { None } else { self.pop_first() }
    }

    /// All of them, the earliest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SourceKey, Moment, &V)> {
        self.order.iter().filter_map(|(time, bytes)| {
            let source = key(*bytes);
            self.values.get(&source).map(|(_, value)| (source, *time, value))
        })
    }
}

const fn key(bytes: [u8; 16]) -> SourceKey {
    SourceKey(Address::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Clock;
    use crate::policy::clock::kept;

    #[test]
    fn what_is_replaced_or_removed_leaves_its_place() {
        let [first, second] = [key([1; 16]), key([2; 16])];
        let time = |millis| kept(Clock(millis));
        let mut aged = Aged::default();
        aged.insert(first, time(1), 'a');
        aged.insert(second, time(2), 'b');
        aged.insert(first, time(3), 'c');
        assert_eq!(aged.iter().map(|(_, _, value)| *value).collect::<String>(), "bc");
        assert_eq!(aged.pop_until(time(1)), None);
        assert_eq!(aged.pop_until(time(2)), Some((second, time(2), 'b')));
        assert_eq!(aged.remove(&first), Some((time(3), 'c')));
        assert_eq!((aged.len(), aged.pop_first()), (0, None));
    }
}
