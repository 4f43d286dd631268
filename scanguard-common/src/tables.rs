//! Where the datapath's state lives, what time it is, and which sockets exist.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::class::{PortClass, Protocol};
use crate::config::KernelConfig;
use crate::counter::CounterIndex;
use crate::datapath::{Case, Part};
use crate::event::Event;
use crate::opened::Endpoint;
use crate::packet::Parsed;
use crate::record::{Backup, SourceCell};
use crate::source::SourceKey;
use crate::storm::StateCell;
use crate::verdict::{Known, Verdict};

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

    /// The record of a source, if there is one.
    fn source(&self, source: &SourceKey) -> Option<SourceCell<'_>>;

    /// A record for a source that has none; nothing when the table takes no new entry.
    fn new_source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>>;

    /// The socket that a TCP segment or a datagram would reach.
    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket;

    /// When a port was last seen open, of those seen by the datapath.
    fn opened(&self, endpoint: &Endpoint) -> Option<u64>;

    /// A port was seen open.
    fn open(&self, endpoint: &Endpoint, now_ns: u64);

    /// What userspace decided about a source, whether or not it has ended.
    fn verdict(&self, source: &SourceKey) -> Option<&Verdict>;

    /// The verdict on the longest prefix that covers an address and was decided about, whether or not it has ended.
    fn prefix_verdict(&self, address: &Address) -> Option<&Verdict>;

    /// Whether a source has worked here.
    fn known(&self, source: &SourceKey) -> Option<&Known>;

    /// Whether the longest entry of the allowlist that covers an address is in force.
    fn allowed(&self, address: &Address, now_ns: u64) -> bool;

    /// Keeps a suspect where a flood of other sources cannot wash it out.
    fn back_up(&self, source: &SourceKey, backup: &Backup);

    /// What is kept of a suspect.
    fn backup(&self, source: &SourceKey) -> Option<&Backup>;

    /// Undoes [`Self::back_up`].
    fn forget(&self, source: &SourceKey);

    /// The record of a network, if there is one.
    fn network(&self, network: &SourceKey) -> Option<SourceCell<'_>>;

    /// A record for a network that has none; nothing when the table takes no new entry.
    fn new_network(&self, network: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>>;

    /// What is remembered beyond single sources and networks.
    fn state(&self) -> Option<StateCell<'_>>;

    /// Runs a part of the way; a host that must can do it in another function.
    #[inline(always)]
    fn part(&self, part: Part, case: &mut Case) -> u32
    where
        Self: Sized,
    {
        part.run(case, self)
    }

    /// Tells userspace; false when the ring buffer is full.
    fn emit(&self, event: &Event) -> bool;
}

/// What a socket lookup finds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Socket {
    /// Nothing.
    #[default]
    None = 0,
    /// A socket that takes what comes: a TCP listener, an unconnected UDP socket.
    Listening = 1,
    /// A connection with the sender, in whatever state.
    Connected = 2,
}

impl Socket {
    /// The one with this number; what is not one is a connection, of which nothing is held against anyone.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(number: u32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Listening,
            _ => Self::Connected,
        }
    }
}

/// Addresses and ports of a packet, as it arrives: from somebody's port to one of ours.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Flow {
    /// Who sends.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Port of the sender, host order.
    pub source_port: u16,
    /// Port of the receiver, host order.
    pub destination_port: u16,
    /// [`Protocol`].
    pub protocol: u32,
}

impl Flow {
    /// The flow of a packet.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Parsed, protocol: Protocol) -> Self {
        let Parsed { source, destination, source_port, destination_port, .. } = *packet;
        Self { source, destination, source_port, destination_port, protocol: protocol as u32 }
    }

    /// The flows that a socket without a peer receives, all of them in one.
    #[inline(always)]
    #[must_use]
    pub const fn to_listener(self) -> Self {
        Self { source: Address::from_words([0; 2]), source_port: 0, ..self }
    }
}
