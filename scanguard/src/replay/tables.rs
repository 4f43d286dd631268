//! The datapath's tables for a capture: ordinary memory, and a [`Witness`] in place of sockets and of the host's own addresses.

use std::cell::{Cell, RefCell};

use scanguard_common::address::Address;
use scanguard_common::class::{PortEntry, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::CounterIndex;
use scanguard_common::event::Event;
use scanguard_common::flow::{Flow, SentKey};
use scanguard_common::host::MemoryTables;
use scanguard_common::opened::{Asked, Endpoint, Question};
use scanguard_common::packet::{Parsed, Shape};
use scanguard_common::record::{Backup, SourceCell};
use scanguard_common::session::{LiveSession, SessionCell, SynAck, SynAckLeft};
use scanguard_common::source::SourceKey;
use scanguard_common::storm::StateCell;
use scanguard_common::tables::{Socket, Stages, Tables};
use scanguard_common::verdict::{Known, Verdict};

use super::witness::Witness;

/// Tables of one capture.
pub(super) struct ReplayTables {
    pub(super) memory: MemoryTables,
    pub(super) witness: Witness,
    /// The one address that is guarded as far as the packet at hand is concerned.
    pub(super) guarded: Cell<Option<Address>>,
    /// What the packet at hand was counted under: every packet is, once, under level, reason and mode.
    pub(super) counted: Cell<u32>,
    pub(super) events: RefCell<Vec<Event>>,
}

/// The first index that is no verdict's.
const VERDICTS: u32 = CounterIndex::attempt(scanguard_common::class::PortClass::Unknown, Protocol::Tcp).get();

/// The first port that an ordinary client may have.
const WELL_KNOWN: u16 = 1024;

impl ReplayTables {
    pub(super) fn new(config: KernelConfig) -> Self {
        Self {
            memory: MemoryTables::new(config),
            witness: Witness::default(),
            guarded: Cell::default(),
            counted: Cell::default(),
            events: RefCell::default(),
        }
    }

    /// Whether the guarded address is one from which something was heard: then it counts as the host's own.
    pub(super) fn own(&self) -> Option<Address> {
        self.guarded.get().filter(|address| self.witness.has_heard(address))
    }

    /// Whether the guarded address is one from which nothing was heard.
    pub(super) fn behind(&self) -> Option<Address> {
        self.guarded.get().filter(|address| !self.witness.has_heard(address))
    }

    /// What the capture shows of a TCP port.
    pub(super) fn witnessed(&self, endpoint: &Endpoint) -> Option<u64> {
        if endpoint.protocol == Protocol::Tcp as u8 { self.witness.open_since(endpoint) } else { None }
    }
}

impl Stages for ReplayTables {}

impl Tables for ReplayTables {
    fn config(&self) -> Option<&KernelConfig> {
        self.memory.config()
    }

    fn now_ns(&self) -> u64 {
        self.memory.now_ns()
    }

    fn is_own(&self, address: &Address) -> bool {
        self.guarded.get() == Some(*address) && self.witness.has_heard(address)
    }

    fn is_group(&self, address: &Address) -> bool {
        address.is_multicast()
    }

    fn port(&self, protocol: Protocol, port: u16) -> PortEntry {
        self.memory.port(protocol, port)
    }

    fn is_protected(&self, address: &Address) -> bool {
        self.guarded.get() == Some(*address) && !self.witness.has_heard(address)
    }

    fn has_sent(&self, address: &Address) -> bool {
        self.witness.has_heard(address) || self.witness.has_heard_network(address)
    }

    fn see_sender(&self, _address: &Address) {}

    fn count(&self, index: CounterIndex, bytes: u64) {
        if index.get() < VERDICTS {
            self.counted.set(index.get());
        }
        self.memory.count(index, bytes);
    }

    fn source(&self, source: &SourceKey) -> Option<SourceCell<'_>> {
        self.memory.source(source)
    }

    fn new_source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        self.memory.new_source(source, now_ns)
    }

    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket {
        let endpoint = Endpoint::new(packet.destination, packet.destination_port, protocol);
        // From a service to a client's port. The host's own range of those is not known here: old systems begin at 1024.
        let may_answer = packet.source_port < WELL_KNOWN && packet.destination_port >= WELL_KNOWN;
        match protocol {
            Protocol::Udp if self.witness.has_sent(&endpoint) => Socket::Listening,
            // Answers whose questions the capture lacks altogether.
            Protocol::Udp if may_answer && !self.witness.has_asked(&packet.destination) => Socket::Connected,
            Protocol::Tcp if self.witness.open_since(&endpoint).is_some() => Socket::Listening,
            // A segment with ACK is of a connection from before the capture, unless it is refused, or nobody is there.
            Protocol::Tcp if is_segment(packet) && self.is_silent(&packet.destination) => Socket::None,
            Protocol::Tcp if is_segment(packet) && (may_answer || !self.witness.refused(&endpoint)) => {
                Socket::Connected
            }
            _ => Socket::None,
        }
    }

    fn opened(&self, endpoint: &Endpoint) -> Option<u64> {
        self.memory.opened(endpoint).or_else(|| self.witnessed(endpoint))
    }

    fn open(&self, endpoint: &Endpoint, now_ns: u64) {
        self.memory.open(endpoint, now_ns);
    }

    fn ask(&self, question: &Question, asked: &Asked) {
        self.memory.ask(question, asked);
    }

    fn take_asked(&self, question: &Question) -> Asked {
        self.memory.take_asked(question)
    }

    fn flow(&self, flow: &Flow) -> Option<u64> {
        self.memory.flow(flow)
    }

    fn see_flow(&self, flow: &Flow, now_ns: u64) {
        self.memory.see_flow(flow, now_ns);
    }

    fn sent_to(&self, sent: &SentKey) -> Option<u64> {
        self.memory.sent_to(sent)
    }

    fn send_to(&self, sent: &SentKey, now_ns: u64) {
        self.memory.send_to(sent, now_ns);
    }

    fn sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>> {
        self.memory.sessions(source)
    }

    fn new_sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>> {
        self.memory.new_sessions(source)
    }

    fn begin_session(&self, cookie: u64, session: &LiveSession) -> bool {
        self.memory.begin_session(cookie, session)
    }

    fn sender_cookie(&self) -> u64 {
        0 // A capture does not tell.
    }

    fn leave_syn_ack(&self, syn_ack: &SynAck, left: &SynAckLeft) {
        self.memory.leave_syn_ack(syn_ack, left);
    }

    fn take_syn_ack(&self, syn_ack: &SynAck) -> SynAckLeft {
        self.memory.take_syn_ack(syn_ack)
    }

    fn live_session(&self, cookie: u64) -> Option<LiveSession> {
        self.memory.live_session(cookie)
    }

    fn end_session(&self, cookie: u64) -> Option<LiveSession> {
        self.memory.end_session(cookie)
    }

    fn verdict(&self, source: &SourceKey) -> Option<&Verdict> {
        self.memory.verdict(source)
    }

    fn prefix_verdict(&self, address: &Address) -> Option<&Verdict> {
        self.memory.prefix_verdict(address)
    }

    fn known(&self, source: &SourceKey) -> Option<&Known> {
        self.memory.known(source)
    }

    fn allowed(&self, address: &Address, now_ns: u64) -> bool {
        self.memory.allowed(address, now_ns)
    }

    fn back_up(&self, source: &SourceKey, backup: &Backup, proven: bool) {
        self.memory.back_up(source, backup, proven);
    }

    fn backup<R>(&self, source: &SourceKey, read: impl FnOnce(&Backup) -> R) -> Option<R> {
        self.memory.backup(source, read)
    }

    fn forget(&self, source: &SourceKey) {
        Tables::forget(&self.memory, source);
    }

    fn network(&self, network: &SourceKey) -> Option<SourceCell<'_>> {
        self.memory.network(network)
    }

    fn new_network(&self, network: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        self.memory.new_network(network, now_ns)
    }

    fn state(&self) -> Option<StateCell<'_>> {
        self.memory.state()
    }

    fn emit(&self, event: impl FnOnce() -> Event) -> bool {
        self.events.borrow_mut().push(event());
        true
    }
}

fn is_segment(packet: &Parsed) -> bool {
    use scanguard_common::packet::tcp_flags::{ACK, RST, SYN};
    packet.shape == Shape::Tcp && packet.tcp_flags & (ACK | RST | SYN) == ACK
}
