//! The datapath's tables, in BPF maps.

use aya_ebpf::programs::XdpContext;
use scanguard_common::address::Address;
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::CounterIndex;
use scanguard_common::datapath::{Case, Part};
use scanguard_common::event::Event;
use scanguard_common::opened::Endpoint;
use scanguard_common::packet::Parsed;
use scanguard_common::record::{Backup, SourceCell};
use scanguard_common::source::SourceKey;
use scanguard_common::storm::StateCell;
use scanguard_common::tables::{Socket, Tables};
use scanguard_common::verdict::{Known, Verdict};

use crate::clock;
use crate::maps::{config, counters, events, opened, own, ports, sockets, sources, state, suspects, verdicts};
use crate::parts;

/// The maps, and the frame's context for questions about sockets.
pub(crate) struct KernelTables<'a> {
    context: &'a XdpContext,
}

impl<'a> KernelTables<'a> {
    /// The tables as seen from this frame.
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }
}

impl Tables for KernelTables<'_> {
    #[inline(always)]
    fn config(&self) -> Option<&KernelConfig> {
        config::get()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    #[inline(always)]
    fn is_own(&self, address: &Address) -> bool {
        own::contains(address)
    }

    #[inline(always)]
    fn port_class(&self, protocol: Protocol, port: u16) -> PortClass {
        ports::class(protocol, port)
    }

    #[inline(always)]
    fn count(&self, index: CounterIndex, bytes: u64) {
        counters::add(index, bytes);
    }

    #[inline(always)]
    fn source(&self, source: &SourceKey) -> Option<SourceCell<'_>> {
        sources::source(source)
    }

    #[inline(always)]
    fn new_source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        sources::new_source(source, now_ns)
    }

    #[inline(always)]
    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket {
        sockets::find(self.context, packet, protocol)
    }

    #[inline(always)]
    fn opened(&self, endpoint: &Endpoint) -> Option<u64> {
        opened::seen(endpoint)
    }

    #[inline(always)]
    fn open(&self, endpoint: &Endpoint, now_ns: u64) {
        opened::see(endpoint, now_ns);
    }

    #[inline(always)]
    fn verdict(&self, source: &SourceKey) -> Option<&Verdict> {
        verdicts::verdict(source)
    }

    #[inline(always)]
    fn prefix_verdict(&self, address: &Address) -> Option<&Verdict> {
        verdicts::prefix_verdict(address)
    }

    #[inline(always)]
    fn known(&self, source: &SourceKey) -> Option<&Known> {
        verdicts::known(source)
    }

    #[inline(always)]
    fn allowed(&self, address: &Address, now_ns: u64) -> bool {
        verdicts::allowed(address, now_ns)
    }

    #[inline(always)]
    fn back_up(&self, source: &SourceKey, backup: &Backup) {
        suspects::keep(source, backup);
    }

    #[inline(always)]
    fn backup(&self, source: &SourceKey) -> Option<&Backup> {
        suspects::get(source)
    }

    #[inline(always)]
    fn forget(&self, source: &SourceKey) {
        suspects::forget(source);
    }

    #[inline(always)]
    fn network(&self, network: &SourceKey) -> Option<SourceCell<'_>> {
        sources::network(network)
    }

    #[inline(always)]
    fn new_network(&self, network: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        sources::new_network(network, now_ns)
    }

    #[inline(always)]
    fn state(&self) -> Option<StateCell<'_>> {
        state::get()
    }

    #[inline(always)]
    fn part(&self, part: Part, _case: &mut Case) -> u32 {
        parts::run(part, self.context)
    }

    #[inline(always)]
    fn emit(&self, event: &Event) -> bool {
        events::emit(event)
    }
}
