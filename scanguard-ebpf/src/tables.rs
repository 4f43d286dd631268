//! The datapath's tables, in BPF maps.

use scanguard_common::address::Address;
use scanguard_common::challenge::{ChallengeCell, Pass};
use scanguard_common::class::{PortEntry, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::CounterIndex;
use scanguard_common::datapath::{CaseRef, Stage};
use scanguard_common::event::Event;
use scanguard_common::flow::{Flow, SentKey};
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::opened::{Asked, Endpoint, Question};
use scanguard_common::packet::Parsed;
use scanguard_common::record::{Backup, SourceCell};
use scanguard_common::session::{LiveSession, SessionCell, SynAck, SynAckLeft};
use scanguard_common::source::SourceKey;
use scanguard_common::storm::StateCell;
use scanguard_common::tables::{Socket, Stages, Tables};
use scanguard_common::verdict::{Known, Verdict};

use crate::clock;
use crate::maps::{
    challenged, config, counters, events, flows, opened, own, ports, sessions, sources, state, suspects, verdicts,
};

/// What a program's context is asked.
pub(crate) trait Hook {
    /// The socket that a packet would reach.
    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket;

    /// Reads what an answer to the frame needs, into the case.
    fn examine(&self) -> bool;

    /// Runs a stage of the datapath in its own function.
    fn stage(&self, stage: Stage) -> u32;

    /// What the kernel calls the socket that sent the packet; 0 where that is not told.
    #[inline(always)]
    fn sender_cookie(&self) -> u64 {
        0
    }
}

/// The maps, and the context of the program that looks at them.
pub(crate) struct KernelTables<'a, H> {
    context: &'a H,
}

impl<'a, H: Hook> KernelTables<'a, H> {
    /// The tables as seen from this program.
    #[inline(always)]
    pub(crate) fn new(context: &'a H) -> Self {
        Self { context }
    }
}

impl<H: Hook> Tables for KernelTables<'_, H> {
    #[inline(always)]
    fn config(&self) -> Option<&KernelConfig> {
        config::get()
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    #[inline(always)]
    fn is_own(&self, address: &Address) -> bool {
        own::contains(address)
    }

    #[inline(always)]
    fn is_group(&self, address: &Address) -> bool {
        own::is_group(address)
    }

    #[inline(always)]
    fn port(&self, protocol: Protocol, port: u16) -> PortEntry {
        ports::entry(protocol, port)
    }

    #[inline(always)]
    fn is_protected(&self, address: &Address) -> bool {
        own::protects(address)
    }

    #[inline(always)]
    fn has_sent(&self, address: &Address) -> bool {
        own::has_sent(address)
    }

    #[inline(always)]
    fn see_sender(&self, address: &Address) {
        own::see_sender(address);
    }

    #[inline(always)]
    fn count(&self, index: CounterIndex, bytes: u64) {
        counters::add(index, bytes);
    }

    #[inline(always)]
    fn source(&self, source: &SourceKey) -> Option<SourceCell<'_>> {
        sources::source(source)
    }

    #[inline(always)]
    fn new_source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        sources::new_source(source, now_ns)
    }

    #[inline(always)]
    fn admits(&self, rules: &NewcomerRules, now_ns: u64) -> bool {
        sources::admits(rules, now_ns)
    }

    #[inline(always)]
    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket {
        self.context.socket(packet, protocol)
    }

    #[inline(always)]
    fn opened(&self, endpoint: &Endpoint) -> Option<u64> {
        opened::seen(endpoint)
    }

    #[inline(always)]
    fn open(&self, endpoint: &Endpoint, now_ns: u64) {
        opened::see(endpoint, now_ns);
    }

    #[inline(always)]
    fn ask(&self, question: &Question, asked: &Asked) {
        opened::ask(question, asked);
    }

    #[inline(always)]
    fn take_asked(&self, question: &Question) -> Asked {
        opened::take_asked(question)
    }

    #[inline(always)]
    fn flow(&self, flow: &Flow) -> Option<u64> {
        flows::left(flow)
    }

    #[inline(always)]
    fn see_flow(&self, flow: &Flow, now_ns: u64) {
        flows::leave(flow, now_ns);
    }

    #[inline(always)]
    fn sent_to(&self, sent: &SentKey) -> Option<u64> {
        flows::sent(sent)
    }

    #[inline(always)]
    fn send_to(&self, sent: &SentKey, now_ns: u64) {
        flows::send(sent, now_ns);
    }

    #[inline(always)]
    fn sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>> {
        sessions::get(source)
    }

    #[inline(always)]
    fn new_sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>> {
        sessions::new(source)
    }

    #[inline(always)]
    fn begin_session(&self, cookie: u64, session: &LiveSession) -> bool {
        sessions::begin(cookie, session)
    }

    #[inline(always)]
    fn sender_cookie(&self) -> u64 {
        self.context.sender_cookie()
    }

    #[inline(always)]
    fn leave_syn_ack(&self, syn_ack: &SynAck, left: &SynAckLeft) {
        sessions::leave_syn_ack(syn_ack, left);
    }

    #[inline(always)]
    fn take_syn_ack(&self, syn_ack: &SynAck) -> SynAckLeft {
        sessions::take_syn_ack(syn_ack)
    }

    #[inline(always)]
    fn live_session(&self, cookie: u64) -> Option<LiveSession> {
        sessions::live(cookie)
    }

    #[inline(always)]
    fn end_session(&self, cookie: u64) -> Option<LiveSession> {
        sessions::end(cookie)
    }

    #[inline(always)]
    fn verdict(&self, source: &SourceKey) -> Option<&Verdict> {
        verdicts::verdict(source)
    }

    #[inline(always)]
    fn prefix_verdict(&self, address: &Address) -> Option<&Verdict> {
        verdicts::prefix_verdict(address)
    }

    #[inline(always)]
    fn known(&self, source: &SourceKey) -> Option<&Known> {
        verdicts::known(source)
    }

    #[inline(always)]
    fn allowed(&self, address: &Address, now_ns: u64) -> bool {
        verdicts::allowed(address, now_ns)
    }

    #[inline(always)]
    fn back_up(&self, source: &SourceKey, backup: &Backup, proven: bool) {
        suspects::keep(source, backup, proven);
    }

    #[inline(always)]
    fn backup<R>(&self, source: &SourceKey, read: impl FnOnce(&Backup) -> R) -> Option<R> {
        suspects::get(source).map(read)
    }

    #[inline(always)]
    fn forget(&self, source: &SourceKey) {
        suspects::forget(source);
    }

    #[inline(always)]
    fn network(&self, network: &SourceKey) -> Option<SourceCell<'_>> {
        sources::network(network)
    }

    #[inline(always)]
    fn new_network(&self, network: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        sources::new_network(network, now_ns)
    }

    #[inline(always)]
    fn state(&self) -> Option<StateCell<'_>> {
        state::get()
    }

    #[inline(always)]
    fn challenged(&self, source: &SourceKey) -> Option<ChallengeCell<'_>> {
        challenged::get(source)
    }

    #[inline(always)]
    fn new_challenged(&self, source: &SourceKey) -> Option<ChallengeCell<'_>> {
        challenged::new(source)
    }

    #[inline(always)]
    fn pass(&self, flow: &Flow) -> Pass {
        challenged::pass(flow)
    }

    #[inline(always)]
    fn set_pass(&self, flow: &Flow, pass: &Pass) {
        challenged::set_pass(flow, pass);
    }

    #[inline(always)]
    fn refused(&self, address: &Address) -> u64 {
        challenged::refused(address)
    }

    #[inline(always)]
    fn refuse(&self, address: &Address, now_ns: u64) {
        challenged::refuse(address, now_ns);
    }

    #[inline(always)]
    fn prove(&self, event: impl FnOnce() -> Event) -> bool {
        challenged::prove(event)
    }

    #[inline(always)]
    fn precise_ns(&self, _now_ns: u64) -> u64 {
        clock::precise_ns()
    }

    #[inline(always)]
    fn emit(&self, event: impl FnOnce() -> Event) -> bool {
        events::emit(event)
    }

    #[inline(always)]
    fn emit_urgently(&self, event: impl FnOnce() -> Event) -> bool {
        // In tests and replays nobody waits, and all is compared in order.
        if clock::is_virtual() { events::emit(event) } else { challenged::emit(event) }
    }
}

impl<H: Hook> Stages for KernelTables<'_, H> {
    #[inline(always)]
    fn stage(&self, stage: Stage, _case: &mut CaseRef<'_>) -> u32 {
        self.context.stage(stage) // It finds the case in its map.
    }

    #[inline(always)]
    fn examine(&self, _case: &mut CaseRef<'_>) -> bool {
        self.context.examine()
    }
}
