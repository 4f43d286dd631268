//! A set of ports: a bit for each, which is what makes looking at all of them twice a second cheap.

use std::fmt;

use scanguard_common::class::{PORT_ENTRIES, Protocol, port_index};

/// Ports of TCP and UDP. Other protocols have none and are never in it.
#[derive(Clone, Eq, PartialEq)]
pub struct PortSet(Vec<u64>);

impl PortSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self(vec![0; PORT_ENTRIES as usize / 64])
    }

    /// Adds a port.
    pub fn insert(&mut self, protocol: Protocol, port: u16) {
        if let Some((word, bit)) = place(protocol, port) {
            self.0[word] |= bit;
        }
    }

    /// Whether a port is in it.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        place(protocol, port).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }

    /// The ports, TCP first, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, u16)> {
        (0_u32..).zip(&self.0).flat_map(|(number, word)| {
            let bits = (0..64).filter(move |bit| word & (1 << bit) != 0);
            // Nearly all words are empty: their bits are not walked.
            let bits = if *word == 0 { None } else { Some(bits) };
            bits.into_iter().flatten().map(move |bit| port_at(number * 64 + bit))
        })
    }

    /// How many ports are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether no port is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

impl Default for PortSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<(Protocol, u16)> for PortSet {
    fn from_iter<I: IntoIterator<Item = (Protocol, u16)>>(ports: I) -> Self {
        let mut set = Self::new();
        for (protocol, port) in ports {
            set.insert(protocol, port);
        }
        set
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// Every port there is, TCP first, in ascending order.
pub fn all_ports() -> impl Iterator<Item = (Protocol, u16)> {
    [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(|protocol| (0..=u16::MAX).map(move |port| (protocol, port)))
}

const fn place(protocol: Protocol, port: u16) -> Option<(usize, u64)> {
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            let index = port_index(protocol, port);
            Some((index as usize / 64, 1 << (index % 64)))
        }
        Protocol::Icmp => None,
    }
}

/// The reverse of [`port_index`].
const fn port_at(index: u32) -> (Protocol, u16) {
    (if index >> 16 == 0 { Protocol::Tcp } else { Protocol::Udp }, index as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_and_borders_are_kept_apart() {
        let ports = [(Protocol::Tcp, 0), (Protocol::Tcp, 65_535), (Protocol::Udp, 0), (Protocol::Udp, 63)];
        let set: PortSet = ports.into_iter().chain([(Protocol::Icmp, 5)]).collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), ports);
        assert_eq!((set.len(), set.is_empty()), (4, false));
        assert!(!set.contains(Protocol::Icmp, 5) && !set.contains(Protocol::Tcp, 5));
        assert!(PortSet::new().is_empty());
    }

    #[test]
    fn the_full_set_is_every_port_in_order() {
        let full: PortSet = all_ports().collect();
        assert!(full.iter().eq(all_ports()));
    }
}
