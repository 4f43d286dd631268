//! A packet flood over a real link, from a generator on every CPU: no packet and no attempt goes uncounted.
//!
//! Needs root; run by `cargo xtask test`. `SCANGUARD_FULL` makes it ten times as long.

use std::collections::HashSet;
use std::process::Command;
use std::thread;
use std::time::Instant;

use scanguard::kernel::rig::Rig;
use scanguard::kernel::{AttachMode, Datapath, LoadOptions};
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::{CounterIndex, Loss};
use scanguard_common::newcomers::NewcomerRules;
use scanguard_tests::daemon::wait_for;
use scanguard_tests::frames;
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::rig;

const FRAMES_PER_CPU: u32 = 5_000_000;
const SOURCES: u32 = 1_000;

/// Runs `ip` in the namespace of the calling thread.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip, of package iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Packets that a link says it received.
fn received(link: &str) -> u64 {
    let text = ip(&format!("-j -s link show dev {link}"));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON of ip");
    json[0]["stats64"]["rx"]["packets"].as_u64().expect("a count of packets")
}

fn index(link: &str) -> u32 {
    let text = ip(&format!("-j link show dev {link}"));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON of ip");
    json[0]["ifindex"].as_u64().and_then(|index| u32::try_from(index).ok()).expect("an index")
}

fn syn() -> Vec<u8> {
    let mut rows = frames::table().into_iter();
    rows.find(|row| row.shows == "SYN to a public port").expect("the row").frame
}

#[test]
fn a_flood_from_every_cpu_loses_no_count() {
    let namespace = Netns::new("flood").expect("a namespace, which needs root: run `cargo xtask test`");
    namespace.run(flood).expect("the namespace");
}

/// A generator's link and a filter's, joined. No IPv6: its router solicitations would be counted too, rightly, and not be
/// the flood's.
fn link_pair() {
    ip("link add generator numtxqueues 8 numrxqueues 8 type veth peer name filtered numtxqueues 8 numrxqueues 8");
    for link in ["generator", "filtered"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1").expect("a setting of IPv6");
        ip(&format!("link set dev {link} up"));
    }
}

fn flood() {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let full = std::env::var_os("SCANGUARD_FULL").is_some();
    let frames_per_cpu = if full { FRAMES_PER_CPU * 10 } else { FRAMES_PER_CPU };
    link_pair();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part");
    datapath.set_config(&KernelConfig::new([1, 2])).expect("settings");
    datapath.set_own_addresses(&frames::own_addresses()).expect("addresses");
    datapath.set_port_classes(frames::port_entries()).expect("port classes");
    runtime.block_on(datapath.attach("filtered", AttachMode::Native)).expect("an attachment");

    let (frame, target, before) = (syn(), index("generator"), received("filtered"));
    let started = Instant::now();
    let generated = generate(&frame, target, frames_per_cpu);
    let elapsed = started.elapsed();

    let arrived = || received("filtered") - before;
    let readings = datapath.readings();
    let counted = || -> u64 {
        let counters = readings.counters().expect("counters");
        counters.verdicts().map(|(.., counter)| counter.packets).sum()
    };
    // The other end may still be at work on what is in its ring.
    wait_for("the filter to have counted what the driver received", || arrived() == counted());
    let (arrived, counted) = (arrived(), counted());
    println!(
        "{generated} frames generated on {cpus} CPUs in {elapsed:.2?} ({:.1} Mpps), {arrived} arrived, {counted} counted",
        generated as f64 / elapsed.as_secs_f64() / 1e6
    );
    assert_eq!(counted, arrived, "the filter counts what the driver received");
    assert!(arrived >= u64::from(frames_per_cpu) / 2, "most of the flood arrives, or this shows nothing");

    let counters = readings.counters().expect("counters");
    let attempts = counters.get(CounterIndex::attempt(PortClass::Public, Protocol::Tcp));
    assert_eq!(attempts.packets, arrived, "attempts by port class");
    assert_eq!(attempts.bytes, arrived * frame.len() as u64, "bytes");
    let records = readings.sources().expect("sources");
    assert_eq!(records.len(), SOURCES as usize, "sources");
    assert_eq!(records.iter().map(|record| record.attempts).sum::<u64>(), arrived, "attempts by source");
    assert!(records.iter().all(|record| record.contacts == 1), "all CPUs together see one first contact a source");
}

/// Sends the frames from every CPU at once and returns how many there were.
fn generate(frame: &[u8], target: u32, frames_per_cpu: u32) -> u64 {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let generators: Vec<_> = (0..cpus)
            .map(|_| {
                scope.spawn(|| {
                    let mut rig = Rig::load(rig::OBJECT, target, SOURCES).expect("the rig");
                    rig.generate(frame, frames_per_cpu).expect("a run of the generator");
                    rig.generated().expect("a count of frames")
                })
            })
            .collect();
        generators.into_iter().map(|generator| generator.join().expect("a generator")).sum()
    })
}

#[test]
fn a_full_table_is_read_whole() {
    const MANY: u32 = 200_000;
    let namespace = Netns::new("table").expect("a namespace, which needs root: run `cargo xtask test`");
    namespace
        .run(|| {
            let mut datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part");
            let newcomers = NewcomerRules::unlimited();
            datapath.set_config(&KernelConfig { newcomers, ..KernelConfig::new([1, 2]) }).expect("settings");
            let mut frame = syn();
            for number in 0..MANY {
                frame[26..30].copy_from_slice(&(0x0a00_0000 | number).to_be_bytes());
                datapath.trial(&frame, 1).expect("a trial run");
            }
            let started = Instant::now();
            let records = datapath.readings().sources().expect("sources");
            println!("{} records read in {:.0?}", records.len(), started.elapsed());
            let distinct: HashSet<_> = records.iter().map(|record| record.source).collect();
            assert_eq!((records.len(), distinct.len()), (MANY as usize, MANY as usize));
            assert!(records.iter().all(|record| record.attempts == 1));
        })
        .expect("the namespace");
}

/// Of a flood of new sources most get no record for asking a public port: every attempt is counted all the same, who was recorded before stays, and
/// whoever asks for a closed port is recorded and weighed.
#[test]
fn a_flood_of_new_sources_leaves_the_table_to_those_who_were_here() {
    const NEWCOMERS: u32 = 400_000;
    const HERE: u32 = 1_000;
    let namespace = Netns::new("newcomers").expect("a namespace, which needs root: run `cargo xtask test`");
    namespace
        .run(|| {
            let mut one = rustix::thread::CpuSet::new();
            one.set(0);
            rustix::thread::sched_setaffinity(None, &one).expect("a CPU to stay on");
            let mut datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part");
            let newcomers = NewcomerRules { per_second: 100, ..NewcomerRules::new() };
            let config = KernelConfig { newcomers: NewcomerRules::unlimited(), ..KernelConfig::new([1, 2]) };
            datapath.set_config(&config).expect("settings");
            datapath.set_own_addresses(&frames::own_addresses()).expect("addresses");
            datapath.set_port_classes(frames::port_entries()).expect("port classes");
            datapath.set_egress(Some(0)).expect("settings");
            let ask = |datapath: &mut Datapath, base: u32, count: u32, port: u16| {
                let mut frame = frames::syn(std::net::Ipv4Addr::UNSPECIFIED, port);
                for number in 0..count {
                    frame[26..30].copy_from_slice(&(base + number).to_be_bytes());
                    datapath.trial(&frame, 1).expect("a trial run");
                }
            };
            ask(&mut datapath, 0x0a00_0000, HERE, 443);
            datapath.set_config(&KernelConfig { newcomers, ..config }).expect("settings");
            ask(&mut datapath, 0x1400_0000, NEWCOMERS, 443);
            let closed = *frames::CLOSED.start();
            ask(&mut datapath, 0x1500_0000, HERE, closed);

            let counters = datapath.readings().counters().expect("counters");
            let count = |index| counters.get(index).packets;
            let unrecorded = count(CounterIndex::loss(Loss::Newcomers));
            assert_eq!(count(CounterIndex::attempt(PortClass::Public, Protocol::Tcp)), u64::from(HERE + NEWCOMERS));
            assert!(unrecorded > u64::from(NEWCOMERS) / 2, "{unrecorded} were not recorded: it was a flood");
            let records = datapath.readings().sources().expect("sources");
            let of = |base: u32| {
                let within = move |address: std::net::IpAddr| match address {
                    std::net::IpAddr::V4(address) => u32::from(address) >> 24 == base >> 24,
                    std::net::IpAddr::V6(_) => false,
                };
                records.iter().filter(|record| within(record.source.0.into())).collect::<Vec<_>>()
            };
            assert_eq!(of(0x0a00_0000).len(), HERE as usize, "who was here stays");
            assert_eq!(of(0x1400_0000).len() as u64, u64::from(NEWCOMERS) - unrecorded);
            let weighed = of(0x1500_0000);
            assert_eq!(weighed.len(), HERE as usize, "who asks for a closed port is recorded");
            assert!(weighed.iter().all(|record| record.score > 0 && record.failures == 1));
        })
        .expect("the namespace");
}
