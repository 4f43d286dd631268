//! The whole datapath over tables in memory: an input is a history of packets that arrive and leave, of time that passes, and of what
//! userspace decides meanwhile.
//!
//! What must hold, after every packet:
//!
//! - a segment of a connection that the host has passes, short of a hard block
//! - who is on the allowlist is not acted on, nor is whoever has no key (loopback, multicast, our own addresses)
//! - in mode observe nothing is dropped but what an operator blocked
//! - no port that is public, or of which nothing is known, is closed to anybody below a block of everything
//! - an answer is no longer than what it answers, goes back where that came from, and is given in mode enforce with challenges on
//!
//! And at the end of it:
//!
//! - every packet was counted once, with its bytes
//! - no record says what cannot be (a score above the cap, contacts that were not counted, times to come)
//! - with nobody there any more, a day later nobody is a suspect, and what everybody sends passes

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scanguard_common::address::{Address, prefix};
use scanguard_common::challenge::{ChallengeMode, ChallengeRules, Nic};
use scanguard_common::class::{PortClass, PortEntry, Protocol};
use scanguard_common::config::{HEARTBEAT_LIMIT_NS, KernelConfig};
use scanguard_common::counter::CounterIndex;
use scanguard_common::datapath::connection::{Connection, begin, end, half_close};
use scanguard_common::datapath::{Action, answer_frame, judge_leaving};
use scanguard_common::flow::Flow;
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::packet::reply::REPLY_BYTES;
use scanguard_common::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
use scanguard_common::packet::{Parsed, Shape, parse};
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_common::record::SourceRecord;
use scanguard_common::session::{SynAck, SynAckLeft};
use scanguard_common::source::SourceKey;
use scanguard_common::tables::Socket;
use scanguard_common::verdict::{Known, Origin, Scope, Verdict};

use crate::bytes::Bytes;
use crate::frame::{self, HOST_MAC, Tcp, Way};

const HOUR_NS: u64 = 3_600_000_000_000;
/// When histories begin.
const BEGIN_NS: u64 = 1000 * HOUR_NS;
/// The longest time that what is decided here lasts.
const LONGEST_NS: u64 = 24 * HOUR_NS;

const HOST4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
/// A host of a network behind this one.
const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: u16, b: u16, c: u16, d: u16, last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, last))
}

/// Who sends: neighbours and strangers, one behind a translator, and some who are never judged.
const SENDERS: [IpAddr; 16] = [
    v4(203, 0, 113, 1),
    v4(203, 0, 113, 2),
    v4(203, 0, 113, 3),
    v4(198, 51, 100, 7),
    v4(10, 0, 0, 9),
    v4(127, 0, 0, 1),
    v4(224, 0, 0, 5),
    v4(192, 0, 2, 10),
    v6(0x2001, 0xdb8, 0x66, 1, 1),
    v6(0x2001, 0xdb8, 0x66, 1, 2),
    v6(0x2001, 0xdb8, 0x66, 2, 1),
    v6(0x2001, 0xdb8, 0x77, 1, 1),
    // 64:ff9b::203.0.113.1
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xcb00, 0x7101)),
    v6(0xfe80, 0, 0, 0, 3),
    v6(0x2001, 0, 0x1234, 0x5678, 9),
    v6(0xff02, 0, 0, 0, 1),
];

/// Ports that are asked for, and what each is.
const PORTS: [(u16, PortClass); 16] = [
    (80, PortClass::Public),
    (443, PortClass::Public),
    (22, PortClass::Restricted),
    (3306, PortClass::Restricted),
    (23, PortClass::Canary),
    (5900, PortClass::Canary),
    (1, PortClass::Closed),
    (2, PortClass::Closed),
    (3, PortClass::Closed),
    (4, PortClass::Closed),
    (5, PortClass::Closed),
    (6, PortClass::Closed),
    (25, PortClass::Closed),
    // Where answers to the host's own connections arrive.
    (41_000, PortClass::Closed),
    (7000, PortClass::Unknown),
    (53, PortClass::Unknown),
];

/// Port from which everybody has connections.
const CONNECTED_FROM: u16 = 40_000;
/// To which ports.
const CONNECTED_TO: [u16; 4] = [80, 22, 6, 41_000];
const FROM: [u16; 4] = [50_000, CONNECTED_FROM, 53, 443];
const FLAGS: [u8; 16] = [
    SYN,
    ACK,
    RST,
    SYN | ACK,
    FIN | ACK,
    RST | ACK,
    PSH | ACK,
    0,
    FIN,
    FIN | PSH | URG,
    SYN | FIN,
    SYN | RST,
    SYN | 0xc0,
    URG | ACK,
    0xff,
    PSH,
];

thread_local! {
    /// Making tables anew costs more than a history.
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

/// Plays a history and looks at all of it.
///
/// # Panics
/// When a promise is broken.
pub fn run(data: &[u8]) {
    WORLD.with_borrow_mut(|world| {
        world.begin();
        let mut bytes = Bytes(data);
        while !bytes.is_empty() {
            world.step(&mut bytes);
        }
        world.finish();
    });
}

/// Frames as a history of their arrivals, for seeds. What is longer than 255 bytes is cut.
#[must_use]
pub fn history<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let length = frame.len().min(255);
        bytes.extend_from_slice(&[RAW, length as u8]);
        bytes.extend_from_slice(&frame[..length]);
    }
    bytes
}

/// The number of the step that sends a frame as it is.
const RAW: u8 = 15;

/// The host, and what was told to it.
struct World {
    tables: MemoryTables,
    config: KernelConfig,
    now_ns: u64,
    watched: bool,
    /// The allowlist: prefix, bits, end.
    allowed: Vec<(Address, u8, u64)>,
    /// Whether there ever was a verdict: a hard one, one on everything, one of an operator's.
    hard: bool,
    all: bool,
    operators: bool,
    frames: u64,
    frame_bytes: u64,
    frame: Vec<u8>,
    /// The last answer, and to which segment.
    answer: Option<(Way, [u16; 2], [u32; 2])>,
    /// Who was named so far, by number.
    came: u32,
}

impl World {
    fn new() -> Self {
        let config = first_config();
        let mut tables = MemoryTables::new(config);
        for host in [IpAddr::V4(HOST4), IpAddr::V6(HOST6)] {
            tables.add_own_address(host.into());
        }
        for (port, class) in PORTS {
            let elsewhere = if class == PortClass::Closed { PortClass::Public } else { class };
            let entry = PortEntry::new(class, elsewhere);
            let entry = if [25, 80, 443].contains(&port) { entry.fallback() } else { entry };
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                tables.set_port(protocol, port, entry);
                if matches!(class, PortClass::Public | PortClass::Restricted) {
                    for host in [IpAddr::V4(HOST4), IpAddr::V6(HOST6)] {
                        let flow = flow(host, host, [0, port], protocol);
                        tables.set_socket(flow.to_listener(), Socket::Listening);
                    }
                }
            }
        }
        for sender in SENDERS {
            for port in CONNECTED_TO {
                let flow = flow(sender, host_for(sender), [CONNECTED_FROM, port], Protocol::Tcp);
                tables.set_socket(flow, Socket::Connected);
            }
        }
        Self {
            tables,
            config,
            now_ns: BEGIN_NS,
            watched: true,
            allowed: Vec::new(),
            hard: false,
            all: false,
            operators: false,
            frames: 0,
            frame_bytes: 0,
            frame: Vec::new(),
            answer: None,
            came: 0,
        }
    }

    /// As new, with the memory that there is.
    fn begin(&mut self) {
        self.tables.forget();
        self.config = first_config();
        (self.now_ns, self.watched, self.came) = (BEGIN_NS, true, 0);
        self.allowed.clear();
        (self.hard, self.all, self.operators) = (false, false, false);
        (self.frames, self.frame_bytes, self.answer) = (0, 0, None);
        self.tables.set_protected(Vec::new());
        self.tables.set_nic(None);
        self.wait(0);
    }

    fn wait(&mut self, gap_ns: u64) {
        self.now_ns += gap_ns;
        self.tables.set_now(self.now_ns);
        if self.watched {
            self.config.heartbeat_ns = self.now_ns;
        }
        self.tables.set_config(self.config);
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.byte();
        match kind % 32 {
            // Segments most of all, in a byte each for who, where and what.
            0..=8 => {
                let (way, [from, to]) = incoming(bytes, &mut self.came);
                let flags = bytes.byte();
                let (sequence, mss) = (u32::from(flags >> 4), flags & 0x80 != 0);
                let flags = FLAGS[usize::from(flags & 15)];
                frame::tcp(&mut self.frame, way, Tcp { ports: [from, to], sequence, acknowledged: 1, flags, mss });
                self.send();
            }
            9 | 10 => {
                let (way, ports) = incoming(bytes, &mut self.came);
                frame::udp(&mut self.frame, way, ports);
                self.send();
            }
            11 => {
                let (way, _) = incoming(bytes, &mut self.came);
                frame::echo(&mut self.frame, way, false);
                self.send();
            }
            12 => {
                let (way, ports) = incoming(bytes, &mut self.came);
                let shape = bytes.byte();
                let mut tcp = [0; 20];
                tcp[..2].copy_from_slice(&ports[0].to_be_bytes());
                tcp[2..4].copy_from_slice(&ports[1].to_be_bytes());
                tcp[12] = 0x50;
                tcp[13] = FLAGS[usize::from(shape >> 4)];
                let length = [4, 8, 13, 14, 20][usize::from(shape & 7) % 5];
                frame::fragment(&mut self.frame, way, u16::from(shape >> 3 & 1), shape & 4 != 0, &tcp[..length]);
                self.send();
            }
            13 => {
                let (way, _) = incoming(bytes, &mut self.came);
                let protocol = bytes.byte();
                let length = usize::from(bytes.byte() & 63);
                frame::other(&mut self.frame, way, protocol, bytes.take(length));
                self.send();
            }
            // The last frame once more, with one byte changed.
            14 => {
                let (place, mask) = (usize::from(bytes.byte()), bytes.byte());
                let mut frame = std::mem::take(&mut self.frame);
                if let Some(byte) = frame.get_mut(place) {
                    *byte ^= mask;
                }
                self.frame = frame;
                self.send();
            }
            RAW => {
                let length = usize::from(bytes.byte());
                self.frame.clear();
                self.frame.extend_from_slice(bytes.take(length));
                self.send();
            }
            16 | 17 => self.meet(bytes),
            18..=20 => self.leave(bytes),
            21 | 22 => {
                let gap = bytes.byte();
                // From a nanosecond to a day.
                let gap_ns = (1_u64 << (gap % 47)).min(LONGEST_NS) + u64::from(gap);
                self.wait(gap_ns);
            }
            23 => self.decide(bytes),
            24 => self.allow(bytes),
            25 => self.set(bytes),
            26 => {
                let source = self.key_of(bytes.one_of(&SENDERS));
                if let Some(source) = source {
                    let until = self.now_ns + self.lifetime(bytes);
                    self.tables.set_known(source, Known { restricted_until_ns: until });
                }
            }
            27 => {
                if let Some(source) = self.key_of(bytes.one_of(&SENDERS)) {
                    self.tables.evict(&source);
                }
            }
            28 => {
                let is_on = bytes.byte() & 1 != 0;
                self.watched = is_on;
                if !is_on {
                    self.config.heartbeat_ns = self.now_ns.saturating_sub(HEARTBEAT_LIMIT_NS);
                }
                self.wait(0);
            }
            29 => self.session(bytes),
            30 => {
                let host = bytes.one_of(&[IpAddr::V4(HOST4), IpAddr::V6(HOST6)]);
                self.tables.set_refused(host.into(), self.now_ns);
            }
            _ => self.tables.trim(1 + usize::from(bytes.byte() & 7)),
        }
    }

    /// Somebody does what a real stack, or a guesser, does with the last answer.
    fn meet(&mut self, bytes: &mut Bytes<'_>) {
        let how = bytes.byte();
        let Some((way, ports, [sequence, acknowledged])) = self.answer else { return };
        let guess = u32::from(how >> 4);
        let tcp = match how & 3 {
            0 => Tcp { sequence: acknowledged.wrapping_add(guess), flags: RST, ..Tcp::default() },
            1 => Tcp { sequence: guess, flags: SYN, mss: true, ..Tcp::default() },
            2 => Tcp {
                sequence: acknowledged,
                acknowledged: sequence.wrapping_add(1).wrapping_add(guess),
                flags: ACK,
                mss: false,
                ..Tcp::default()
            },
            _ => Tcp { sequence: acknowledged, acknowledged: sequence, flags: FIN | ACK, ..Tcp::default() },
        };
        frame::tcp(&mut self.frame, way, Tcp { ports, ..tcp });
        self.send();
    }

    /// Something leaves.
    fn leave(&mut self, bytes: &mut Bytes<'_>) {
        let (way, [theirs, ours]) = incoming(bytes, &mut self.came);
        let way = Way { from: way.to, to: way.from, tagged: way.tagged };
        let ports = [ours, theirs];
        let kind = bytes.byte();
        match kind % 8 {
            0 => frame::tcp(&mut self.frame, way, Tcp { ports, flags: SYN | ACK, ..Tcp::default() }),
            1 => frame::tcp(&mut self.frame, way, Tcp { ports, flags: RST | ACK, ..Tcp::default() }),
            2 => frame::udp(&mut self.frame, way, ports),
            3 => frame::unreachable(&mut self.frame, way, ports),
            4 => frame::echo(&mut self.frame, way, true),
            5 => frame::tcp(&mut self.frame, way, Tcp { ports, flags: SYN, ..Tcp::default() }),
            6 => {
                self.frame.clear();
                self.frame.extend_from_slice(bytes.take(usize::from(kind)));
            }
            // What arrived last goes on, as where packets are forwarded.
            _ => {}
        }
        judge_leaving(&Frame(&self.frame), &self.tables);
    }

    fn lifetime(&self, bytes: &mut Bytes<'_>) -> u64 {
        (1_u64 << (bytes.byte() % 47)).min(LONGEST_NS)
    }

    /// A verdict on a source or a prefix, or none any more.
    fn decide(&mut self, bytes: &mut Bytes<'_>) {
        let sender = bytes.one_of(&SENDERS);
        self.came = u32::MAX; // Or a neighbour of his.
        let what = bytes.byte();
        let expires_ns = self.now_ns + self.lifetime(bytes);
        let origin = if what & 1 == 0 { Origin::Controller } else { Origin::Operator };
        let scope = if what & 2 == 0 { Scope::Private } else { Scope::All };
        let hard = what & 0x1c == 0x1c;
        let level = if what & 0x0c == 0x04 { Level::Conceal } else { Level::Block };
        let verdict = Verdict { hard: hard.into(), level: level as u8, ..Verdict::block(scope, origin, expires_ns) };
        let Some(source) = self.key_of(sender).filter(|source| !is_host(&source.0)) else {
            return; // Refused.
        };
        match what >> 5 {
            0 => {
                self.tables.set_verdict(source, None);
                return;
            }
            1 => {
                self.tables.set_prefix_verdicts(Vec::new());
                return;
            }
            2 | 3 => {
                let (network, length) = self.config.keys.prefix(source);
                let (address, bits) = prefix(network, length - length.min(what & 15));
                let covered = |(allowed, allowed_bits, _): &(Address, u8, u64)| {
                    *allowed_bits <= bits && address.masked(&Address::mask(*allowed_bits)) == *allowed
                };
                if self.allowed.iter().any(covered) {
                    return; // Refused.
                }
                self.tables.set_prefix_verdicts(vec![(address.masked(&Address::mask(bits)), bits, verdict)]);
            }
            _ => {
                let keys = self.config.keys;
                if self.allowed.iter().any(|(address, bits, _)| keys.overlaps(&source, address, *bits)) {
                    return; // Nobody is in both.
                }
                self.tables.set_verdict(source, Some(verdict));
            }
        }
        self.hard |= hard;
        self.all |= scope == Scope::All || hard;
        self.operators |= origin == Origin::Operator;
    }

    /// Another entry of the allowlist, or an empty one.
    fn allow(&mut self, bytes: &mut Bytes<'_>) {
        let how = bytes.byte();
        if how & 7 == 0 {
            self.allowed.clear();
        } else if self.allowed.len() < 4 {
            let sender = bytes.one_of(&SENDERS);
            let longest: u8 = if sender.is_ipv4() { 32 } else { 128 };
            let length = longest - [0, 0, 8, 64][usize::from(how >> 6)].min(longest);
            let (address, bits) = prefix(sender, length);
            let expires_ns = self.now_ns + self.lifetime(bytes);
            self.allowed.push((address.masked(&Address::mask(bits)), bits, expires_ns));
        }
        // A longest-prefix match sees one entry only: as in the kernel, each ends when the last of those ends that cover it.
        let ends = |(address, bits, _): &(Address, u8, u64)| {
            let covers = |(wide, wide_bits, _): &&(Address, u8, u64)| {
                wide_bits <= bits && address.masked(&Address::mask(*wide_bits)) == *wide
            };
            let last = self.allowed.iter().filter(covers).map(|(.., ends_ns)| *ends_ns).max();
            (*address, *bits, last.unwrap_or_default())
        };
        self.tables.set_allowed(self.allowed.iter().map(ends).collect());
    }

    /// Settings.
    fn set(&mut self, bytes: &mut Bytes<'_>) {
        let (what, value) = (bytes.byte(), bytes.byte());
        let config = &mut self.config;
        match what % 12 {
            0 | 1 => config.mode = if value & 1 == 0 { Mode::Enforce } else { Mode::Observe } as u32,
            2 => config.enforce_until_ns = if value == 0 { u64::MAX } else { self.now_ns + (1 << (value % 47)) },
            3 | 4 => {
                let modes = [ChallengeMode::Off, ChallengeMode::Canary, ChallengeMode::On];
                let mode = modes[usize::from(value) % modes.len()] as u32;
                config.challenge = ChallengeRules { keys: [[1, 2], [3, 4]], mode, reply: u32::from(value >> 7) };
                self.tables.set_nic((value & 0x40 == 0).then_some(Nic {
                    mac: HOST_MAC,
                    generic: value >> 4 & 1,
                    tagged_only: value >> 5 & 1,
                }));
            }
            5 => {
                config.egress_since_ns =
                    if value == 0 { u64::MAX } else { self.now_ns.saturating_sub(1 << (value % 47)) }
            }
            6 => config.forwards = u32::from(value & 1),
            7 => config.learnt = u32::from(value & 1),
            8 => config.storm.suspects_per_second = 1 + u32::from(value & 7),
            9 => {
                let behind = prefix(BEHIND.into(), 24);
                self.tables.set_protected(if value & 1 == 0 { Vec::new() } else { vec![behind] });
            }
            10 => config.keys.ignore_private = u32::from(value & 1),
            _ => config.opened_ns = 1 << (value % 52),
        }
        self.wait(0);
    }

    /// A connection begins or ends.
    fn session(&mut self, bytes: &mut Bytes<'_>) {
        use scanguard_common::tables::Tables as _;

        let how = bytes.byte();
        let (way, [_, port]) = incoming(bytes, &mut self.came);
        let version = if way.from.is_ipv4() { 4 } else { 6 };
        let cookie = u64::from(how >> 2 & 7);
        let (remote, remote_port, sequence) = (way.from.into(), 1_024, u32::from(how));
        let connection = Connection { cookie, remote, local: way.to.into(), version, port, remote_port, sequence };
        if how & 1 == 0 {
            if how >> 5 & 7 != 0
                && let Some(source) = self.key_of(way.from)
            {
                let left = SynAckLeft { time_ns: self.tables.now_ns(), cookie: 0 };
                self.tables.leave_syn_ack(&SynAck::new(source, remote_port, sequence), &left);
            }
            begin(&connection, &self.tables);
        } else {
            let traffic = u64::from(bytes.pair());
            half_close(&connection, traffic, traffic >> 3, &self.tables);
            end(&connection, traffic, traffic >> 3, &self.tables);
        }
    }

    fn key_of(&self, sender: IpAddr) -> Option<SourceKey> {
        self.config.keys.source_of(sender.into(), if sender.is_ipv4() { 4 } else { 6 })
    }

    /// The frame arrives.
    fn send(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        let mut reply = [0; REPLY_BYTES];
        self.tables.set_frame(&frame);
        let (action, length) = answer_frame(&Frame(&frame), &self.tables, &mut reply);
        self.frames += 1;
        self.frame_bytes += frame.len() as u64;
        if !matches!(action, Action::Pass | Action::PassPlain) {
            let parsed = parse(&Frame(&frame));
            self.may_act(&parsed);
            if action == Action::Answer {
                self.check_answer(&frame, &parsed, &reply[..length]);
            }
        }
        self.frame = frame;
    }

    /// Nothing forbids to act on this packet.
    fn may_act(&self, parsed: &Parsed) {
        let config = &self.config;
        let mode = config.mode_at(|| self.now_ns);
        assert!(self.operators || mode == Mode::Enforce, "dropped in mode observe: {parsed:?}");
        // Dropped whoever sends them; of the last nobody reads who that is.
        let is_refused = matches!(parsed.shape, Shape::LongChain | Shape::CutChain | Shape::PriorityTags);
        if parsed.shape == Shape::PriorityTags {
            return;
        }
        let source = config.keys.source(parsed);
        assert!(is_refused || source.is_some(), "never judged: {parsed:?}");
        assert!(is_refused || !is_host(&parsed.source), "our own address: {parsed:?}");
        let source = source.map_or(parsed.source, |source| source.0);
        let translated = source.is_mapped() && !parsed.source.is_mapped();
        for (allowed, bits, expires_ns) in &self.allowed {
            let covers = |address: &Address| address.masked(&Address::mask(*bits)) == *allowed;
            let covered = covers(&parsed.source) || (translated && covers(&source));
            assert!(
                !covered || *expires_ns <= self.now_ns,
                "on the allowlist at {}: {parsed:?}, {:?}",
                self.now_ns,
                self.allowed
            );
        }
        let is_tcp = parsed.shape == Shape::Tcp;
        let is_segment = is_tcp && parsed.tcp_flags & SYN == 0 && parsed.tcp_flags & (ACK | RST) != 0;
        if !self.hard {
            let is_connected = is_segment
                && parsed.source_port == CONNECTED_FROM
                && CONNECTED_TO.contains(&parsed.destination_port)
                && parsed.destination == host_for(parsed.source.into()).into()
                && SENDERS.iter().any(|sender| Address::from(*sender) == parsed.source)
                && parsed.version == if parsed.source.is_mapped() { 4 } else { 6 };
            assert!(!is_connected, "a connection of the host's: {parsed:?}");
        }
        if !self.all && is_host(&parsed.destination) {
            let is_plain = match parsed.shape {
                Shape::Tcp => parsed.tcp_flags & 0x3f == SYN || is_segment,
                Shape::Udp => true,
                _ => false,
            };
            let class = PORTS
                .iter()
                .find(|(port, _)| *port == parsed.destination_port)
                .map_or(PortClass::Unknown, |port| port.1);
            // Where clients of this host have their ports nothing is known of UDP, and what belongs to no flow is hidden from suspects.
            let is_clients = parsed.shape == Shape::Udp && config.is_ephemeral(parsed.destination_port);
            let is_open = class == PortClass::Public || (class == PortClass::Unknown && !is_clients);
            assert!(!(is_plain && is_open), "a port that is not to be hidden: {parsed:?}");
        }
    }

    /// An answer is one that a stack could give, and no more.
    fn check_answer(&mut self, frame: &[u8], parsed: &Parsed, answer: &[u8]) {
        assert!(self.config.challenge.is_on(), "challenges are off: {parsed:?}");
        assert!(answer.len() <= frame.len().max(60), "longer than what it answers: {frame:02x?}, {answer:02x?}");
        let said = parse(&Frame(answer));
        assert_eq!((&answer[..6], &answer[6..12]), (&frame[6..12], &frame[..6]), "link-layer addresses");
        assert_eq!((said.shape, said.vlan_tags), (Shape::Tcp, parsed.vlan_tags), "{said:?}");
        assert_eq!((said.source, said.destination), (parsed.destination, parsed.source), "{said:?}");
        assert_eq!(
            (said.source_port, said.destination_port),
            (parsed.destination_port, parsed.source_port),
            "{said:?}"
        );
        let at = usize::from(said.transport_offset);
        let word = |place: usize| {
            let bytes = answer[at + place..].first_chunk().expect("a TCP header");
            u32::from_be_bytes(*bytes)
        };
        let way = Way {
            from: address(&parsed.source, parsed.version),
            to: address(&parsed.destination, parsed.version),
            tagged: parsed.vlan_tags != 0,
        };
        self.answer = Some((way, [parsed.source_port, parsed.destination_port], [word(4), word(8)]));
    }

    /// What must hold in the end.
    fn finish(&mut self) {
        self.check_counters();
        let records = self.tables.records();
        for record in records.iter().chain(&self.tables.networks()) {
            self.check_record(record);
        }
        // Nobody is there any more, and everything that was decided has ended.
        self.watched = false;
        self.wait(LONGEST_NS + HOUR_NS);
        self.config.mode = Mode::Enforce as u32;
        self.wait(0);
        for record in records.iter().chain(&self.tables.networks()) {
            assert!(!record.is_suspect(self.now_ns), "a suspect for ever: {record:?}");
        }
        for (number, (sender, (port, _))) in SENDERS.into_iter().zip(PORTS.into_iter().rev()).enumerate() {
            if self.came & 1 << number == 0 {
                continue; // Nobody ever heard of him.
            }
            let way = Way { from: sender, to: host_for(sender), tagged: false };
            let tcp = Tcp { ports: [50_000, port], flags: SYN, ..Tcp::default() };
            frame::tcp(&mut self.frame, way, tcp);
            self.tables.set_frame(&self.frame);
            let (action, _) = answer_frame(&Frame(&self.frame), &self.tables, &mut [0; REPLY_BYTES]);
            assert_eq!(action, Action::Pass, "{sender} to port {port}, a day later");
        }
    }

    fn check_counters(&self) {
        let (mut packets, mut bytes) = (0, 0);
        let counters = self.tables.counters();
        for level in Level::ALL {
            for reason in Reason::ALL {
                for mode in Mode::ALL {
                    let counter = counters[CounterIndex::verdict(level, *reason, mode).get() as usize];
                    packets += counter.packets;
                    bytes += counter.bytes;
                }
            }
        }
        assert_eq!((packets, bytes), (self.frames, self.frame_bytes), "every packet is counted once");
    }

    fn check_record(&self, record: &SourceRecord) {
        let rules = &self.config.score;
        assert!(record.score <= rules.cap, "above the cap: {record:?}");
        let bits: u32 = record.contact_set.iter().map(|word| word.count_ones()).sum();
        assert!(bits <= record.contacts, "contacts that nobody counted: {record:?}");
        assert!(record.first_seen_ns <= record.last_seen_ns && record.last_seen_ns <= self.now_ns, "{record:?}");
        assert!(
            record.suspect_until_ns <= self.now_ns + self.config.conceal.longest_ns,
            "a suspect for too long: {record:?}"
        );
    }
}

/// What every history begins with.
fn first_config() -> KernelConfig {
    KernelConfig { mode: Mode::Enforce as u32, ..KernelConfig::new([5, 7]) }
}

fn host_for(sender: IpAddr) -> IpAddr {
    if sender.is_ipv4() { HOST4.into() } else { HOST6.into() }
}

fn is_host(address: &Address) -> bool {
    *address == IpAddr::V4(HOST4).into() || *address == IpAddr::V6(HOST6).into()
}

fn address(address: &Address, version: u8) -> IpAddr {
    let bytes = address.bytes();
    if version == 4 {
        return IpAddr::from(*address);
    }
    IpAddr::V6(Ipv6Addr::from(bytes))
}

fn flow(source: IpAddr, destination: IpAddr, [source_port, destination_port]: [u16; 2], protocol: Protocol) -> Flow {
    Flow {
        source: source.into(),
        destination: destination.into(),
        source_port,
        destination_port,
        protocol: protocol as u32,
    }
}

/// Who sends from where to which port: two bytes.
fn incoming(bytes: &mut Bytes<'_>, came: &mut u32) -> (Way, [u16; 2]) {
    let (who, what) = (bytes.byte(), bytes.byte());
    *came |= 1 << (who & 15);
    let from = SENDERS[usize::from(who & 15)];
    let is_behind = who & 0xc0 == 0xc0 && from.is_ipv4();
    let to = if is_behind { BEHIND.into() } else { host_for(from) };
    let way = Way { from, to, tagged: who & 0x30 == 0x30 };
    (way, [FROM[usize::from(what >> 6)], PORTS[usize::from(what & 15)].0])
}
