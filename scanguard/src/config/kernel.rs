//! A configuration as what the kernel part is told.

use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::source::KeyRules;

use super::Config;
use crate::kernel::LoadOptions;

impl Config {
    /// How addresses become sources.
    #[must_use]
    pub fn key_rules(&self) -> KeyRules {
        let mut rules = KeyRules::new();
        rules.set_ipv6_prefix(self.sources.ipv6_prefix);
        for (slot, translator) in rules.translators.iter_mut().zip(&self.sources.translators) {
            *slot = std::net::IpAddr::V6(*translator).into();
            rules.translator_count += 1;
        }
        rules.ignore_private = u32::from(self.sources.ignore_private);
        rules
    }

    /// The settings of the datapath.
    #[must_use]
    pub fn kernel_config(&self, contact_key: [u64; 2]) -> KernelConfig {
        KernelConfig { keys: self.key_rules(), mode: self.mode as u32, ..KernelConfig::new(contact_key) }
    }

    /// The class of every port that has one.
    pub fn port_classes(&self) -> impl Iterator<Item = (Protocol, u16, PortClass)> {
        let super::Ports { public, restricted, canary } = &self.ports;
        [(public, PortClass::Public), (restricted, PortClass::Restricted), (canary, PortClass::Canary)]
            .into_iter()
            .flat_map(|(list, class)| list.iter().map(move |(protocol, port)| (protocol, port, class)))
    }

    /// How the kernel part is loaded.
    #[must_use]
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            max_sources: self.sources.max_sources,
            events_bytes: self.events_ring_kib * 1024,
            debug_log: self.log.frames,
            ..LoadOptions::default()
        }
    }
}
