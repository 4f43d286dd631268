//! Ports that were seen open: the entries of OPENED.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::class::Protocol;
use crate::packet::Parsed;

use crate::source::SourceKey;

/// A port that goes on answering is noted again after so long, in nanoseconds.
pub const OPENED_REFRESH_NS: u64 = 60_000_000_000;

/// An answer that comes later than this says nothing of the question, in nanoseconds.
pub const ANSWER_LIMIT_NS: u64 = 60_000_000_000;

/// Who asked which port: the keys of ASKED, which holds what is still to be told by the port's answer.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Question {
    /// Who.
    pub source: SourceKey,
    /// Which port.
    pub endpoint: Endpoint,
}

/// A first contact with a port whose answer is not known yet. All zeros where there is none.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Asked {
    /// When, in nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub time_ns: u64,
    /// What was added to the score for it, to be given back if the port answers; 0 to be added if it refuses.
    pub points: u32,
    /// 1.
    pub waits: u32,
}

impl Asked {
    /// A contact that waits for an answer from now on.
    #[inline(always)]
    #[must_use]
    pub const fn new(now_ns: u64, points: u32) -> Self {
        Self { time_ns: now_ns, points, waits: 1 }
    }

    /// Whether there is one, and an answer at this time is one to it.
    #[inline(always)]
    #[must_use]
    pub const fn is_answered(&self, now_ns: u64) -> bool {
        self.waits != 0 && now_ns.saturating_sub(self.time_ns) < ANSWER_LIMIT_NS
    }
}

/// A port of a destination. Of an ICMP echo it is the port 0.
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
    /// A port of an address.
    #[must_use]
    pub const fn new(address: Address, port: u16, protocol: Protocol) -> Self {
        Self { address, port, protocol: protocol as u8, reserved: 0, more_reserved: 0 }
    }

    /// The port that a packet asks for; it is said again because an echo has none.
    #[inline(always)]
    #[must_use]
    pub const fn asked(packet: &Parsed, port: u16, protocol: Protocol) -> Self {
        Self { address: packet.destination, port, protocol: protocol as u8, reserved: 0, more_reserved: 0 }
    }
}
