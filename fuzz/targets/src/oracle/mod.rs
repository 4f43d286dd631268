//! Non-interference: what a scanner can learn, and what not.
//!
//! An input is a history. It is played to two hosts that differ in the state of one hidden port alone: a service behind it, none, one that came or
//! went a moment ago. What the datapath passes goes to a model of the Linux stack (`stack`), what that answers through the egress program's
//! verdict. What must hold, after every packet:
//!
//! - **A source that is concealed or blocked, and not known, learns nothing**: what leaves for it is the same on both hosts, in content, number and order.
//!   (With challenges on a connection that met one may tell, on two ports an hour; with challenges on canaries alone those are told.)
//! - **Suspicion is the same on both**: it does not end on one of them earlier.
//! - **Nothing buys a scanner anything**: who was told of ports whose worth makes a suspect within a half-life is one, whatever else was sent before or
//!   between: at most three closed ports, or six restricted ones. (Work on public ports, and collisions of contacts, give it more; they are documented.)
//! - **Nor does a network that takes turns**: at most 12 closed ports are answered to all of it.
//! - **Under a block of everything nothing is answered**, but on connections that exist.
//! - **In a lockdown nobody is told of its ports**, free sources neither: no answer, and no suspicion that comes earlier on one of the hosts.
//!
//! Times, the daemon's death, storms, verdicts on sources and prefixes, a table that forgets, sessions and what the host itself sends come in between.

mod hole;
mod shape;
mod stack;
mod wire;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scanguard_common::address::{Address, prefix};
use scanguard_common::challenge::{ChallengeMode, ChallengeRules, Nic};
use scanguard_common::class::{PortClass, PortEntry, Protocol};
use scanguard_common::config::{HEARTBEAT_LIMIT_NS, KernelConfig};
use scanguard_common::contact::{ContactBit, ContactKind};
use scanguard_common::datapath::connection::{Connection, begin, end};
use scanguard_common::datapath::{Action, answer_frame, judge_leaving};
use scanguard_common::flow::Flow;
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::opened::Endpoint;
use scanguard_common::packet::reply::REPLY_BYTES;
use scanguard_common::reason::{Level, Mode};
use scanguard_common::source::SourceKey;
use scanguard_common::storm::StormRules;
use scanguard_common::tables::{Socket, Tables as _};
use scanguard_common::verdict::{Origin, Rule, Scope, Verdict};

use crate::bytes::Bytes;
pub use hole::Hole;
use shape::{Asked, FLAGS, Transport, odd, plain};
use stack::{Addresses, Ends, Stack, TCP, TFTP, UDP};
use wire::{ACK, FIN, FRESH_PORT, HOST_MAC, RST, SYN, Segment};

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3_600 * SECOND_NS;
/// When histories begin.
const BEGIN_NS: u64 = 1000 * HOUR_NS;
/// Packets of one input at most.
const MOST_PACKETS: u32 = 20_000;

const ADDRESSES: Addresses = Addresses {
    v4: Ipv4Addr::new(192, 0, 2, 10),
    broadcast: Ipv4Addr::new(192, 0, 2, 255),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10),
    link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10),
};

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn v6(a: [u16; 8]) -> IpAddr {
    let [a, b, c, d, e, f, g, h] = a;
    IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// Who sends: scanners with some addresses each, their neighbours, and addresses that are odd.
const SENDERS: [IpAddr; 16] = [
    v4(203, 0, 113, 1),
    v6([0x2001, 0xdb8, 0x66, 1, 0, 0, 0, 1]),
    v4(203, 0, 113, 2),
    // The same source as the one before last.
    v6([0x2001, 0xdb8, 0x66, 1, 0, 0, 0, 2]),
    v4(203, 0, 113, 3),
    v6([0x2001, 0xdb8, 0x66, 2, 0, 0, 0, 1]),
    v4(198, 51, 100, 7),
    // 64:ff9b::203.0.113.1
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0xcb00, 0x7101]),
    // ::ffff:9.9.9.9
    v6([0, 0, 0, 0, 0, 0xffff, 0x0909, 0x0909]),
    v6([0x2001, 0, 0x1234, 0x5678, 0, 0, 0, 9]),
    v4(0, 1, 2, 3),
    v6([0x2001, 0, 0x1234, 0x5678, 0, 0, 0, 10]),
    v4(240, 0, 0, 1),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 3]),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 4]),
    // ::9.9.9.9
    v6([0, 0, 0, 0, 0, 0, 0x0909, 0x0909]),
];

const PUBLIC: [u16; 4] = [80, 443, 53, TFTP];
const RESTRICTED: [u16; 8] = [22, 3306, 5432, 6379, 27_017, 161, 1433, 50_051];
const CANARIES: [u16; 2] = [23, 5900];
/// Closed ports, mail and web among them, and one where connections of the host's own begin.
const CLOSED: [u16; 24] = [
    1, 2, 3, 4, 5, 6, 25, 110, 8080, 41_500, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012,
    1013, 1014,
];
/// Of which one is hidden, and differs.
const HIDDEN: [(u8, u16); 5] = [(TCP, 1022), (UDP, 1161), (TCP, 993), (TCP, 45_000), (UDP, 137)];
/// The port from which a client of the host sends.
const CLIENT: u16 = 42_007;
/// Where scanners send from: anywhere, a client's, as a resolver, nowhere.
const FROM: [u16; 4] = [50_000, 40_000, 53, 0];
/// The port from which everybody has a connection to the first public port.
const CONNECTED_FROM: u16 = 40_000;

/// What a port is, and what is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Port {
    own: PortClass,
    elsewhere: PortClass,
    listens: bool,
    /// Seen open a while ago.
    lately: bool,
}

const fn port(own: PortClass, elsewhere: PortClass, listens: bool) -> Port {
    Port { own, elsewhere, listens, lately: false }
}

/// What the hidden port may be: what a concealed source may not tell apart.
const STATES: [Port; 7] = [
    port(PortClass::Closed, PortClass::Restricted, false),
    port(PortClass::Restricted, PortClass::Restricted, true),
    // A service that began a moment ago, and one that ended.
    port(PortClass::Closed, PortClass::Restricted, true),
    port(PortClass::Restricted, PortClass::Restricted, false),
    // It was open in the last days, as userspace remembers, or the kernel.
    port(PortClass::Unknown, PortClass::Restricted, false),
    Port { lately: true, ..port(PortClass::Closed, PortClass::Restricted, false) },
    port(PortClass::Canary, PortClass::Restricted, false),
];
/// What else it may be under a block of everything.
const MORE_STATES: [Port; 2] =
    [port(PortClass::Public, PortClass::Public, true), port(PortClass::Unknown, PortClass::Public, true)];

thread_local! {
    /// Making tables anew costs more than a history.
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

/// Plays a history to both hosts and compares what they answer.
///
/// # Panics
/// When a source learns what it should not.
pub fn run(data: &[u8]) {
    play(data, None);
}

/// The same with a hole put back.
///
/// # Panics
/// When it is found.
pub fn run_with(data: &[u8], hole: Hole) {
    play(data, Some(hole));
}

fn play(data: &[u8], hole: Option<Hole>) {
    WORLD.with_borrow_mut(|world| {
        for host in &mut world.hosts {
            host.hole = hole;
        }
        let mut bytes = Bytes(data);
        world.begin(&mut bytes);
        while !bytes.is_empty() && world.packets < MOST_PACKETS {
            world.step(&mut bytes);
        }
    });
}

/// Histories to begin with: each way of beginning, and each kind of step by a scanner of either family, sixteen times.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    const TIMES: u8 = 16;
    let mut seeds = Vec::new();
    for start in 0..12 {
        for step in 0..32 {
            let mut seed = vec![step % 5, 0x10, start, start % 4];
            for time in 0..TIMES {
                // Who, what, how, and what is odd about it.
                seed.extend_from_slice(&[step, time & 1, time * 4, time, time, time << 4 | 1, time, 0]);
            }
            seeds.push(seed);
        }
    }
    seeds
}

/// What is held against a source.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Standing {
    Free,
    Concealed,
    /// Blocked from everything.
    Blocked,
}

/// One of the two.
struct Host {
    tables: MemoryTables,
    stack: Stack,
    /// Whether the egress program is there.
    is_judged: bool,
    hole: Option<Hole>,
    /// To whom datagrams left from a port of their own.
    answered_afresh: Vec<IpAddr>,
    /// Datagrams that left for who was not blocked: to whom, on which ports of ours and theirs.
    flows: Vec<(IpAddr, [u16; 2])>,
}

/// A port that a source was told of, before it was concealed.
#[derive(Clone, Copy, Debug)]
struct Told {
    time_ns: u64,
    host: IpAddr,
    protocol: u8,
    port: u16,
    worth: u32,
}

/// What one source, or one network, was told.
#[derive(Debug, Default)]
struct Lesson {
    /// A source, or the first address of a network.
    who: Address,
    told: Vec<Told>,
}

struct World {
    hosts: [Host; 2],
    /// Linux without us, for what a storm hides.
    naked: Stack,
    config: KernelConfig,
    hidden: (u8, u16),
    states: [Port; 2],
    now_ns: u64,
    watched: bool,
    /// Whether a lockdown closes the hidden port, from the beginning on.
    is_locked: bool,
    /// Whether the hosts may differ from now on: somebody who may know what the hidden port is asked for it.
    apart: bool,
    packets: u32,
    frame: Vec<u8>,
    scratch: Vec<u8>,
    /// The last answer of ours to whom, on which ports, with which numbers.
    answer: Option<(Asked, [u32; 2])>,
    lessons: Vec<Lesson>,
    networks: Vec<Lesson>,
    /// Whose records the table forgot while they were suspects: with the end of suspicion what they did before is forgotten.
    evicted: Vec<SourceKey>,
    /// Restricted ports that concealed sources were let through to by challenges: whose, which, and when.
    openings: Vec<(SourceKey, u16, u64)>,
    /// Sessions on public ports that lowered scores.
    credits: u32,
    /// To whom something of ours left, and from which port, so that answers are none of it evidence.
    ours: Vec<(SourceKey, u16)>,
    /// Whether the daemon was dead at any time, or a table forgot: budgets are not kept then.
    unreliable: bool,
    /// Whether there ever was a verdict.
    had_verdicts: bool,
    stormy_until_ns: u64,
}

impl World {
    fn new() -> Self {
        let config = first_config();
        let mut naked = Stack::new(ADDRESSES, false);
        for port in PUBLIC.into_iter().chain(RESTRICTED) {
            naked.listen(TCP, port, true);
            naked.listen(UDP, port, true);
        }
        Self {
            hosts: [Host::new(), Host::new()],
            naked,
            config,
            hidden: HIDDEN[0],
            states: [STATES[0]; 2],
            now_ns: BEGIN_NS,
            watched: true,
            is_locked: false,
            apart: false,
            packets: 0,
            frame: Vec::new(),
            scratch: Vec::new(),
            answer: None,
            lessons: Vec::new(),
            networks: Vec::new(),
            evicted: Vec::new(),
            openings: Vec::new(),
            credits: 0,
            ours: Vec::new(),
            unreliable: false,
            had_verdicts: false,
            stormy_until_ns: 0,
        }
    }

    /// As new; the first bytes say which port is hidden, what it is on either host, and what is held against the first two senders.
    fn begin(&mut self, bytes: &mut Bytes<'_>) {
        let (which, states, start, how) = (bytes.byte(), bytes.byte(), bytes.byte(), bytes.byte());
        let before = self.hidden;
        self.hidden = HIDDEN[usize::from(which) % HIDDEN.len()];
        self.config = first_config();
        let challenge =
            [ChallengeMode::Off, ChallengeMode::Off, ChallengeMode::Canary, ChallengeMode::On][usize::from(how & 3)];
        self.config.challenge = ChallengeRules { keys: [[1, 2], [3, 4]], mode: challenge as u32, reply: 0 };
        let is_blocked = matches!(start & 15, 6 | 7);
        self.is_locked = start & 15 == 11;
        self.config.lockdown_until_ns = if self.is_locked { u64::MAX } else { 0 };
        self.states = [usize::from(states & 15), usize::from(states >> 4)].map(|state| {
            let canaries = usize::from(challenge != ChallengeMode::Canary);
            // Canaries answer suspects where they are challenged, whatever closes the others.
            let most = if self.is_locked { STATES.len() - 1 } else { STATES.len() - 1 + canaries };
            match is_blocked {
                true => STATES[..most].iter().chain(&MORE_STATES).nth(state % (most + 2)).copied().unwrap_or(STATES[0]),
                // The commonest pair first.
                false => STATES[state % most],
            }
        });
        // Without the egress program what arrives alone is judged: then nothing is promised of blocks of everything, nor of ports that came or went.
        // Datagrams of resolvers may be answers then, whoever sends them.
        let is_judged = is_blocked || how & 0xc0 != 0xc0 || self.hidden.0 == UDP;
        self.config.egress_since_ns = if is_judged { BEGIN_NS - HOUR_NS } else { u64::MAX };
        for host in &mut self.hosts {
            host.is_judged = is_judged;
        }
        if !is_judged {
            let has_canary = challenge != ChallengeMode::Canary && !self.is_locked;
            let plain = [0, 1, 3, usize::from(has_canary) * 6];
            self.states = [states & 15, states >> 4].map(|state| STATES[plain[usize::from(state) % plain.len()]]);
        }
        (self.now_ns, self.watched, self.apart, self.packets) = (BEGIN_NS, true, false, 0);
        (self.answer, self.credits, self.unreliable, self.stormy_until_ns) = (None, 0, false, 0);
        self.had_verdicts = false;
        self.lessons.clear();
        self.networks.clear();
        self.ours.clear();
        self.openings.clear();
        self.evicted.clear();
        self.naked.forget();
        let _ = self.naked.take_changes();
        let hidden = self.hidden;
        for (host, state) in self.hosts.iter_mut().zip(self.states) {
            host.begin(before, hidden, state);
            if self.is_locked {
                host.lock(hidden);
            }
            host.tables.set_nic((how & 4 == 0).then_some(Nic { mac: HOST_MAC, generic: 0, tagged_only: 0 }));
        }
        self.naked.listen(before.0, before.1, false);
        self.naked.listen(hidden.0, hidden.1, self.states[0].listens);
        self.config.forwards = u32::from(how & 32 != 0);
        self.wait(0);
        for host in &mut self.hosts {
            if how & 16 == 0 {
                for address in own_addresses() {
                    host.tables.set_refused(address.into(), BEGIN_NS);
                }
            }
        }
        // Half of all begin with nothing held against anyone.
        match start & 15 {
            1..=4 => {
                for sender in [SENDERS[0], SENDERS[1]] {
                    self.scan(sender, 0, 4, usize::from(start >> 4));
                }
                if start & 15 == 4 {
                    self.evict(SENDERS[0]);
                }
            }
            5 => self.decide(None, Some((Level::Conceal, Scope::Private))),
            6 => self.decide(None, Some((Level::Block, Scope::All))),
            7 => self.decide(Some(24), Some((Level::Block, Scope::All))),
            8 => self.decide(None, Some((Level::Block, Scope::Private))),
            9 => self.decide(Some(24), Some((Level::Block, Scope::Private))),
            10 => self.storm(),
            _ => {}
        }
    }

    fn wait(&mut self, gap_ns: u64) {
        self.now_ns += gap_ns;
        if self.watched {
            self.config.heartbeat_ns = self.now_ns;
        }
        let mut left = [Vec::new(), Vec::new()];
        for (host, left) in self.hosts.iter_mut().zip(&mut left) {
            host.tables.set_now(self.now_ns);
            host.tables.set_config(self.config);
            let sent = host.stack.wait(self.now_ns);
            host.sync();
            *left = host.leave(sent);
        }
        let _ = self.naked.wait(self.now_ns);
        // Nobody sent anything: what differs differs for whoever is concealed.
        self.compare(&left, None);
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.byte();
        match kind % 32 {
            // Segments most of all.
            0..=8 => {
                let asked = self.asked(bytes);
                let flags = bytes.byte();
                let what = Transport::Tcp {
                    flags: FLAGS[usize::from(flags & 15)],
                    sequence: u32::from(flags >> 5),
                    acknowledged: 1,
                    data: 0,
                    options: flags & 16 != 0,
                };
                self.send_plain(&asked, what);
            }
            9..=11 => {
                let asked = self.asked(bytes);
                self.send_plain(&asked, Transport::Udp { data: 4, is_unsummed: false });
            }
            12 => {
                let asked = self.asked(bytes);
                let (kind, code) = (bytes.byte(), bytes.byte());
                let kinds = if asked.from.is_ipv4() { [8, 13, 8, 3, 17, 42] } else { [128, 128, 139, 1, 4, 135] };
                let kind = if kind & 7 < 6 { kinds[usize::from(kind & 7)] } else { kind };
                self.send_plain(&asked, Transport::Icmp { kind, code: code & 3, data: 12 });
            }
            13 => {
                let asked = self.asked(bytes);
                let protocol = bytes.byte();
                self.send_plain(&asked, Transport::Other { protocol, data: 24 });
            }
            14..=17 => self.send_odd(bytes),
            // The last frame once more, with one byte changed.
            18 => {
                let (place, mask) = (usize::from(bytes.byte()), bytes.byte());
                let mut frame = std::mem::take(&mut self.frame);
                if let Some(byte) = frame.get_mut(place) {
                    *byte ^= mask;
                }
                self.frame = frame;
                self.send();
            }
            19 => {
                let length = usize::from(bytes.byte());
                self.frame.clear();
                self.frame.extend_from_slice(bytes.take(length));
                self.send();
            }
            20 => self.neutral(bytes),
            21 => self.meet(bytes),
            22 => self.ours(bytes),
            23 | 24 => {
                let gap = bytes.byte();
                // From some milliseconds to a day.
                self.wait(((1_u64 << (20 + gap % 27)) + u64::from(gap)).min(24 * HOUR_NS));
            }
            25 => self.storm(),
            26 => {
                let sender = bytes.one_of(&SENDERS);
                self.evict(sender);
            }
            27 => {
                let (who, what) = (bytes.byte(), bytes.byte());
                let bits = [None, Some(24), None, Some(16)][usize::from(who & 3)];
                let verdict = match what & 7 {
                    0..=2 => None,
                    3 => Some((Level::Conceal, Scope::Private)),
                    4 | 5 => Some((Level::Block, Scope::Private)),
                    _ => Some((Level::Block, Scope::All)),
                };
                self.decide(bits, verdict);
            }
            28 => {
                let sender = bytes.one_of(&SENDERS);
                self.session(sender);
            }
            29 => {
                let (who, count) = (bytes.byte(), bytes.byte());
                self.scan(SENDERS[usize::from(who & 15)], who >> 4, usize::from(count & 7), usize::from(count >> 3));
            }
            30 => {
                self.watched = bytes.byte() & 1 != 0;
                if !self.watched {
                    self.unreliable = true;
                    self.config.heartbeat_ns = self.now_ns.saturating_sub(HEARTBEAT_LIMIT_NS);
                }
                self.wait(0);
            }
            _ if bytes.byte() & 1 == 0 => {
                for address in own_addresses() {
                    for host in &mut self.hosts {
                        host.tables.set_refused(address.into(), self.now_ns);
                    }
                }
            }
            // Somebody else is allowed: all that is suspected is looked at once more.
            _ => {
                let (address, bits) = prefix(v4(192, 0, 2, 99), 32);
                for host in &mut self.hosts {
                    host.tables.set_allowed(vec![(address, bits, u64::MAX)]);
                }
            }
        }
    }

    /// Who asks for what: two bytes. Half of what is asked for is the hidden port.
    fn asked(&self, bytes: &mut Bytes<'_>) -> Asked {
        let (who, what) = (bytes.byte(), bytes.byte());
        let from = SENDERS[usize::from(who & 15)];
        let to = match (who >> 4, from) {
            (15, IpAddr::V4(_)) => ADDRESSES.broadcast.into(),
            (14, IpAddr::V4(_)) => Ipv4Addr::BROADCAST.into(),
            (13, IpAddr::V4(_)) => v4(224, 0, 0, 1),
            (13 | 14, IpAddr::V6(_)) => v6([0xff02, 0, 0, 0, 0, 0, 0, 1]),
            (15, IpAddr::V6(_)) => ADDRESSES.link_local.into(),
            _ => host_for(from),
        };
        let port = match what & 63 {
            0..=23 => self.hidden.1,
            place @ 24..=47 => CLOSED[usize::from(place) - 24],
            place @ 48..=55 => RESTRICTED[usize::from(place) - 48],
            place @ 56..=57 => CANARIES[usize::from(place) - 56],
            place @ 58..=61 => PUBLIC[usize::from(place) - 58],
            62 => CLIENT,
            _ => 0,
        };
        Asked { from, to, ports: [FROM[usize::from(what >> 6)], port] }
    }

    fn send_plain(&mut self, asked: &Asked, what: Transport) {
        plain(asked, what, &mut self.scratch, &mut self.frame);
        self.send();
    }

    fn send_odd(&mut self, bytes: &mut Bytes<'_>) {
        let asked = self.asked(bytes);
        let what = bytes.byte();
        let what = match what & 3 {
            0 | 1 => Transport::Tcp {
                flags: FLAGS[usize::from(what >> 4)],
                sequence: 0,
                acknowledged: 1,
                data: [0, 20][usize::from(what >> 2 & 1)],
                options: what & 8 != 0,
            },
            2 => Transport::Udp { data: [4, 0, 24, 60][usize::from(what >> 2 & 3)], is_unsummed: what & 16 != 0 },
            _ if what & 4 == 0 => {
                Transport::Icmp { kind: if asked.from.is_ipv4() { 8 } else { 128 }, code: 0, data: 24 }
            }
            _ => Transport::Other { protocol: [99, 132, 47, 50, 4, 41, 136, 255][usize::from(what >> 5)], data: 24 },
        };
        for frame in odd(&asked, what, bytes) {
            self.frame = frame;
            self.send();
        }
    }

    /// Many packets that say nothing of anybody: datagrams to ports of clients, SYNs to public ones, echoes, segments of no connection.
    fn neutral(&mut self, bytes: &mut Bytes<'_>) {
        let (who, kind, count) = (bytes.byte(), bytes.byte(), bytes.byte());
        let from = SENDERS[usize::from(who & 15)];
        for number in 0..u16::from(count) * 2 {
            let port = |port| Asked { from, to: host_for(from), ports: [50_000 + number % 1000, port] };
            let segment =
                |flags| Transport::Tcp { flags, sequence: u32::from(number), acknowledged: 1, data: 0, options: false };
            match kind & 7 {
                0..=2 => self.send_plain(&port(43_000 + number), Transport::Udp { data: 4, is_unsummed: false }),
                3 => self.send_plain(&port(PUBLIC[usize::from(number & 1)]), segment(SYN)),
                4 => self.send_plain(&port(PUBLIC[0]), segment(ACK)),
                5 => self.send_plain(&port(CLOSED[usize::from(number) % CLOSED.len()]), segment(SYN | ACK)),
                6 => {
                    let kind = if from.is_ipv4() { 8 } else { 128 };
                    self.send_plain(&port(0), Transport::Icmp { kind, code: 0, data: 8 });
                }
                _ => self.send_plain(&port(CLOSED[usize::from(number) % CLOSED.len()]), segment(RST)),
            }
        }
    }

    /// The same question to some closed ports: SYNs, datagrams, or segments that nobody sends.
    fn scan(&mut self, from: IpAddr, how: u8, count: usize, first: usize) {
        let segment = |flags| Transport::Tcp { flags, sequence: 0, acknowledged: 0, data: 0, options: true };
        let what = match how {
            4..=6 => Transport::Udp { data: 4, is_unsummed: false },
            7 => segment(0),
            8 => segment(FIN | ACK),
            9 => segment(SYN | FIN),
            _ => segment(SYN),
        };
        for number in 0..count {
            let port = CLOSED[(first + number) % CLOSED.len()];
            // Each from another address of the network, if so.
            let from = if how >= 10 { neighbour(from, (first + number) as u8) } else { from };
            let asked = Asked { from, to: host_for(from), ports: [50_000, port] };
            self.send_plain(&asked, what);
        }
    }

    /// Somebody does what a real stack, or a guesser, does with the last answer.
    fn meet(&mut self, bytes: &mut Bytes<'_>) {
        let how = bytes.byte();
        let Some((asked, [sequence, acknowledged])) = self.answer else { return };
        let segment =
            |flags, sequence, acknowledged| Transport::Tcp { flags, sequence, acknowledged, data: 0, options: true };
        let guess = u32::from(how >> 4);
        match how & 3 {
            0 => self.send_plain(&asked, segment(RST, acknowledged, 0)),
            1 => {
                self.send_plain(&asked, segment(RST, acknowledged, 0));
                self.send_plain(&asked, segment(SYN, 0, 0));
            }
            2 => self.send_plain(&asked, segment(ACK, acknowledged, sequence.wrapping_add(1 + guess))),
            _ => self.send_plain(&asked, segment(SYN, guess, 0)),
        }
    }

    /// The host itself sends something to somebody.
    fn ours(&mut self, bytes: &mut Bytes<'_>) {
        let (who, what) = (bytes.byte(), bytes.byte());
        let to = SENDERS[usize::from(who & 15)];
        let theirs = FROM[usize::from(who >> 4 & 3)];
        let ours = [CLIENT, CLIENT, FRESH_PORT, 53][usize::from(what >> 1 & 3)];
        let asked = Asked { from: host_for(to), to, ports: [ours, theirs] };
        let is_datagram = what & 1 == 0;
        let what = if is_datagram {
            if let Some(key) = self.config.keys.source_of(to.into(), version(to)) {
                self.ours.push((key, ours));
            }
            Transport::Udp { data: 4, is_unsummed: false }
        } else {
            Transport::Tcp { flags: SYN, sequence: 7, acknowledged: 0, data: 0, options: true }
        };
        plain(&asked, what, &mut self.scratch, &mut self.frame);
        for host in &mut self.hosts {
            if host.is_judged {
                let _ = egress_verdict(&self.frame, &host.tables);
            }
            if is_datagram {
                host.flows.push((to, [ours, theirs]));
            }
        }
    }

    /// Suspects arose too fast.
    fn storm(&mut self) {
        let rules = StormRules { suspects_per_second: 0, ..self.config.storm };
        for host in &self.hosts {
            let _ = host.tables.state().map(|state| state.count_suspect(&rules, self.now_ns));
        }
        self.stormy_until_ns = self.now_ns + rules.duration_ns;
    }

    fn evict(&mut self, sender: IpAddr) {
        let Some(key) = self.key(sender) else { return };
        if self.hosts.iter().any(|host| host.tables.record(&key).is_some_and(|record| !record.is_suspect(self.now_ns)))
        {
            return; // Who is no suspect is forgotten with what it did; that needs as many sources as the table has room for.
        }
        self.evicted.push(key);
        for host in &mut self.hosts {
            host.tables.evict(&key);
            if host.hole == Some(Hole::WashedOut) {
                host.tables.forget(&key);
            }
        }
    }

    /// A verdict on the first two senders, or on the prefixes that they are of; or none any more.
    fn decide(&mut self, bits: Option<u8>, verdict: Option<(Level, Scope)>) {
        self.had_verdicts = true;
        let expires_ns = self.now_ns + 8 * HOUR_NS;
        let verdict = verdict.map(|(level, scope)| {
            let block = Verdict::block(scope, Origin::Controller, expires_ns);
            Verdict { level: level as u8, ..block }
        });
        let senders = [SENDERS[0], SENDERS[1]];
        let keys = senders.map(|sender| self.key(sender));
        for host in &mut self.hosts {
            match bits {
                None => {
                    for key in keys.into_iter().flatten() {
                        host.tables.set_verdict(key, verdict);
                    }
                }
                Some(bits) => {
                    let prefixes = senders.map(|sender| {
                        let bits = if sender.is_ipv4() { bits } else { bits * 2 };
                        let (address, bits) = prefix(sender, bits);
                        (address.masked(&Address::mask(bits)), bits)
                    });
                    let verdicts = verdict.map(|verdict| prefixes.map(|(address, bits)| (address, bits, verdict)));
                    host.tables.set_prefix_verdicts(verdicts.into_iter().flatten().collect());
                }
            }
        }
    }

    /// A session on a public port, with data both ways.
    fn session(&mut self, sender: IpAddr) {
        use scanguard_common::session::{SynAck, SynAckLeft};
        use scanguard_common::tables::Tables as _;

        let connection = Connection {
            cookie: u64::from(self.packets) << 8 | u64::from(self.credits),
            remote: sender.into(),
            local: host_for(sender).into(),
            version: version(sender),
            port: PUBLIC[0],
            remote_port: 1_024,
            sequence: self.packets,
        };
        let Some(source) = self.key(sender) else { return };
        let left = SynAckLeft { time_ns: self.now_ns, cookie: 0 };
        for host in &self.hosts {
            host.tables.leave_syn_ack(&SynAck::new(source, 1_024, self.packets), &left);
            begin(&connection, &host.tables);
            end(&connection, 100, 100, &host.tables);
        }
        self.credits += 1;
    }

    fn key(&self, sender: IpAddr) -> Option<SourceKey> {
        self.config.keys.source_of(sender.into(), version(sender))
    }

    /// The frame arrives at both hosts.
    fn send(&mut self) {
        self.packets += 1;
        let frame = std::mem::take(&mut self.frame);
        let sender = source_of(&frame);
        let before = sender.map(|sender| self.standings(sender));
        let mut left = [Vec::new(), Vec::new()];
        let mut first = Outcome::default();
        let mut dropped = [false; 2];
        for (number, host) in self.hosts.iter_mut().enumerate() {
            let outcome = host.receive(&frame, &self.config, self.now_ns);
            left[number] = outcome.left.clone();
            dropped[number] = outcome.is_dropped;
            if number == 0 {
                first = outcome;
            }
        }
        if let Some(answer) = first.answer.take() {
            self.note_answer(&answer);
        }
        self.frame = frame;
        if before.is_some_and(|before| before[0] == Standing::Concealed) {
            self.note_openings(&left[0]);
        }
        self.compare(&left, before);
        if let (Some(sender), Some(before)) = (sender, before) {
            self.follow(sender, before);
            // Who was answered by the port itself knows that it is open; how long it has been is nobody's secret then.
            let is_told = |frame: &Vec<u8>| told_by(frame).is_some_and(|told| (told.2, told.3) == self.hidden);
            let is_free = before.contains(&Standing::Free) && !self.is_locked;
            self.apart |= is_free && left[0].iter().any(is_told);
            // What waits in one host's stack alone may be answered later.
            self.apart |= dropped[0] != dropped[1] && is_free;
        }
        self.teach(&first, before);
    }

    fn standings(&self, address: IpAddr) -> [Standing; 2] {
        [0, 1].map(|number| self.hosts[number].standing(&self.config, address, self.now_ns))
    }

    /// What left both hosts is the same, as far as it goes to who may not learn anything.
    fn compare(&mut self, left: &[Vec<Vec<u8>>; 2], before: Option<[Standing; 2]>) {
        for (host, left) in self.hosts.iter_mut().zip(left) {
            for frame in left {
                host.check_block(&self.config, frame, self.now_ns);
            }
        }
        if self.apart || left[0] == left[1] {
            return;
        }
        let receivers: Vec<IpAddr> = left.iter().flatten().filter_map(|frame| destination_of(frame)).collect();
        for receiver in receivers {
            let to = |frame: &&Vec<u8>| destination_of(frame) == Some(receiver);
            if left[0].iter().filter(to).eq(left[1].iter().filter(to)) {
                continue;
            }
            let now = self.standings(receiver);
            let was = before.unwrap_or(now);
            let is_free = (was.contains(&Standing::Free) || now == [Standing::Free; 2]) && !self.is_locked;
            // What is open to all is told to whom it is not blocked from.
            let is_public = self.states.iter().any(|state| MORE_STATES.contains(state));
            let is_open = is_public && (was.contains(&Standing::Concealed) || now.contains(&Standing::Concealed));
            if is_free || is_open || self.met_a_challenge(receiver) {
                self.apart = true;
                return;
            }
            panic!(
                "{receiver} ({now:?}) learns of port {:?}, which is {:?} or {:?}, from {:02x?}: it gets {:02x?} or {:02x?}",
                self.hidden, self.states[0], self.states[1], self.frame, left[0], left[1]
            );
        }
    }

    /// Takes note of restricted ports that answered a concealed source: two an hour, and those of the hour before.
    fn note_openings(&mut self, left: &[Vec<u8>]) {
        let now_ns = self.now_ns;
        for frame in left {
            let Some((_, receiver, TCP, port)) = told_by(frame) else { continue };
            let Some(key) = self.key(receiver) else { continue };
            // Where a decoy would answer alike nothing is told.
            let is_restricted = RESTRICTED.contains(&port) && self.hosts[0].stack.is_half_open(receiver, port);
            let is_new = !self.openings.iter().any(|one| (one.0, one.1) == (key, port) && now_ns - one.2 < HOUR_NS);
            if is_restricted && is_new {
                self.openings.push((key, port, now_ns));
            }
        }
        for (key, ..) in &self.openings {
            let lately = self.openings.iter().filter(|one| one.0 == *key && now_ns - one.2 < HOUR_NS);
            let most = if self.config.challenge.mode == ChallengeMode::On as u32 { 3 } else { 0 };
            assert!(lately.count() <= most, "a concealed source got to {:?}", self.openings);
        }
    }

    /// Whether a connection of this source to the hidden port met a challenge lately, so that it may be told: it is one of two in an hour.
    fn met_a_challenge(&self, receiver: IpAddr) -> bool {
        if self.is_locked {
            return false; // It got a decoy.
        }
        let key = self.key(receiver);
        let openings = self.openings.iter().filter(|one| Some(one.0) == key && self.now_ns - one.2 < HOUR_NS);
        if openings.count() >= 2 {
            return false;
        }
        self.config.challenge.mode == ChallengeMode::On as u32
            && self.hosts.iter().any(|host| {
                host.tables.all_passes().iter().any(|(flow, pass)| {
                    pass.until_ns > self.now_ns
                        && flow.destination_port == self.hidden.1
                        && self.key(flow.source.into()) == key
                })
            })
    }

    /// Suspicion is the same on both hosts, and what is no suspect's may make them differ.
    fn follow(&mut self, sender: IpAddr, before: [Standing; 2]) {
        if self.apart {
            return;
        }
        if before.contains(&Standing::Free) {
            // What a source asks for while a verdict conceals it is held against it when that is lifted, and a closed port weighs more.
            assert!(
                before[0] == before[1] || self.had_verdicts,
                "{sender} is {before:?} without having asked for what differs"
            );
            let Some(key) = self.key(sender) else { return };
            let [one, other] = &self.hosts;
            let records = [one, other].map(|host| host.tables.record(&key));
            let scores = records.each_ref().map(|record| record.as_ref().map(|record| (record.score, record.failures)));
            assert!(
                !self.is_locked || scores[0] == scores[1],
                "{sender} is told by {scores:?} what is behind a lockdown"
            );
            self.apart = before[0] != before[1] || records[0] != records[1];
            return;
        }
        let after = self.standings(sender);
        self.apart |= after[0] != after[1] && self.had_verdicts;
        assert!(
            after[0] == after[1] || self.apart,
            "{sender} was concealed, and is {after:?} after {:02x?}",
            self.frame
        );
    }

    /// Takes note of what free sources were told, and holds it against what is held against them.
    fn teach(&mut self, outcome: &Outcome, before: Option<[Standing; 2]>) {
        if self.unreliable || self.hidden_is_odd() {
            return;
        }
        // To many nothing is scored: only somebody on the same link can send that.
        let is_to_group = destination_of(&self.frame).is_some_and(|to| !own_addresses().contains(&to));
        if is_to_group || before.is_some_and(|before| before[0] != Standing::Free) {
            return;
        }
        let mut told: Vec<(IpAddr, IpAddr, u8, u16)> = outcome.raw.iter().filter_map(|frame| told_by(frame)).collect();
        let is_stormy = self.stormy_until_ns > self.now_ns;
        if is_stormy && outcome.is_dropped && is_simple(&self.frame) {
            let naked = self.naked.receive(&self.frame);
            told.extend(naked.iter().filter_map(|frame| told_by(frame)));
        }
        for (host, receiver, protocol, port) in told {
            self.learn(host, receiver, protocol, port);
        }
        for frame in &outcome.left {
            if let Some((host, receiver, protocol, port)) = told_by(frame) {
                self.learn_network(host, receiver, protocol, port);
            }
        }
    }

    fn hidden_is_odd(&self) -> bool {
        !(STATES[0] == self.states[0] || STATES[1] == self.states[0])
    }

    fn worth(&self, protocol: u8, port: u16) -> u32 {
        let protocol = if protocol == TCP { Protocol::Tcp } else { Protocol::Udp };
        let entry = self.hosts[0].tables.port(protocol, port);
        match if entry.is_locked() { entry.unless_closed() } else { entry.own() } {
            PortClass::Closed | PortClass::Canary => self.config.score.step,
            PortClass::Restricted => self.config.score.step / 2,
            PortClass::Public | PortClass::Unknown => 0,
        }
    }

    fn learn(&mut self, host: IpAddr, receiver: IpAddr, protocol: u8, port: u16) {
        let worth = self.worth(protocol, port);
        let key = self.key(receiver);
        let is_ours =
            protocol == UDP && (key.is_some_and(|key| self.ours.contains(&(key, port))) || !self.hosts[0].is_judged);
        if worth == 0 || is_ours {
            return;
        }
        let who = key.map_or_else(|| receiver.into(), |key| key.0);
        let standing = self.hosts[0].standing(&self.config, receiver, self.now_ns);
        let (now_ns, rules) = (self.now_ns, self.config.score);
        let contact_key = self.config.contact_key;
        let lesson = lesson(&mut self.lessons, who);
        if standing == Standing::Free
            && let Some(place) = self.evicted.iter().position(|evicted| Some(*evicted) == key)
            && self.hosts[0].hole != Some(Hole::WashedOut)
        {
            self.evicted.swap_remove(place);
            lesson.told.clear();
        }
        let told = Told { time_ns: now_ns, host, protocol, port, worth };
        if !add(lesson, &contact_key, told) {
            return;
        }
        let since_ns = now_ns.saturating_sub(rules.half_life_ns);
        let told = lesson.told.iter().filter(|told| told.time_ns > since_ns);
        let sum: u32 = told.map(|told| told.worth).sum();
        let most = rules.conceal_at + self.credits * rules.step;
        assert!(
            sum < most || standing != Standing::Free,
            "{receiver} is free, and was told of {:?}, which is worth {sum} of {most}; the last frame was {:02x?}",
            lesson.told.iter().map(|told| (told.protocol, told.port)).collect::<Vec<_>>(),
            self.frame
        );
    }

    fn learn_network(&mut self, host: IpAddr, receiver: IpAddr, protocol: u8, port: u16) {
        if self.worth(protocol, port) != self.config.score.step {
            return;
        }
        let key = self.key(receiver);
        let is_ours =
            protocol == UDP && (key.is_some_and(|key| self.ours.contains(&(key, port))) || !self.hosts[0].is_judged);
        if is_ours {
            return;
        }
        let (now_ns, contact_key) = (self.now_ns, self.config.contact_key);
        let since_ns = now_ns.saturating_sub(self.config.score.half_life_ns);
        let lesson = lesson(&mut self.networks, network_of(receiver, key));
        let told = Told { time_ns: now_ns, host, protocol, port, worth: self.config.score.step };
        if !add(lesson, &contact_key, told) {
            return;
        }
        let told = lesson.told.iter().filter(|told| told.time_ns > since_ns).count();
        assert!(
            told <= 12,
            "the network of {receiver} was answered from {told} closed ports: {:?}; the last frame was {:02x?}",
            lesson.told.iter().map(|told| (told.protocol, told.port)).collect::<Vec<_>>(),
            self.frame
        );
    }

    /// Remembers the numbers of our own answer, for who meets it.
    fn note_answer(&mut self, frame: &[u8]) {
        let Some((from, to, TCP, at)) = read(frame) else { return };
        let Some(segment) = frame.get(at..).and_then(Segment::read) else { return };
        let asked = Asked { from: to, to: from, ports: [segment.to, segment.from] };
        self.answer = Some((asked, [segment.sequence, segment.acknowledged]));
    }
}

/// What became of a frame at one host.
#[derive(Default)]
struct Outcome {
    is_dropped: bool,
    /// What the datapath answered itself.
    answer: Option<Vec<u8>>,
    /// What the stack would have sent.
    raw: Vec<Vec<u8>>,
    /// What left.
    left: Vec<Vec<u8>>,
}

impl Host {
    fn new() -> Self {
        let mut tables = MemoryTables::new(first_config());
        for address in own_addresses() {
            tables.add_own_address(address.into());
        }
        tables.add_group(IpAddr::from(ADDRESSES.broadcast).into());
        let stack = Stack::new(ADDRESSES, true);
        let mut host =
            Self { tables, stack, is_judged: true, hole: None, answered_afresh: Vec::new(), flows: Vec::new() };
        for (port, what) in ports() {
            for protocol in [TCP, UDP] {
                host.set_port(protocol, port, what);
            }
        }
        for sender in SENDERS {
            host.stack.connect(connection_of(sender));
        }
        host.sync();
        host
    }

    /// As new but for the hidden port, which was another one before.
    fn begin(&mut self, before: (u8, u16), hidden: (u8, u16), state: Port) {
        let Self { tables, stack, is_judged: _, hole: _, answered_afresh, flows } = self;
        tables.forget();
        stack.forget();
        answered_afresh.clear();
        flows.clear();
        for sender in SENDERS {
            stack.connect(connection_of(sender));
        }
        self.sync();
        if before != hidden {
            self.set_port(before.0, before.1, STATES[0]);
        }
        self.set_port(hidden.0, hidden.1, state);
        if state.lately {
            for address in own_addresses() {
                let protocol = protocol_of(hidden.0);
                self.tables.open(&Endpoint::new(address.into(), hidden.1, protocol), BEGIN_NS - HOUR_NS);
            }
        }
    }

    fn set_port(&mut self, protocol: u8, port: u16, what: Port) {
        let entry = PortEntry::new(what.own, what.elsewhere);
        let entry = if [25, 80, 443, 993, 8080].contains(&port) { entry.fallback() } else { entry };
        self.tables.set_port(protocol_of(protocol), port, entry);
        for address in own_addresses() {
            let flow = Flow {
                source: address.into(),
                destination: address.into(),
                source_port: 0,
                destination_port: port,
                protocol: protocol_of(protocol) as u32,
            };
            let socket = if what.listens { Socket::Listening } else { Socket::None };
            self.tables.set_socket(flow.to_listener(), socket);
        }
        self.stack.listen(protocol, port, what.listens);
    }

    /// A lockdown closes a port.
    fn lock(&mut self, (protocol, port): (u8, u16)) {
        let protocol = protocol_of(protocol);
        let entry = self.tables.port(protocol, port);
        self.tables.set_port(protocol, port, entry.locked());
    }

    /// The datapath looks sockets up where the stack has them.
    fn sync(&mut self) {
        for (ends, is_there) in self.stack.take_changes() {
            let socket = if is_there { Socket::Connected } else { Socket::None };
            let [(theirs, from), (ours, to)] = ends;
            let flow = Flow {
                source: theirs.into(),
                destination: ours.into(),
                source_port: from,
                destination_port: to,
                protocol: Protocol::Tcp as u32,
            };
            self.tables.set_socket(flow, socket);
        }
    }

    fn receive(&mut self, frame: &[u8], config: &KernelConfig, now_ns: u64) -> Outcome {
        let mut reply = [0; REPLY_BYTES];
        let (action, length) = match self.through_a_hole(frame, config, now_ns) {
            Some(action) => (action, 0),
            None => {
                self.tables.set_frame(frame);
                answer_frame(&Frame(frame), &self.tables, &mut reply)
            }
        };
        match action {
            Action::Drop if !self.is_overridden(frame, config, now_ns) => {
                Outcome { is_dropped: true, ..Outcome::default() }
            }
            Action::Answer => {
                let answer = reply[..length].to_vec();
                Outcome { is_dropped: true, left: vec![answer.clone()], answer: Some(answer), ..Outcome::default() }
            }
            Action::Pass | Action::PassPlain | Action::Drop => {
                let raw = self.stack.receive(frame);
                self.sync();
                let left = self.leave(raw.clone());
                Outcome { raw, left, ..Outcome::default() }
            }
        }
    }

    /// What is done with a frame that comes through the hole that was put back.
    fn through_a_hole(&mut self, frame: &[u8], config: &KernelConfig, now_ns: u64) -> Option<Action> {
        let hole = self.hole?;
        let (from, _, protocol, at) = read(frame)?;
        let port = frame.get(at + 2..at + 4).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))?;
        let passes = match hole {
            Hole::Compatible => hole::is_compatible(from),
            Hole::LongChains => hole::chain(frame) == hole::Chain::Long,
            Hole::CutChains => hole::chain(frame) == hole::Chain::Cut,
            Hole::FreshPorts => protocol == UDP && self.answered_afresh.contains(&from),
            Hole::StormCloak => {
                let is_storm = self.tables.all_state().storm_until_ns > now_ns;
                let class = |port| self.tables.port_class(Protocol::Tcp, port);
                let is_closed = hole::syn_to(frame).is_some_and(|port| class(port) == PortClass::Closed);
                let is_cloaked = is_storm && is_closed && self.standing(config, from, now_ns) == Standing::Free;
                return is_cloaked.then_some(Action::Drop);
            }
            Hole::NeutralContacts => {
                let key = config.keys.source_of(from.into(), version(from))?;
                let is_neutral = protocol == UDP && self.tables.port_class(Protocol::Udp, port) == PortClass::Unknown;
                if is_neutral && let Some(record) = self.tables.source(&key) {
                    let bit = ContactBit::of(&config.contact_key, &host_for(from).into(), ContactKind::Udp, port);
                    let _ = record.mark_failure(bit);
                }
                false
            }
            Hole::Unlocked => self.tables.port(protocol_of(protocol), port).is_locked(),
            Hole::AckAnswers | Hole::WashedOut | Hole::NoNetworks => false,
        };
        passes.then_some(Action::Pass)
    }

    /// Whether a frame was dropped for its network, which the hole that was put back has none of.
    fn is_overridden(&self, frame: &[u8], config: &KernelConfig, now_ns: u64) -> bool {
        self.hole == Some(Hole::NoNetworks)
            && hole::syn_to(frame).is_some()
            && source_of(frame)
                .is_some_and(|from| hole::is_whole(from) && self.standing(config, from, now_ns) == Standing::Free)
    }

    /// What of all that the stack sends leaves the host.
    fn leave(&mut self, sent: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        if self.hole == Some(Hole::FreshPorts) {
            for frame in &sent {
                if let Some((_, receiver, UDP, port)) = told_by(frame)
                    && port >= FRESH_PORT
                {
                    self.answered_afresh.push(receiver);
                }
            }
        }
        let leaves = |frame: &Vec<u8>| {
            let passes = !self.is_judged || egress_verdict(frame, &self.tables);
            passes || (self.hole == Some(Hole::AckAnswers) && hole::is_reset(frame))
        };
        sent.into_iter().filter(leaves).collect()
    }

    fn standing(&self, config: &KernelConfig, address: IpAddr, now_ns: u64) -> Standing {
        let Some(key) = config.keys.source_of(address.into(), version(address)) else { return Standing::Free };
        let tables = &self.tables;
        let rules = [
            tables.verdict(&key).map(|verdict| verdict.rule(now_ns)),
            tables.prefix_verdict(&address.into()).map(|verdict| verdict.rule(now_ns)),
            tables.prefix_verdict(&key.0).map(|verdict| verdict.rule(now_ns)),
        ];
        let rules = rules.map(|rule| rule.unwrap_or(Rule::NONE));
        if rules.iter().any(|rule| rule.blocks() && rule.covers_all()) {
            return Standing::Blocked;
        }
        let is_suspect = tables.record(&key).is_some_and(|record| record.is_suspect(now_ns))
            || tables.backup(&key, |backup| backup.suspect_until_ns > now_ns).unwrap_or(false);
        let is_hidden_from = is_suspect || rules.iter().any(|rule| rule.blocks() || rule.conceals());
        if is_hidden_from { Standing::Concealed } else { Standing::Free }
    }

    /// To whom everything is blocked nothing leaves but on connections that there are, or of flows that this host began.
    fn check_block(&mut self, config: &KernelConfig, frame: &[u8], now_ns: u64) {
        let Some((from, to, protocol, at)) = read(frame) else { return };
        let Some(ports) = frame.get(at..at + 4) else { return };
        let [here, there] = [0, 2].map(|at| u16::from_be_bytes([ports[at], ports[at + 1]]));
        if !self.is_judged || self.standing(config, to, now_ns) != Standing::Blocked {
            if protocol == UDP {
                self.flows.push((to, [here, there]));
            }
            return;
        }
        let belongs = match protocol {
            TCP => {
                let ends: Ends = [(to, there), (from, here)];
                let flags = frame.get(at + 13).copied().unwrap_or_default();
                // A connection that ends with its last segment was one.
                let ended = (there, here) == (CONNECTED_FROM, PUBLIC[0]) && flags & (SYN | RST) == 0;
                (self.stack.has(&ends) && flags & SYN == 0) || ended
            }
            UDP => self.flows.contains(&(to, [here, there])),
            _ => false,
        };
        assert!(belongs, "{to} is blocked from everything, and gets {frame:02x?}");
    }
}

/// What the egress program says of a frame that leaves: whether it may.
fn egress_verdict(frame: &[u8], tables: &MemoryTables) -> bool {
    judge_leaving(&Frame(frame), tables) != Action::Drop
}

/// The lesson of somebody.
fn lesson(lessons: &mut Vec<Lesson>, who: Address) -> &mut Lesson {
    let place = lessons.iter().position(|lesson| lesson.who == who).unwrap_or_else(|| {
        lessons.push(Lesson { who, ..Lesson::default() });
        lessons.len() - 1
    });
    &mut lessons[place]
}

/// Adds what somebody was told, unless it is nothing new, or shares a contact with what was (which is documented).
fn add(lesson: &mut Lesson, key: &[u64; 2], told: Told) -> bool {
    let bits = |told: &Told| {
        let kind = if told.protocol == TCP { ContactKind::Tcp } else { ContactKind::Udp };
        [kind, ContactKind::Illegal, ContactKind::Fragment]
            .map(|kind| ContactBit::of(key, &told.host.into(), kind, told.port))
    };
    let new = bits(&told);
    let is_known = lesson.told.iter().any(|before| bits(before).iter().any(|bit| new.contains(bit)));
    if !is_known {
        lesson.told.push(told);
    }
    !is_known
}

/// What every history begins with.
fn first_config() -> KernelConfig {
    KernelConfig { mode: Mode::Enforce as u32, ..KernelConfig::new([5, 7]) }
}

fn ports() -> impl Iterator<Item = (u16, Port)> {
    let all = |ports: &'static [u16], what: Port| ports.iter().map(move |port| (*port, what));
    all(&PUBLIC, port(PortClass::Public, PortClass::Public, true))
        .chain(all(&RESTRICTED, port(PortClass::Restricted, PortClass::Restricted, true)))
        .chain(all(&CANARIES, port(PortClass::Canary, PortClass::Canary, false)))
        .chain(all(&CLOSED, port(PortClass::Closed, PortClass::Public, false)))
}

fn own_addresses() -> [IpAddr; 3] {
    [ADDRESSES.v4.into(), ADDRESSES.v6.into(), ADDRESSES.link_local.into()]
}

const fn host_for(sender: IpAddr) -> IpAddr {
    if sender.is_ipv4() { IpAddr::V4(ADDRESSES.v4) } else { IpAddr::V6(ADDRESSES.v6) }
}

/// An address beside another one.
fn neighbour(address: IpAddr, number: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            v4(a, b, c, 100 + number)
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, _] = address.segments();
            v6([a, b, c, d, e, f, g, 100 + u16::from(number)])
        }
    }
}

/// The connection that everybody has.
const fn connection_of(sender: IpAddr) -> Ends {
    [(sender, CONNECTED_FROM), (host_for(sender), PUBLIC[0])]
}

const fn version(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

const fn protocol_of(number: u8) -> Protocol {
    if number == TCP { Protocol::Tcp } else { Protocol::Udp }
}

/// The network whose sources are counted together: the /24, the /48; on a link all, behind a Teredo server too, and without a network of its own
/// what embeds IPv4.
fn network_of(receiver: IpAddr, key: Option<SourceKey>) -> Address {
    let address = key.map_or_else(|| Address::from(receiver), |key| key.0);
    let bits = match IpAddr::from(address) {
        IpAddr::V4(_) => 120,
        IpAddr::V6(address) => match address.segments() {
            [0x2001, 0, ..] | [0, 0, 0, 0, 0, 0, ..] | [0xfe80, ..] => 64,
            _ => 48,
        },
    };
    address.masked(&Address::mask(bits))
}

/// Addresses, protocol, and where the transport header is, of a frame that is plain behind its tags.
fn read(frame: &[u8]) -> Option<(IpAddr, IpAddr, u8, usize)> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    let kind = frame.get(at..at + 2)?;
    let packet = frame.get(at + 2..)?;
    match kind {
        [8, 0] => {
            let header: &[u8; 20] = packet.first_chunk()?;
            let address = |at: usize| v4(header[at], header[at + 1], header[at + 2], header[at + 3]);
            Some((address(12), address(16), header[9], at + 2 + usize::from(header[0] & 15) * 4))
        }
        [0x86, 0xdd] => {
            let header: &[u8; 40] = packet.first_chunk()?;
            let address = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*header[at..].first_chunk::<16>()?)));
            Some((address(8)?, address(24)?, header[6], at + 42))
        }
        _ => None,
    }
}

fn source_of(frame: &[u8]) -> Option<IpAddr> {
    read(frame).map(|(from, ..)| from)
}

fn destination_of(frame: &[u8]) -> Option<IpAddr> {
    read(frame).map(|(_, to, ..)| to)
}

/// Whether a frame is in one piece and without anything odd, so that the naked stack tells by itself what it asks for.
fn is_simple(frame: &[u8]) -> bool {
    match frame.get(12..22) {
        Some([8, 0, 0x45, _, _, _, _, _, high, low]) => [*high & 0x3f, *low] == [0, 0],
        Some([0x86, 0xdd, ..]) => frame.get(20).is_some_and(|next| [TCP, UDP].contains(next)),
        _ => false,
    }
}

/// Of which of this host's addresses, to whom, and of which port a frame of the stack's tells: a SYN-ACK, a reset of what never began, a datagram, "port unreachable".
fn told_by(frame: &[u8]) -> Option<(IpAddr, IpAddr, u8, u16)> {
    const ICMP4: u8 = 1;
    const ICMP6: u8 = 58;
    let (from, to, protocol, at) = read(frame)?;
    let bytes = frame.get(at..)?;
    let word = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    match protocol {
        TCP => {
            let segment = Segment::read(bytes)?;
            let flags = segment.flags & (SYN | ACK | RST | FIN);
            let tells = flags == SYN | ACK || (flags == RST | ACK && segment.sequence == 0);
            tells.then_some((from, to, TCP, segment.from))
        }
        UDP => Some((from, to, UDP, word(0)?)),
        ICMP4 if bytes.first_chunk() == Some(&[3, 3]) => {
            let header = usize::from(bytes.get(8)? & 15) * 4;
            (*bytes.get(17)? == UDP).then_some((from, to, UDP, word(8 + header + 2)?))
        }
        ICMP6 if bytes.first_chunk() == Some(&[1, 4]) => {
            (*bytes.get(14)? == UDP).then_some((from, to, UDP, word(8 + 40 + 2)?))
        }
        _ => None,
    }
}
