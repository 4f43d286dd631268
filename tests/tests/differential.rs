//! Kernel against host on a million random and mutated frames: what the parser reads, and everything the datapath keeps.
//!
//! Needs root; run by `cargo xtask test`, by `cargo xtask test --full` ten times with other seeds. `SCANGUARD_FRAMES` sets another number,
//! `SCANGUARD_SEED` another first seed.

use std::cmp::Reverse;
use std::{env, slice};

use ipnetwork::IpNetwork;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use scanguard::kernel::rig::Rig;
use scanguard_common::class::Protocol;
use scanguard_common::host::Frame;
use scanguard_common::packet::{PARSED_WORDS, Parsed, parse, parse_leaving};
use scanguard_common::reason::Mode;
use scanguard_common::verdict::{Known, Origin, Scope, Verdict};
use scanguard_tests::answers::{Kind, answer};
use scanguard_tests::frames::{BEHIND, LOCAL, Mutations, table};
use scanguard_tests::rig;
use scanguard_tests::skip::skip;
use scanguard_tests::twin::Twin;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// The seeds of the rounds, from this one on: one round, or ten where all the long tests run.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let first = setting("SCANGUARD_SEED", first);
    let rounds = if env::var_os("SCANGUARD_FULL").is_some() { 10 } else { 1 };
    first..first + rounds
}

#[test]
fn the_kernel_reads_a_million_frames_as_the_host_does() {
    seeds(1).for_each(read_alike);
}

fn read_alike(seed: u64) {
    let frames = setting("SCANGUARD_FRAMES", 1_000_000);
    let mut rig = Rig::load(rig::OBJECT, 0, 1).expect("the rig, which needs root: run `cargo xtask test`");
    let mut mutations = Mutations::new(seed);
    for number in 0..frames {
        let frame = mutations.next_frame();
        let (kernel, host) = (rig.parse(&frame, None).expect("a trial run"), parse(&Frame(&frame)));
        assert_eq!(kernel, host.words(), "seed {seed}, frame {number}: {frame:02x?} read as {host:?}");
    }
    println!("{frames} frames read alike (seed {seed})");
}

#[test]
fn the_kernel_reads_what_leaves_as_the_host_does() {
    const HEADERS: usize = 14 + 40;
    let (frames, seed) = (setting("SCANGUARD_FRAMES", 1_000_000) / 4, setting("SCANGUARD_SEED", 3));
    let mut rig = Rig::load(rig::OBJECT, 0, 1).expect("the rig, which needs root: run `cargo xtask test`");
    let (mut mutations, mut random) = (Mutations::new(seed), SmallRng::seed_from_u64(seed));
    let mut answers = [0_u64; 5];
    for number in 0..frames {
        let asked = mutations.next_frame();
        let kind = Kind::ALL[random.random_range(0..Kind::ALL.len())];
        let mut frame = answer(&asked, kind).unwrap_or(asked);
        if random.random() {
            mutations.spoil(&mut frame);
        }
        let kernel = match rig.parse_leaving(&frame) {
            Err(_) if frame.len() < HEADERS => continue, // Refused by trial runs.
            kernel => kernel.expect("a trial run"),
        };
        let mut parsed = Parsed::default();
        let found = parse_leaving(&Frame(&frame), &mut parsed);
        let mut host = parsed.words();
        host[PARSED_WORDS - 1] |= (found as u64) << 56;
        assert_eq!(kernel, host, "seed {seed}, frame {number}: {frame:02x?} read as {parsed:?}, {found:?}");
        answers[found as usize] += 1;
    }
    assert!(answers.iter().all(|count| *count > frames / 100), "of every kind: {answers:?}");
    println!("{frames} frames that leave read alike (seed {seed})");
}

/// Drivers that split headers, and large frames, leave part of a frame in further buffers.
#[test]
fn headers_beyond_the_first_buffer_are_read_alike() {
    const SHORTEST: u32 = 14;
    let mut rig = Rig::load(rig::OBJECT, 0, 1).expect("the rig, which needs root: run `cargo xtask test`");
    let mut compared = 0;
    for row in table() {
        let length = u32::try_from(row.frame.len()).expect("a short frame");
        for near in SHORTEST..length {
            let kernel = match rig.parse(&row.frame, Some(near)) {
                Ok(words) => words,
                Err(error) if compared == 0 => {
                    let why = format!("this kernel splits no frames in trial runs (Linux 6.18 does): {error}");
                    return skip("split-frames", &why).unwrap_or_else(|why| panic!("{why}"));
                }
                Err(error) => panic!("{}: {error}", row.shows),
            };
            assert_eq!(kernel, parse(&Frame(&row.frame)).words(), "{}, {near} bytes in the first buffer", row.shows);
            compared += 1;
        }
    }
    println!("{compared} split frames read alike");
}

/// Ports that frames ask for: public, restricted, canary, closed and unknown ones.
const LOCKED: [u16; 9] = [22, 23, 80, 443, 5432, 7, 18, 2000, 41_000];

/// What userspace may do at any time: lockdowns, modes, a daemon that sleeps, verdicts, known sources, the allowlist.
fn meddle(twin: &mut Twin, random: &mut SmallRng, now_ns: u64) {
    const MINUTE_NS: u64 = 60_000_000_000;
    let mut sources = twin.model().records();
    sources.sort_unstable_by_key(|record| (Reverse(record.attempts), record.source.0.bytes()));
    // Mostly one of those who send the most.
    let among = if random.random_ratio(3, 4) { sources.len().min(4) } else { sources.len() };
    if among == 0 {
        return;
    }
    let source = sources[random.random_range(0..among)].source;
    let ends_ns = now_ns + random.random_range(0..120) * MINUTE_NS;
    match random.random_range(0..15) {
        14 => {
            // Ports that are asked for, whatever they are, and some that are not.
            let port = |random: &mut SmallRng| {
                let protocol = if random.random() { Protocol::Tcp } else { Protocol::Udp };
                let port = if random.random() { *LOCKED.choose(random).expect("some") } else { random.random() };
                (protocol, port)
            };
            let ports: Vec<_> = (0..random.random_range(1..8)).map(|_| port(random)).collect();
            let until_ns = if random.random_ratio(3, 4) { ends_ns } else { 0 };
            twin.set_lockdown(&ports, until_ns, random.random());
        }
        13 => {
            let local: IpNetwork = LOCAL.parse().expect("a network");
            twin.set_local(if random.random_ratio(3, 4) { slice::from_ref(&local) } else { &[] });
        }
        11 => {
            let since_ns =
                random.random_ratio(3, 4).then(|| now_ns.saturating_sub(random.random_range(0..10) * MINUTE_NS));
            twin.set_elsewhere(since_ns, random.random(), random.random_ratio(3, 4));
        }
        12 => {
            let behind: IpNetwork = BEHIND.parse().expect("a network");
            twin.set_protected(if random.random_ratio(3, 4) { slice::from_ref(&behind) } else { &[] });
        }
        0 => twin.set_mode(if random.random() { Mode::Enforce } else { Mode::Observe }),
        1 => twin.set_watched(random.random_ratio(3, 4)),
        2 => twin.set_known(source, Known { restricted_until_ns: ends_ns }),
        3 => {
            let (address, length) = twin.rules().prefix(source);
            let entry = IpNetwork::new(address, length - random.random_range(0..8)).expect("a prefix");
            twin.set_allowed(&[(entry, ends_ns)]);
        }
        4 => twin.set_allowed(&[]),
        5 => twin.set_verdict(source, None),
        6 => twin.set_prefix_verdicts(&[]),
        7 => twin.set_enforce_until(if random.random() { u64::MAX } else { ends_ns }),
        8 => {
            let (address, length) = twin.rules().prefix(source);
            let block = |scope, hard| Verdict { hard, ..Verdict::block(scope, Origin::Operator, ends_ns) };
            // One within the other: the longer one decides.
            let [wide, narrow] =
                [16, random.random_range(0..4)].map(|less| IpNetwork::new(address, length - less).expect("a prefix"));
            let hard = u8::from(random.random_ratio(1, 8));
            twin.set_prefix_verdicts(&[(wide, block(Scope::All, hard)), (narrow, block(Scope::Private, 0))]);
        }
        _ => {
            twin.set_allowed(&[]); // Nobody is in both.
            let scope = if random.random() { Scope::All } else { Scope::Private };
            let origin = if random.random() { Origin::Operator } else { Origin::Controller };
            let hard = u8::from(random.random_ratio(1, 8));
            twin.set_verdict(source, Some(Verdict { hard, ..Verdict::block(scope, origin, ends_ns) }));
        }
    }
}

#[test]
fn the_kernel_counts_a_million_frames_as_the_host_does() {
    seeds(2).for_each(count_alike);
}

fn count_alike(seed: u64) {
    const BETWEEN_EVENTS: u64 = 1_000;
    /// Every so many frames one leaves.
    const ANSWERED: u64 = 3;
    /// As many frames may still be answered.
    const ANSWERED_LATE: usize = 200;
    let frames = setting("SCANGUARD_FRAMES", 1_000_000);
    // Room for a source a frame, so that nothing is evicted.
    let room = u32::try_from(frames.max(1 << 10) * 2).expect("a number of frames that fits a table");
    let mut twin = Twin::new(room);
    let mut mutations = Mutations::new(seed);
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut asked, mut left): (Vec<Vec<u8>>, u64) = (Vec::new(), 0);
    for number in 0..frames {
        let frame = mutations.next_frame();
        twin.feed(&frame);
        if asked.len() < ANSWERED_LATE {
            asked.push(frame);
        } else {
            let place = random.random_range(0..ANSWERED_LATE);
            asked[place] = frame;
        }
        if number % ANSWERED == 0 {
            // To something asked lately, as hosts and their routers answer; and sometimes anything that leaves.
            let kind = Kind::ALL[random.random_range(0..Kind::ALL.len())];
            let to = &asked[random.random_range(0..asked.len())];
            let leaving = if random.random_ratio(1, 8) { Some(mutations.next_frame()) } else { answer(to, kind) };
            if let Some(leaving) = leaving {
                twin.leave(&leaving);
                left += 1;
            }
        }
        if number % BETWEEN_EVENTS == 0 {
            twin.assert_events_equal(&format!("seed {seed}, by frame {number}"));
            // Some 14 hours in all, so that scores halve and suspicion ends.
            twin.set_now(number * 50_000_000);
            meddle(&mut twin, &mut random, number * 50_000_000);
        }
    }
    twin.assert_equal(&format!("seed {seed}, after {frames} frames"));
    let model = twin.model();
    let kept = [model.all_asked().len(), model.all_opened().len(), model.all_flows().len(), model.all_sent().len()];
    println!("asked, opened, flows, sent to: {kept:?}");
    assert!(frames < 100_000 || kept.iter().all(|entries| *entries >= 10), "every table was used: {kept:?}");
    let counters = twin.kernel_counters();
    let verdicts: Vec<_> = counters.verdicts().collect();
    let total: u64 = verdicts.iter().map(|(.., counter)| counter.packets).sum();
    assert_eq!(total, frames, "every frame has one reason");
    println!(
        "{frames} frames counted alike and {left} that left (seed {seed}), {} sources, reasons:",
        twin.kernel_sources().len()
    );
    for (level, reason, mode, counter) in verdicts {
        println!("  {:>8} {} {} {}", counter.packets, level.label(), reason.label(), mode.label());
    }
}
