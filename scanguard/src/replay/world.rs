//! One capture's world: the datapath and the policy, on the capture's clock.

use std::ops::ControlFlow;

use foldhash::{HashMap, HashMapExt as _};
use scanguard_common::address::{Address, prefix};
use scanguard_common::class::Protocol;
use scanguard_common::config::KernelConfig;
use scanguard_common::contact::Outcome;
use scanguard_common::counter::Counter;
use scanguard_common::datapath::connection::{self, Connection};
use scanguard_common::datapath::{Case, CaseRef, leave, process_with};
use scanguard_common::event::{Answer, Event, EventKind};
use scanguard_common::host::Frame;
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::opened::Endpoint;
use scanguard_common::packet::{Parsed, Shape, parse, parse_leaving, plain_segment};
use scanguard_common::reason::{Level, Mode, REASON_SLOTS, Reason};
use scanguard_common::session::{SynAck, SynAckLeft};
use scanguard_common::source::SourceKey;
use scanguard_common::tables::Tables as _;
use scanguard_common::verdict::{Known, Origin, Verdict};

use super::Options;
use super::capture::Captured;
use super::kernel::Kernel;
use super::line::Line;
use super::sessions::{Change, Sessions};
use super::tables::ReplayTables;
use super::tale::{Moment, Tale};
use super::witness::is_nobodys;
use crate::config::Config;
use crate::feeds::Feeds;
use crate::known::People;
use crate::net::NetSettings;
use crate::policy::{Action, Clock, Event as PolicyEvent, Facts, Policy};
use crate::ports::{Observation, PortTracker};
use crate::prefix_map::Prefix;

/// The capture's first packet comes at this time of the datapath's clock, so that there is a past.
const START_NS: u64 = 86_400_000_000_000;
/// How long datagrams may answer what left before the capture.
const WARM_UP_NS: u64 = 30_000_000_000;
/// Always the same: what a replay shows is to be shown again.
const CONTACT_KEY: [u64; 2] = [0x7363_616e_6775_6172, 0x6420_7265_706c_6179];
/// Sources remembered at most.
const MOST_SOURCES: usize = 1 << 20;
/// How far back a packet's time may lie behind that of the one before it. Cards with several queues do not keep order.
pub(super) const JITTER_NS: u64 = 1_000_000_000;

/// What a port was asked, by outcome of the first contact.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PortTale {
    /// First contacts, by [`Outcome`].
    pub outcomes: [u64; 16],
}

/// A capture that is replayed.
pub(super) struct World<'k> {
    tables: ReplayTables,
    config: Config,
    feeds: Feeds,
    policy: Policy,
    sessions: Sessions,
    people: People,
    guarded: Vec<(Address, u8)>,
    line: Line,
    first_ns: Option<u64>,
    latest_ns: u64,
    pub(super) now_ns: u64,
    leaving_seen: bool,
    pub(super) tales: HashMap<SourceKey, Tale>,
    pub(super) ports: HashMap<(u8, u16), PortTale>,
    pub(super) judged: u64,
    pub(super) left: u64,
    pub(super) storms: u64,
    pub(super) told: Vec<Told>,
    pub(super) keep_events: bool,
    /// Whether what comes too late is taken as of now, and how much was.
    pub(super) takes_late: bool,
    pub(super) late: u64,
    kernel: Option<&'k mut Kernel>,
    pub(super) stopped: Option<anyhow::Error>,
    /// Sources whose packets asked for something, beyond those in the tables.
    forgotten: u64,
}

/// An event, and the packet it came with.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The packet.
    pub packet: u64,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// What the kernel part tells.
    pub event: Event,
}

impl<'k> World<'k> {
    pub(super) fn new(options: &Options, kernel: Option<&'k mut Kernel>) -> anyhow::Result<Self> {
        let Options { config, feeds, protect, events: _ } = options;
        let settings = KernelConfig {
            // Somebody always watches.
            heartbeat_ns: u64::MAX / 2,
            egress_warm_up_ns: WARM_UP_NS,
            forwards: 1,
            // What never sent in the whole capture is nobody.
            learnt: 2,
            judges_leaving: 0,
            // A replay has time for all of them.
            newcomers: NewcomerRules::unlimited(),
            ..config.kernel_config(CONTACT_KEY)
        };
        let mut tables = ReplayTables::new(settings);
        // A host on which nothing listens: what is open the capture shows.
        let mut tracker = PortTracker::new(&config.ports, 0, []);
        let nothing: Option<[crate::net::Listener; 0]> = Some([]);
        tracker.observe(Observation::new(nothing, NetSettings { forwards: false, ..NetSettings::CAUTIOUS }), 0);
        let (first, last) = NetSettings::CAUTIOUS.ephemeral;
        let settings = KernelConfig { ephemeral_first: first, ephemeral_last: last, ..settings };
        tables.memory.set_config(settings);
        // Something may be protected: which address that is, the tables say for each packet.
        tables.memory.set_protected(vec![(Address::default(), 0)]);
        let entries: Vec<_> = tracker.entries().collect();
        for (protocol, port, entry) in &entries {
            tables.memory.set_port(*protocol, *port, *entry);
        }
        let allowed: Vec<(Address, u8, u64)> = config
            .allow
            .iter()
            .map(|network| {
                let (address, bits) = prefix(network.network(), network.prefix());
                (address, bits, u64::MAX)
            })
            .collect();
        if !allowed.is_empty() {
            tables.memory.set_allowed(allowed);
        }
        let mut kernel = kernel;
        if let Some(kernel) = &mut kernel {
            kernel.start(&settings, entries, &config.allow)?;
        }
        Ok(Self {
            tables,
            config: config.clone(),
            feeds: feeds.clone(),
            policy: Policy::default(),
            sessions: Sessions::new(),
            people: People::default(),
            guarded: protect.iter().map(|network| prefix(network.network(), network.prefix())).collect(),
            line: Line::default(),
            first_ns: None,
            latest_ns: 0,
            now_ns: START_NS,
            leaving_seen: false,
            tales: HashMap::new(),
            ports: HashMap::new(),
            judged: 0,
            left: 0,
            storms: 0,
            told: Vec::new(),
            keep_events: false,
            takes_late: false,
            late: 0,
            kernel,
            stopped: None,
            forgotten: 0,
        })
    }

    /// Takes the next frame of the capture. Breaks when its time lies too far back for a capture in order.
    pub(super) fn take(&mut self, captured: Captured<'_>) -> ControlFlow<()> {
        let Captured { number, mut time_ns, frame } = captured;
        self.first_ns.get_or_insert(time_ns);
        if time_ns.saturating_add(JITTER_NS) < self.latest_ns {
            if !self.takes_late {
                return ControlFlow::Break(());
            }
            time_ns = self.latest_ns;
            self.late += 1;
        }
        self.latest_ns = self.latest_ns.max(time_ns);
        let parsed = parse(&Frame(frame));
        self.tables.witness.see(&parsed, self.moment(time_ns));
        self.line.push(number, time_ns, parsed, frame);
        self.judge_waiting(false)
    }

    /// The capture is over: judges what still waits.
    pub(super) fn finish(&mut self) -> ControlFlow<()> {
        self.judge_waiting(true)?;
        let Some(kernel) = &mut self.kernel else { return ControlFlow::Continue(()) };
        if let Err(error) = kernel.compare_counters(&self.tables.memory.counters()) {
            self.stopped = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Sources that made a new flow.
    pub(super) fn sources(&self) -> impl Iterator<Item = SourceKey> {
        self.tables.memory.records().into_iter().filter(|record| record.attempts > 0).map(|record| record.source)
    }

    pub(super) fn span(&self) -> Option<(u64, u64)> {
        self.first_ns.map(|first_ns| (first_ns, self.latest_ns))
    }

    pub(super) fn compared(&self) -> Option<(u64, u64)> {
        self.kernel.as_ref().map(|kernel| kernel.tally())
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn settings(&self) -> &KernelConfig {
        self.tables.config().expect("set at the start")
    }

    pub(super) fn counters(&self) -> Vec<Counter> {
        self.tables.memory.counters()
    }

    /// Whether anything left at all: without that only one direction was captured.
    pub(super) const fn has_answers(&self) -> bool {
        self.leaving_seen
    }

    /// A time of the capture on the datapath's clock.
    fn moment(&self, unix_ns: u64) -> u64 {
        let first_ns = self.first_ns.unwrap_or(unix_ns);
        if unix_ns >= first_ns {
            START_NS.saturating_add(unix_ns - first_ns)
        } else {
            START_NS.saturating_sub(first_ns - unix_ns)
        }
    }

    fn judge_waiting(&mut self, all: bool) -> ControlFlow<()> {
        let mut line = std::mem::take(&mut self.line);
        let mut flow = ControlFlow::Continue(());
        while let Some((waiting, frame)) = line.pop(self.latest_ns, all) {
            self.now_ns = self.now_ns.max(self.moment(waiting.unix_ns));
            self.tables.memory.set_now(self.now_ns);
            if let Err(error) = self.judge(&waiting.parsed, frame, waiting.number, waiting.unix_ns) {
                self.stopped = Some(error.context(format!("packet {}", waiting.number)));
                flow = ControlFlow::Break(());
                break;
            }
        }
        self.line = line;
        flow
    }

    fn guards(&self, address: &Address) -> bool {
        self.guarded.is_empty()
            || self.guarded.iter().any(|(prefix, bits)| address.masked(&Address::mask(*bits)) == *prefix)
    }

    fn judge(&mut self, parsed: &Parsed, frame: &[u8], number: u64, unix_ns: u64) -> anyhow::Result<()> {
        let is_ip = !matches!(parsed.shape, Shape::NotIp | Shape::Malformed);
        let (arrives, leaves) = (self.guards(&parsed.destination), is_ip && self.guards(&parsed.source));
        // What is not IP is for nobody in particular: it is counted.
        if !is_ip || arrives {
            self.arrive(parsed, frame, number, unix_ns)?;
        }
        if leaves {
            self.depart(frame, number, unix_ns)?;
        }
        if parsed.shape == Shape::Tcp
            && let Some(change) = {
                let Self { sessions, tables, .. } = self;
                sessions.see(parsed, frame, (arrives, leaves), |cookie| _ = tables.memory.end_session(cookie))
            }
        {
            self.connect(change, number, unix_ns)?;
        }
        Ok(())
    }

    /// What sockets tell of connections, and what the daemon makes of it.
    fn connect(&mut self, change: Change, number: u64, unix_ns: u64) -> anyhow::Result<()> {
        const DAY_NS: u64 = 86_400_000_000_000;
        self.tables.guarded.set(None);
        let connection = match change {
            Change::Begun(connection) => {
                self.see_answer(&connection);
                connection::begin(&connection, &self.tables);
                connection
            }
            Change::Ended(connection, bytes_in, bytes_out) => {
                connection::half_close(&connection, bytes_in, bytes_out, &self.tables);
                connection::end(&connection, bytes_in, bytes_out, &self.tables);
                connection
            }
        };
        let events = self.take_events();
        self.hear(&events, number, unix_ns)?;
        let keys = self.settings().keys;
        let (Change::Ended(..), Some(source)) = (change, keys.source_of(connection.remote, connection.version)) else {
            return Ok(());
        };
        if let Some(record) = self.tables.memory.session(&source) {
            // Days of the capture's clock.
            let now = unix_ns / 1_000_000_000;
            let failed_ns = self.tables.memory.record(&source).and_then(|record| record.failed_ns(self.now_ns));
            let failed = failed_ns.map_or(0, |failed_ns| now - self.now_ns.saturating_sub(failed_ns) / 1_000_000_000);
            self.people.fold(&record, failed, |_| now);
        }
        let until = self.people.until(&source);
        let ahead_ns = until.saturating_mul(1_000_000_000).saturating_sub(unix_ns);
        if ahead_ns >= DAY_NS {
            let known = Known { restricted_until_ns: self.now_ns.saturating_add(ahead_ns) };
            self.tables.memory.set_known(source, known);
            if let Some(kernel) = &mut self.kernel {
                kernel.set_known(source, &known)?;
            }
        }
        if let Some(kernel) = &mut self.kernel
            && let Some(record) = self.tables.memory.record(&source)
        {
            kernel.set_record(&record)?;
        }
        Ok(())
    }

    fn arrive(&mut self, parsed: &Parsed, frame: &[u8], number: u64, unix_ns: u64) -> anyhow::Result<()> {
        // A frame for a group, or to nobody's address, is for no host in particular.
        let is_group = frame.first().is_some_and(|byte| byte & 1 != 0);
        let guarded = (!is_group && !is_nobodys(&parsed.destination)).then_some(parsed.destination);
        self.tables.guarded.set(guarded);
        if let Some(kernel) = &mut self.kernel
            && !kernel.arrive(&self.tables, parsed, frame)?
        {
            return Ok(()); // The kernel takes no trial of such a frame.
        }
        self.judged += 1;
        let read = |case: &mut Case| case.parsed = *parsed;
        let action = process_with(&Frame(frame), CaseRef::new(&mut Case::default()), read, &self.tables);
        let (level, reason) = counted(self.tables.counted.get());
        let events = self.take_events();
        if let Some(kernel) = &mut self.kernel {
            kernel.compare(action, &events)?;
        }
        self.hear(&events, number, unix_ns)?;
        if level != Level::None {
            self.dropped(parsed, reason, number, unix_ns);
        }
        Ok(())
    }

    fn depart(&mut self, frame: &[u8], number: u64, unix_ns: u64) -> anyhow::Result<()> {
        if !self.leaving_seen {
            self.leaving_seen = true;
            let settings = KernelConfig { egress_since_ns: self.now_ns, ..*self.settings() };
            self.tables.memory.set_config(settings);
            if let Some(kernel) = &mut self.kernel {
                kernel.set_egress_since(self.now_ns);
            }
        }
        if plain_segment(&Frame(frame)).is_some_and(scanguard_common::packet::Plain::is_ack) {
            return Ok(());
        }
        let mut parsed = Parsed::default();
        let answer = parse_leaving(&Frame(frame), &mut parsed);
        if answer == Answer::None && parsed.shape != Shape::Other {
            return Ok(());
        }
        self.left += 1;
        self.tables.guarded.set((!is_nobodys(&parsed.destination)).then_some(parsed.destination));
        if let Some(kernel) = &mut self.kernel
            && !kernel.depart(&self.tables, &parsed, frame)?
        {
            return Ok(());
        }
        leave(CaseRef::new(&mut Case::of(parsed)), answer, frame.len() as u64, &self.tables);
        let events = self.take_events();
        if let Some(kernel) = &mut self.kernel {
            kernel.compare_events(&events)?;
        }
        self.hear(&events, number, unix_ns)
    }

    fn take_events(&self) -> Vec<Event> {
        // Mostly there are none, and then nothing is allocated.
        self.tables.events.take()
    }

    /// What the daemon does with events.
    fn hear(&mut self, events: &[Event], packet: u64, unix_ns: u64) -> anyhow::Result<()> {
        for event in events {
            if self.keep_events {
                self.told.push(Told { packet, unix_ns, event: *event });
            }
            match EventKind::from_u8(event.kind) {
                Some(EventKind::Contact) => {
                    let protocol = match event.asked {
                        asked if asked == scanguard_common::contact::ContactKind::Udp as u8 => Protocol::Udp,
                        asked if asked == scanguard_common::contact::ContactKind::Icmp as u8 => Protocol::Icmp,
                        _ => Protocol::Tcp,
                    };
                    let port = self.ports.entry((protocol as u8, event.port)).or_default();
                    if let Some(count) = port.outcomes.get_mut(usize::from(event.outcome)) {
                        *count += 1;
                    }
                    self.make_room();
                    self.tales.entry(event.source).or_default().contact(event, packet, unix_ns);
                    if event.points > 0 && event.score >= self.config.score.rules().cap {
                        self.decide(PolicyEvent::Eligible { source: event.source }, packet, unix_ns)?;
                    }
                }
                Some(EventKind::Suspect) => {
                    let tale = self.tales.entry(event.source).or_default();
                    tale.concealed.get_or_insert(Moment { packet, unix_ns, contacts: tale.contacts });
                    self.decide(PolicyEvent::Suspect { source: event.source }, packet, unix_ns)?;
                }
                Some(EventKind::Storm) => self.storms += 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn decide(&mut self, event: PolicyEvent, packet: u64, unix_ns: u64) -> anyhow::Result<()> {
        let now_ns = self.now_ns;
        let facts = event.source().map(|source| self.facts(source, unix_ns / 1_000_000_000)).unwrap_or_default();
        let actions = self.policy.step(&self.config.blocks, &facts, event, Clock(unix_ns / 1_000_000));
        for action in actions {
            let (source, verdict) = match action {
                Action::Block { source, scope, lasts, .. } => {
                    let ends_ns = now_ns.saturating_add(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX));
                    let tale = self.tales.entry(source).or_default();
                    tale.blocked.get_or_insert(Moment { packet, unix_ns, contacts: tale.contacts });
                    (source, Some(Verdict::block(scope, Origin::Controller, ends_ns)))
                }
                Action::Ended { source, .. } => (source, None),
                Action::Deferred { .. } | Action::Ask { .. } => continue,
            };
            self.tables.memory.set_verdict(source, verdict);
            if let Some(kernel) = &mut self.kernel {
                kernel.set_verdict(source, verdict)?;
            }
        }
        Ok(())
    }

    /// What is in the capture passed the link.
    fn see_answer(&self, connection: &Connection) {
        let Connection { remote, version, remote_port, sequence, .. } = *connection;
        if let Some(source) = self.settings().keys.source_of(remote, version) {
            let left = SynAckLeft { time_ns: self.now_ns, cookie: 0 };
            self.tables.leave_syn_ack(&SynAck::new(source, remote_port, sequence), &left);
        }
    }

    /// What the capture shows of a source. Decoys are not in it, and so no proof that a source is really there: a feed leads no further than to private
    /// ports.
    fn facts(&self, source: &SourceKey, now: u64) -> Facts {
        let (address, length) = self.config.key_rules().prefix(*source);
        let (address, bits) = prefix(address, length);
        let whole = Prefix::around(&address, bits);
        let person = self.people.get(source).copied().unwrap_or_default();
        let is_shared = self.config.sources.shared.iter().any(|network| Prefix::from(*network).covers(&whole));
        Facts {
            allowed: self.tables.memory.allowed(&address, self.now_ns),
            is_customer: person.public.sessions > 0,
            sessions: person.public.sessions.saturating_add(person.restricted.sessions),
            days: person.days_known(now),
            shared: is_shared || self.feeds.sharing(whole).next().is_some(),
            feed: self.feeds.level(whole),
            ..Facts::default()
        }
    }

    fn dropped(&mut self, parsed: &Parsed, reason: Reason, number: u64, unix_ns: u64) {
        let Some(source) = self.settings().keys.source(parsed) else { return };
        let is_open = match parsed.shape {
            Shape::Tcp => {
                let endpoint = Endpoint::new(parsed.destination, parsed.destination_port, Protocol::Tcp);
                self.tables.witness.open_since(&endpoint).is_some()
            }
            Shape::Udp => {
                let endpoint = Endpoint::new(parsed.destination, parsed.destination_port, Protocol::Udp);
                self.tables.witness.has_sent(&endpoint)
            }
            _ => false,
        };
        self.make_room();
        self.tales.entry(source).or_default().drop(reason, is_open, number, unix_ns);
    }

    /// Keeps memory within bounds, however many sources a capture has.
    fn make_room(&mut self) {
        if self.tales.len() >= MOST_SOURCES {
            let before = self.tales.len();
            self.tales.retain(|_, tale| tale.failures > 0 || tale.is_acted_on());
            if self.tales.len() > MOST_SOURCES / 2 {
                self.tales.retain(|_, tale| tale.is_acted_on());
            }
            if self.tales.len() > MOST_SOURCES / 2 {
                self.tales.clear();
            }
            self.forgotten += (before - self.tales.len()) as u64;
        }
        if self.kernel.is_none() {
            self.tables.memory.trim(MOST_SOURCES);
        }
    }
}

/// What stands at an index of the counters of verdicts.
fn counted(index: u32) -> (Level, Reason) {
    let (level, rest) = (index as usize / (REASON_SLOTS * Mode::COUNT), index as usize % (REASON_SLOTS * Mode::COUNT));
    let level = Level::from_u8(level as u8);
    (level, Reason::ALL.get(rest / Mode::COUNT).copied().unwrap_or_default())
}

const _: () = assert!(Outcome::ALL.len() <= 16);
