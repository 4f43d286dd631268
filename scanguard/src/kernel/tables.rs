//! The maps of the kernel part, and what was written into them: of a program that this process loaded, or of pins that another one left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use scanguard_common::address::Address;
use scanguard_common::challenge::Nic;
use scanguard_common::class::{PORT_ENTRIES, PortClass, PortEntry, Protocol, port_index};
use scanguard_common::config::{KernelConfig, NO_ADDRESS, OWN_FIRST};
use scanguard_common::opened::Endpoint;
use scanguard_common::session::SessionRecord;
use scanguard_common::sieve::SieveBits;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::Allowance;

use super::cleared::{Cleared, Clearing};
use super::clock;
use super::decided::Decided;
use super::decisions::lpm_key;
use super::error::KernelError;
use super::lockdown::LockedPorts;
use super::maps::{
    self, ConfigBytes, EndpointBytes, GROUP, MAX_LOCAL, MAX_OWN_ADDRESSES, MAX_PROTECTED, Maps, NicBytes, OURS,
    SessionBytes, Written, deleted, from_bytes, map_error, to_bytes,
};
use super::pins::Pins;
use super::readings::Readings;
use super::sieve::Sieve;
use crate::net::Own;
use crate::ports::all_ports;
use crate::prefix_map::Prefix;

/// The maps, with what this process knows of their contents. One process writes them at a time.
pub struct Tables {
    pub(super) written: Written,
    pub(super) config: KernelConfig,
    pub(super) readings: Readings,
    /// What PORTS holds: asking takes a system call a port.
    pub(super) classes: Vec<u8>,
    /// Whether there are canary ports among them.
    has_canaries: bool,
    /// Which ports a lockdown closes, while there is one.
    pub(super) locked: Option<LockedPorts>,
    pub(super) decided: Decided,
    pub(super) sieve: Sieve,
    /// What OWN, LOCAL, PROTECTED and NICS hold.
    pub(super) own: BTreeMap<[u8; 16], u32>,
    pub(super) local: BTreeSet<Prefix>,
    pub(super) protected: BTreeSet<Prefix>,
    pub(super) nics: BTreeMap<u32, NicBytes>,
    pub(super) cleared: Cleared,
    /// Grows with each change of these and of the classes.
    pub(super) generation: u64,
}

impl Tables {
    /// Maps that nothing was written into yet.
    pub(super) fn fresh(maps: &mut impl Maps) -> Result<Self, KernelError> {
        let (written, counted) = maps::take(maps)?;
        let classes = vec![PortEntry::default().number(); PORT_ENTRIES as usize];
        let config = KernelConfig::new([0; 2]);
        let (own, local, protected, nics) = Default::default();
        let (readings, decided) = (Readings::new(counted), Decided::default());
        let (sieve, cleared) = (Sieve::default(), Cleared::default());
        let (has_canaries, generation) = (false, 0);
        Ok(Self {
            written,
            config,
            readings,
            classes,
            has_canaries,
            locked: None,
            decided,
            sieve,
            own,
            local,
            protected,
            nics,
            cleared,
            generation,
        })
    }

    /// Maps that are pinned, without the program that uses them.
    ///
    /// # Errors
    /// When one is missing or of another layout.
    pub fn pinned(mut pins: &Pins) -> Result<Self, KernelError> {
        pins.check_layout()?;
        Self::adopted(&mut pins)
    }

    /// Maps that another process wrote: reads what it told the kernel part.
    pub(super) fn adopted(maps: &mut impl Maps) -> Result<Self, KernelError> {
        let mut tables = Self::fresh(maps)?;
        tables.config = from_bytes(&tables.written.config.get(&0, 0).map_err(map_error("CONFIG"))?);
        tables.classes = tables.readings.classes();
        tables.has_canaries = has_canaries(&tables.classes);
        let locked = tables.locked_ports();
        tables.locked = (!locked.is_empty()).then_some(LockedPorts::Named(locked));
        for (source, verdict) in tables.readings.verdicts()? {
            tables.decided.put_verdict(source, verdict);
            let _ = tables.sieve.put(&source);
        }
        tables.sieve.forget_touched();
        let found = tables.readings.sieve();
        for (index, word) in tables.sieve.other_than(&found) {
            tables.written.sieve.set(index, word, 0).map_err(map_error("SIEVE"))?;
        }
        for (source, known) in tables.readings.known()? {
            tables.decided.put_known(source, known);
        }
        for (prefix, verdict) in tables.readings.prefix_verdicts()? {
            tables.decided.put_prefix_verdict(prefix, verdict);
        }
        for (prefix, Allowance { expires_ns }) in tables.readings.allowances()? {
            tables.decided.found_allowed(prefix, expires_ns);
        }
        tables.own = tables.readings.own()?.into_iter().map(|(address, kind)| (address.bytes(), kind)).collect();
        tables.local = tables.readings.local()?.into_iter().map(|(prefix, _)| prefix).collect();
        tables.protected = tables.readings.protected()?.into_iter().map(|(prefix, _)| prefix).collect();
        tables.nics = tables.readings.nics()?.into_iter().collect();
        tables.readings.set_own_addresses(tables.own.len());
        tables.readings.set_heartbeat(tables.config.heartbeat_ns);
        tables.readings.set_verdicts(&tables.decided);
        Ok(tables)
    }

    /// When what was held against a source was last cleared, as far as this process remembers.
    #[must_use]
    pub fn clearing_of(&self, source: &SourceKey) -> Option<Clearing> {
        self.cleared.of(source)
    }

    /// Whether any TCP port of this host is a canary port now that may be challenged.
    #[must_use]
    pub const fn has_canaries(&self) -> bool {
        self.has_canaries
    }

    /// Whether an address is this host's own.
    #[must_use]
    pub fn is_own(&self, address: &Address) -> bool {
        self.own.contains_key(&address.bytes())
    }

    /// The settings as last written.
    #[must_use]
    pub const fn config(&self) -> &KernelConfig {
        &self.config
    }

    /// Replaces the settings; in force with the next packet. What they say of own addresses and the census of maps are kept true
    /// here and not taken from `config`.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_config(&mut self, config: &KernelConfig) -> Result<(), KernelError> {
        let KernelConfig { own_filter, own_first, census, .. } = self.config;
        self.config = KernelConfig { own_filter, own_first, census, ..*config };
        // How addresses become sources decides which entries of the allowlist count as splitting them.
        self.config.census = self.decided.census(&self.config);
        self.write_config()
    }

    /// Tells the kernel part that somebody watches over it. Without it nothing new is held against anyone after
    /// [`scanguard_common::config::HEARTBEAT_LIMIT_NS`].
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn beat(&mut self) -> Result<(), KernelError> {
        self.config.heartbeat_ns = clock::monotonic_coarse_ns();
        self.write_config()?;
        self.readings.set_heartbeat(self.config.heartbeat_ns);
        Ok(())
    }

    /// Sets the ports that this host's own connections leave from, first and last.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_ephemeral(&mut self, (first, last): (u16, u16)) -> Result<(), KernelError> {
        (self.config.ephemeral_first, self.config.ephemeral_last) = (first, last);
        self.write_config()
    }

    pub(super) fn write_config(&mut self) -> Result<(), KernelError> {
        self.written.config.set(0, to_bytes::<_, ConfigBytes>(&self.config), 0).map_err(map_error("CONFIG"))
    }

    /// Replaces what is said of every port; of a port not named nothing is.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_port_classes(
        &mut self,
        classes: impl IntoIterator<Item = (Protocol, u16, PortEntry)>,
    ) -> Result<(), KernelError> {
        let mut wanted = vec![PortEntry::default().number(); PORT_ENTRIES as usize];
        for (protocol, port, entry) in classes {
            wanted[port_index(protocol, port) as usize] = entry.number();
        }
        for ((protocol, port), entry) in all_ports().zip(&mut wanted) {
            *entry = self.with_lock(protocol, port, PortEntry::from_u8(*entry)).number();
        }
        self.generation += 1;
        let ports = &mut self.written.ports;
        for ((index, class), told) in (0..).zip(wanted).zip(&mut self.classes) {
            // Written only where it differs, so that no packet sees a port without its class.
            if *told != class {
                ports.set(index, class, 0).map_err(map_error("PORTS"))?;
                *told = class;
            }
        }
        self.has_canaries = has_canaries(&self.classes);
        Ok(())
    }

    /// Replaces the addresses that are this host's own, and has it be of no group and have no prefix that is local by route.
    ///
    /// # Errors
    /// As for [`Self::set_own`].
    pub fn set_own_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), KernelError> {
        self.set_own(&Own { addresses: addresses.to_vec(), ..Own::default() })
    }

    /// Replaces what is this host's own, and what it is one of many of.
    ///
    /// # Errors
    /// When there is more than the maps take, or they cannot be written.
    pub fn set_own(&mut self, own: &Own) -> Result<(), KernelError> {
        let Own { addresses, prefixes, groups } = own;
        for (count, limit) in [(addresses.len(), MAX_OWN_ADDRESSES), (groups.len(), MAX_OWN_ADDRESSES)] {
            if count > limit {
                return Err(KernelError::TooManyAddresses { count, limit });
            }
        }
        if prefixes.len() > MAX_LOCAL {
            return Err(KernelError::TooManyLocal { count: prefixes.len(), limit: MAX_LOCAL });
        }
        let of_kind = |addresses: &[IpAddr], kind| -> Vec<([u8; 16], u32)> {
            addresses.iter().map(|address| (Address::from(*address).bytes(), kind)).collect()
        };
        // What is both is an address.
        let wanted: BTreeMap<[u8; 16], u32> =
            [of_kind(groups, GROUP), of_kind(addresses, OURS)].into_iter().flatten().collect();
        let filter = wanted.keys().fold(0, |filter, address| filter | Address::from_bytes(*address).filter_bit());
        // The filter lets old and new addresses through while the table changes.
        self.config.own_filter |= filter;
        self.config.own_first = [NO_ADDRESS; OWN_FIRST];
        self.write_config()?;
        self.generation += 1;
        let map = &mut self.written.own;
        for (address, kind) in &wanted {
            map.insert(address, kind, 0).map_err(map_error("OWN"))?;
            self.own.insert(*address, *kind);
        }
        for gone in self.own.keys().filter(|address| !wanted.contains_key(*address)) {
            deleted("OWN", map.remove(gone))?;
        }
        self.readings.set_own_addresses(wanted.len());
        self.own = wanted;
        self.set_local(prefixes)?;
        self.config.own_filter = filter;
        for (place, address) in self.config.own_first.iter_mut().zip(addresses) {
            *place = (*address).into();
        }
        self.write_config()
    }

    /// Replaces the prefixes that are local by route; the settings are still to be written.
    fn set_local(&mut self, prefixes: &[IpNetwork]) -> Result<(), KernelError> {
        let wanted: BTreeSet<Prefix> = prefixes.iter().map(|network| Prefix::from(*network)).collect();
        let trie = &mut self.written.local;
        for prefix in &wanted {
            trie.insert(&lpm_key(*prefix), OURS, 0).map_err(map_error("LOCAL"))?;
            self.local.insert(*prefix);
        }
        for gone in self.local.difference(&wanted) {
            deleted("LOCAL", trie.remove(&lpm_key(*gone)))?;
        }
        self.config.census.local = wanted.len() as u32;
        self.local = wanted;
        Ok(())
    }

    /// Replaces the networks behind this host that it protects.
    ///
    /// # Errors
    /// When there are more than the map takes, or it cannot be written.
    pub fn set_protected(&mut self, networks: &[IpNetwork]) -> Result<(), KernelError> {
        if networks.len() > MAX_PROTECTED {
            return Err(KernelError::TooManyNetworks { count: networks.len(), limit: MAX_PROTECTED });
        }
        let wanted: BTreeSet<Prefix> = networks.iter().map(|network| Prefix::from(*network)).collect();
        self.generation += 1;
        let trie = &mut self.written.protected;
        for prefix in &wanted {
            trie.insert(&lpm_key(*prefix), OURS, 0).map_err(map_error("PROTECTED"))?;
            self.protected.insert(*prefix);
        }
        for gone in self.protected.difference(&wanted) {
            deleted("PROTECTED", trie.remove(&lpm_key(*gone)))?;
        }
        self.config.census.protected = wanted.len() as u32;
        self.protected = wanted;
        self.write_config()
    }

    /// Notes that something left from an address, as the kernel part does where networks are protected: in a replay, which knows
    /// what comes later.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_virtual_sender(&mut self, address: &Address) -> Result<(), KernelError> {
        let bits = SieveBits::of_address(address);
        let senders = &mut self.written.senders;
        let word = senders.get(&bits.word(), 0).map_err(map_error("SENDERS"))?;
        senders.set(bits.word(), word | bits.mask(), 0).map_err(map_error("SENDERS"))
    }

    /// Notes that ports were seen open, unless they were seen open later: what an earlier daemon remembered.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn restore_opened(&mut self, opened: impl IntoIterator<Item = (Endpoint, u64)>) -> Result<(), KernelError> {
        for (endpoint, seen_ns) in opened {
            let key: EndpointBytes = to_bytes(&endpoint);
            let later = self.written.opened.get(&key, 0).is_ok_and(|known_ns| known_ns >= seen_ns);
            if !later {
                self.written.opened.insert(key, seen_ns, 0).map_err(map_error("OPENED"))?;
            }
        }
        Ok(())
    }

    /// Says by which interfaces frames come that may be answered; by others none is.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_nics(&mut self, nics: &[(u32, Nic)]) -> Result<(), KernelError> {
        let wanted: BTreeMap<u32, NicBytes> = nics.iter().map(|(index, nic)| (*index, to_bytes(nic))).collect();
        self.generation += 1;
        let map = &mut self.written.nics;
        for (index, nic) in &wanted {
            map.insert(index, nic, 0).map_err(map_error("NICS"))?;
            self.nics.insert(*index, *nic);
        }
        for gone in self.nics.keys().filter(|index| !wanted.contains_key(*index)) {
            deleted("NICS", map.remove(gone))?;
        }
        self.nics = wanted;
        Ok(())
    }

    /// Notes that an address of this host was seen refusing something.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_refused(&mut self, address: Address, now_ns: u64) -> Result<(), KernelError> {
        self.written.refused.insert(address.bytes(), now_ns, 0).map_err(map_error("REFUSED"))
    }

    /// Replaces what is counted of a source's sessions.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_sessions(&mut self, record: &SessionRecord) -> Result<(), KernelError> {
        let (source, record) = (record.source.0.bytes(), to_bytes::<_, SessionBytes>(record));
        self.written.sessions.insert(source, record, 0).map_err(map_error("SESSIONS"))
    }

    /// Replaces the key of cookies that is not in use now.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_challenge_key(&mut self, place: usize, key: [u64; 2]) -> Result<(), KernelError> {
        self.config.challenge.keys[place % 2] = key;
        self.write_config()
    }

    /// Says since when all that leaves is seen, on the datapath's clock; none when it is not.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_egress(&mut self, since_ns: Option<u64>) -> Result<(), KernelError> {
        self.config.egress_since_ns = since_ns.unwrap_or(u64::MAX);
        self.write_config()
    }

    /// Says whether this host forwards packets, and whether it is learnt which addresses and ports behind it there are.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_elsewhere(&mut self, forwards: bool, learnt: bool) -> Result<(), KernelError> {
        (self.config.forwards, self.config.learnt) = (forwards.into(), learnt.into());
        self.write_config()
    }

    /// A handle for reading what was counted; cheap to clone, usable from other threads.
    #[must_use]
    pub fn readings(&self) -> Readings {
        self.readings.clone()
    }
}

/// Whether a TCP port is a canary port that may be challenged, among what PORTS holds.
fn has_canaries(classes: &[u8]) -> bool {
    let of = |port| classes.get(port_index(Protocol::Tcp, port) as usize).copied().unwrap_or_default();
    let is_canary = |entry: PortEntry| entry.own() == PortClass::Canary && !entry.is_fallback();
    (0..=u16::MAX).any(|port| is_canary(PortEntry::from_u8(of(port))))
}
