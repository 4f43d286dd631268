//! Where the datapath's state lives, what time it is, and which sockets exist.

use crate::address::Address;
use crate::challenge::{ChallengeCell, Pass};
use crate::class::{PortClass, PortEntry, Protocol};
use crate::config::KernelConfig;
use crate::counter::CounterIndex;
use crate::datapath::{CaseRef, Stage};
use crate::event::Event;
use crate::flow::{Flow, SentKey};
use crate::newcomers::NewcomerRules;
use crate::opened::{Asked, Endpoint, Question};
use crate::packet::Parsed;
use crate::record::{Backup, SourceCell};
use crate::session::{LiveSession, SessionCell, SynAck, SynAckLeft};
use crate::source::{KeyRules, SourceKey};
use crate::storm::StateCell;
use crate::verdict::{Known, Verdict};

/// The datapath's view of the world: BPF maps in the kernel, ordinary memory on the host.
pub trait Tables {
    /// The settings; none before userspace wrote them.
    fn config(&self) -> Option<&KernelConfig>;

    /// Nanoseconds since some start, never going back.
    fn now_ns(&self) -> u64;

    /// Whether an address is one of this host's own: of an interface, or of a prefix that is local by route.
    fn is_own(&self, address: &Address) -> bool;

    /// Whether what is sent to an address reaches this host among others: multicast, broadcast.
    fn is_group(&self, address: &Address) -> bool;

    /// What is said of a port.
    fn port(&self, protocol: Protocol, port: u16) -> PortEntry;

    /// Class of a port of this host; `Unknown` when nothing is said of it.
    #[inline(always)]
    fn port_class(&self, protocol: Protocol, port: u16) -> PortClass {
        self.port(protocol, port).own()
    }

    /// Whether an address is of a network behind this host that it protects.
    fn is_protected(&self, address: &Address) -> bool;

    /// Whether anything ever left from an address, as far as was seen. (A filter: of a few addresses that never sent it says so, too.)
    fn has_sent(&self, address: &Address) -> bool;

    /// Something left from an address.
    fn see_sender(&self, address: &Address);

    /// Whether nothing ever left from an address, though something did from its network (/24, /48): what leaves the network is seen here, so
    /// that no connection can be with that address.
    #[inline(always)]
    fn is_silent(&self, address: &Address) -> bool {
        !self.has_sent(address) && self.has_sent(&KeyRules::network(&SourceKey(*address)).0)
    }

    /// Adds one packet of this many bytes.
    fn count(&self, index: CounterIndex, bytes: u64);

    /// The record of a source, if there is one.
    fn source(&self, source: &SourceKey) -> Option<SourceCell<'_>>;

    /// A record for a source that has none; nothing when the table takes no new entry.
    fn new_source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>>;

    /// Whether a source that has no record, and asks for nothing that is held against it, gets one ([`crate::newcomers`]).
    #[inline(always)]
    fn admits(&self, _rules: &NewcomerRules, _now_ns: u64) -> bool {
        true
    }

    /// The socket that a TCP segment or a datagram would reach.
    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket;

    /// When a port was last seen open, of those seen by the datapath.
    fn opened(&self, endpoint: &Endpoint) -> Option<u64>;

    /// A port was seen open.
    fn open(&self, endpoint: &Endpoint, now_ns: u64);

    /// A port was asked whose answer is to be waited for.
    fn ask(&self, question: &Question, asked: &Asked);

    /// What waits for an answer to this question, zeros if nothing does; it waits no longer. (No option: where one register of several counts
    /// only sometimes, LLVM leaves it unset, which the BPF verifier refuses.)
    fn take_asked(&self, question: &Question) -> Asked;

    /// When a datagram last left that one of this flow answers.
    fn flow(&self, flow: &Flow) -> Option<u64>;

    /// A datagram left that one of this flow answers.
    fn see_flow(&self, flow: &Flow, now_ns: u64);

    /// When a datagram of ours last left for a source from a port.
    fn sent_to(&self, sent: &SentKey) -> Option<u64>;

    /// A datagram of ours left for a source from a port.
    fn send_to(&self, sent: &SentKey, now_ns: u64);

    /// What the kernel calls the socket that sent the packet in hand; 0 where that is not told.
    fn sender_cookie(&self) -> u64;

    /// A SYN-ACK of this host leaves.
    fn leave_syn_ack(&self, syn_ack: &SynAck, left: &SynAckLeft);

    /// What is kept of a SYN-ACK of this host, zeros if nothing is; it is kept no longer.
    fn take_syn_ack(&self, syn_ack: &SynAck) -> SynAckLeft;

    /// What is counted of a source's sessions.
    fn sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>>;

    /// The same for a source of which nothing is; nothing when the table takes no new entry.
    fn new_sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>>;

    /// A session began; false when it is known already, or the table takes no new entry.
    fn begin_session(&self, cookie: u64, session: &LiveSession) -> bool;

    /// What is known of a session that goes on.
    fn live_session(&self, cookie: u64) -> Option<LiveSession>;

    /// A session ends: what was known of it.
    fn end_session(&self, cookie: u64) -> Option<LiveSession>;

    /// What userspace decided about a source, whether or not it has ended.
    fn verdict(&self, source: &SourceKey) -> Option<&Verdict>;

    /// The verdict on the longest prefix that covers an address and was decided about, whether or not it has ended.
    fn prefix_verdict(&self, address: &Address) -> Option<&Verdict>;

    /// Whether a source has worked here.
    fn known(&self, source: &SourceKey) -> Option<&Known>;

    /// Whether the longest entry of the allowlist that covers an address is in force.
    fn allowed(&self, address: &Address, now_ns: u64) -> bool;

    /// Keeps a suspect where a flood of other sources cannot wash it out. `proven` is one that is really at its address: it has had a
    /// session, or met a challenge; these have a table of their own, which forged suspects do not get into.
    fn back_up(&self, source: &SourceKey, backup: &Backup, proven: bool);

    /// Reads what is kept of a suspect, proven ones first; nothing if nothing is.
    fn backup<R>(&self, source: &SourceKey, read: impl FnOnce(&Backup) -> R) -> Option<R>;

    /// Undoes [`Self::back_up`].
    fn forget(&self, source: &SourceKey);

    /// The record of a network, if there is one.
    fn network(&self, network: &SourceKey) -> Option<SourceCell<'_>>;

    /// A record for a network that has none; nothing when the table takes no new entry.
    fn new_network(&self, network: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>>;

    /// What is remembered beyond single sources and networks.
    fn state(&self) -> Option<StateCell<'_>>;

    /// What is kept of a source that was answered.
    #[inline(always)]
    fn challenged(&self, _source: &SourceKey) -> Option<ChallengeCell<'_>> {
        None
    }

    /// The same for a source of which nothing is; nothing when the table takes no new entry.
    #[inline(always)]
    fn new_challenged(&self, _source: &SourceKey) -> Option<ChallengeCell<'_>> {
        None
    }

    /// The pass of a connection; one that ended long ago if there is none.
    #[inline(always)]
    fn pass(&self, _flow: &Flow) -> Pass {
        Pass::default()
    }

    /// Gives a connection a pass.
    #[inline(always)]
    fn set_pass(&self, _flow: &Flow, _pass: &Pass) {}

    /// When an address of ours was last seen refusing something, 0 if never.
    #[inline(always)]
    fn refused(&self, _address: &Address) -> u64 {
        0
    }

    /// An address of ours was seen refusing something.
    #[inline(always)]
    fn refuse(&self, _address: &Address, _now_ns: u64) {}

    /// Tells userspace of a proof, which no noise may crowd out; false when that ring buffer is full.
    #[inline(always)]
    fn prove(&self, _event: impl FnOnce() -> Event) -> bool {
        true
    }

    /// The time by a clock that is never behind, for what is timed; in tests and replays the time of the packet.
    #[inline(always)]
    fn precise_ns(&self, now_ns: u64) -> u64 {
        now_ns
    }

    /// Tells userspace of an event, which is made when there is room for it, and in its place: in the kernel it would take too much of the
    /// stack. False when there is none.
    fn emit(&self, event: impl FnOnce() -> Event) -> bool;

    /// The same of what a decision may follow, which userspace hears before all else. Callers limit it.
    #[inline(always)]
    fn emit_urgently(&self, event: impl FnOnce() -> Event) -> bool {
        self.emit(event)
    }
}

/// Tables, and a way to run the stages of the datapath over them.
pub trait Stages: Tables + Sized {
    /// Runs a stage; a host that must can do it in another function, which finds the case by itself.
    #[inline(always)]
    fn stage(&self, stage: Stage, case: &mut CaseRef<'_>) -> u32 {
        stage.run(case, self)
    }

    /// Reads what an answer to the frame needs, and says whether it may be answered
    /// ([`crate::packet::reply::examine`]). A host that answers nothing need not know how.
    #[inline(always)]
    fn examine(&self, _case: &mut CaseRef<'_>) -> bool {
        false
    }
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
