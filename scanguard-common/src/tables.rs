//! Where the datapath's state lives, what time it is, and which sockets exist.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::class::{PortClass, Protocol};
use crate::config::KernelConfig;
use crate::counter::CounterIndex;
use crate::event::Event;
use crate::packet::Parsed;
use crate::record::SourceCell;
use crate::source::SourceKey;

/// The datapath's view of the world: BPF maps in the kernel, ordinary memory on the host.
pub trait Tables {
    /// The settings; none before userspace wrote them.
    fn config(&self) -> Option<&KernelConfig>;

    /// Nanoseconds since some start, never going back.
    fn now_ns(&self) -> u64;

    /// Whether an address is one of this host's own.
    fn is_own(&self, address: &Address) -> bool;

    /// Class of a port of this host; `Unknown` when nothing is said of it.
    fn port_class(&self, protocol: Protocol, port: u16) -> PortClass;

    /// Adds one packet of this many bytes.
    fn count(&self, index: CounterIndex, bytes: u64);

    /// The record of a source, made when there is none; nothing when the table takes no new entry.
    fn source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>>;

    /// Whether the datagram belongs to a connected UDP socket of this host.
    fn udp_connected(&self, packet: &Parsed) -> bool;

    /// Tells userspace; false when the ring buffer is full.
    fn emit(&self, event: &Event) -> bool;
}

/// Addresses and ports of a datagram, as it arrives: from somebody's port to one of ours.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct UdpFlow {
    /// Who sends.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Port of the sender, host order.
    pub source_port: u16,
    /// Port of the receiver, host order.
    pub destination_port: u16,
    /// Zero.
    pub reserved: u32,
}

impl UdpFlow {
    /// The flow of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Parsed) -> Self {
        let Parsed { source, destination, source_port, destination_port, .. } = *packet;
        Self { source, destination, source_port, destination_port, reserved: 0 }
    }
}
