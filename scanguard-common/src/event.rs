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
}

impl EventKind {
    /// The kind with this number; a daemon skips kinds it does not know.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Contact),
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
    /// The port asked, host order; 0 for ICMP.
    pub port: u16,
    /// [`EventKind`].
    pub kind: u8,
    /// [`crate::class::Protocol`].
    pub protocol: u8,
    /// [`crate::class::PortClass`].
    pub class: u8,
    /// [`crate::contact::Outcome`].
    pub outcome: u8,
    /// TCP flags as on the wire.
    pub tcp_flags: u8,
    /// Zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<Event>() == 48);
