//! Lockdowns: which ports answer only a few, until when.

use scanguard_common::class::{PORT_ENTRIES, PortClass, PortEntry, Protocol};

use super::error::KernelError;
use super::maps::map_error;
use super::tables::Tables;
use crate::ports::{PortSet, all_ports};

/// Which ports a lockdown closes, over TCP and UDP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LockedPorts {
    /// All that are restricted where they are open, those that open later among them.
    Restricted,
    /// These, whatever they are.
    Named(PortSet),
}

impl LockedPorts {
    /// Whether a port of which so much is said is one of them.
    #[must_use]
    pub fn contain(&self, protocol: Protocol, port: u16, entry: PortEntry) -> bool {
        match self {
            Self::Restricted => entry.unless_closed() == PortClass::Restricted,
            Self::Named(ports) => ports.contains(protocol, port),
        }
    }
}

/// A lockdown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lockdown {
    /// Which ports it closes.
    pub ports: LockedPorts,
    /// When it ends, on the datapath's clock. The kernel part keeps to it by itself.
    pub until_ns: u64,
    /// Whether known sources get through, besides those on the allowlist.
    pub keeps_known: bool,
}

impl Tables {
    /// Begins a lockdown, in place of one that is in force, or ends it; in force with the next packet. All ports are locked before the settings
    /// say so, and unlocked after.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn set_lockdown(&mut self, lockdown: Option<&Lockdown>) -> Result<(), KernelError> {
        let Some(Lockdown { ports, until_ns, keeps_known }) = lockdown else {
            (self.config.lockdown_until_ns, self.config.lockdown_keeps_known) = (0, 0);
            self.write_config()?;
            self.locked = None;
            return self.write_locks();
        };
        self.locked = Some(ports.clone());
        self.write_locks()?;
        (self.config.lockdown_until_ns, self.config.lockdown_keeps_known) = (*until_ns, u32::from(*keeps_known));
        self.write_config()
    }

    /// The ports that are locked, as far as PORTS says so.
    #[must_use]
    pub fn locked_ports(&self) -> PortSet {
        let locked = all_ports().zip(&self.classes).filter(|(_, class)| PortEntry::from_u8(**class).is_locked());
        locked.map(|(port, _)| port).collect()
    }

    /// What is said of a port, with or without a lock.
    #[must_use]
    pub fn port_entry(&self, protocol: Protocol, port: u16) -> PortEntry {
        let index = scanguard_common::class::port_index(protocol, port) as usize;
        self.classes.get(index).map_or_else(PortEntry::default, |class| PortEntry::from_u8(*class))
    }

    /// What PORTS is to say of a port of which userspace says `entry`.
    pub(super) fn with_lock(&self, protocol: Protocol, port: u16, entry: PortEntry) -> PortEntry {
        let entry = entry.unlocked();
        let is_locked = self.locked.as_ref().is_some_and(|locked| locked.contain(protocol, port, entry));
        if is_locked { entry.locked() } else { entry }
    }

    fn write_locks(&mut self) -> Result<(), KernelError> {
        debug_assert_eq!(self.classes.len(), PORT_ENTRIES as usize, "a class for each port");
        self.generation += 1;
        for (index, (protocol, port)) in (0_u32..).zip(all_ports()) {
            let told = self.classes[index as usize];
            let wanted = self.with_lock(protocol, port, PortEntry::from_u8(told)).number();
            if told != wanted {
                self.written.ports.set(index, wanted, 0).map_err(map_error("PORTS"))?;
                self.classes[index as usize] = wanted;
            }
        }
        Ok(())
    }
}
