//! The host, those who send to it, and random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;
use scanguard_common::address::Address;
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::config::{HEARTBEAT_LIMIT_NS, KernelConfig};
use scanguard_common::contact::{ContactBit, ContactKind};
use scanguard_common::counter::CounterIndex;
use scanguard_common::datapath::{Action, process_frame};
use scanguard_common::flow::Flow;
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::opened::Endpoint;
use scanguard_common::packet::Parsed;
use scanguard_common::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_common::record::SourceRecord;
use scanguard_common::source::SourceKey;
use scanguard_common::tables::Socket;
use scanguard_common::verdict::{Known, Origin, Scope, Verdict};

use crate::frames::{ASKING_FROM, CONNECTED_FROM, HOST4, HOST6, Packet, What};

pub(crate) const SECOND_NS: u64 = 1_000_000_000;
pub(crate) const MINUTE_NS: u64 = 60 * SECOND_NS;
pub(crate) const HOUR_NS: u64 = 60 * MINUTE_NS;
pub(crate) const DAY_NS: u64 = 24 * HOUR_NS;

/// The host's ports, of which TCP and UDP have the same.
pub(crate) struct Ports {
    pub(crate) key: [u64; 2],
    pub(crate) public: Vec<u16>,
    pub(crate) restricted: Vec<u16>,
    pub(crate) canary: Vec<u16>,
    pub(crate) closed: Vec<u16>,
    pub(crate) unknown: Vec<u16>,
    /// Held closed, but something listens there.
    pub(crate) listening: u16,
    /// Held closed, but every sender has a connection with it.
    pub(crate) connected: u16,
    /// Held closed, where answers from services may come.
    pub(crate) high: u16,
    /// Held closed, where answers to the host's own connections come.
    pub(crate) ephemeral: u16,
}

/// One host for all tests. Contacts are told apart by a keyed hash of eight bits. Where two of them collide the second does not count,
/// and which one that is depends on the order: known and accepted, but not what is tested here. So key and ports are such that no two
/// contacts, of any kind, at the same address of this host share a bit of a set.
pub(crate) static PORTS: LazyLock<Ports> =
    LazyLock::new(|| (1..).find_map(|key| Ports::without_collisions([key, 7])).expect("a key without collisions"));

impl Ports {
    fn without_collisions(key: [u64; 2]) -> Option<Self> {
        let mut taken = Taken::new(key);
        let mut low = 1..1024;
        let mut some = |count: usize, taken: &mut Taken| -> Vec<u16> {
            low.by_ref().filter(|port| taken.take(*port)).take(count).collect()
        };
        let [public, restricted, canary, closed, unknown, single] =
            [2, 3, 3, 12, 2, 2].map(|count| some(count, &mut taken));
        let high = (2_000..32_000).find(|port| taken.take(*port))?;
        let ephemeral = (41_000..60_000).find(|port| taken.take(*port))?;
        let [listening, connected] = single.try_into().ok()?;
        Some(Self { key, public, restricted, canary, closed, unknown, listening, connected, high, ephemeral })
    }

    pub(crate) fn class(&self, port: u16) -> PortClass {
        let classes = [
            (&self.public, PortClass::Public),
            (&self.restricted, PortClass::Restricted),
            (&self.canary, PortClass::Canary),
            (&self.unknown, PortClass::Unknown),
        ];
        classes.iter().find(|(ports, _)| ports.contains(&port)).map_or(PortClass::Closed, |(_, class)| *class)
    }

    pub(crate) fn all(&self) -> Vec<u16> {
        let lists = [&self.public, &self.restricted, &self.canary, &self.closed, &self.unknown];
        let single = [self.listening, self.connected, self.high, self.ephemeral];
        lists.into_iter().flatten().copied().chain(single).collect()
    }

    /// Where every sender has a connection: to services, and from a port that is held closed.
    pub(crate) fn with_connections(&self) -> Vec<u16> {
        vec![self.public[0], self.restricted[0], self.connected, self.ephemeral]
    }
}

/// Bits of contact sets that are taken, by destination.
struct Taken {
    key: [u64; 2],
    bits: [Vec<ContactBit>; 2],
}

const WITH_PORTS: [ContactKind; 4] = [ContactKind::Tcp, ContactKind::Udp, ContactKind::Illegal, ContactKind::Fragment];
/// Unhandled protocols that are sent.
const PROTOCOLS: [u8; 2] = [200, 201];

impl Taken {
    fn new(key: [u64; 2]) -> Self {
        let mut taken = Self { key, bits: [vec![], vec![]] };
        let portless = [(ContactKind::Icmp, 0), (ContactKind::Chain, 0), (ContactKind::Fragment, 0)];
        let protocols = PROTOCOLS.map(|number| (ContactKind::Protocol, u16::from(number)));
        assert!(taken.take_all(&[&portless[..], &protocols].concat()), "choose another key");
        taken
    }

    fn take(&mut self, port: u16) -> bool {
        self.take_all(&WITH_PORTS.map(|kind| (kind, port)))
    }

    fn take_all(&mut self, contacts: &[(ContactKind, u16)]) -> bool {
        let mut bits = self.bits.clone();
        for (host, bits) in hosts().into_iter().zip(&mut bits) {
            for (kind, port) in contacts {
                let bit = ContactBit::of(&self.key, &host.into(), *kind, *port);
                if bits.contains(&bit) {
                    return false;
                }
                bits.push(bit);
            }
        }
        self.bits = bits;
        true
    }
}

fn hosts() -> [IpAddr; 2] {
    [HOST4.into(), HOST6.into()]
}

pub(crate) const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

pub(crate) const fn v6(network: u16, subnet: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, network, subnet, 0, 0, 0, host))
}

/// Who sends: three of one /24, a stranger, two of one /64, a neighbour of theirs in the /48, another stranger.
pub(crate) const SENDERS: [IpAddr; 8] = [
    v4(203, 0, 113, 1),
    v4(203, 0, 113, 2),
    v4(203, 0, 113, 3),
    v4(198, 51, 100, 7),
    v6(0x66, 1, 1),
    v6(0x66, 1, 2),
    v6(0x66, 2, 1),
    v6(0x77, 1, 1),
];

/// The first sender through a translator: the same source at another address.
pub(crate) const TRANSLATED: IpAddr = IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 203 << 8, 113 << 8 | 1));

/// All of them.
pub(crate) fn senders() -> Vec<IpAddr> {
    [&SENDERS[..], &[TRANSLATED]].concat()
}

/// What userspace may decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decision {
    Conceal,
    BlockPrivate,
    BlockAll,
    Hard,
}

impl Decision {
    pub(crate) const MILD: [Self; 2] = [Self::Conceal, Self::BlockPrivate];
    pub(crate) const SOFT: [Self; 3] = [Self::Conceal, Self::BlockPrivate, Self::BlockAll];
    pub(crate) const ALL: [Self; 4] = [Self::Conceal, Self::BlockPrivate, Self::BlockAll, Self::Hard];

    pub(crate) const fn verdict(self, origin: Origin, expires_ns: u64) -> Verdict {
        let (private, all) =
            (Verdict::block(Scope::Private, origin, expires_ns), Verdict::block(Scope::All, origin, expires_ns));
        match self {
            Self::Conceal => Verdict { level: Level::Conceal as u8, ..private },
            Self::BlockPrivate => private,
            Self::BlockAll => all,
            Self::Hard => Verdict { hard: 1, ..all },
        }
    }
}

/// Something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Send(Packet),
    /// SOURCES forgets a sender.
    Evict(IpAddr),
    /// The daemon comes to life or dies.
    Watch(bool),
    /// Userspace decides about a sender for so long.
    Decide(IpAddr, Decision, Origin, u64),
    /// The service on [`Ports::listening`] starts or stops.
    Listen(bool),
}

/// Something happens so long after what happened before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) gap_ns: u64,
    pub(crate) act: Act,
}

/// The host.
pub(crate) struct World {
    pub(crate) tables: MemoryTables,
    pub(crate) config: KernelConfig,
    pub(crate) now_ns: u64,
    watched: bool,
}

impl World {
    /// A host that enforces, with the defaults and a daemon that is alive.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with other settings.
    pub(crate) fn with(change: impl FnOnce(&mut KernelConfig)) -> Self {
        let mut config = KernelConfig { mode: Mode::Enforce as u32, ..KernelConfig::new(PORTS.key) };
        change(&mut config);
        let mut world = Self { tables: MemoryTables::new(config), config, now_ns: 30 * DAY_NS, watched: true };
        for host in hosts() {
            world.tables.add_own_address(host.into());
        }
        for port in PORTS.all() {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                world.tables.set_port_class(protocol, port, PORTS.class(port));
            }
            if matches!(PORTS.class(port), PortClass::Public | PortClass::Restricted) {
                world.listen(port, true);
            }
        }
        world.listen(PORTS.listening, true);
        for sender in senders() {
            world.connect(sender);
        }
        world
    }

    fn listen(&mut self, port: u16, listens: bool) {
        let socket = if listens { Socket::Listening } else { Socket::None };
        for (host, protocol) in hosts().into_iter().flat_map(|host| [(host, Protocol::Tcp), (host, Protocol::Udp)]) {
            let flow = Flow {
                source: host.into(),
                destination: host.into(),
                source_port: 0,
                destination_port: port,
                protocol: protocol as u32,
            };
            self.tables.set_socket(flow.to_listener(), socket);
        }
    }

    /// The connections of [`Ports::with_connections`].
    fn connect(&mut self, sender: IpAddr) {
        for destination_port in PORTS.with_connections() {
            let flow = Flow {
                source: sender.into(),
                destination: Packet::new(sender, What::Ping).to().into(),
                source_port: CONNECTED_FROM,
                destination_port,
                protocol: Protocol::Tcp as u32,
            };
            self.tables.set_socket(flow, Socket::Connected);
        }
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, gap_ns: u64) {
        self.now_ns += gap_ns;
        self.tables.set_now(self.now_ns);
        if self.watched {
            self.config.heartbeat_ns = self.now_ns;
        }
        self.tables.set_config(self.config);
    }

    /// The daemon comes to life, or was last seen exactly too long ago.
    pub(crate) fn watch(&mut self, watched: bool) {
        self.watched = watched;
        self.config.heartbeat_ns = if watched { self.now_ns } else { self.now_ns - HEARTBEAT_LIMIT_NS };
        self.tables.set_config(self.config);
    }

    /// Sends one packet.
    pub(crate) fn send(&mut self, packet: &Packet) -> Action {
        self.wait(0);
        process_frame(&Frame(&packet.frame()), &self.tables)
    }

    /// Sends one packet without a tag.
    pub(crate) fn ask(&mut self, from: IpAddr, what: What) -> Action {
        self.send(&Packet::new(from, what))
    }

    /// Whether a SYN to a port gets through.
    pub(crate) fn opens(&mut self, from: IpAddr, port: u16) -> bool {
        self.ask(from, syn(port)) == Action::Pass
    }

    /// SYNs to so many closed ports.
    pub(crate) fn scan(&mut self, from: IpAddr, ports: usize) {
        for port in &PORTS.closed[..ports] {
            self.ask(from, syn(*port));
        }
    }

    /// What happens, and what becomes of it if it is a packet.
    pub(crate) fn act(&mut self, act: &Act) -> Option<Action> {
        match *act {
            Act::Send(packet) => return Some(self.send(&packet)),
            Act::Evict(sender) => self.tables.evict(&self.key(sender)),
            Act::Watch(watched) => self.watch(watched),
            Act::Decide(sender, decision, origin, lifetime_ns) => self.decide(sender, decision, origin, lifetime_ns),
            Act::Listen(listens) => self.listen(PORTS.listening, listens),
        }
        None
    }

    pub(crate) fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.wait(step.gap_ns);
            self.act(&step.act);
        }
    }

    pub(crate) fn decide(&mut self, sender: IpAddr, decision: Decision, origin: Origin, lifetime_ns: u64) {
        let verdict = decision.verdict(origin, self.now_ns + lifetime_ns);
        self.tables.set_verdict(self.key(sender), Some(verdict));
    }

    pub(crate) fn know(&mut self, sender: IpAddr, lifetime_ns: u64) {
        self.tables.set_known(self.key(sender), Known { restricted_until_ns: self.now_ns + lifetime_ns });
    }

    /// Whom a sender is counted as.
    pub(crate) fn key(&self, sender: IpAddr) -> SourceKey {
        let version = if sender.is_ipv4() { 4 } else { 6 };
        let parsed = Parsed { source: sender.into(), version, ..Parsed::default() };
        self.config.keys.source(&parsed).expect("a source that is judged")
    }

    pub(crate) fn records(&self) -> BTreeMap<String, SourceRecord> {
        by_name(self.tables.records())
    }

    pub(crate) fn networks(&self) -> BTreeMap<String, SourceRecord> {
        by_name(self.tables.networks())
    }

    pub(crate) fn record(&self, sender: IpAddr) -> Option<SourceRecord> {
        let key = self.key(sender);
        self.tables.records().into_iter().find(|record| record.source == key)
    }

    pub(crate) fn is_suspect(&self, sender: IpAddr) -> bool {
        self.record(sender).is_some_and(|record| record.is_suspect(self.now_ns))
    }

    pub(crate) fn suspects(&self) -> BTreeSet<String> {
        suspects(self.records(), self.now_ns)
    }

    pub(crate) fn suspect_networks(&self) -> BTreeSet<String> {
        suspects(self.networks(), self.now_ns)
    }

    /// When the port a packet asks for was last seen open.
    pub(crate) fn seen_open(&self, packet: &Packet, port: u16, protocol: Protocol) -> Option<u64> {
        let endpoint =
            Endpoint { address: packet.to().into(), port, protocol: protocol as u8, reserved: 0, more_reserved: 0 };
        self.tables.all_opened().into_iter().find(|(opened, _)| *opened == endpoint).map(|(_, seen_ns)| seen_ns)
    }

    /// How many packets were counted as dropped in a mode, which in observe none is.
    pub(crate) fn counted_drops(&self, mode: Mode) -> u64 {
        let levels = [Level::Conceal, Level::Block];
        let reasons = levels.into_iter().flat_map(|level| Reason::ALL.iter().map(move |reason| (level, *reason)));
        reasons.map(|(level, reason)| self.tables.counter(CounterIndex::verdict(level, reason, mode)).packets).sum()
    }
}

fn by_name(records: Vec<SourceRecord>) -> BTreeMap<String, SourceRecord> {
    records.into_iter().map(|record| (IpAddr::from(record.source.0).to_string(), record)).collect()
}

fn suspects(records: BTreeMap<String, SourceRecord>, now_ns: u64) -> BTreeSet<String> {
    records.into_iter().filter(|(_, record)| record.is_suspect(now_ns)).map(|(name, _)| name).collect()
}

/// An entry of the allowlist that never ends; an IPv4 prefix has 96 bits more than people count.
pub(crate) fn entry(address: IpAddr, bits: u8) -> (Address, u8, u64) {
    let bits = if address.is_ipv4() { 96 + bits } else { bits };
    (Address::from(address).masked(&Address::mask(bits)), bits, u64::MAX)
}

pub(crate) const fn syn(port: u16) -> What {
    What::Tcp { flags: SYN, port }
}

pub(crate) const fn datagram(port: u16) -> What {
    What::Udp { from: ASKING_FROM, port }
}

/// Flags of an illegal segment.
pub(crate) const ILLEGAL: [u8; 6] = [0, FIN, FIN | PSH | URG, SYN | FIN, SYN | RST, SYN | FIN | ACK];
/// Flags of a segment without SYN and with ACK or RST.
pub(crate) const ESTABLISHED: [u8; 6] = [ACK, ACK | PSH, FIN | ACK, RST, RST | ACK, ACK | URG];

pub(crate) fn port() -> impl Strategy<Value = u16> {
    let closed = [&PORTS.closed[..], &PORTS.canary].concat();
    prop_oneof![select(PORTS.all()), select(closed), select(PORTS.restricted.clone())]
}

/// What is sent: everything there is.
pub(crate) fn what() -> impl Strategy<Value = What> {
    let tcp = |flags: Vec<u8>| (select(flags), port()).prop_map(|(flags, port)| What::Tcp { flags, port });
    let other = vec![What::Ping, What::IcmpError, What::TinyLater, What::Later, What::Chain, What::Protocol(47)];
    prop_oneof![
        6 => port().prop_map(syn),
        3 => (select(vec![ASKING_FROM, 53]), port()).prop_map(|(from, port)| What::Udp { from, port }),
        2 => tcp(vec![ACK, FIN | ACK]),
        2 => tcp(ILLEGAL.to_vec()),
        1 => tcp(vec![RST, RST | ACK, SYN | ACK]),
        2 => segment(),
        1 => port().prop_map(|port| What::Tiny { port }),
        1 => select(PROTOCOLS.to_vec()).prop_map(What::Protocol),
        1 => select(other),
    ]
}

/// A segment of a connection.
pub(crate) fn segment() -> impl Strategy<Value = What> {
    (select(ESTABLISHED.to_vec()), select(PORTS.with_connections()))
        .prop_map(|(flags, port)| What::Segment { flags, port })
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    (select(senders()), what(), any::<bool>()).prop_map(|(from, what, tagged)| Packet { from, what, tagged })
}

/// From nothing to days, mostly little.
pub(crate) fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => Just(0),
        4 => 1..SECOND_NS,
        4 => SECOND_NS..2 * MINUTE_NS,
        3 => MINUTE_NS..70 * MINUTE_NS,
        1 => HOUR_NS..8 * HOUR_NS,
        1 => DAY_NS..4 * DAY_NS,
    ]
}

fn step(act: impl Strategy<Value = Act>) -> impl Strategy<Value = Step> {
    (gap(), act).prop_map(|(gap_ns, act)| Step { gap_ns, act })
}

/// Somebody scans: SYNs to so many ports at once.
fn burst() -> impl Strategy<Value = Vec<Step>> {
    (select(senders()), 3..12_usize).prop_map(|(from, count)| {
        let packets = PORTS.closed[..count].iter().map(|port| Packet::new(from, syn(*port)));
        packets.map(|packet| Step { gap_ns: 0, act: Act::Send(packet) }).collect()
    })
}

/// A history of packets, scans among them, and of these acts.
pub(crate) fn history_with(acts: impl Strategy<Value = Act> + 'static) -> impl Strategy<Value = Vec<Step>> {
    let part = prop_oneof![
        20 => step(packet().prop_map(Act::Send)).prop_map(|step| vec![step]),
        3 => step(acts).prop_map(|step| vec![step]),
        2 => burst(),
    ];
    prop::collection::vec(part, 1..80).prop_map(|parts| parts.concat())
}

/// A history of packets alone.
pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    history_with(packet().prop_map(Act::Send))
}

/// All that userspace and the machine may do, but for these verdicts.
pub(crate) fn acts(decisions: &'static [Decision]) -> impl Strategy<Value = Act> {
    let sender = || select(senders());
    let origin = select(vec![Origin::Controller, Origin::Operator]);
    prop_oneof![
        sender().prop_map(Act::Evict),
        any::<bool>().prop_map(Act::Watch),
        any::<bool>().prop_map(Act::Listen),
        (sender(), select(decisions), origin, gap()).prop_map(|(sender, decision, origin, lifetime_ns)| Act::Decide(
            sender,
            decision,
            origin,
            lifetime_ns
        )),
    ]
}
