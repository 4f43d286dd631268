//! The datapath's tables, in BPF maps.

use aya_ebpf::programs::XdpContext;
use scanguard_common::address::Address;
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::CounterIndex;
use scanguard_common::event::Event;
use scanguard_common::packet::Parsed;
use scanguard_common::record::SourceCell;
use scanguard_common::source::SourceKey;
use scanguard_common::tables::Tables;

use crate::clock;
use crate::maps::{config, counters, events, own, ports, sockets, sources};

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
    fn source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        sources::get_or_insert(source, now_ns)
    }

    #[inline(always)]
    fn udp_connected(&self, packet: &Parsed) -> bool {
        sockets::udp_connected(self.context, packet)
    }

    #[inline(always)]
    fn emit(&self, event: &Event) -> bool {
        events::emit(event)
    }
}
