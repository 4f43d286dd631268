//! The real stack as judge: frames of every shape, from sources of every kind, and what Linux answers to them.
//!
//! Frames are put on the edge's own link, for a router in between would drop most of them, and answers are read
//! there. Each part sends in batches; every group of frames that belong together has a source, or at least a source
//! port, of its own, so that an answer tells to what it is one. A batch is over when a service that is asked last has
//! answered.

mod draw;
mod ends;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use scanguard::kernel::pins::DEFAULT_FOLDER;
use scanguard::kernel::rig::PinnedSources;
use scanguard_common::source::KeyRules;

use super::Scenario;
use super::framing_admin::why;
use super::listeners::Listeners;
use crate::lab::Lab;
use crate::lab::craft::{self, SYN, TCP, UDP};
use crate::lab::customers::{Browsing, Sessions};
use crate::lab::defender::{Defender, Guard};
use crate::lab::plan::{PUBLIC, TO_EDGE, UPLINK, customer, customer6};
use crate::lab::report::{Claim, Counts, Customers, Failure, Report, Row, SCHEMA_VERSION, Scanner, Special, Verdict};
use crate::lab::services::Service;
use crate::lab::stage::Setup;
use crate::lab::tools::Tool;
use crate::lab::wait::{is_emulated, patiently};
use crate::lab::wire::{Answer, Says, Tap, read_answer};
use draw::{Carries, Draw, Ends, Group};
use ends::{BLOCKED, Dest, EDGE_HAS, Part, Peer, SUSPECTS, weighted};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "shapes",
    about: "1,000,000 odd frames (SCANGUARD_SHAPES, SCANGUARD_SHAPES_SEED) of blocked, concealed and fresh \
           sources: what Linux answers counts",
    play,
};

/// How many frames, and what decides which.
const FRAMES: &str = "SCANGUARD_SHAPES";
const SEED: &str = "SCANGUARD_SHAPES_SEED";
/// `native`, where the program is to run in the driver.
const ATTACH: &str = "SCANGUARD_SHAPES_ATTACH";
const FULL: u64 = 1_000_000;
const SHORT: u64 = 50_000;
const EMULATED: u64 = 20_000;

/// So many ports of each kind, TCP and UDP.
const COUNT: u16 = 100;
const FIRST_RESTRICTED: u16 = 6_100;
const FIRST_PUBLIC: u16 = 8_100;
const FIRST_CLOSED: u16 = 7_100;
const FIRST_CANARY: u16 = 7_900;
/// Ports that are restricted as soon as they are open, which they are one after another while the scenario runs.
const FIRST_OPENING: u16 = 6_500;
/// Closed ones that make suspects.
const ACCUSING: u16 = 7_600;

const CONFIG: &str = "mode = \"enforce\"
challenge = \"off\"
keep = true
allow = [\"99.99.99.99\"]
[ports]
learning = \"0s\"
restricted = [\"default\", \"6100-6199\", \"6100-6199/udp\", \"6500-6599\", \"6500-6599/udp\"]
canary = [\"7900-7909\"]
[sources]
new_per_second = 100000000
[storm]
suspects_per_second = 1000000
[conceal]
duration = \"24h\"
longest = \"7d\"
[safety]
leases = false
shortest_ipv4 = 0
shortest_ipv6 = 0
";

/// Said in every row.
const SWITCHED_OFF: &str = "storm brake, limit of new sources and ICMP limits are off, every ordinary source is \
       in a /24 or /48 of its own, challenge = off";

/// Who asks a service when a batch was sent, and is on the allowlist.
const SENTINEL: IpAddr = IpAddr::V4(Ipv4Addr::new(99, 99, 99, 99));
const LIMIT: Duration = Duration::from_secs(30);
const CUSTOMERS: u8 = 2;
/// When fragments are given up that nothing completes, and a little.
const GIVEN_UP: Duration = Duration::from_millis(2_500);
/// Groups in a batch of the first and the last part.
const BATCH: usize = 256;
/// Suspects of an ordinary kind, and of each other one.
const MANY: u32 = 48;
const FEW: u32 = 8;
/// Failures that are checked again at once, so that no accident counts; if there are more, it is none.
const CHECKED: u64 = 500;
/// Kinds of failures that are shown.
const SHOWN: usize = 24;

fn play(setup: &Setup) -> Result<Report> {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let usual = if is_emulated() {
        EMULATED
    } else if setup.full {
        FULL
    } else {
        SHORT
    };
    let (frames, seed) = (number(FRAMES).unwrap_or(usual), number(SEED).unwrap_or(1));
    let begun = Instant::now();
    let mut world = World::build(setup, seed)?;
    let rows = [world.blocked(frames / 3)?, world.suspects(frames / 3)?, world.strangers(frames - frames / 3 * 2)?];
    let (customers, verdicts) = world.close()?;
    let report = |name: &str, row: Row, customers| Report {
        schema_version: SCHEMA_VERSION,
        scenario: name.to_owned(),
        defender: setup.defender.name().to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        duration_s: 0.0,
        scanner: Scanner { probes_sent: row.frames.unwrap_or_default(), ..Scanner::default() },
        customers,
        verdicts: Vec::new(),
        wire: Counts::default(),
        counted: None,
        special: Special::default(),
        row,
        rows: Vec::new(),
    };
    let rows: Vec<Report> = rows
        .into_iter()
        .enumerate()
        .map(|(position, row)| {
            // The customers are there all the while.
            let customers =
                if position == 0 { customers } else { Customers { count: customers.count, ..Default::default() } };
            let name = row.name.clone().unwrap_or_default();
            report(&name, row, customers)
        })
        .collect();
    let mut whole = Report::over(SCENARIO.name, rows).context("a scenario without rows")?;
    whole.duration_s = begun.elapsed().as_secs_f64();
    whole.verdicts = verdicts;
    whole.row.note = Some(format!("seed {seed}, {frames} frames; {SWITCHED_OFF}"));
    Ok(whole)
}

/// Everything that a run needs. The hosts come last, so that they go last.
struct World {
    random: SmallRng,
    tap: Tap,
    sources: Option<PinnedSources>,
    next_port: u16,
    next_source: u32,
    opened: u16,
    /// Groups of a batch.
    sent: u64,
    /// What is said when fragments were not completed in time, about which port: it comes when its batch is over.
    unassembled: BTreeMap<Option<u16>, u64>,
    listeners: Listeners,
    _services: Vec<Service>,
    browsing: Browsing,
    sessions: Sessions,
    guard: Guard,
    lab: Lab,
}

/// What became of a group of frames.
type Heard = Vec<Answer>;

/// Whether these frames of a group, of other sources, still fail: what they are then, and what is answered.
type Fails<'a> = dyn Fn(&mut World, &Shown, &[bool]) -> Result<Option<(Group, String)>> + 'a;

/// Failures by what is odd about them, each with the shortest frames.
#[derive(Default)]
struct Failures {
    count: u64,
    kinds: BTreeMap<String, Shown>,
}

struct Shown {
    draw: Draw,
    port: u16,
    other: u16,
    group: Group,
    answers: String,
}

impl Failures {
    fn add(&mut self, shown: Shown) {
        self.count += 1;
        let Draw { peer, dest, carries, .. } = shown.draw;
        let said: String = shown.answers.split("protocol").next().unwrap_or_default().to_owned();
        let key = if peer.is_ordinary() {
            format!("{carries:?} {dest:?} {said} {}", class(&shown.group.odd))
        } else {
            format!("{carries:?} {dest:?} {said} {peer:?}")
        };
        let size = |shown: &Shown| (shown.group.odd.len(), shown.group.frames.iter().map(Vec::len).sum::<usize>());
        match self.kinds.get_mut(&key) {
            Some(known) if size(known) <= size(&shown) => {}
            Some(known) => *known = shown,
            None => drop(self.kinds.insert(key, shown)),
        }
    }
}

/// What is odd, without numbers: much the same is shown once.
fn class(odd: &[String]) -> String {
    let plain = |text: &String| -> String { text.chars().filter(|c| c.is_alphabetic()).take(12).collect() };
    odd.iter().skip(1).map(plain).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

impl World {
    fn build(setup: &Setup, seed: u64) -> Result<Self> {
        let lab = Lab::build(CUSTOMERS)?;
        prepare(&lab)?;
        let services = Service::all(&lab.edge, &[])?;
        let listeners = Listeners::start(&lab.edge, (0..COUNT).flat_map(|n| [FIRST_RESTRICTED + n, FIRST_PUBLIC + n]))?;
        let attach = env::var(ATTACH).map(|how| format!("attach = \"{how}\"\n")).unwrap_or_default();
        let guard = setup.defender.start(&lab, &setup.scanguard, &(attach + CONFIG))?;
        let sources = (setup.defender == Defender::Scanguard)
            .then(|| PinnedSources::open(Path::new(DEFAULT_FOLDER)).context("cannot read the records of sources"))
            .transpose()?;
        let tap = Tap::beside_edge(&lab)?;
        let sessions = Sessions::open(&lab, &PUBLIC)?;
        let browsing = Browsing::start(&lab, Duration::from_millis(500), PUBLIC.to_vec())?;
        browsing.wait_for_rounds(1, LIMIT)?;
        let random = SmallRng::seed_from_u64(seed);
        let (next_port, next_source, opened, sent) = (2_000, seed as u32 % 1_000 * 1_000, 0, 0);
        let mut world = Self {
            random,
            tap,
            sources,
            next_port,
            next_source,
            opened,
            sent,
            unassembled: BTreeMap::new(),
            listeners,
            _services: services,
            browsing,
            sessions,
            guard,
            lab,
        };
        // What arrives first is the neighbours' business.
        world.settle(&mut |_| {})?;
        Ok(world)
    }

    fn close(self) -> Result<(Customers, Vec<Verdict>)> {
        let Self { browsing, sessions, guard, lab, listeners, .. } = self;
        let mut verdicts = Vec::new();
        if let Some(daemon) = guard.daemon() {
            for address in (0..CUSTOMERS).flat_map(|n| [IpAddr::from(customer(n)), customer6(n).into()]) {
                let level = why(daemon, address)?["verdict"]["level"].as_str().unwrap_or("none").to_owned();
                if level != "none" {
                    let role = crate::lab::plan::role(address);
                    let (source, scope, reason, after_ms) = (address.to_string(), None, None, None);
                    verdicts.push(Verdict { source, role, level, scope, reason, after_ms });
                }
            }
        }
        let requests = browsing.stop()?;
        let held = sessions.close()?;
        guard.stop()?;
        drop(listeners);
        drop(lab);
        let customers = Customers {
            count: CUSTOMERS.into(),
            requests: requests.made,
            failures: requests.failed,
            established: held.established,
            established_broken: held.broken,
        };
        Ok((customers, verdicts))
    }

    /// A port to send from, another one each time.
    fn own_port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX { 2_000 } else { self.next_port + 1 };
        if self.random.random_ratio(1, 200) { 0 } else { self.next_port }
    }

    fn ends(&mut self, from: IpAddr, port: u16) -> Ends {
        Ends { from, from_port: self.own_port(), port, mac: self.tap.mac, peer: self.tap.peer }
    }

    /// Some port: open ones and closed ones of each kind.
    fn port(&mut self) -> u16 {
        let number = self.random.random_range(0..COUNT);
        match weighted(&[(0, 26), (1, 26), (2, 26), (3, 4), (4, 6), (5, 4), (6, 8)], &mut self.random) {
            0 => FIRST_RESTRICTED + number,
            1 => FIRST_PUBLIC + number,
            2 => FIRST_CLOSED + number,
            3 => FIRST_CANARY + number % 10,
            4 if self.opened > 0 => FIRST_OPENING + self.opened - 1,
            5 => 0,
            _ => self.random.random(),
        }
    }

    /// Opens the next of the ports that are restricted as soon as they are open, in some batches.
    fn open_one(&mut self) -> Result<()> {
        if self.opened < COUNT && self.random.random_ratio(1, 4) {
            self.listeners.open(FIRST_OPENING + self.opened)?;
            self.opened += 1;
        }
        Ok(())
    }

    /// Waits until all that was sent is answered, and hands out the answers.
    fn settle(&mut self, hear: &mut dyn FnMut(Answer)) -> Result<()> {
        // Twice: a service that looks at its sockets in turn has then looked at all of them.
        for _ in 0..2 {
            let port = self.own_port().max(2_000);
            let datagram = craft::udp(port, FIRST_PUBLIC + COUNT - 1, b"done?");
            let edge = IpAddr::from(crate::lab::plan::EDGE);
            let packet = craft::packet(SENTINEL, edge, UDP, datagram);
            let limit = Instant::now() + patiently(LIMIT);
            'asked: loop {
                self.tap.send_packet(&packet)?;
                let by = Instant::now() + patiently(Duration::from_millis(500));
                while let Some(frame) = self.tap.receive(by)? {
                    let Some(answer) = read_answer(&frame) else { continue };
                    if answer.to == SENTINEL {
                        if answer.asker == Some(port) {
                            break 'asked;
                        }
                        continue;
                    }
                    hear(answer);
                }
                ensure!(Instant::now() < limit, "the edge answers nobody any more");
            }
        }
        Ok(())
    }

    /// Sends groups, each of another source, and tells what each was answered.
    fn batch(&mut self, groups: &[(Ends, &[Vec<u8>])]) -> Result<Vec<Heard>> {
        let places: HashMap<IpAddr, usize> =
            groups.iter().enumerate().map(|(place, (ends, _))| (ends.from, place)).collect();
        let mut heard: Vec<Heard> = vec![Vec::new(); groups.len()];
        let mut unassembled = std::mem::take(&mut self.unassembled);
        let mut hear = |answer: Answer| {
            if answer.says.is_unassembled() {
                *unassembled.entry(answer.port).or_default() += 1;
                return;
            }
            let Some(place) = places.get(&answer.to) else { return };
            // What is late, for what the same source sent in an earlier batch, says so by its port.
            if answer.asker.is_none_or(|port| port == groups[*place].0.from_port) {
                heard[*place].push(answer);
            }
        };
        for (_, frames) in groups {
            for frame in *frames {
                self.tap.send(frame)?;
                self.sent += 1;
            }
        }
        self.settle(&mut hear)?;
        self.unassembled = unassembled;
        Ok(heard)
    }

    /// Waits until the last fragments are given up; what was said of such, about which port.
    fn unassembled(&mut self) -> Result<BTreeMap<Option<u16>, u64>> {
        let by = Instant::now() + patiently(GIVEN_UP);
        while let Some(frame) = self.tap.receive(by)? {
            if let Some(answer) = read_answer(&frame).filter(|answer| answer.says.is_unassembled()) {
                *self.unassembled.entry(answer.port).or_default() += 1;
            }
        }
        Ok(std::mem::take(&mut self.unassembled))
    }

    /// Sources under a block: nothing may be answered.
    fn blocked(&mut self, frames: u64) -> Result<Row> {
        let (mut peers, mut refused) = (Vec::new(), Vec::new());
        for (prefix, peer, weight) in BLOCKED {
            if let Some(daemon) = self.guard.daemon() {
                let block = ["block", "add", prefix, "--scope", "all", "--for", "12h", "--force"];
                let done = daemon.cli(&block)?;
                // The operator is told that a block would do nothing.
                if done.status.code() == Some(4) {
                    refused.push(prefix);
                    continue;
                }
                done.success(&format!("scanguard block add {prefix}"))?;
            }
            peers.push((peer, weight));
        }
        let (mut failures, mut answered, before) = (Failures::default(), 0, self.sent);
        while self.sent - before < frames {
            self.open_one()?;
            let drawn: Vec<(Draw, Ends, Group)> = (0..BATCH).map(|_| self.draw_blocked(&peers)).collect();
            let groups: Vec<_> = drawn.iter().map(|(_, ends, group)| (*ends, &group.frames[..])).collect();
            let heard = self.batch(&groups)?;
            for ((draw, ends, group), heard) in drawn.into_iter().zip(heard) {
                if !heard.is_empty() {
                    answered += 1;
                    failures.add(Shown { draw, port: ends.port, other: 0, group, answers: said(&heard) });
                }
            }
        }
        let frames = self.sent - before;
        let failing = |world: &mut Self, shown: &Shown, kept: &[bool]| {
            let number = world.number();
            let ends = world.ends(shown.draw.peer.address(Part::Blocked, number), shown.port);
            let group = some(shown.draw.frames(&ends), kept);
            let heard = world.batch(&[(ends, &group.frames)])?;
            Ok((!heard[0].is_empty()).then(|| (group, said(&heard[0]))))
        };
        let count = failures.count;
        let shown = self.shortest(failures, &failing)?;
        let note = "sources under a block of all ports: nothing is answered";
        let mut row = row("blocked", note, frames, answered, count, shown);
        let measured = self.unassembled()?.values().sum();
        row.claims.push(Claim { what: "answered when fragments were given up".to_owned(), most: 0, measured });
        let measured = refused.len() as u64;
        row.claims.push(Claim { what: "kinds of sources that cannot be blocked".to_owned(), most: 0, measured });
        if !refused.is_empty() {
            row.note = row.note.map(|note| format!("{note}; cannot be blocked: {}", refused.join(", ")));
        }
        Ok(row)
    }

    fn number(&mut self) -> u32 {
        self.next_source += 1;
        self.next_source
    }

    fn draw_blocked(&mut self, peers: &[(Peer, u32)]) -> (Draw, Ends, Group) {
        let peer = weighted(peers, &mut self.random);
        let number = self.number();
        self.draw(peer, Part::Blocked, number)
    }

    fn draw(&mut self, peer: Peer, part: Part, number: u32) -> (Draw, Ends, Group) {
        let carries = weighted(&[(Carries::Tcp, 60), (Carries::Udp, 22), (Carries::Other, 18)], &mut self.random);
        let draw = Draw { seed: self.random.random(), peer, dest: Dest::any(&mut self.random), carries };
        let port = self.port();
        let ends = self.ends(peer.address(part, number), port);
        (draw, ends, draw.frames(&ends))
    }

    /// Concealed sources: the same frames to a restricted and to a closed port, in either order.
    fn suspects(&mut self, frames: u64) -> Result<Row> {
        let mut failures = Failures::default();
        let mut kinds: Vec<(Peer, Vec<u32>)> = Vec::new();
        for peer in SUSPECTS {
            let count = if matches!(peer, Peer::Ordinary4 | Peer::Ordinary6) { MANY } else { FEW };
            let numbers: Vec<u32> = (1..=count).collect();
            for number in &numbers {
                self.accuse(peer.address(Part::Suspect, *number))?;
            }
            kinds.push((peer, numbers));
        }
        let never = self.never_concealed(&kinds)?;
        let (mut answered, before) = (0, self.sent);
        while self.sent - before < frames {
            self.open_one()?;
            let mut pairs: Vec<(Draw, Ends, Group)> = Vec::new();
            for (peer, numbers) in &mut kinds {
                numbers.shuffle(&mut self.random);
                for two in numbers.chunks_exact(2) {
                    pairs.extend(self.pair(*peer, [two[0], two[1]]));
                }
            }
            // Whichever comes first, and with what between them.
            let mut order: Vec<usize> = (0..pairs.len()).collect();
            order.shuffle(&mut self.random);
            let groups: Vec<_> = order.iter().map(|place| (pairs[*place].1, &pairs[*place].2.frames[..])).collect();
            let mut heard: Vec<Heard> = vec![Vec::new(); pairs.len()];
            for (place, answers) in order.into_iter().zip(self.batch(&groups)?) {
                heard[place] = answers;
            }
            for (two, heard) in pairs.chunks_exact(2).zip(heard.chunks_exact(2)) {
                answered += heard.iter().filter(|heard| !heard.is_empty()).count() as u64;
                let answers = [said(&heard[0]), said(&heard[1])];
                if answers[0] == answers[1] {
                    continue;
                }
                let (draw, ends, group) = &two[0];
                let shown = Shown {
                    draw: *draw,
                    port: ends.port,
                    other: two[1].1.port,
                    group: group.clone(),
                    answers: format!("{} to the first port, {} to the second", answers[0], answers[1]),
                };
                if failures.count >= CHECKED || self.tells(&shown, &vec![true; group.frames.len()])?.is_some() {
                    failures.add(shown);
                }
            }
        }
        let frames = self.sent - before;
        let count = failures.count;
        let shown = self.shortest(failures, &|world, shown, kept| world.tells(shown, kept))?;
        let note =
            "concealed sources: the same frames to a restricted (or canary) and to a closed port are answered alike";
        let mut row = row("suspects", note, frames, answered, count, shown);
        row.claims.push(Claim {
            what: "kinds of sources never concealed".to_owned(),
            most: 0,
            measured: never.len() as u64,
        });
        if !never.is_empty() {
            row.note = row.note.map(|note| format!("{note}; never concealed: {never:?}"));
        }
        Ok(row)
    }

    /// Four failures, whatever becomes of them.
    fn accuse(&mut self, from: IpAddr) -> Result<()> {
        for port in ACCUSING..ACCUSING + 5 {
            self.ask(from, port)?;
        }
        self.settle(&mut |_| {})
    }

    fn ask(&mut self, from: IpAddr, port: u16) -> Result<u16> {
        let from_port = self.own_port().max(2_000);
        let segment = craft::tcp(from_port, port, 7, 0, SYN, &craft::MSS_OPTION, &[]);
        let packet = craft::packet(from, Dest::Own.address(from.is_ipv4()), TCP, segment);
        self.tap.send_packet(&packet)?;
        Ok(from_port)
    }

    /// The kinds of which one is still answered.
    fn never_concealed(&mut self, kinds: &[(Peer, Vec<u32>)]) -> Result<Vec<Peer>> {
        let mut never = Vec::new();
        for (peer, numbers) in kinds {
            for number in numbers {
                let from = peer.address(Part::Suspect, *number);
                let port = self.ask(from, ACCUSING + 10)?;
                let mut answers = 0;
                self.settle(&mut |answer| answers += u64::from(answer.to == from && answer.asker == Some(port)))?;
                if answers > 0 && !never.contains(peer) {
                    never.push(*peer);
                }
            }
        }
        Ok(never)
    }

    /// The same frames of two suspects of a kind, for a port that is open to few and for a closed one.
    fn pair(&mut self, peer: Peer, numbers: [u32; 2]) -> [(Draw, Ends, Group); 2] {
        let carries = if self.random.random_ratio(2, 3) { Carries::Tcp } else { Carries::Udp };
        let draw = Draw { seed: self.random.random(), peer, dest: Dest::any(&mut self.random), carries };
        let number = self.random.random_range(0..COUNT);
        let first = match weighted(&[(0, 70), (1, 20), (2, 10)], &mut self.random) {
            1 if self.opened > 0 => FIRST_OPENING + self.opened - 1,
            2 if carries == Carries::Tcp => FIRST_CANARY + number % 10,
            _ => FIRST_RESTRICTED + number,
        };
        self.both(&draw, numbers, [first, FIRST_CLOSED + number])
    }

    fn both(&mut self, draw: &Draw, numbers: [u32; 2], ports: [u16; 2]) -> [(Draw, Ends, Group); 2] {
        let from_port = self.own_port();
        [0, 1].map(|which| {
            let from = draw.peer.address(Part::Suspect, numbers[which]);
            let ends = Ends { from_port, ..self.ends(from, ports[which]) };
            (*draw, ends, draw.frames(&ends))
        })
    }

    /// Whether the same frames are answered differently again, when they come from others of the kind.
    fn tells(&mut self, shown: &Shown, kept: &[bool]) -> Result<Option<(Group, String)>> {
        for numbers in [[2, 1], [3, 4]] {
            let two = self.both(&shown.draw, numbers, [shown.port, shown.other]);
            let groups = two.map(|(_, ends, group)| (ends, some(group, kept)));
            let sent: Vec<_> = groups.iter().map(|(ends, group)| (*ends, &group.frames[..])).collect();
            let heard = self.batch(&sent)?;
            let answers = [said(&heard[0]), said(&heard[1])];
            if answers[0] == answers[1] {
                return Ok(None);
            }
            if numbers == [3, 4] {
                let [(_, group), _] = groups;
                let answers = format!("{} to the first port, {} to the second", answers[0], answers[1]);
                return Ok(Some((group, answers)));
            }
        }
        Ok(None)
    }

    /// Fresh sources: whatever is answered like an attempt was counted as one.
    fn strangers(&mut self, frames: u64) -> Result<Row> {
        let (mut failures, mut answered, before) = (Failures::default(), 0, self.sent);
        while self.sent - before < frames {
            self.open_one()?;
            let drawn: Vec<(Draw, Ends, Group)> = (0..BATCH)
                .map(|_| {
                    let peer = Peer::any(&mut self.random);
                    let number = self.number();
                    self.draw(peer, Part::Stranger, number)
                })
                .collect();
            let groups: Vec<_> = drawn.iter().map(|(_, ends, group)| (*ends, &group.frames[..])).collect();
            let heard = self.batch(&groups)?;
            for ((draw, ends, group), heard) in drawn.into_iter().zip(heard) {
                answered += u64::from(!heard.is_empty());
                if let Some(answers) = self.overlooked(ends.from, &group, &heard) {
                    failures.add(Shown { draw, port: ends.port, other: 0, group, answers });
                }
            }
        }
        let frames = self.sent - before;
        let count = failures.count;
        let shown = self.shortest(failures, &|world: &mut Self, shown: &Shown, kept: &[bool]| {
            let number = world.number();
            let ends = world.ends(shown.draw.peer.address(Part::Stranger, number), shown.port);
            let group = some(shown.draw.frames(&ends), kept);
            let heard = world.batch(&[(ends, &group.frames)])?;
            Ok(world.overlooked(ends.from, &group, &heard[0]).map(|answers| (group, answers)))
        })?;
        let note = "fresh sources: whoever was answered like one that asks (SYN-ACK, RST-ACK, datagram, \
               unreachable, echo) has a record that says so (but for protocols in ordinary use, which are not counted)";
        Ok(row("strangers", note, frames, answered, count, shown))
    }

    /// What was answered like an attempt, where none was counted.
    fn overlooked(&self, from: IpAddr, group: &Group, heard: &[Answer]) -> Option<String> {
        let sources = self.sources.as_ref()?;
        if from.is_unspecified() {
            return None; // Answered to nobody, whom only a neighbour is (docs/limits.md).
        }
        let answers: Vec<&Answer> =
            heard.iter().filter(|answer| is_to_attempt(answer.says) && !is_in_ordinary_use(answer.says)).collect();
        if answers.is_empty() {
            return None;
        }
        let version = if from.is_ipv4() { 4 } else { 6 };
        let record = KeyRules::new().source_of(from.into(), version).and_then(|source| sources.record(&source));
        let counted = record.is_some_and(|record| record.attempts > 0 || record.contacts > 0 || record.score > 0);
        let kind = if group.asks_by_flags { "to odd flags" } else { "to an attempt" };
        let own = answers.into_iter().cloned().collect::<Vec<_>>();
        (!counted).then(|| format!("{} {kind}, not counted", said(&own)))
    }

    /// The shortest frames of each kind of failure that still fail.
    fn shortest(&mut self, failures: Failures, fails: &Fails<'_>) -> Result<Vec<Failure>> {
        let mut all: Vec<Shown> = failures.kinds.into_values().collect();
        all.sort_by_key(|shown| (shown.group.odd.len(), shown.group.frames.len()));
        let mut told = Vec::new();
        for shown in all.into_iter().take(SHOWN) {
            let mut kept = vec![true; shown.group.frames.len()];
            let mut best = (shown.group.clone(), shown.answers.clone());
            for frame in 0..kept.len() {
                kept[frame] = false;
                match fails(self, &shown, &kept)? {
                    Some(fewer) if kept.contains(&true) => best = fewer,
                    _ => kept[frame] = true,
                }
            }
            let (group, answers) = best;
            let mut shape = group.odd.join("; ");
            shape += &format!("; port {}", shown.port);
            if shown.other != 0 {
                shape += &format!(" and {}", shown.other);
            }
            let frames = group.frames.iter().map(|frame| craft::hex(frame)).collect();
            told.push(Failure { shape, frames, answers });
        }
        Ok(told)
    }
}

fn row(name: &str, note: &str, frames: u64, answered: u64, count: u64, failures: Vec<Failure>) -> Row {
    let claim = Claim { what: "broken promises".to_owned(), most: 0, measured: count };
    let row = Row::claiming(name, note, vec![claim]);
    Row { frames: Some(frames), answered: Some(answered), told_apart: Some(count), failures, ..row }
}

/// Those frames of a group that are kept.
fn some(group: Group, kept: &[bool]) -> Group {
    let frames = group.frames.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(frame, _)| frame).collect();
    Group { frames, ..group }
}

/// What was said, in kind and number.
fn said(heard: &[Answer]) -> String {
    let mut counts = BTreeMap::<Says, u32>::new();
    for answer in heard.iter().filter(|answer| !answer.says.is_unassembled()) {
        *counts.entry(answer.says).or_default() += 1;
    }
    if counts.is_empty() {
        return "nothing".to_owned();
    }
    let texts =
        counts.into_iter().map(|(says, count)| if count == 1 { says.to_string() } else { format!("{count} {says}") });
    texts.collect::<Vec<_>>().join(", ")
}

/// Whether it is what somebody gets who asks for something new.
const fn is_to_attempt(says: Says) -> bool {
    match says {
        Says::SynAck | Says::ResetAck | Says::Datagram | Says::Echo => true,
        // Unreachable ports and protocols. (That a header is not known is said of a chain, before it comes to what is asked for.)
        Says::Error { kind, .. } => matches!(kind, 3 | 1) && !says.is_unassembled(),
        Says::Reset | Says::Segment { .. } | Says::Icmp { .. } | Says::Other { .. } => false,
    }
}

/// Whether it is about a protocol in ordinary use between hosts, which is not counted (docs/detection.md).
fn is_in_ordinary_use(says: Says) -> bool {
    const THEM: [u8; 16] = [2, 4, 41, 47, 50, 51, 59, 88, 89, 97, 103, 112, 115, 132, 136, 137];
    let Says::Error { kind, code, about } = says else { return false };
    matches!((kind, code), (3, 2) | (4, 1)) && THEM.contains(&about)
}

/// Longer packets, more addresses, and answers that nothing limits or repeats.
fn prepare(lab: &Lab) -> Result<()> {
    for (host, link) in [(&lab.router, TO_EDGE), (&lab.edge, UPLINK)] {
        Tool::Ip.run(host, ["link", "set", link, "mtu", "9000"], LIMIT)?.success("ip link set mtu")?;
    }
    for line in EDGE_HAS.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        Tool::Ip.run(&lab.edge, words, LIMIT)?.success(line)?;
    }
    lab.edge.sysctl(&[
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv4/icmp_ratemask", "0"),
        ("ipv4/icmp_msgs_per_sec", "10000000"),
        ("ipv4/icmp_msgs_burst", "10000000"),
        ("ipv6/icmp/ratelimit", "0"),
        ("ipv4/icmp_echo_ignore_broadcasts", "0"),
        // Handshakes that nobody completes are over soon, and fragments that nothing completes.
        ("ipv4/tcp_synack_retries", "0"),
        ("ipv4/ipfrag_time", "1"),
        ("ipv6/ip6frag_time", "1"),
        ("ipv4/ipfrag_high_thresh", "268435456"),
        ("ipv6/ip6frag_high_thresh", "268435456"),
        ("ipv4/tcp_max_syn_backlog", "4096"),
        ("core/somaxconn", "4096"),
        ("ipv4/tcp_fastopen", "1539"),
    ])
}
