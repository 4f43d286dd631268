//! Attacks that take hours or days: the kernel part's own code over tables in memory, with a clock that jumps, and a
//! stack that answers like Linux.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use scanguard::config::Config;
use scanguard_common::class::{PortClass, PortEntry, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::datapath::{Action, judge_leaving, process_frame};
use scanguard_common::flow::Flow;
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::tables::Socket;

use super::Found;
use super::attacker::claims;
use crate::lab::craft::{self, ACK, RST, SYN, TCP, UDP};
use crate::lab::plan::EDGE;
use crate::lab::report::Scanner;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const HOUR_NS: u64 = 60 * MINUTE_NS;
/// In which a score is halved.
const HALF_LIFE_NS: u64 = 6 * HOUR_NS;
const DAYS_NS: u64 = 4 * 24 * HOUR_NS;
const START_NS: u64 = 30 * 24 * HOUR_NS;
const RESTRICTED: std::ops::Range<u16> = 6_000..6_100;
const FROM: Ipv4Addr = Ipv4Addr::new(45, 200, 1, 66);

/// What it is called, what is done, and what does it.
pub(super) type Timed = (&'static str, &'static str, fn() -> Result<Found>);

pub(super) const ATTACKS: &[Timed] = &[
    (
        "waits until suspicion is over",
        "clock: closed ports until one is silent, then a pause until suspicion is over, for four days",
        waits,
    ),
    ("one port an hour", "clock: a closed port every hour for four days", || paced(HOUR_NS)),
    ("one port in ten minutes", "clock: a closed port every ten minutes for four days", || paced(10 * MINUTE_NS)),
    ("datagrams, then waits", "clock: 1,500 neutral datagrams before each attempt, then as the first", fills_and_waits),
    (
        "restricted ports, then waits",
        "clock: restricted ports until one is silent, then a pause until suspicion is over, for four days",
        restricted_waits,
    ),
    (
        "restricted and closed in turn",
        "clock: a restricted port after each closed one that answered, for four days",
        in_turn,
    ),
];

struct World {
    tables: MemoryTables,
    now_ns: u64,
    from_port: u16,
}

impl World {
    fn new() -> Result<Self> {
        let text = "mode = \"enforce\"\nchallenge = \"off\"\n";
        let config = Config::parse(text.as_bytes()).ok().context("a valid configuration")?;
        let kernel = KernelConfig {
            heartbeat_ns: u64::MAX / 2,
            learnt: 1,
            ephemeral_first: 32_768,
            ephemeral_last: 60_999,
            egress_since_ns: 0,
            ..config.kernel_config([0x6164_7665_7273_6172, 0x7920_636c_6f63_6b21])
        };
        let mut tables = MemoryTables::new(kernel);
        tables.add_own_address(IpAddr::from(EDGE).into());
        for port in 1..=u16::MAX {
            let class = match port {
                80 | 443 => PortClass::Public,
                port if RESTRICTED.contains(&port) => PortClass::Restricted,
                _ => PortClass::Closed,
            };
            tables.set_port(Protocol::Tcp, port, PortEntry::new(class, PortClass::Unknown));
        }
        for port in [80, 443].into_iter().chain(RESTRICTED) {
            let any = Flow {
                source: IpAddr::from(Ipv4Addr::UNSPECIFIED).into(),
                destination: IpAddr::from(EDGE).into(),
                source_port: 0,
                destination_port: port,
                protocol: Protocol::Tcp as u32,
            };
            tables.set_socket(any.to_listener(), Socket::Listening);
        }
        let mut world = Self { tables, now_ns: START_NS, from_port: 10_000 };
        world.wait(0);
        Ok(world)
    }

    fn wait(&mut self, ns: u64) {
        self.now_ns += ns;
        self.tables.set_now(self.now_ns);
    }

    /// A SYN, and whether its port answers; some milliseconds go by.
    fn ask(&mut self, port: u16) -> bool {
        self.from_port = if self.from_port > 60_000 { 10_000 } else { self.from_port + 1 };
        self.wait(10 * SECOND_NS / 1_000);
        let from = IpAddr::from(FROM);
        let segment = |from: IpAddr, to: IpAddr, from_port, port, flags| {
            craft::framed(
                [2; 6],
                [1; 6],
                &craft::packet(from, to, TCP, craft::tcp(from_port, port, 1, 2, flags, &craft::MSS_OPTION, &[])),
            )
        };
        let question = segment(from, EDGE.into(), self.from_port, port, SYN);
        if process_frame(&Frame(&question), &self.tables) != Action::Pass {
            return false;
        }
        let is_open = matches!(port, 80 | 443) || RESTRICTED.contains(&port);
        let flags = if is_open { SYN | ACK } else { RST | ACK };
        let answer = segment(EDGE.into(), from, port, self.from_port, flags);
        self.leaves(&answer)
    }

    fn leaves(&self, answer: &[u8]) -> bool {
        judge_leaving(&Frame(answer), &self.tables) == Action::Pass
    }

    fn datagrams(&mut self, count: u16) {
        for number in 0..count {
            let packet = craft::packet(FROM.into(), EDGE.into(), UDP, craft::udp(5_000, 32_768 + number, b"nothing"));
            process_frame(&Frame(&craft::framed([2; 6], [1; 6], &packet)), &self.tables);
        }
    }
}

/// The most that were in any half-life.
fn most_in_half_life(times: &[u64]) -> u64 {
    let within =
        |begin: &u64| times.iter().filter(|time| (*begin..*begin + HALF_LIFE_NS).contains(*time)).count() as u64;
    times.iter().map(within).max().unwrap_or_default()
}

fn told(what: &str, most: u64, times: &[u64]) -> Found {
    let note = format!("{} in four days", times.len());
    let scanner = Scanner { closed_answered: times.len() as u64, ..Scanner::default() };
    Found { claims: claims(&[(what, most, most_in_half_life(times))]), note, scanner }
}

const CLOSED_ANSWERED: &str = "closed ports answered within a half-life";

/// Suspicion lasts an hour after the last packet.
const UNTIL_OVER_NS: u64 = 61 * MINUTE_NS;

fn waits() -> Result<Found> {
    let (mut world, mut times) = (World::new()?, Vec::new());
    for port in (1_000..5_000).chain(10_000..30_000) {
        if world.now_ns > START_NS + DAYS_NS {
            break;
        }
        if world.ask(port) { times.push(world.now_ns) } else { world.wait(UNTIL_OVER_NS) }
    }
    Ok(told(CLOSED_ANSWERED, 3, &times))
}

fn fills_and_waits() -> Result<Found> {
    let (mut world, mut times) = (World::new()?, Vec::new());
    for port in (1_000..5_000).chain(10_000..30_000) {
        if world.now_ns > START_NS + DAYS_NS {
            break;
        }
        world.datagrams(1_500);
        if world.ask(port) { times.push(world.now_ns) } else { world.wait(UNTIL_OVER_NS) }
    }
    Ok(told(CLOSED_ANSWERED, 3, &times))
}

fn paced(pause_ns: u64) -> Result<Found> {
    let (mut world, mut times) = (World::new()?, Vec::new());
    let mut port = 1_000;
    while world.now_ns < START_NS + DAYS_NS {
        if world.ask(port) {
            times.push(world.now_ns);
        }
        port += 1;
        world.wait(pause_ns);
    }
    Ok(told(CLOSED_ANSWERED, 3, &times))
}

fn restricted_waits() -> Result<Found> {
    let (mut world, mut times, mut known) = (World::new()?, Vec::new(), BTreeSet::new());
    for port in RESTRICTED.cycle() {
        if world.now_ns > START_NS + DAYS_NS || known.len() == RESTRICTED.len() {
            break;
        }
        match world.ask(port) {
            true if known.insert(port) => times.push(world.now_ns),
            true => {}
            false => world.wait(UNTIL_OVER_NS),
        }
    }
    Ok(told("restricted ports answered within a half-life", 6, &times))
}

fn in_turn() -> Result<Found> {
    let (mut world, mut closed, mut restricted) = (World::new()?, Vec::new(), Vec::new());
    let mut known = BTreeSet::new();
    let mut open = RESTRICTED.cycle();
    for port in 1_000..5_000 {
        if world.now_ns > START_NS + DAYS_NS {
            break;
        }
        if let Some(port) = open.next()
            && world.ask(port)
            && known.insert(port)
        {
            restricted.push(world.now_ns);
        }
        if world.ask(port) { closed.push(world.now_ns) } else { world.wait(UNTIL_OVER_NS) }
    }
    let mut found = told(CLOSED_ANSWERED, 3, &closed);
    found.claims.extend(claims(&[("restricted ports answered within a half-life", 6, most_in_half_life(&restricted))]));
    Ok(found)
}
