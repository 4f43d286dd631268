//! [`Tables`] in ordinary memory, with a clock that the caller sets.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::hash::Hash;

use foldhash::{HashMap, HashSet};

use super::Frame;
use crate::address::Address;
use crate::challenge::{ChallengeCell, ChallengeRecord, Nic, Pass};
use crate::class::{PORT_ENTRIES, PortClass, PortEntry, Protocol, port_index};
use crate::config::KernelConfig;
use crate::counter::{COUNTER_ENTRIES, Counter, CounterIndex};
use crate::datapath::CaseRef;
use crate::event::Event;
use crate::flow::{Flow, SentKey};
use crate::newcomers::{NewcomerRules, Newcomers};
use crate::opened::{Asked, Endpoint, Question};
use crate::packet::Parsed;
use crate::packet::reply::examine;
use crate::record::{Backup, SourceCell, SourceRecord};
use crate::session::{LiveSession, SYN_ACK_NS, SessionCell, SessionRecord, SynAck, SynAckLeft};
use crate::source::{KeyRules, SourceKey};
use crate::storm::{State, StateCell};
use crate::tables::{Socket, Stages, Tables};
use crate::verdict::{Known, Verdict};

/// Records by key.
#[derive(Default)]
struct Records {
    // Boxed, so that a record stays where it is while the map grows under a held cell.
    records: RefCell<HashMap<SourceKey, Box<UnsafeCell<SourceRecord>>>>,
}

impl Records {
    fn get(&self, key: &SourceKey) -> Option<SourceCell<'_>> {
        let record: *const UnsafeCell<SourceRecord> = &raw const **self.records.borrow().get(key)?;
        // SAFETY: the box is never removed or replaced while `self` is borrowed, and no other reference is handed out.
        Some(SourceCell::new(unsafe { &*record }))
    }

    fn insert(&self, key: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        let record = Box::new(UnsafeCell::new(SourceRecord::new(*key, now_ns)));
        self.records.borrow_mut().entry(*key).or_insert(record);
        self.get(key)
    }

    fn all(&self) -> Vec<SourceRecord> {
        // SAFETY: the tables are not Sync and no cell outlives a call of `process`, so nobody writes now.
        self.records.borrow().values().map(|record| unsafe { *record.get() }).collect()
    }
}

/// SYN-ACKs kept before those are forgotten that nobody completed, as many as the kernel part keeps.
const MOST_SYN_ACKS: usize = 65_536;

/// The tables of one host in ordinary memory. Capacities are those of the machine: nothing is evicted.
#[derive(Default)]
pub struct MemoryTables {
    config: Option<KernelConfig>,
    now_ns: Cell<u64>,
    ports: Vec<PortEntry>,
    /// Prefixes and their length in bits.
    protected: Vec<(Address, u8)>,
    senders: RefCell<HashSet<Address>>,
    own_addresses: HashSet<Address>,
    /// Addresses of many, this host among them.
    groups: HashSet<Address>,
    /// Prefixes that are local by route, and their length in bits.
    local: Vec<(Address, u8)>,
    sockets: HashMap<Flow, Socket>,
    opened: RefCell<HashMap<Endpoint, u64>>,
    asked: RefCell<HashMap<Question, Asked>>,
    flows: RefCell<HashMap<Flow, u64>>,
    sent: RefCell<HashMap<SentKey, u64>>,
    sessions: RefCell<HashMap<SourceKey, Box<UnsafeCell<SessionRecord>>>>,
    live: RefCell<HashMap<u64, LiveSession>>,
    syn_acks: RefCell<HashMap<SynAck, SynAckLeft>>,
    /// Of the socket that sends what leaves.
    sender_cookie: Cell<u64>,
    verdicts: HashMap<SourceKey, Verdict>,
    /// Prefix, its length in bits, and what was decided.
    prefix_verdicts: Vec<(Address, u8, Verdict)>,
    known: HashMap<SourceKey, Known>,
    /// Prefix, its length in bits, and when it ends.
    allowed: Vec<(Address, u8, u64)>,
    sources: Records,
    networks: Records,
    suspects: RefCell<HashMap<SourceKey, Backup>>,
    proven: RefCell<HashMap<SourceKey, Backup>>,
    state: UnsafeCell<State>,
    newcomers: Cell<Newcomers>,
    challenged: RefCell<HashMap<SourceKey, Box<UnsafeCell<ChallengeRecord>>>>,
    passes: RefCell<HashMap<Flow, Pass>>,
    refused: RefCell<HashMap<Address, u64>>,
    /// The interface that frames come by, and the one in hand.
    nic: Option<Nic>,
    frame: RefCell<Vec<u8>>,
    proofs: RefCell<Vec<Event>>,
    counters: RefCell<Vec<Counter>>,
    events: RefCell<Vec<Event>>,
    urgent: Cell<u64>,
}

impl MemoryTables {
    /// Empty tables with these settings.
    #[must_use]
    pub fn new(config: KernelConfig) -> Self {
        Self {
            config: Some(config),
            counters: RefCell::new(vec![Counter::default(); COUNTER_ENTRIES as usize]),
            ..Self::default()
        }
    }

    /// Replaces the settings, but for the census of tables, which is kept true here.
    pub fn set_config(&mut self, config: KernelConfig) {
        let census = self.config.map_or(config.census, |config| config.census);
        self.config = Some(KernelConfig { census, ..config });
    }

    /// Forgets everything but the settings, the ports, the addresses of this host and its sockets: what packets told, and what was decided.
    pub fn forget(&mut self) {
        let Self {
            config: _,
            now_ns: _,
            ports: _,
            protected: _,
            senders,
            own_addresses: _,
            groups: _,
            local: _,
            sockets: _,
            opened,
            asked,
            flows,
            sent,
            sessions,
            live,
            syn_acks,
            sender_cookie: _,
            verdicts,
            prefix_verdicts,
            known,
            allowed,
            sources,
            networks,
            suspects,
            proven,
            state,
            newcomers,
            challenged,
            passes,
            refused,
            nic: _,
            frame: _,
            proofs,
            counters,
            events,
            urgent,
        } = self;
        senders.get_mut().clear();
        opened.get_mut().clear();
        asked.get_mut().clear();
        flows.get_mut().clear();
        sent.get_mut().clear();
        sessions.get_mut().clear();
        live.get_mut().clear();
        syn_acks.get_mut().clear();
        verdicts.clear();
        prefix_verdicts.clear();
        known.clear();
        allowed.clear();
        sources.records.get_mut().clear();
        networks.records.get_mut().clear();
        suspects.get_mut().clear();
        proven.get_mut().clear();
        *state.get_mut() = State::default();
        newcomers.set(Newcomers::default());
        challenged.get_mut().clear();
        passes.get_mut().clear();
        refused.get_mut().clear();
        proofs.get_mut().clear();
        counters.get_mut().fill(Counter::default());
        events.get_mut().clear();
        urgent.set(0);
        self.take_census();
    }

    /// Sets the clock, in nanoseconds.
    pub fn set_now(&self, now_ns: u64) {
        self.now_ns.set(now_ns);
    }

    /// Says what a port of this host is, and nothing of what it is elsewhere.
    pub fn set_port_class(&mut self, protocol: Protocol, port: u16, class: PortClass) {
        self.set_port(protocol, port, PortEntry::new(class, PortClass::Unknown));
    }

    /// Says what a port is.
    pub fn set_port(&mut self, protocol: Protocol, port: u16, entry: PortEntry) {
        self.ports.resize(PORT_ENTRIES as usize, PortEntry::default());
        self.ports[port_index(protocol, port) as usize] = entry;
    }

    /// Replaces the networks that are protected: prefixes of so many bits (of 128).
    pub fn set_protected(&mut self, protected: Vec<(Address, u8)>) {
        self.protected = protected;
        self.take_census();
    }

    /// Adds an address of this host.
    pub fn add_own_address(&mut self, address: Address) {
        self.own_addresses.insert(address);
    }

    /// Adds an address of many hosts, this one among them: broadcast. (Multicast is told by the address itself.)
    pub fn add_group(&mut self, address: Address) {
        self.groups.insert(address);
    }

    /// Replaces the prefixes all of whose addresses are this host's, by its routes: of so many bits (of 128).
    pub fn set_local(&mut self, prefixes: Vec<(Address, u8)>) {
        self.local = prefixes;
        self.take_census();
    }

    /// Adds a socket by the flow it receives ([`Flow::to_listener`] for one without a peer), or takes it away.
    pub fn set_socket(&mut self, flow: Flow, socket: Socket) {
        if socket == Socket::None {
            self.sockets.remove(&flow); // A listener on its port is found again.
        } else {
            self.sockets.insert(flow, socket);
        }
    }

    /// Decides about a source, or lifts the decision.
    pub fn set_verdict(&mut self, source: SourceKey, verdict: Option<Verdict>) {
        match verdict {
            Some(verdict) => self.verdicts.insert(source, verdict),
            None => self.verdicts.remove(&source),
        };
        self.take_census();
    }

    /// Replaces the verdicts on prefixes, of so many bits (of 128).
    pub fn set_prefix_verdicts(&mut self, verdicts: Vec<(Address, u8, Verdict)>) {
        self.prefix_verdicts = verdicts;
        self.take_census();
    }

    /// Says that a source has worked here.
    pub fn set_known(&mut self, source: SourceKey, known: Known) {
        self.known.insert(source, known);
        self.take_census();
    }

    /// Replaces the allowlist: prefixes of so many bits (of 128: an IPv4 prefix has 96 more than people count), and when
    /// each ends. Verdicts on what it covers are lifted, and suspicion of what it covers whole.
    pub fn set_allowed(&mut self, allowed: Vec<(Address, u8, u64)>) {
        let keys = self.config.map_or_else(KeyRules::new, |config| config.keys);
        self.verdicts.retain(|source, _| !allowed.iter().any(|(prefix, bits, _)| keys.overlaps(source, prefix, *bits)));
        let covers_whole = |source: &SourceKey| {
            let (address, length) = keys.prefix(*source);
            let (_, source_bits) = crate::address::prefix(address, length);
            allowed.iter().any(|(prefix, bits, _)| *bits <= source_bits && keys.overlaps(source, prefix, *bits))
        };
        let kept: Vec<(SourceKey, Backup)> = self.suspects();
        for source in kept.into_iter().map(|(source, _)| source).filter(covers_whole) {
            Tables::forget(self, &source);
            if let Some(record) = self.sources.records.borrow_mut().get_mut(&source) {
                record.get_mut().absolve();
            }
        }
        self.prefix_verdicts.retain(|(blocked, length, _)| {
            !allowed.iter().any(|(prefix, bits, _)| bits <= length && blocked.masked(&Address::mask(*bits)) == *prefix)
        });
        self.allowed = allowed;
        if let Some(config) = &mut self.config {
            config.census.allow_generation += 1;
        }
        self.take_census();
    }

    fn take_census(&mut self) {
        let Some(config) = &mut self.config else { return };
        config.census.verdicts = self.verdicts.len() as u32;
        let prefixes = self.prefix_verdicts.iter().map(|(.., verdict)| verdict);
        let hard = self.verdicts.values().chain(prefixes).filter(|verdict| verdict.hard != 0);
        config.census.hard_verdicts = hard.count() as u32;
        config.census.prefix_verdicts = self.prefix_verdicts.len() as u32;
        config.census.known = self.known.len() as u32;
        config.census.protected = self.protected.len() as u32;
        config.census.local = self.local.len() as u32;
        config.census.allowed = self.allowed.len() as u32;
        let keys = config.keys;
        let within = |(prefix, bits, _): &&(Address, u8, u64)| keys.may_split_sources(prefix, *bits);
        config.census.allowed_within = self.allowed.iter().filter(within).count() as u32;
    }

    /// All records of sources.
    #[must_use]
    pub fn records(&self) -> Vec<SourceRecord> {
        self.sources.all()
    }

    /// All records of networks.
    #[must_use]
    pub fn networks(&self) -> Vec<SourceRecord> {
        self.networks.all()
    }

    /// All suspects that are kept.
    #[must_use]
    pub fn suspects(&self) -> Vec<(SourceKey, Backup)> {
        let mut all = self.suspects.borrow().clone();
        all.extend(self.proven.borrow().iter());
        all.into_iter().collect()
    }

    /// All ports that the datapath saw open.
    #[must_use]
    pub fn all_opened(&self) -> Vec<(Endpoint, u64)> {
        self.opened.borrow().iter().map(|(endpoint, seen_ns)| (*endpoint, *seen_ns)).collect()
    }

    /// All contacts that wait for an answer.
    #[must_use]
    pub fn all_asked(&self) -> Vec<(Question, Asked)> {
        self.asked.borrow().iter().map(|(question, asked)| (*question, *asked)).collect()
    }

    /// All flows of which datagrams left, and when last.
    #[must_use]
    pub fn all_flows(&self) -> Vec<(Flow, u64)> {
        self.flows.borrow().iter().map(|(flow, left_ns)| (*flow, *left_ns)).collect()
    }

    /// All sources to which datagrams of ours left, from which ports, and when last.
    #[must_use]
    pub fn all_sent(&self) -> Vec<(SentKey, u64)> {
        self.sent.borrow().iter().map(|(sent, left_ns)| (*sent, *left_ns)).collect()
    }

    /// Whatever leaves from now on is sent by this socket; by none that is told where it is 0.
    pub fn set_sender_cookie(&self, cookie: u64) {
        self.sender_cookie.set(cookie);
    }

    /// What is counted of all sessions.
    #[must_use]
    pub fn all_sessions(&self) -> Vec<SessionRecord> {
        // SAFETY: as in `Records::all`.
        self.sessions.borrow().values().map(|record| unsafe { *record.get() }).collect()
    }

    /// The record of a source.
    #[must_use]
    pub fn record(&self, source: &SourceKey) -> Option<SourceRecord> {
        // SAFETY: as in `Records::all`.
        self.sources.records.borrow().get(source).map(|record| unsafe { *record.get() })
    }

    /// What is counted of a source's sessions.
    #[must_use]
    pub fn session(&self, source: &SourceKey) -> Option<SessionRecord> {
        // SAFETY: as in `Records::all`.
        self.sessions.borrow().get(source).map(|record| unsafe { *record.get() })
    }

    /// What is remembered beyond sources and networks.
    #[must_use]
    pub fn all_state(&self) -> State {
        // SAFETY: as in `Records::all`.
        unsafe { *self.state.get() }
    }

    /// Forgets what is oldest of every table that has more than twice `most` entries, down to `most`. Nothing of the last packet goes.
    pub fn trim(&mut self, most: usize) {
        let most = most.max(1);
        for records in [&mut self.sources, &mut self.networks] {
            let records = records.records.get_mut();
            if records.len() > 2 * most {
                let times = records.values_mut().map(|record| record.get_mut().last_seen_ns).collect();
                let oldest = oldest_kept(times, most);
                records.retain(|_, record| record.get_mut().last_seen_ns >= oldest);
            }
        }
        let sessions = self.sessions.get_mut();
        if sessions.len() > 2 * most {
            let last = |record: &mut Box<UnsafeCell<SessionRecord>>| {
                let record = record.get_mut();
                record.public.last_ns.max(record.restricted.last_ns)
            };
            let oldest = oldest_kept(sessions.values_mut().map(last).collect(), most);
            sessions.retain(|_, record| last(record) >= oldest);
        }
        trim_by(self.opened.get_mut(), most, |seen_ns| *seen_ns);
        trim_by(self.asked.get_mut(), most, |asked| asked.time_ns);
        trim_by(self.flows.get_mut(), most, |left_ns| *left_ns);
        trim_by(self.sent.get_mut(), most, |left_ns| *left_ns);
        trim_by(self.syn_acks.get_mut(), most, |left| left.time_ns);
        trim_by(self.suspects.get_mut(), most, |backup| backup.suspect_until_ns);
        trim_by(self.proven.get_mut(), most, |backup| backup.suspect_until_ns);
    }

    /// Forgets a source as an LRU table does under a flood. What SUSPECTS keeps stays.
    pub fn evict(&mut self, source: &SourceKey) {
        self.sources.records.borrow_mut().remove(source);
    }

    /// What was counted at an index.
    #[must_use]
    pub fn counter(&self, index: CounterIndex) -> Counter {
        self.counters.borrow()[index.get() as usize]
    }

    /// All counters, by index.
    #[must_use]
    pub fn counters(&self) -> Vec<Counter> {
        self.counters.borrow().clone()
    }

    /// Says by which interface frames come; without one none is answered.
    pub fn set_nic(&mut self, nic: Option<Nic>) {
        self.nic = nic;
    }

    /// Says which frame is judged next, where it may be answered.
    pub fn set_frame(&self, frame: &[u8]) {
        let mut kept = self.frame.borrow_mut();
        kept.clear();
        kept.extend_from_slice(frame);
    }

    /// When this host was last seen refusing something at an address of its own.
    pub fn set_refused(&self, address: Address, now_ns: u64) {
        self.refused.borrow_mut().insert(address, now_ns);
    }

    /// All that is kept of sources that were answered.
    #[must_use]
    pub fn all_challenged(&self) -> Vec<ChallengeRecord> {
        // SAFETY: as in `Records::all`.
        self.challenged.borrow().values().map(|record| unsafe { *record.get() }).collect()
    }

    /// Connections whose stacks met a challenge.
    #[must_use]
    pub fn all_passes(&self) -> Vec<(Flow, Pass)> {
        self.passes.borrow().iter().map(|(flow, pass)| (*flow, *pass)).collect()
    }

    /// Takes the proofs since the last call.
    pub fn take_proofs(&self) -> Vec<Event> {
        self.proofs.take()
    }

    /// How many of the events so far were told as urgent.
    pub fn urgent(&self) -> u64 {
        self.urgent.get()
    }

    /// Takes the events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        self.events.take()
    }
}

impl Tables for MemoryTables {
    fn config(&self) -> Option<&KernelConfig> {
        self.config.as_ref()
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    fn is_own(&self, address: &Address) -> bool {
        let covers = |(prefix, bits): &(Address, u8)| address.masked(&Address::mask(*bits)) == *prefix;
        self.own_addresses.contains(address) || (!self.groups.contains(address) && self.local.iter().any(covers))
    }

    fn is_group(&self, address: &Address) -> bool {
        address.is_multicast() || self.groups.contains(address)
    }

    fn port(&self, protocol: Protocol, port: u16) -> PortEntry {
        self.ports.get(port_index(protocol, port) as usize).copied().unwrap_or_default()
    }

    fn has_sent(&self, address: &Address) -> bool {
        self.senders.borrow().contains(address)
    }

    fn see_sender(&self, address: &Address) {
        self.senders.borrow_mut().insert(*address);
    }

    fn is_protected(&self, address: &Address) -> bool {
        self.protected.iter().any(|(prefix, bits)| address.masked(&Address::mask(*bits)) == *prefix)
    }

    fn count(&self, index: CounterIndex, bytes: u64) {
        let counter = &mut self.counters.borrow_mut()[index.get() as usize];
        counter.packets += 1;
        counter.bytes += bytes;
    }

    fn source(&self, source: &SourceKey) -> Option<SourceCell<'_>> {
        self.sources.get(source)
    }

    fn new_source(&self, source: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        self.sources.insert(source, now_ns)
    }

    fn admits(&self, rules: &NewcomerRules, now_ns: u64) -> bool {
        let mut newcomers = self.newcomers.get();
        let admits = newcomers.admits(rules, now_ns);
        self.newcomers.set(newcomers);
        admits
    }

    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket {
        let flow = Flow::of(packet, protocol);
        let found = self.sockets.get(&flow).or_else(|| self.sockets.get(&flow.to_listener()));
        found.copied().unwrap_or(Socket::None)
    }

    fn opened(&self, endpoint: &Endpoint) -> Option<u64> {
        self.opened.borrow().get(endpoint).copied()
    }

    fn open(&self, endpoint: &Endpoint, now_ns: u64) {
        self.opened.borrow_mut().insert(*endpoint, now_ns);
    }

    fn ask(&self, question: &Question, asked: &Asked) {
        self.asked.borrow_mut().insert(*question, *asked);
    }

    fn take_asked(&self, question: &Question) -> Asked {
        self.asked.borrow_mut().remove(question).unwrap_or_default()
    }

    fn flow(&self, flow: &Flow) -> Option<u64> {
        self.flows.borrow().get(flow).copied()
    }

    fn see_flow(&self, flow: &Flow, now_ns: u64) {
        self.flows.borrow_mut().insert(*flow, now_ns);
    }

    fn sent_to(&self, sent: &SentKey) -> Option<u64> {
        self.sent.borrow().get(sent).copied()
    }

    fn send_to(&self, sent: &SentKey, now_ns: u64) {
        self.sent.borrow_mut().insert(*sent, now_ns);
    }

    fn sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>> {
        let record: *const UnsafeCell<SessionRecord> = &raw const **self.sessions.borrow().get(source)?;
        // SAFETY: as in `Records::get`.
        Some(SessionCell::new(unsafe { &*record }))
    }

    fn new_sessions(&self, source: &SourceKey) -> Option<SessionCell<'_>> {
        let record = SessionRecord { source: *source, ..SessionRecord::default() };
        self.sessions.borrow_mut().entry(*source).or_insert_with(|| Box::new(UnsafeCell::new(record)));
        self.sessions(source)
    }

    fn begin_session(&self, cookie: u64, session: &LiveSession) -> bool {
        let mut live = self.live.borrow_mut();
        let is_new = !live.contains_key(&cookie);
        live.entry(cookie).or_insert(*session);
        is_new
    }

    fn sender_cookie(&self) -> u64 {
        self.sender_cookie.get()
    }

    fn leave_syn_ack(&self, syn_ack: &SynAck, left: &SynAckLeft) {
        let mut syn_acks = self.syn_acks.borrow_mut();
        // Those that nobody completed in time are good for nothing.
        if syn_acks.len() >= MOST_SYN_ACKS {
            syn_acks.retain(|_, before| left.time_ns.saturating_sub(before.time_ns) < SYN_ACK_NS);
        }
        syn_acks.insert(*syn_ack, *left);
    }

    fn take_syn_ack(&self, syn_ack: &SynAck) -> SynAckLeft {
        self.syn_acks.borrow_mut().remove(syn_ack).unwrap_or_default()
    }

    fn live_session(&self, cookie: u64) -> Option<LiveSession> {
        self.live.borrow().get(&cookie).copied()
    }

    fn end_session(&self, cookie: u64) -> Option<LiveSession> {
        self.live.borrow_mut().remove(&cookie)
    }

    fn verdict(&self, source: &SourceKey) -> Option<&Verdict> {
        self.verdicts.get(source)
    }

    fn prefix_verdict(&self, address: &Address) -> Option<&Verdict> {
        longest(&self.prefix_verdicts, address)
    }

    fn known(&self, source: &SourceKey) -> Option<&Known> {
        self.known.get(source)
    }

    fn allowed(&self, address: &Address, now_ns: u64) -> bool {
        longest(&self.allowed, address).is_some_and(|expires_ns| *expires_ns > now_ns)
    }

    fn back_up(&self, source: &SourceKey, backup: &Backup, proven: bool) {
        let table = if proven { &self.proven } else { &self.suspects };
        table.borrow_mut().insert(*source, *backup);
    }

    fn backup<R>(&self, source: &SourceKey, read: impl FnOnce(&Backup) -> R) -> Option<R> {
        let backup = self.proven.borrow().get(source).or(self.suspects.borrow().get(source)).copied()?;
        Some(read(&backup))
    }

    fn forget(&self, source: &SourceKey) {
        self.suspects.borrow_mut().remove(source);
        self.proven.borrow_mut().remove(source);
    }

    fn network(&self, network: &SourceKey) -> Option<SourceCell<'_>> {
        self.networks.get(network)
    }

    fn new_network(&self, network: &SourceKey, now_ns: u64) -> Option<SourceCell<'_>> {
        self.networks.insert(network, now_ns)
    }

    fn state(&self) -> Option<StateCell<'_>> {
        Some(StateCell::new(&self.state))
    }

    fn challenged(&self, source: &SourceKey) -> Option<ChallengeCell<'_>> {
        let record: *const UnsafeCell<ChallengeRecord> = &raw const **self.challenged.borrow().get(source)?;
        // SAFETY: as in `Records::get`.
        Some(ChallengeCell::new(unsafe { &*record }))
    }

    fn new_challenged(&self, source: &SourceKey) -> Option<ChallengeCell<'_>> {
        let record = ChallengeRecord { source: *source, ..ChallengeRecord::default() };
        self.challenged.borrow_mut().entry(*source).or_insert_with(|| Box::new(UnsafeCell::new(record)));
        self.challenged(source)
    }

    fn pass(&self, flow: &Flow) -> Pass {
        self.passes.borrow().get(flow).copied().unwrap_or_default()
    }

    fn set_pass(&self, flow: &Flow, pass: &Pass) {
        self.passes.borrow_mut().insert(*flow, *pass);
    }

    fn refused(&self, address: &Address) -> u64 {
        self.refused.borrow().get(address).copied().unwrap_or_default()
    }

    fn refuse(&self, address: &Address, now_ns: u64) {
        self.set_refused(*address, now_ns);
    }

    fn prove(&self, event: impl FnOnce() -> Event) -> bool {
        self.proofs.borrow_mut().push(event());
        true
    }

    fn emit(&self, event: impl FnOnce() -> Event) -> bool {
        self.events.borrow_mut().push(event());
        true
    }

    fn emit_urgently(&self, event: impl FnOnce() -> Event) -> bool {
        self.urgent.set(self.urgent.get() + 1);
        self.emit(event)
    }
}

impl Stages for MemoryTables {
    fn examine(&self, case: &mut CaseRef<'_>) -> bool {
        let frame = self.frame.borrow();
        let case = &mut **case;
        self.nic.is_some_and(|nic| examine(&Frame(&frame), &case.parsed, &nic, &mut case.reply))
    }
}

/// The value of the longest prefix that covers an address.
fn longest<'v, V>(prefixes: &'v [(Address, u8, V)], address: &Address) -> Option<&'v V> {
    let covering = prefixes.iter().filter(|(prefix, bits, _)| address.masked(&Address::mask(*bits)) == *prefix);
    covering.max_by_key(|(_, bits, _)| *bits).map(|(.., value)| value)
}

/// The oldest time that is kept, where `most` entries are.
fn oldest_kept(mut times: Vec<u64>, most: usize) -> u64 {
    let place = times.len().saturating_sub(most);
    // One more, so that of many entries of the same moment not all stay.
    *times.select_nth_unstable(place).1 + 1
}

fn trim_by<K: Eq + Hash, V>(entries: &mut HashMap<K, V>, most: usize, time: impl Fn(&V) -> u64) {
    if entries.len() > 2 * most {
        let oldest = oldest_kept(entries.values().map(&time).collect(), most);
        entries.retain(|_, value| time(value) >= oldest);
    }
}
