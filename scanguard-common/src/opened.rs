//! Ports that were seen open: the entries of OPENED.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::class::Protocol;
use crate::packet::Parsed;

/// A port of a destination.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The port, host order.
    pub port: u16,
    /// [`Protocol`].
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
    /// Zero.
    pub more_reserved: u32,
}

const _: () = assert!(size_of::<Endpoint>() == 24, "no padding");

impl Endpoint {
    /// What a packet asks for.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Parsed, protocol: Protocol) -> Self {
        Self {
            address: packet.destination,
            port: packet.destination_port,
            protocol: protocol as u8,
            reserved: 0,
            more_reserved: 0,
        }
    }
}
