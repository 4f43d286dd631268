//! Tables of an incident: bounded, and they know which of their rows changed since they were last written.

use std::collections::BTreeMap;

/// Values by key.
#[derive(Clone, Debug)]
pub(super) struct Rows<K, V> {
    rows: BTreeMap<K, Row<V>>,
}

#[derive(Clone, Debug)]
struct Row<V> {
    value: V,
    changed: bool,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

impl<K: Clone + Ord, V: Clone + Default> Rows<K, V> {
    /// The value to change, made if there are fewer than `most`; none where there is no room.
    pub(super) fn change(&mut self, key: &K, most: usize) -> Option<&mut V> {
        if !self.rows.contains_key(key) {
            if self.rows.len() >= most {
                return None;
            }
            self.rows.insert(key.clone(), Row { value: V::default(), changed: true });
        }
        self.rows.get_mut(key).map(|row| {
            row.changed = true;
            &mut row.value
        })
    }

    /// Puts in what was kept, which is no change.
    pub(super) fn restore(&mut self, key: K, value: V) {
        self.rows.insert(key, Row { value, changed: false });
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(K, V)> {
        self.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Those that changed since this was last called.
    pub(super) fn take_changed(&mut self) -> Vec<(K, V)> {
        let changed = self.rows.iter_mut().filter(|(_, row)| row.changed);
        let taken = changed.map(|(key, row)| {
            row.changed = false;
            (key.clone(), row.value.clone())
        });
        taken.collect()
    }
}
