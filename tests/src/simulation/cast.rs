//! Who is there, and what each does next.

use std::net::Ipv4Addr;

use anyhow::Result;
use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::host::{Host, PUBLIC, RESTRICTED, source};
use super::report::{Kind, Tally};
use super::stack::{self, Attempt, Outcome};

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;
const HOUR_NS: u64 = 60 * MINUTE_NS;

/// How many of whom, for how long.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Hours.
    pub hours: u64,
    /// Customers.
    pub customers: u32,
    /// Scanners of all kinds.
    pub scanners: u32,
}

impl Size {
    /// Two days of 10,000 customers and 300 scanners.
    pub const FULL: Self = Self { hours: 48, customers: 10_000, scanners: 300 };
    /// Six hours of 1,000 customers and 60 scanners.
    pub const SMALL: Self = Self { hours: 6, customers: 1_000, scanners: 60 };

    pub(super) const fn span_ns(&self) -> u64 {
        self.hours * HOUR_NS
    }
}

/// Somebody, or somebody's program.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) kind: Kind,
    pub(super) address: Ipv4Addr,
    /// What he goes through, and how far he is.
    ports: Vec<u16>,
    place: usize,
    /// From one attempt to the next.
    pause_ns: u64,
    /// Ports that looked open to him.
    open: Vec<u16>,
    begins_ns: u64,
    pub(super) tally: Tally,
}

/// What came of one step.
pub(super) struct Deed {
    /// When the next one is; none for never.
    pub(super) next_ns: Option<u64>,
    pub(super) did: Tally,
}

pub(super) struct Cast {
    pub(super) actors: Vec<Actor>,
    framed: Vec<Ipv4Addr>,
}

/// Of 1,000 customers so many are something else than people who browse.
const ERRING: u32 = 60;
const MAILING: u32 = 30;
const STEERED: u32 = 4;
const ADMINS: u32 = 3;
/// Customers behind one shared address, and how many such addresses there are for 1,000 customers.
const SHARING: u32 = 20;
/// Packets of a forger in one name, per hour of the simulation.
const FORGED_AN_HOUR: u64 = 400;

impl Cast {
    pub(super) fn assemble(size: &Size, random: &mut SmallRng) -> Self {
        let mut actors = Vec::new();
        let part = |number: u32| (size.customers * number / 1_000).max(1);
        for number in 0..size.customers {
            // The last tenth shares addresses.
            let sharing = size.customers - size.customers / 10;
            let address = if number < sharing { customer(number) } else { shared((number - sharing) / SHARING) };
            let kind = if number < part(ADMINS) {
                Kind::Admin
            } else if number < part(ADMINS) + part(ERRING) {
                Kind::Erring
            } else if number < part(ADMINS) + part(ERRING) + part(MAILING) {
                Kind::Mailing
            } else if number < part(ADMINS) + part(ERRING) + part(MAILING) + part(STEERED) {
                Kind::Steered
            } else if number < sharing {
                Kind::Customer
            } else {
                Kind::Neighbour
            };
            actors.push(Actor::new(kind, address, random));
        }
        let kinds = [
            (Kind::RawScanner, 35),
            (Kind::Connecting, 35),
            (Kind::Returning, 10),
            (Kind::Slow, 10),
            (Kind::NatScanner, 5),
            (Kind::CustomerTurned, 5),
        ];
        let mut number = 0;
        for (kind, percent) in kinds {
            for its in 0..(size.scanners * percent / 100).max(1) {
                let address = if kind == Kind::NatScanner { shared(its) } else { scanner(number) };
                actors.push(Actor::new(kind, address, random));
                number += 1;
            }
        }
        // Ordinary customers and an administrator, in whose names others send.
        let framed: Vec<Ipv4Addr> = actors
            .iter()
            .filter(|actor| matches!(actor.kind, Kind::Customer | Kind::Admin))
            .step_by(40)
            .take(50)
            .map(|actor| actor.address)
            .collect();
        for victim in &framed {
            let forger = Actor::new(Kind::Forger, *victim, random);
            actors.push(forger);
        }
        for actor in &mut actors {
            if framed.contains(&actor.address) && actor.kind != Kind::Forger {
                actor.kind = if actor.kind == Kind::Admin { Kind::FramedAdmin } else { Kind::Framed };
            }
        }
        for actor in &mut actors {
            actor.begins_ns = match actor.kind {
                // Who works here does so before anything happens to him.
                Kind::Admin | Kind::FramedAdmin => random.random_range(0..5 * MINUTE_NS),
                Kind::Forger => random.random_range(HOUR_NS..2 * HOUR_NS),
                Kind::Slow => random.random_range(0..HOUR_NS),
                _ => random.random_range(0..size.span_ns() / 2),
            };
        }
        Self { actors, framed }
    }

    pub(super) fn framed(&self) -> usize {
        self.framed.len()
    }

    pub(super) fn first_deeds(&self, _: &mut SmallRng) -> Vec<(usize, u64)> {
        self.actors.iter().enumerate().map(|(number, actor)| (number, actor.begins_ns)).collect()
    }

    pub(super) fn note(&mut self, actor: usize, did: Tally) {
        self.actors[actor].tally.add(&did);
    }

    pub(super) fn act(&mut self, actor: usize, host: &mut Host, random: &mut SmallRng) -> Result<Deed> {
        self.actors[actor].act(host, random)
    }
}

impl Tally {
    fn of(port: u16, outcome: Outcome) -> Self {
        let failed = u64::from(outcome != Outcome::Connected);
        let mut tally = Self { decoyed: u64::from(outcome == Outcome::Decoyed), ..Self::default() };
        if PUBLIC.contains(&port) {
            (tally.public, tally.public_failed) = (1, failed);
        } else if RESTRICTED.contains(&port) {
            (tally.restricted, tally.restricted_failed) = (1, failed);
        } else {
            (tally.closed, tally.closed_answered) = (1, u64::from(outcome == Outcome::Refused));
        }
        tally
    }
}

impl Actor {
    fn new(kind: Kind, address: Ipv4Addr, random: &mut SmallRng) -> Self {
        let mut some = |range: std::ops::Range<u16>, count: usize| -> Vec<u16> {
            let mut ports: Vec<u16> = (0..count).map(|_| random.random_range(range.clone())).collect();
            ports.dedup();
            ports
        };
        let (ports, pause_ns) = match kind {
            // One stale bookmark or two.
            Kind::Erring => (some(2_000..20_000, 2), 0),
            // What mail programs look for when an account is set up.
            Kind::Mailing => (vec![993, 143, 995, 110, 587, 465, 25], 0),
            // A page can ask only for ports to which browsers connect.
            Kind::Steered => (some(8_100..9_900, 40), SECOND_NS / 6),
            Kind::RawScanner => {
                let count = some(20..900, 1)[0].into();
                (some(1..10_000, count), SECOND_NS / 200)
            }
            Kind::Connecting | Kind::NatScanner | Kind::CustomerTurned => {
                let count = some(20..300, 1)[0].into();
                (some(1..5_000, count), SECOND_NS / 20)
            }
            Kind::Returning => ((1..101).collect(), SECOND_NS / 100),
            Kind::Slow => (some(1..5_000, 60), 10 * MINUTE_NS),
            Kind::Forger => (some(1..5_000, 200), HOUR_NS / FORGED_AN_HOUR),
            _ => (Vec::new(), 0),
        };
        Self { kind, address, ports, place: 0, pause_ns, open: Vec::new(), begins_ns: 0, tally: Tally::default() }
    }

    fn act(&mut self, host: &mut Host, random: &mut SmallRng) -> Result<Deed> {
        match self.kind {
            Kind::RawScanner | Kind::Slow => self.scan(host, random, stack::probe),
            Kind::Connecting | Kind::NatScanner => self.scan(host, random, stack::knock),
            Kind::CustomerTurned if self.place == 0 && self.tally.public == 0 => {
                // He looks at a page first.
                let did = self.visit(host, random)?;
                Ok(Deed { next_ns: Some(host.now_ns + 10 * MINUTE_NS), did })
            }
            Kind::CustomerTurned => self.scan(host, random, stack::knock),
            Kind::Returning => self.come_back(host, random),
            Kind::Forger => self.forge(host, random),
            Kind::Steered if self.tally.public > 0 && self.place < self.ports.len() => {
                self.scan(host, random, stack::connect)
            }
            Kind::Customer
            | Kind::Neighbour
            | Kind::Framed
            | Kind::Erring
            | Kind::Mailing
            | Kind::Steered
            | Kind::Admin
            | Kind::FramedAdmin => self.live(host, random),
        }
    }

    /// A visit, and what else people do; the next one within hours.
    fn live(&mut self, host: &mut Host, random: &mut SmallRng) -> Result<Deed> {
        let mut did = Tally::default();
        if matches!(self.kind, Kind::Admin | Kind::FramedAdmin) {
            let attempt = self.attempt(22, random);
            let outcome = stack::connect(host, &attempt)?;
            if outcome == Outcome::Connected {
                host.see_login(self.address);
            }
            did.add(&Tally::of(22, outcome));
        }
        did.add(&self.visit(host, random)?);
        // His mistakes, once a visit; mail programs ask for all of theirs at once.
        let mistakes: Vec<u16> = match self.kind {
            Kind::Erring => self.ports.clone(),
            Kind::Mailing if self.tally.public == 0 => self.ports.clone(),
            _ => Vec::new(),
        };
        for port in mistakes {
            let attempt = self.attempt(port, random);
            did.add(&Tally::of(port, stack::connect(host, &attempt)?));
        }
        Ok(Deed { next_ns: Some(host.now_ns + random.random_range(20 * MINUTE_NS..5 * HOUR_NS)), did })
    }

    /// A page: several connections, and something said over one that is open.
    fn visit(&self, host: &mut Host, random: &mut SmallRng) -> Result<Tally> {
        let mut did = Tally::default();
        for _ in 0..random.random_range(2..7) {
            let port = if random.random_ratio(1, 20) { 80 } else { 443 };
            let attempt = self.attempt(port, random);
            let outcome = stack::connect(host, &attempt)?;
            did.add(&Tally::of(port, outcome));
            if outcome == Outcome::Connected && !stack::speak(host, &attempt)? {
                did.established_broken += 1;
            }
        }
        Ok(did)
    }

    /// The next port of a scan.
    fn scan(
        &mut self,
        host: &mut Host,
        random: &mut SmallRng,
        how: fn(&mut Host, &Attempt) -> Result<Outcome>,
    ) -> Result<Deed> {
        let Some(port) = self.ports.get(self.place).copied() else {
            return Ok(Deed { next_ns: self.next_scan(host, random), did: Tally::default() });
        };
        self.place += 1;
        let attempt = self.attempt(port, random);
        let outcome = how(host, &attempt)?;
        if matches!(outcome, Outcome::Connected | Outcome::Decoyed) {
            self.open.push(port);
        }
        Ok(Deed { next_ns: Some(host.now_ns + self.pause_ns), did: Tally::of(port, outcome) })
    }

    /// After a scan: people go on as before, scanners come again after hours.
    fn next_scan(&mut self, host: &Host, random: &mut SmallRng) -> Option<u64> {
        let after_ns = random.random_range(HOUR_NS..12 * HOUR_NS);
        if self.kind != Kind::Steered {
            self.place = 0;
        }
        Some(host.now_ns + after_ns)
    }

    /// Half-open first, then whole connections to what looked open, twice over.
    fn come_back(&mut self, host: &mut Host, random: &mut SmallRng) -> Result<Deed> {
        if self.place < self.ports.len() {
            return self.scan(host, random, stack::probe);
        }
        let Some(port) = self.open.pop() else {
            return Ok(Deed { next_ns: None, did: Tally::default() });
        };
        let attempt = self.attempt(port, random);
        let outcome = stack::connect(host, &attempt)?;
        Ok(Deed { next_ns: Some(host.now_ns + SECOND_NS / 2), did: Tally::of(port, outcome) })
    }

    /// A SYN in the victim's name, and now and then an ACK with a guess.
    fn forge(&mut self, host: &mut Host, random: &mut SmallRng) -> Result<Deed> {
        let port = self.ports[self.place % self.ports.len()];
        self.place += 1;
        let attempt = self.attempt(port, random);
        let guess = random.random_ratio(1, 4).then(|| random.random());
        stack::forge(host, &attempt, guess)?;
        Ok(Deed { next_ns: Some(host.now_ns + self.pause_ns), did: Tally { forged: 1, ..Tally::default() } })
    }

    fn attempt(&self, port: u16, random: &mut SmallRng) -> Attempt {
        Attempt { from: self.address, from_port: random.random_range(32_768..61_000), port, isn: random.random() }
    }

    pub(super) fn fate(&self, host: &Host) -> super::host::Fate {
        host.fates.get(&source(self.address)).copied().unwrap_or_default()
    }
}

fn customer(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + (number << 4) + 5)
}

fn shared(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + (number << 8) + 7)
}

fn scanner(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(45, 0, 0, 0)) + (number << 9) + 9)
}
