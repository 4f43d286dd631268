//! A year of people, programs and guessers at restricted ports: who comes to be known, and whom that costs anything.
//!
//! What each does is played through the kernel part's own code, session by session, with real lengths; what the daemon does with it is its own
//! code as well. Two things are taken for granted: that a login by OpenSSH is seen while it lasts, and that a person who is asked about a client
//! knows his own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fmt;
use std::net::Ipv4Addr;

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use scanguard::config::AutoLevel;
use scanguard_common::datapath::connection::Connection;
use scanguard_common::source::SourceKey;
use serde::Serialize;

use super::host::{Host, source};
use super::stack::{self, Attempt, Outcome};

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3_600 * SECOND_NS;
const DAY_NS: u64 = 24 * HOUR_NS;

/// How many of whom, for how long.
#[derive(Clone, Copy, Debug)]
pub struct YearSize {
    /// Days.
    pub days: u64,
    /// Addresses from which passwords are guessed.
    pub guessers: u32,
    /// Administrators, and programs that work here.
    pub honest: u32,
    /// Offices: an administrator, customers and a guesser behind one address.
    pub offices: u32,
}

impl YearSize {
    /// A year of 10,000 guessers, 300 administrators and machine clients, and 50 offices.
    pub const FULL: Self = Self { days: 365, guessers: 10_000, honest: 300, offices: 50 };
    /// Sixty days of a twentieth of them.
    pub const SMALL: Self = Self { days: 60, guessers: 500, honest: 30, offices: 5 };
}

/// Who somebody is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Kind {
    /// Works by ssh for minutes or hours; his login is seen.
    Administrator,
    /// The same without a session that a login program writes down (`ssh -N`, Dropbear): nobody sees that he is logged in.
    Tunnel,
    /// Short sessions with a database or by ssh, every day.
    Machine,
    /// Tries passwords by ssh, a few a connection, until sshd has enough or it is cut off.
    Guesser,
    /// Connects, says its version and waits until the service ends it; its socket stays for hours, because it takes no data.
    Lingerer,
    /// Holds idle sessions with a service that ends none of them.
    Idler,
    /// Behind one address: an administrator, customers, and somebody's infected machine that guesses.
    Office,
}

impl Kind {
    const fn guesses(self) -> bool {
        matches!(self, Self::Guesser | Self::Lingerer | Self::Idler)
    }
}

struct Actor {
    kind: Kind,
    address: Ipv4Addr,
    /// The first day on which it comes, and the last.
    days: (u64, u64),
    /// From one visit to the next, about.
    every_ns: u64,
    /// Whether a log tool tells of its guesses.
    is_told_of: bool,
    /// Whether somebody forges scans in its name, now and then.
    is_framed: bool,
    /// When it first did what makes known, by right.
    known_since: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct YearReport {
    /// Those who are known by right: administrators, whoever holds sessions, and programs that an operator was asked about.
    pub by_right: u64,
    /// Of these, those who were known when it was over.
    pub known: u64,
    /// Addresses from which nobody but guessers came …
    pub guessers: u64,
    /// … and those of them that were ever known.
    pub known_by_guessing: u64,
    /// Sessions of guessers.
    pub guesses: u64,
    /// Attempts at restricted ports of those who were known by right, …
    pub restricted: u64,
    /// … and those that failed.
    pub restricted_failed: u64,
    /// Attempts of customers at public ports, …
    pub public: u64,
    /// … and those that failed.
    pub public_failed: u64,
    /// Clients that an operator was asked about, and that were none of his.
    pub asked_in_vain: u64,
    /// Forged packets.
    pub forged: u64,
}

impl fmt::Display for YearReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { by_right, known, guessers, known_by_guessing, guesses, .. } = self;
        let Self { restricted, restricted_failed, public, public_failed, asked_in_vain, forged, .. } = self;
        writeln!(formatter, "known by right:      {known} of {by_right}")?;
        writeln!(formatter, "known by guessing:   {known_by_guessing} of {guessers}, in {guesses} sessions")?;
        writeln!(formatter, "work that failed:    {restricted_failed} of {restricted} attempts")?;
        writeln!(formatter, "customers failed:    {public_failed} of {public} attempts")?;
        writeln!(formatter, "asked about guessers: {asked_in_vain} times; {forged} packets were forged")
    }
}

/// What is due.
enum Due {
    Visit(usize),
    HalfClose(Box<Open>),
    Gone(Box<Open>),
    Forge(usize),
    /// Once a day a person looks at whom he is asked about.
    Ask,
}

struct Open {
    actor: usize,
    connection: Connection,
    bytes: [u64; 2],
    /// For how long the socket stays when the service has ended its half.
    lingers_ns: u64,
}

struct Year {
    host: Host,
    actors: Vec<Actor>,
    agenda: BinaryHeap<Reverse<(u64, u64)>>,
    due: HashMap<u64, Due>,
    numbers: u64,
    random: SmallRng,
    report: YearReport,
    ever_known: HashSet<Ipv4Addr>,
    /// Whom the person has looked at and blocked.
    blocked: HashSet<SourceKey>,
}

/// Plays it. The same seed gives the same year.
///
/// # Errors
/// When a frame cannot be made, which is a fault of this program.
pub fn simulate_year(size: &YearSize, seed: u64) -> Result<YearReport> {
    let mut random = SmallRng::seed_from_u64(seed);
    let actors = cast(size, &mut random);
    let mut year = Year {
        host: Host::new(AutoLevel::BlockPrivate)?,
        actors,
        agenda: BinaryHeap::new(),
        due: HashMap::new(),
        numbers: 0,
        random,
        report: YearReport::default(),
        ever_known: HashSet::new(),
        blocked: HashSet::new(),
    };
    for actor in 0..year.actors.len() {
        let begins_ns = year.actors[actor].days.0 * DAY_NS + year.random.random_range(0..DAY_NS);
        year.put(begins_ns, Due::Visit(actor));
        if year.actors[actor].is_framed {
            year.put(begins_ns + 20 * DAY_NS, Due::Forge(actor));
        }
    }
    year.put(DAY_NS, Due::Ask);
    let end_ns = size.days * DAY_NS;
    while let Some(Reverse((at_ns, number))) = year.agenda.pop() {
        if at_ns >= end_ns {
            break;
        }
        year.host.advance(at_ns)?;
        let Some(due) = year.due.remove(&number) else { continue };
        year.act(due)?;
    }
    year.host.advance(end_ns)?;
    Ok(year.close())
}

fn cast(size: &YearSize, random: &mut SmallRng) -> Vec<Actor> {
    let mut actors = Vec::new();
    let mut add = |kind: Kind, address: Ipv4Addr, random: &mut SmallRng| {
        let (first, span) = match kind {
            // A guesser comes from an address for a day, for weeks, or always.
            kind if kind.guesses() => {
                (random.random_range(0..size.days), [1, 3, 20, 90, 400][random.random_range(0..5_usize)])
            }
            _ => (random.random_range(0..size.days / 4), size.days),
        };
        let every_ns = match kind {
            Kind::Administrator | Kind::Tunnel => random.random_range(8..72) * HOUR_NS,
            Kind::Machine => random.random_range(2..24) * HOUR_NS,
            Kind::Office => random.random_range(2..6) * HOUR_NS,
            Kind::Guesser | Kind::Lingerer | Kind::Idler => random.random_range(4..30) * HOUR_NS,
        };
        actors.push(Actor {
            kind,
            address,
            days: (first, first + span),
            every_ns,
            is_told_of: kind == Kind::Office || random.random_ratio(9, 10),
            is_framed: !kind.guesses() && random.random_ratio(1, 5),
            known_since: None,
        });
    };
    for number in 0..size.honest {
        let kind =
            [Kind::Administrator, Kind::Machine, Kind::Administrator, Kind::Machine, Kind::Tunnel][number as usize % 5];
        add(kind, Ipv4Addr::from(0x0a00_0005 + (number << 8)), random);
    }
    for number in 0..size.offices {
        add(Kind::Office, Ipv4Addr::from(0x0a80_0005 + (number << 8)), random);
    }
    for number in 0..size.guessers {
        let kind = [Kind::Guesser, Kind::Guesser, Kind::Lingerer, Kind::Idler][number as usize % 4];
        add(kind, Ipv4Addr::from(0x2d00_0009 + (number << 8)), random);
    }
    actors
}

impl Year {
    fn put(&mut self, at_ns: u64, due: Due) {
        self.numbers += 1;
        self.due.insert(self.numbers, due);
        self.agenda.push(Reverse((at_ns, self.numbers)));
    }

    fn act(&mut self, due: Due) -> Result<()> {
        let now_ns = self.host.now_ns;
        match due {
            Due::Visit(actor) => {
                self.visit(actor)?;
                let Actor { days, every_ns, .. } = self.actors[actor];
                let next_ns = now_ns + self.random.random_range(every_ns / 2..every_ns * 3 / 2);
                if next_ns < days.1 * DAY_NS {
                    self.put(next_ns, Due::Visit(actor));
                }
            }
            Due::HalfClose(open) => {
                self.host.half_close(&open.connection, open.bytes);
                let gone_ns = now_ns + open.lingers_ns;
                self.put(gone_ns, Due::Gone(open));
            }
            Due::Gone(open) => {
                self.host.end(&open.connection, open.bytes);
                let Actor { kind, address, .. } = self.actors[open.actor];
                if kind.guesses() && self.host.is_known(address) {
                    self.ever_known.insert(address);
                }
            }
            Due::Forge(actor) => self.forge(actor)?,
            Due::Ask => {
                self.ask();
                self.put(now_ns + DAY_NS, Due::Ask);
            }
        }
        Ok(())
    }

    fn attempt(&mut self, from: Ipv4Addr, port: u16) -> Attempt {
        Attempt { from, from_port: self.random.random_range(32_768..61_000), port, isn: self.random.random() }
    }

    /// Connects and stays for so long; whether that was possible.
    fn hold(&mut self, actor: usize, port: u16, lasts_ns: u64, lingers_ns: u64, bytes: [u64; 2]) -> Result<bool> {
        let attempt = self.attempt(self.actors[actor].address, port);
        let Some(connection) = stack::stay(&mut self.host, &attempt)? else { return Ok(false) };
        let ends_ns = self.host.now_ns + lasts_ns;
        self.put(ends_ns, Due::HalfClose(Box::new(Open { actor, connection, bytes, lingers_ns })));
        Ok(true)
    }

    fn visit(&mut self, actor: usize) -> Result<()> {
        let Actor { kind, address, is_told_of, .. } = self.actors[actor];
        let a_while = self.random.random_range(360 * SECOND_NS..6 * HOUR_NS);
        match kind {
            Kind::Administrator | Kind::Tunnel => self.work(actor, 22, a_while)?,
            Kind::Machine => {
                let port = if actor.is_multiple_of(2) { 5432 } else { 22 };
                for _ in 0..self.random.random_range(1..4) {
                    let lasts_ns = self.random.random_range(SECOND_NS / 10..20 * SECOND_NS);
                    self.work(actor, port, lasts_ns)?;
                }
            }
            Kind::Office => {
                for _ in 0..4 {
                    let attempt = self.attempt(address, 443);
                    self.report.public += 1;
                    self.report.public_failed +=
                        u64::from(stack::connect(&mut self.host, &attempt)? != Outcome::Connected);
                }
                // Its infected machine, and then the administrator.
                if self.random.random_ratio(1, 3) && self.hold(actor, 22, 90 * SECOND_NS, SECOND_NS, [900, 2_000])? {
                    self.report.guesses += 1;
                    self.host.hear_of(address);
                }
                if self.random.random_ratio(1, 6) {
                    self.work(actor, 22, a_while)?;
                }
            }
            Kind::Guesser | Kind::Lingerer | Kind::Idler => {
                let (port, lasts_ns, lingers_ns, bytes) = match kind {
                    // As long as sshd lets it.
                    Kind::Guesser => {
                        (22, self.random.random_range(SECOND_NS..300 * SECOND_NS), SECOND_NS, [900, 2_000])
                    }
                    Kind::Lingerer => (22, 300 * SECOND_NS, 5 * HOUR_NS, [30, 1_200]),
                    _ => (3306, self.random.random_range(HOUR_NS..20 * HOUR_NS), SECOND_NS, [40, 90]),
                };
                if self.hold(actor, port, lasts_ns, lingers_ns, bytes)? {
                    self.report.guesses += 1;
                    if is_told_of && port == 22 {
                        self.host.hear_of(address);
                    }
                }
            }
        }
        Ok(())
    }

    /// Somebody honest does his work.
    fn work(&mut self, actor: usize, port: u16, lasts_ns: u64) -> Result<()> {
        let worked = self.hold(actor, port, lasts_ns, SECOND_NS, [20_000, 90_000])?;
        let Actor { kind, address, known_since, .. } = self.actors[actor];
        if known_since.is_some() {
            self.report.restricted += 1;
            self.report.restricted_failed += u64::from(!worked);
        }
        if worked && matches!(kind, Kind::Administrator | Kind::Office) {
            self.host.see_login(address);
            self.actors[actor].known_since.get_or_insert(self.host.now_ns);
        }
        if kind == Kind::Tunnel && known_since.is_none() && self.host.is_known(address) {
            self.actors[actor].known_since = Some(self.host.now_ns);
        }
        Ok(())
    }

    /// A scan in somebody's name: enough to make him a suspect. The next one comes after weeks.
    fn forge(&mut self, actor: usize) -> Result<()> {
        let address = self.actors[actor].address;
        for _ in 0..6 {
            let port = self.random.random_range(6_000..20_000);
            let attempt = self.attempt(address, port);
            stack::forge(&mut self.host, &attempt, None)?;
            self.report.forged += 1;
        }
        let next_ns = self.host.now_ns + self.random.random_range(10 * DAY_NS..40 * DAY_NS);
        self.put(next_ns, Due::Forge(actor));
        Ok(())
    }

    /// The person is asked about clients: he adds his own and blocks the others.
    fn ask(&mut self) {
        let blocked = std::mem::take(&mut self.blocked);
        let asked = self.host.candidates(|source| blocked.contains(source));
        self.blocked = blocked;
        for client in asked {
            let own = self.actors.iter_mut().find(|actor| source(actor.address) == client && !actor.kind.guesses());
            match own {
                Some(actor) => {
                    actor.known_since.get_or_insert(self.host.now_ns);
                    self.host.add_known(client);
                }
                None => {
                    self.report.asked_in_vain += 1;
                    self.blocked.insert(client);
                }
            }
        }
    }

    fn close(mut self) -> YearReport {
        for actor in &self.actors {
            let is_known = self.host.is_known(actor.address);
            if actor.kind.guesses() {
                self.report.guessers += 1;
                self.report.known_by_guessing += u64::from(is_known || self.ever_known.contains(&actor.address));
            } else {
                self.report.by_right += 1;
                self.report.known += u64::from(is_known);
            }
        }
        self.report
    }
}
