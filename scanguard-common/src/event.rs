//! What the kernel tells userspace as it happens: the entries of the EVENTS ring buffer.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::source::SourceKey;

/// What an event is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum EventKind {
    /// A source asked for a (destination, protocol, port) for the first time.
    Contact = 1,
    /// A source became a suspect with this packet.
    Suspect = 2,
    /// A network of sources became a suspect with this packet; its prefix stands in the source's place.
    PrefixSuspect = 3,
    /// A socket was found on a port that userspace holds closed.
    Opened = 4,
    /// Suspects arise too fast: storm mode began.
    Storm = 5,
}

impl EventKind {
    /// The kind with this number; a daemon skips kinds it does not know.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Contact),
            2 => Some(Self::Suspect),
            3 => Some(Self::PrefixSuspect),
            4 => Some(Self::Opened),
            5 => Some(Self::Storm),
            _ => None,
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub time_ns: u64,
    /// Who.
    pub source: SourceKey,
    /// The address asked.
    pub destination: Address,
    /// The port asked, host order; the number of the IP protocol where one was asked for; else 0.
    pub port: u16,
    /// [`EventKind`].
    pub kind: u8,
    /// [`crate::contact::ContactKind`].
    pub asked: u8,
    /// [`crate::class::PortClass`].
    pub class: u8,
    /// [`crate::contact::Outcome`].
    pub outcome: u8,
    /// TCP flags as on the wire.
    pub tcp_flags: u8,
    /// Zero.
    pub reserved: u8,
    /// The source's score with this packet, in units of [`crate::score`].
    pub score: u32,
    /// What the packet added to it.
    pub points: u32,
}

const _: () = assert!(size_of::<Event>() == 56);
