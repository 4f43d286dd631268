//! What we sent: the entries of UFLOWS and SENT, by which answers are told from questions.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::class::Protocol;
use crate::packet::Parsed;
use crate::source::SourceKey;

/// For so long after the last datagram that left, what arrives on the same flow belongs to it, in nanoseconds. (That of
/// `nf_conntrack_udp_timeout_stream` of Linux is 120 s.)
pub const FLOW_NS: u64 = 180_000_000_000;

/// A flow that goes on is noted again after so long, in nanoseconds: not with every datagram.
pub const FLOW_REFRESH_NS: u64 = 10_000_000_000;

/// For so long after a datagram of ours left for a source from a port, none of its datagrams to this port is evidence, in
/// nanoseconds: answers come late, and from other ports than those that were asked.
pub const SENT_NS: u64 = 300_000_000_000;

/// Whom we asked, and from which port: the keys of SENT.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct SentKey {
    /// Whom.
    pub source: SourceKey,
    /// From which of our ports, host order.
    pub port: u64,
}

impl SentKey {
    /// A source, and a port of ours.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: SourceKey, port: u16) -> Self {
        Self { source, port: port as u64 }
    }
}

/// What stands for the protocol in a [`Flow`] of a protocol without ports: this plus its number.
const OTHER_PROTOCOLS: u32 = 0x100;

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
    /// [`Protocol`]; of a protocol without ports 256 plus its number ([`Flow::without_ports`]).
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

    /// What goes between two addresses by the IP protocol of a packet, which has no ports that are read here.
    #[inline(always)]
    #[must_use]
    pub const fn without_ports(packet: &Parsed) -> Self {
        let Parsed { source, destination, protocol, .. } = *packet;
        Self { source, destination, source_port: 0, destination_port: 0, protocol: OTHER_PROTOCOLS | protocol as u32 }
    }

    /// The flows that a socket without a peer receives, all of them in one.
    #[inline(always)]
    #[must_use]
    pub const fn to_listener(mut self) -> Self {
        self.source = Address::from_words([0; 2]);
        self.source_port = 0;
        self
    }
}
