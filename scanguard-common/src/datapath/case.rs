//! A packet that is being judged.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

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
    /// Whether it is the source's first contact with what is asked for, as far as its set tells contacts apart.
    pub(super) is_new: bool,
    /// Whether the contact did not add to the source's score before.
    pub(super) is_unweighed: bool,
    /// Whether the destination is an address of many, and the port one that is not for customers: it is hidden like a restricted one,
    /// and worth nothing.
    pub(super) is_group: bool,
    /// Whether it asks for a port that a lockdown in force closes.
    pub(super) is_locked: bool,
    /// Zero.
    pub(super) reserved: [u8; 3],
}

const _: () = assert!(size_of::<Case>() == 136, "no padding");

/// The packet in hand, as the datapath's stages share it.
///
/// In the kernel each stage finds the case anew, in the map, while its caller still works on it. So nobody keeps a reference to the
/// case: each access borrows it for as long as it takes, and none is alive while another stage runs, because that takes the
/// handle itself ([`crate::tables::Stages::stage`]).
#[derive(Debug)]
pub struct CaseRef<'a> {
    case: NonNull<Case>,
    lifetime: PhantomData<&'a mut Case>,
}

impl<'a> CaseRef<'a> {
    /// The handle of a case.
    #[inline(always)]
    #[must_use]
    pub const fn new(case: &'a mut Case) -> Self {
        Self { case: NonNull::from_mut(case), lifetime: PhantomData }
    }

    /// The handle of a case that other handles share.
    ///
    /// # Safety
    /// The case is valid for 'a, and only handles access it; those that are alive at once are of stages that wait for each other.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn from_raw(case: NonNull<Case>) -> Self {
        Self { case, lifetime: PhantomData }
    }
}

impl Deref for CaseRef<'_> {
    type Target = Case;

    #[inline(always)]
    fn deref(&self) -> &Case {
        // SAFETY: valid by construction; who else has a handle waits for this stage.
        unsafe { self.case.as_ref() }
    }
}

impl DerefMut for CaseRef<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Case {
        // SAFETY: as in `deref`.
        unsafe { self.case.as_mut() }
    }
}

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
        self.kind = Kind::Syn;
        self.is_locked = false;
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
