//! A packet that is being judged.

use super::kind::Kind;
use crate::class::PortClass;
use crate::config::KernelConfig;
use crate::contact::{ContactBit, Outcome};
use crate::event::{Answer, Event, EventKind};
use crate::packet::Parsed;
use crate::packet::reply::{Reply, ReplyKind};
use crate::reason::Reason;
use crate::source::SourceKey;
use crate::tables::Socket;

/// A packet that is being judged, and what was found out about it.
///
/// In the kernel it lies in a map and not on the stack: what is on the stack the verifier follows value by value, and would judge the
/// program once for every kind of packet times every class of port.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Case {
    /// What the bytes say. The caller fills it.
    pub parsed: Parsed,
    pub(super) source: SourceKey,
    pub(super) now_ns: u64,
    /// Of the frame, in bytes.
    pub(super) length: u64,
    pub(super) port: u16,
    pub(super) kind: Kind,
    /// Class of the port as userspace has it: `closed` and `canary` are still to be verified.
    pub(super) class: PortClass,
    pub(super) outcome: Outcome,
    /// The socket it would reach, where [`Self::looked_up`].
    pub(super) socket: Socket,
    pub(super) looked_up: bool,
    /// Whether the destination is an address of ours, or of a network that is protected.
    pub(super) is_ours: bool,
    /// Whether the source is a suspect.
    pub(super) suspect: bool,
    /// Why a port is hidden.
    pub(super) hidden: Reason,
    /// Whether the destination is an address of a network that is protected.
    pub(super) is_protected: bool,
    /// Of a frame that leaves: what it answers.
    pub(super) answer: Answer,
    /// What the contact adds to the score.
    pub(super) points: u32,
    /// What it is answered.
    pub reply: Reply,
    /// The bit of what is asked for in the sets of the source and of its network.
    pub(super) bit: ContactBit,
    /// Zero.
    pub(super) reserved: [u8; 7],
}

const _: () = assert!(size_of::<Case>() == 128, "no padding");

impl Case {
    /// The case of a packet that was just read.
    #[must_use]
    pub fn of(parsed: Parsed) -> Self {
        Self { parsed, ..Self::default() }
    }

    /// A frame of so many bytes; nothing is answered yet.
    #[inline(always)]
    pub(super) const fn begin(&mut self, length: u64) {
        self.length = length;
        self.reply.kind = ReplyKind::None;
    }

    /// Finds the bit of what is asked for.
    #[inline(always)]
    pub(super) fn mark(&mut self, config: &KernelConfig) {
        self.bit = ContactBit::of(&config.contact_key, &self.parsed.destination, self.kind.contact(), self.port);
    }

    /// Whether something is.
    #[inline(always)]
    pub(super) const fn has_reply(&self) -> bool {
        self.reply.kind as u8 != ReplyKind::None as u8
    }

    /// What userspace is told of it; score and points are still to be set.
    #[inline(always)]
    pub(super) fn event(&self, kind: EventKind) -> Event {
        Event {
            time_ns: self.now_ns,
            source: self.source,
            destination: self.parsed.destination,
            port: self.port,
            kind: kind as u8,
            asked: self.kind.contact() as u8,
            class: self.class as u8,
            outcome: self.outcome as u8,
            tcp_flags: self.parsed.tcp_flags,
            answer: self.answer as u8,
            score: 0,
            points: 0,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}
