//! The host: tables in memory, its ports, its stack, the policy, and who has worked here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use scanguard::config::{AutoLevel, Blocks, Config};
use scanguard::incidents::{Brief, Cause, Change, Heard, Incidents, Moment};
use scanguard::known::{Added, People};
use scanguard::policy::harm::CUSTOMER_DAYS;
use scanguard::policy::{Action as Decision, BlockReason, Clock, Deferral, Doubt, Event as PolicyEvent, Facts, Policy};
use scanguard_common::address::Address;
use scanguard_common::challenge::Nic;
use scanguard_common::class::{PortClass, PortEntry, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::datapath::connection::{self, Connection};
use scanguard_common::datapath::{Action, answer_frame, judge_leaving};
use scanguard_common::event::{Event, EventKind};
use scanguard_common::flow::Flow;
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::packet::reply::REPLY_BYTES;
use scanguard_common::session::END_OF_STREAM;
use scanguard_common::source::SourceKey;
use scanguard_common::tables::Socket;
use scanguard_common::verdict::{Known, Origin, Verdict};

use super::stack::{self, Attempt, Outcome};

/// Address of the host.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Its link-layer address.
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 10];
/// That of the next hop.
pub(super) const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Ports for everybody.
pub(super) const PUBLIC: [u16; 2] = [80, 443];
/// Ports that are open, and not for customers.
pub(super) const RESTRICTED: [u16; 3] = [22, 3306, 5432];
/// Where clients fall back to by themselves, as the shipped list has it.
const FALLBACKS: [u16; 13] = [80, 443, 8080, 8443, 25, 110, 143, 465, 587, 993, 995, 5060, 5061];
const FIRST_EPHEMERAL: u16 = 32_768;

const SECOND_NS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;
/// The simulation begins at this time of the datapath's clock, so that there is a past, …
const START_NS: u64 = 30 * DAY * SECOND_NS;
/// … and at this one of the wall.
const START_MS: u64 = 1_780_000_000_000;
const CONTACT_KEY: [u64; 2] = [0x7369_6d75_6c61_7465, 0x2074_776f_2064_6179];
/// How often what the kernel counted of sessions is read, as the daemon does.
const MEETING_NS: u64 = 60 * SECOND_NS;

/// What the policy did.
#[derive(Clone, Debug, Default)]
pub(super) struct Decisions {
    pub(super) blocks: HashMap<BlockReason, u64>,
    pub(super) asked: HashMap<Doubt, u64>,
    pub(super) deferred: HashMap<Deferral, u64>,
    /// The most networks with a block at once.
    pub(super) most_at_once: usize,
}

/// What was done about a source, and when first: nanoseconds of the simulation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    pub(super) concealed_ns: Option<u64>,
    pub(super) proven_ns: Option<u64>,
    pub(super) blocked_ns: Option<u64>,
    pub(super) blocked_all: bool,
    pub(super) asked: bool,
    pub(super) deferred: bool,
}

pub(super) struct Host {
    tables: MemoryTables,
    settings: Blocks,
    policy: Policy,
    incidents: Incidents,
    people: People,
    pub(super) now_ns: u64,
    met_ns: u64,
    /// Those whose sessions ended since it was last looked.
    met: HashSet<SourceKey>,
    cookies: u64,
    pub(super) packets: u64,
    pub(super) decisions: Decisions,
    /// Incidents that opened, by why they are one.
    pub(super) opened: BTreeMap<Cause, u64>,
    pub(super) fates: HashMap<SourceKey, Fate>,
    /// Decoys completed, by source: when, and on which port.
    completed: HashMap<SourceKey, Vec<(u64, u16)>>,
}

impl Host {
    pub(super) fn new(max_auto_level: AutoLevel) -> Result<Self> {
        let text = "mode = \"enforce\"\nchallenge = \"on\"\n";
        let config = Config::parse(text.as_bytes()).ok().context("a valid configuration")?;
        let config = Config { blocks: Blocks { max_auto_level, ..config.blocks }, ..config };
        let kernel = KernelConfig {
            heartbeat_ns: u64::MAX / 2,
            learnt: 1,
            ephemeral_first: FIRST_EPHEMERAL,
            ephemeral_last: 60_999,
            egress_since_ns: 0,
            ..config.kernel_config(CONTACT_KEY)
        };
        let mut tables = MemoryTables::new(kernel);
        tables.add_own_address(IpAddr::from(SERVER).into());
        for port in 1..=u16::MAX {
            let class = match port {
                _ if PUBLIC.contains(&port) => PortClass::Public,
                _ if RESTRICTED.contains(&port) => PortClass::Restricted,
                _ => PortClass::Closed,
            };
            let entry = PortEntry::new(class, PortClass::Unknown);
            let entry = if FALLBACKS.contains(&port) { entry.fallback() } else { entry };
            tables.set_port(Protocol::Tcp, port, entry);
        }
        for port in PUBLIC.into_iter().chain(RESTRICTED) {
            tables.set_socket(listener(port), Socket::Listening);
        }
        tables.set_nic(Some(Nic { mac: MAC, generic: 0, tagged_only: 0 }));
        Ok(Self {
            tables,
            settings: config.blocks,
            policy: Policy::default(),
            incidents: Incidents::default(),
            people: People::default(),
            now_ns: 0,
            met_ns: 0,
            met: HashSet::new(),
            cookies: 0,
            packets: 0,
            decisions: Decisions::default(),
            opened: BTreeMap::new(),
            fates: HashMap::new(),
            completed: HashMap::new(),
        })
    }

    /// Lets time go by until then: blocks end, and sessions are folded into what is known.
    pub(super) fn advance(&mut self, now_ns: u64) -> Result<()> {
        while self.met_ns + MEETING_NS <= now_ns {
            self.met_ns += MEETING_NS;
            self.set_now(self.met_ns);
            self.meet();
            self.tell_incidents();
            self.decide(PolicyEvent::Tick);
        }
        self.set_now(now_ns);
        // Somebody always asks for a closed port somewhere: the host is seen refusing.
        self.tables.set_refused(IpAddr::from(SERVER).into(), START_NS + now_ns);
        Ok(())
    }

    fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.tables.set_now(START_NS + now_ns);
    }

    fn wall_s(ns: u64) -> u64 {
        START_MS / 1000 + ns.saturating_sub(START_NS) / SECOND_NS
    }

    fn meet(&mut self) {
        for source in std::mem::take(&mut self.met) {
            let Some(record) = self.tables.session(&source) else { continue };
            let failed = self.failed(&source);
            if self.people.fold(&record, failed, Self::wall_s).is_some() {
                self.tell_known(source);
            }
        }
        // The daemon looks every minute; what failed is dated to the hour.
        if self.now_ns % (3_600 * SECOND_NS) >= MEETING_NS {
            return;
        }
        let on_trial: Vec<SourceKey> = self.people.on_trial(self.today()).collect();
        for source in on_trial {
            let failed = self.failed(&source);
            self.people.fail(&source, failed);
        }
    }

    /// When a contact of a source last failed, as its record shows.
    fn failed(&self, source: &SourceKey) -> u64 {
        let record = self.tables.record(source);
        record.and_then(|record| record.failed_ns(START_NS + self.now_ns)).map_or(0, Self::wall_s)
    }

    fn today(&self) -> u64 {
        Self::wall_s(START_NS + self.now_ns)
    }

    /// Tells the datapath of who is known.
    fn tell_known(&mut self, source: SourceKey) {
        let until = self.people.until(&source);
        if until > self.today() {
            let ahead = until.saturating_sub(START_MS / 1000);
            let until_ns = START_NS.saturating_add(ahead.saturating_mul(SECOND_NS));
            self.tables.set_known(source, Known { restricted_until_ns: until_ns });
        }
    }

    /// It is seen that somebody is logged in from there.
    pub(super) fn see_login(&mut self, from: Ipv4Addr) {
        let source = source(from);
        if self.people.log_in(source, self.today()).is_some() {
            self.tell_known(source);
        }
    }

    /// A log tool tells of what somebody did, and his session backs it.
    pub(super) fn hear_of(&mut self, from: Ipv4Addr) {
        let source = source(from);
        self.meet();
        self.people.distrust(&source, self.today().saturating_sub(DAY), self.today());
    }

    /// An operator says that a source is known.
    pub(super) fn add_known(&mut self, source: SourceKey) {
        self.people.add(source, Added { since: self.today(), ..Added::default() });
        self.tell_known(source);
    }

    /// Clients that the operator is asked about.
    pub(super) fn candidates(&self, is_left_out: impl Fn(&SourceKey) -> bool) -> Vec<SourceKey> {
        let found = self.people.candidates(self.today(), is_left_out);
        found.into_iter().map(|candidate| candidate.source).collect()
    }

    /// Whether restricted ports stay open to a source.
    pub(super) fn is_known(&self, from: Ipv4Addr) -> bool {
        self.people.until(&source(from)) > self.today()
    }

    /// A frame arrives: what is done with it, and the answer if there is one.
    pub(super) fn receive(&mut self, frame: &[u8]) -> Result<(Action, Vec<u8>)> {
        self.packets += 1;
        self.tables.set_frame(frame);
        let mut reply = [0; REPLY_BYTES];
        let (action, length) = answer_frame(&Frame(frame), &self.tables, &mut reply);
        let told: Vec<Event> = self.tables.take_events().into_iter().chain(self.tables.take_proofs()).collect();
        for event in told {
            self.hear(&event);
        }
        Ok((action, reply[..length].to_vec()))
    }

    fn hear(&mut self, event: &Event) {
        let source = event.source;
        if let Some(heard) = Heard::of(event) {
            self.incidents.hear(&heard, self.moment());
        }
        match EventKind::from_u8(event.kind) {
            Some(EventKind::Suspect) => {
                self.fates.entry(source).or_default().concealed_ns.get_or_insert(self.now_ns);
                self.decide(PolicyEvent::Suspect { source });
            }
            Some(EventKind::Contact) if event.points > 0 && self.is_eligible(&source) => {
                self.decide(PolicyEvent::Eligible { source });
            }
            Some(EventKind::Completed) => {
                let ports = self.completed.entry(source).or_default();
                ports.push((self.now_ns, event.port));
                let lately = ports.iter().filter(|(at, _)| self.now_ns - at <= 600 * SECOND_NS);
                let distinct: HashSet<u16> = lately.map(|(_, port)| *port).collect();
                if distinct.len() >= 4 {
                    self.fates.entry(source).or_default().proven_ns.get_or_insert(self.now_ns);
                }
                self.decide(PolicyEvent::Completed { source, port: event.port });
            }
            _ => {}
        }
    }

    fn moment(&self) -> Moment {
        let ticks = self.now_ns / 1_000_000;
        Moment { ticks, wall: START_MS + ticks }
    }

    fn tell_incidents(&mut self) {
        for change in self.incidents.tick(self.moment()) {
            if let Change::Opened(Brief { head, .. }) = change {
                *self.opened.entry(head.cause).or_default() += 1;
            }
        }
        drop(self.incidents.take_changed()); // Nobody keeps them here.
    }

    fn decide(&mut self, event: PolicyEvent) {
        let facts = event.source().map(|source| self.facts(source)).unwrap_or_default();
        let now = Clock(START_MS + self.now_ns / 1_000_000);
        for decision in self.policy.step(&self.settings, &facts, event, now) {
            match decision {
                Decision::Block { source, scope, lasts, reason, .. } => {
                    *self.decisions.blocks.entry(reason).or_default() += 1;
                    let fate = self.fates.entry(source).or_default();
                    fate.blocked_ns.get_or_insert(self.now_ns);
                    fate.blocked_all |= scope == scanguard_common::verdict::Scope::All;
                    let ends_ns = START_NS + self.now_ns + u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX / 2);
                    self.tables.set_verdict(source, Some(Verdict::block(scope, Origin::Controller, ends_ns)));
                    self.decisions.most_at_once = self.decisions.most_at_once.max(self.policy.running().count());
                }
                Decision::Ended { source, .. } => self.tables.set_verdict(source, None),
                Decision::Ask { source, why, .. } => {
                    let fate = self.fates.entry(source).or_default();
                    if !fate.asked {
                        *self.decisions.asked.entry(why).or_default() += 1;
                    }
                    fate.asked = true;
                }
                Decision::Deferred { source, why } => {
                    *self.decisions.deferred.entry(why).or_default() += 1;
                    self.fates.entry(source).or_default().deferred |= why != Deferral::Unproven;
                }
            }
        }
    }

    fn is_eligible(&self, source: &SourceKey) -> bool {
        use scanguard_common::tables::Tables as _;
        let rules = self.tables.config().map(|config| config.score).unwrap_or_default();
        let record = self.tables.record(source);
        record.is_some_and(|record| record.score_at(&rules, START_NS + self.now_ns) >= rules.cap)
    }

    fn facts(&self, source: &SourceKey) -> Facts {
        let person = self.people.get(source).copied().unwrap_or_default();
        let today = Self::wall_s(START_NS + self.now_ns);
        let counted = self.tables.session(source);
        let worked_lately = person.public.sessions > 0 && person.public.last + CUSTOMER_DAYS * DAY >= today;
        Facts {
            eligible: self.is_eligible(source),
            is_customer: worked_lately || counted.is_some_and(|record| record.public.worked > 0),
            sessions: person.public.sessions + person.restricted.sessions,
            days: person.days_known(today),
            shared: is_shared(source),
            ..Facts::default()
        }
    }

    /// The stack got the SYN of somebody who goes on, and asks for a page where the port is open, or closes at once.
    pub(super) fn stack_answers(&mut self, attempt: &Attempt, speaks: bool) -> Outcome {
        let outcome = self.refuses_or_accepts(attempt);
        if outcome == Outcome::Connected {
            let Some(connection) = self.begin(attempt) else { return Outcome::Silent };
            let bytes = if speaks { [400, 20_000] } else { [END_OF_STREAM; 2] };
            self.half_close(&connection, bytes);
            self.end(&connection, bytes);
        }
        outcome
    }

    /// An open port answers, and the other side completes the connection; none where the answer is kept from it.
    pub(super) fn begin(&mut self, attempt: &Attempt) -> Option<Connection> {
        self.cookies += 1;
        self.tables.set_sender_cookie(self.cookies);
        if judge_leaving(&Frame(&stack::syn_ack(attempt)), &self.tables) == Action::Drop {
            return None;
        }
        let connection = self.connection(attempt);
        connection::begin(&connection, &self.tables);
        Some(connection)
    }

    /// One side ends its half.
    pub(super) fn half_close(&mut self, connection: &Connection, [bytes_in, bytes_out]: [u64; 2]) {
        connection::half_close(connection, bytes_in, bytes_out, &self.tables);
    }

    /// The socket is gone.
    pub(super) fn end(&mut self, connection: &Connection, [bytes_in, bytes_out]: [u64; 2]) {
        connection::end(connection, bytes_in, bytes_out, &self.tables);
        self.met.insert(SourceKey(connection.remote));
        if RESTRICTED.contains(&connection.port) {
            self.meet(); // Who may be known by it is at once.
        }
    }

    /// The same of somebody who says nothing.
    pub(super) fn refuses_or_accepts(&self, attempt: &Attempt) -> Outcome {
        let is_open = PUBLIC.contains(&attempt.port) || RESTRICTED.contains(&attempt.port);
        if is_open { Outcome::Connected } else { Outcome::Refused }
    }

    fn connection(&self, attempt: &Attempt) -> Connection {
        Connection {
            cookie: self.cookies,
            remote: IpAddr::from(attempt.from).into(),
            local: IpAddr::from(SERVER).into(),
            version: 4,
            port: attempt.port,
            remote_port: attempt.from_port,
            sequence: stack::SEQUENCE,
        }
    }
}

/// What an operator would name in `sources.shared`: the carriers' network, where customers and scanners have one address
/// (RFC 6598).
fn is_shared(source: &SourceKey) -> bool {
    matches!(IpAddr::from(source.0), IpAddr::V4(address) if address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64)
}

pub(super) fn source(address: Ipv4Addr) -> SourceKey {
    SourceKey(Address::from(IpAddr::from(address)))
}

fn listener(port: u16) -> Flow {
    let any = Flow {
        source: Address::default(),
        destination: IpAddr::from(SERVER).into(),
        source_port: 0,
        destination_port: port,
        protocol: Protocol::Tcp as u32,
    };
    any.to_listener()
}
