//! [`Tables`] in ordinary memory, with a clock that the caller sets.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::{HashMap, HashSet};

use crate::address::Address;
use crate::class::{PortClass, Protocol, port_index};
use crate::config::KernelConfig;
use crate::counter::{COUNTER_ENTRIES, Counter, CounterIndex};
use crate::event::Event;
use crate::packet::Parsed;
use crate::record::{SourceCell, SourceRecord};
use crate::source::SourceKey;
use crate::tables::{Tables, UdpFlow};

/// The tables of one host in ordinary memory. Capacities are those of the machine: nothing is evicted.
#[derive(Default)]
pub struct MemoryTables {
    config: Option<KernelConfig>,
    now_ns: Cell<u64>,
    ports: HashMap<u32, PortClass>,
    own_addresses: HashSet<Address>,
    udp_connections: HashSet<UdpFlow>,
    // Boxed, so that a record stays where it is while the map grows under a held cell.
    records: RefCell<HashMap<SourceKey, Box<UnsafeCell<SourceRecord>>>>,
    counters: RefCell<Vec<Counter>>,
    events: RefCell<Vec<Event>>,
}

impl MemoryTables {
    /// Empty tables with these settings.
    #[must_use]
    pub fn new(config: KernelConfig) -> Self {
        Self {
            config: Some(config),
            counters: RefCell::new(vec![Counter::default(); COUNTER_ENTRIES as usize]),
            ..Self::default()
        }
    }

    /// Replaces the settings.
    pub fn set_config(&mut self, config: KernelConfig) {
        self.config = Some(config);
    }

    /// Sets the clock, in nanoseconds.
    pub fn set_now(&self, now_ns: u64) {
        self.now_ns.set(now_ns);
    }

    /// Says what a port is.
    pub fn set_port_class(&mut self, protocol: Protocol, port: u16, class: PortClass) {
        self.ports.insert(port_index(protocol, port), class);
    }

    /// Adds an address of this host.
    pub fn add_own_address(&mut self, address: Address) {
        self.own_addresses.insert(address);
    }

    /// Adds a connected UDP socket, by the flow it receives.
    pub fn add_udp_connection(&mut self, flow: UdpFlow) {
        self.udp_connections.insert(flow);
    }

    /// All records.
    #[must_use]
    pub fn records(&self) -> Vec<SourceRecord> {
        // SAFETY: `self` is not Sync and no cell outlives a call of `process`, so nobody writes now.
        self.records.borrow().values().map(|record| unsafe { *record.get() }).collect()
    }

    /// What was counted at an index.
    #[must_use]
    pub fn counter(&self, index: CounterIndex) -> Counter {
        self.counters.borrow()[index.get() as usize]
    }

    /// All counters, by index.
    #[must_use]
    pub fn counters(&self) -> Vec<Counter> {
        self.counters.borrow().clone()
    }

    /// Takes the events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        self.events.take()
    }
}

impl Tables for MemoryTables {
    fn config(&self) -> Option<&KernelConfig> {
        self.config.as_ref()
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn is_own(&self, address: &Address) -> bool {
        self.own_addresses.contains(address)
    }

    fn port_class(&self, protocol: Protocol, port: u16) -> PortClass {
        self.ports.get(&port_index(protocol, port)).copied().unwrap_or(PortClass::Unknown)
    }

    fn count(&self, index: CounterIndex, bytes: u64) {
        let counter = &mut self.counters.borrow_mut()[index.get() as usize];
        counter.packets += 1;
        counter.bytes += bytes;
    }

    fn source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        let mut records = self.records.borrow_mut();
        let record =
            records.entry(*source).or_insert_with(|| Box::new(UnsafeCell::new(SourceRecord::new(*source, now_ns))));
        let record: *const UnsafeCell<SourceRecord> = &raw const **record;
        // SAFETY: the box is never removed or replaced while `self` lives, and `records` hands out no reference.
        Some(SourceCell::new(unsafe { &*record }))
    }

    fn udp_connected(&self, packet: &Parsed) -> bool {
        self.udp_connections.contains(&UdpFlow::of(packet))
    }

    fn emit(&self, event: &Event) -> bool {
        self.events.borrow_mut().push(*event);
        true
    }
}
