//! What the kernel tells userspace as it happens: the entries of the ring buffers EVENTS and PROOFS. On PROOFS is what a block may follow, so that it
//! is heard before all else and not lost for noise.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::source::SourceKey;

/// What an event is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum EventKind {
    /// A source asked for a (destination, protocol, port) for the first time. Where its score is that of a block, on the ring PROOFS, within
    /// [`crate::challenge::URGENT_LIMIT`].
    Contact = 1,
    /// A source became a suspect with this packet.
    Suspect = 2,
    /// A network of sources became a suspect with this packet; its prefix stands in the source's place.
    PrefixSuspect = 3,
    /// A socket was found on a port that userspace holds closed.
    Opened = 4,
    /// Suspects arise too fast: storm mode began.
    Storm = 5,
    /// A suspect was answered.
    Answered = 6,
    /// A suspect, or somebody on a restricted port, completed a handshake.
    Session = 7,
    /// Such a session ended.
    SessionEnd = 8,
    /// A port of a protected network answered that had not.
    OpenedElsewhere = 9,
    /// A source completed a decoy: whoever sends is really there. On the ring PROOFS.
    Completed = 10,
}

/// What was answered, as far as it tells whether a port is open.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Answer {
    /// Nothing that tells.
    #[default]
    None = 0,
    /// A SYN-ACK, or an echo reply.
    Open = 1,
    /// A datagram, from a port that is asked and answers.
    Datagram = 2,
    /// A reset.
    Refused = 3,
    /// An ICMP error: destination unreachable.
    Unreachable = 4,
}

impl Answer {
    /// The one with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Open),
            2 => Some(Self::Datagram),
            3 => Some(Self::Refused),
            4 => Some(Self::Unreachable),
            _ => None,
        }
    }

    /// The name in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Datagram => "datagram",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether it shows that the port is open.
    #[inline(always)]
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Datagram)
    }
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
            6 => Some(Self::Answered),
            7 => Some(Self::Session),
            8 => Some(Self::SessionEnd),
            9 => Some(Self::OpenedElsewhere),
            10 => Some(Self::Completed),
            _ => None,
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Event {
    /// When, in nanoseconds of `CLOCK_MONOTONIC_COARSE`; of what is on PROOFS, of `CLOCK_MONOTONIC`.
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
    /// [`Answer`]; of a port that was seen open, what showed it: `none` is a socket.
    pub answer: u8,
    /// The source's score with this packet, in units of [`crate::score`].
    pub score: u32,
    /// What the packet added to it.
    pub points: u32,
    /// Of a session that ended: bytes received, and bytes that the other side acknowledged; the end of the stream counts as one.
    pub bytes_in: u64,
    /// See [`Self::bytes_in`].
    pub bytes_out: u64,
}

const _: () = assert!(size_of::<Event>() == 72);
