//! Values by prefix, with the questions a longest-prefix match cannot answer: what covers this, what lies within it.

use std::collections::BTreeMap;

use scanguard_common::address::Address;
use zerocopy::{Immutable, IntoBytes};

/// Longest prefix, in bits: IPv4 prefixes have 96 more than people count ([`scanguard_common::address::prefix`]).
const LONGEST: u8 = 128;

/// A prefix: its address in network order with nothing set after its end, and its length of 128 bits.
#[derive(Clone, Copy, Debug, Eq, Hash, Immutable, IntoBytes, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct Prefix {
    /// The address.
    pub address: [u8; 16],
    /// The length.
    pub bits: u8,
}

impl Prefix {
    /// The prefix of this length around an address.
    #[must_use]
    pub fn around(address: &Address, bits: u8) -> Self {
        Self { address: address.masked(&Address::mask(bits)).bytes(), bits }
    }

    /// The address as the datapath has it.
    #[must_use]
    pub const fn address(&self) -> Address {
        Address::from_bytes(self.address)
    }

    /// Whether all of another one lies in this one.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && Self::around(&other.address(), self.bits) == *self
    }

    /// The last address in it.
    fn end(&self) -> [u8; 16] {
        let host = !u128::from_be_bytes(Address::mask(self.bits).bytes());
        (u128::from_be_bytes(self.address) | host).to_be_bytes()
    }
}

impl From<Prefix> for ipnetwork::IpNetwork {
    fn from(prefix: Prefix) -> Self {
        use scanguard_common::address::MAPPED_BITS;
        let address = prefix.address();
        let made = match prefix.bits.checked_sub(MAPPED_BITS) {
            Some(bits) if address.is_mapped() => Self::new(std::net::IpAddr::from(address), bits),
            // Shorter than what marks IPv4, it is IPv6 whatever it begins with.
            _ => Self::new(std::net::IpAddr::V6(address.bytes().into()), prefix.bits),
        };
        made.expect("a length of at most 128 bits")
    }
}

impl From<ipnetwork::IpNetwork> for Prefix {
    fn from(network: ipnetwork::IpNetwork) -> Self {
        let (address, bits) = scanguard_common::address::prefix(network.network(), network.prefix());
        Self::around(&address, bits)
    }
}

/// Values by prefix, in the order of their addresses.
#[derive(Clone, Debug)]
pub struct PrefixMap<V> {
    values: BTreeMap<Prefix, V>,
    /// How many prefixes there are of each length, so that those that cover something are found by as many questions as there are
    /// lengths.
    lengths: [usize; LONGEST as usize + 1],
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), lengths: [0; LONGEST as usize + 1] }
    }
}

impl<V> PrefixMap<V> {
    /// Entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of exactly this prefix.
    #[must_use]
    pub fn get(&self, prefix: &Prefix) -> Option<&V> {
        self.values.get(prefix)
    }

    /// As [`Self::get`], to change it.
    pub fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut V> {
        self.values.get_mut(prefix)
    }

    /// Sets a value and returns the earlier one.
    pub fn insert(&mut self, prefix: Prefix, value: V) -> Option<V> {
        let earlier = self.values.insert(prefix, value);
        if earlier.is_none() {
            self.lengths[usize::from(prefix.bits.min(LONGEST))] += 1;
        }
        earlier
    }

    /// Takes a value away.
    pub fn remove(&mut self, prefix: &Prefix) -> Option<V> {
        let value = self.values.remove(prefix)?;
        self.lengths[usize::from(prefix.bits.min(LONGEST))] -= 1;
        Some(value)
    }

    /// All of them, by address and then length.
    pub fn iter(&self) -> impl Iterator<Item = (&Prefix, &V)> {
        self.values.iter()
    }

    /// Those that cover a prefix, itself among them, the longest first.
    pub fn covering(&self, prefix: Prefix) -> impl Iterator<Item = (&Prefix, &V)> {
        let lengths = (0..=prefix.bits.min(LONGEST)).rev().filter(|bits| self.lengths[usize::from(*bits)] > 0);
        lengths.filter_map(move |bits| self.values.get_key_value(&Prefix::around(&prefix.address(), bits)))
    }

    /// Those that lie in a prefix, itself among them.
    pub fn within(&self, prefix: Prefix) -> impl Iterator<Item = (&Prefix, &V)> {
        let last = Prefix { address: prefix.end(), bits: LONGEST };
        // Shorter prefixes that begin at the same address come first.
        self.values.range(prefix..=last)
    }

    /// Whether it and a prefix have an address in common.
    #[must_use]
    pub fn meets(&self, prefix: Prefix) -> bool {
        self.covering(prefix).next().is_some() || self.within(prefix).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use ipnetwork::IpNetwork;
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse::<IpNetwork>().expect("a prefix").into()
    }

    #[test]
    fn what_covers_and_what_lies_within_is_found() {
        let mut map = PrefixMap::default();
        for text in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.2.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::/0"] {
            assert_eq!(map.insert(prefix(text), text), None);
        }
        let covering: Vec<_> = map.covering(prefix("10.1.2.3")).map(|(_, text)| *text).collect();
        assert_eq!(covering, ["10.1.2.3", "10.1.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "::/0"]);
        let within: Vec<_> = map.within(prefix("10.0.0.0/8")).map(|(_, text)| *text).collect();
        assert_eq!(within, ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "10.2.0.0/16"]);
        assert_eq!(map.within(prefix("10.1.2.0/24")).count(), 1);
        map.remove(&prefix("0.0.0.0/0"));
        map.remove(&prefix("::/0"));
        assert!(map.meets(prefix("10.0.0.0/7")) && !map.meets(prefix("11.0.0.0/8")));
        assert_eq!(map.covering(prefix("2001:db9::1")).count(), 0);
    }

    proptest! {
        #[test]
        fn it_agrees_with_asking_every_entry(
            entries in prop::collection::vec((0_u32..64, 96_u8..=128), 0..40),
            (address, bits) in (0_u32..64, 96_u8..=128),
        ) {
            // Addresses that differ in few bits, so that prefixes nest.
            let make = |(address, bits): (u32, u8)| {
                Prefix::around(&Address::from(std::net::IpAddr::from((address << 26).to_be_bytes())), bits)
            };
            let mut map = PrefixMap::default();
            for entry in &entries {
                map.insert(make(*entry), ());
            }
            let asked = make((address, bits));
            let count = |wanted: &dyn Fn(&Prefix) -> bool| map.iter().filter(|(entry, ())| wanted(entry)).count();
            prop_assert_eq!(map.covering(asked).count(), count(&|entry| entry.covers(&asked)));
            prop_assert_eq!(map.within(asked).count(), count(&|entry| asked.covers(entry)));
        }
    }
}
