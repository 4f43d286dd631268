//! The laboratory: what it measures without a defender, that scanguard counts what was on the wire, what scanguard makes
//! of every scenario, and that nothing is left of it however it ends.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::slice;
use std::thread;

use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::wait_for;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::plan::{Role, SCANNER};
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::{Scenario, nmap_syn};
use scanguard_tests::lab::stage::{Scene, Stage};
use scanguard_tests::lab::wire::What;
use scanguard_tests::lab::{Setup, sandbox};

fn play(scenario: &str, defender: Defender, mode: Mode) -> Report {
    let setup = Setup { defender, scanguard: binary_beside_tests(), mode, captures: None, full: false };
    let scenario = Scenario::named(scenario).expect("a scenario");
    scenario.play(&setup).unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name))
}

fn syn(defender: Defender, mode: Mode) -> Report {
    enter();
    let report = play("syn", defender, mode);
    assert_eq!(report.scanner.probes_sent, 1000, "{report}");
    assert!(report.customers.requests >= 60, "{report}");
    report
}

fn enter() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
}

/// Plays it with scanguard enforcing: whatever happens, customers must not notice.
fn enforced(scenario: &str) -> Report {
    let report = play(scenario, Defender::Scanguard, Mode::Enforce);
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
    assert!(report.verdicts.iter().all(|verdict| verdict.role != Role::Customer), "{report}");
    report
}

/// Most closed ports that a scanner may learn: its first contacts, and what other CPUs let through meanwhile.
fn most_answered() -> u64 {
    3 + thread::available_parallelism().map_or(1, usize::from) as u64
}

/// A scan of so many ports, in every variant, that learnt next to nothing.
fn learns_nothing(scenario: &str, asked: u64) -> Report {
    let report = enforced(scenario);
    let variants = if report.rows.is_empty() { slice::from_ref(&report) } else { &report.rows };
    for variant in variants {
        assert_eq!(variant.scanner.probes_sent, asked, "{variant}");
        assert!(variant.scanner.closed_answered <= most_answered(), "{variant}");
        assert!(variant.scanner.concealed_at_probe.is_some_and(|probe| probe <= most_answered() + 1), "{variant}");
    }
    report
}

#[test]
fn scanguard_counts_every_source_exactly_as_the_wire_shows() {
    let report = syn(Defender::Scanguard, Mode::Enforce);
    let counted = report.counted.clone().expect("counts of scanguard");
    assert_eq!(counted, report.wire, "{report}");
    assert!(report.wire.of(&SCANNER.to_string()) >= 1000, "{report}");
    assert!(counted.sources.len() >= 21, "the scanner, ten customers over IPv4 and ten over IPv6: {report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
}

#[test]
fn observing_counts_the_same_and_hides_nothing() {
    let report = syn(Defender::Scanguard, Mode::Observe);
    assert_eq!(report.counted.as_ref(), Some(&report.wire), "{report}");
    assert!(report.scanner.closed_answered >= 990, "{report}");
    assert_eq!(report.scanner.concealed_at_probe, None, "{report}");
    assert_eq!((report.scanner.restricted_revealed, report.scanner.public_revealed), (5, 2), "{report}");
}

#[test]
fn an_allowlisted_scanner_is_left_alone() {
    enter();
    let (defender, mode) = (Defender::Scanguard, Mode::Enforce);
    let setup = Setup { defender, scanguard: binary_beside_tests(), mode, captures: None, full: false };
    let scene = Scene { config: "allow = [\"203.0.113.0/24\"]\n", ..Scene::USUAL };
    let stage = Stage::set(&setup, &scene).expect("a stage");
    nmap_syn(&stage.lab.scanner).expect("a scan");
    let observations = stage.calm().expect("customers").close(&setup).expect("observations");
    let report = observations.report("allowed", defender);
    assert_eq!((report.scanner.restricted_revealed, report.scanner.public_revealed), (5, 2), "{report}");
    assert!(report.verdicts.is_empty(), "{report}");
}

/// Plays a scenario whose rows claim something, with scanguard enforcing; the customers who browse beside it must not notice.
fn keeps_its_bounds(scenario: &str) -> Report {
    enter();
    let report = play(scenario, Defender::Scanguard, Mode::Enforce);
    assert!(report.rows.iter().all(|row| !row.row.claims.is_empty()), "each row claims something: {report}");
    assert!(report.broken().is_empty(), "{report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
    report
}

#[test]
fn each_value_of_challenge_gives_what_the_document_says() {
    assert_eq!(keeps_its_bounds("challenge-modes").rows.len(), 3);
}

#[test]
fn wrong_passwords_in_an_office_hide_ssh_from_its_newcomers_only_as_documented() {
    assert_eq!(keeps_its_bounds("nat-ssh").rows.len(), 5);
}

#[test]
fn without_a_defender_a_scan_learns_every_port() {
    let report = syn(Defender::None, Mode::Enforce);
    assert!(report.scanner.closed_answered >= 990, "{report}");
    assert_eq!((report.scanner.restricted_revealed, report.scanner.public_revealed), (5, 2), "{report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
}

#[test]
fn the_usual_meter_answers_its_burst_and_what_its_rate_adds_and_nothing_after() {
    // As its rules say.
    const BURST: usize = 50;
    const PER_SECOND: f64 = 20.0;
    enter();
    let (defender, mode) = (Defender::NftMeter, Mode::Enforce);
    let setup = Setup { defender, scanguard: binary_beside_tests(), mode, captures: None, full: false };
    let stage = Stage::set(&setup, &Scene::USUAL).expect("a stage");
    nmap_syn(&stage.lab.scanner).expect("a scan");
    let observations = stage.calm().expect("customers").close(&setup).expect("observations");
    let scanner = IpAddr::from(SCANNER);
    let segments = || {
        let packets = observations.at_scanner.iter();
        packets.filter_map(|packet| if let What::Tcp(segment) = packet.what { Some((packet, segment)) } else { None })
    };
    // When each port answered first, and the SYNs, those that nmap repeats too, in their order.
    let mut answered = BTreeMap::new();
    for (packet, segment) in segments().filter(|(packet, _)| packet.destination == scanner) {
        answered.entry(segment.source_port).or_insert(packet.at);
    }
    let syns: Vec<_> = segments().filter(|(packet, it)| packet.source == scanner && it.syn && !it.ack).collect();
    let asked: BTreeSet<u16> = syns.iter().map(|(_, segment)| segment.destination_port).collect();
    assert_eq!(asked.len(), 1000, "the whole scan");
    // The first SYN whose port never answers is where it was blocked: each one before took one from the burst, or found it
    // filled again by the rate meanwhile.
    let before = syns.iter().take_while(|(_, segment)| answered.contains_key(&segment.destination_port)).count();
    let (first, last) = (syns[0].0.at, answered.values().max().copied().expect("answers"));
    let most = BURST + (PER_SECOND * last.saturating_sub(first).as_secs_f64()).ceil() as usize;
    assert!((BURST..=most).contains(&before), "{before} SYNs passed, not {BURST} to {most}");
    assert!(answered.len() <= before, "{} ports answered {before} SYNs", answered.len());
    let report = observations.report("syn", defender);
    let [verdict] = &report.verdicts[..] else { panic!("not one verdict: {report}") };
    assert_eq!((verdict.role, verdict.level.as_str()), (Role::Scanner, "block"), "{report}");
}

#[test]
fn a_scan_of_many_ports_learns_next_to_nothing_at_whatever_speed() {
    enter();
    for (scenario, asked) in [("syn", 1000), ("slow", 200), ("connect", 1000), ("masscan", 1000)] {
        let report = learns_nothing(scenario, asked);
        assert_eq!(report.scanner.restricted_revealed, 0, "{report}");
    }
}

#[test]
fn odd_flags_and_fragments_learn_no_more() {
    enter();
    for scenario in ["stealth", "fragments"] {
        learns_nothing(scenario, 200);
    }
}

#[test]
fn other_protocols_and_scanners_learn_no_more() {
    enter();
    for (scenario, asked) in [("udp", 100), ("ipv6", 1000), ("zmap", 64), ("hping3", 300)] {
        learns_nothing(scenario, asked);
    }
}

#[test]
fn a_scanner_with_a_thousand_networks_is_one_scanner() {
    enter();
    let report = enforced("ipv6-hopping");
    assert_eq!(report.scanner.probes_sent, 1000, "{report}");
    assert!(report.scanner.closed_answered <= 30, "{report}");
}

#[test]
fn nobody_is_judged_where_nobody_scans() {
    enter();
    for (scenario, requests) in [("customers-only", 10_000), ("p2p-noise", 100), ("restart", 500), ("outgoing", 1000)] {
        let report = enforced(scenario);
        assert!(report.customers.requests >= requests, "{report}");
        assert!(report.verdicts.is_empty(), "{report}");
    }
}

/// Every process that has a network namespace, with its parent and that namespace. (Zombies have none.)
fn processes() -> Vec<(u32, u64)> {
    let parent = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let namespace = |pid: &str| Some(fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino());
    fs::read_dir("/proc")
        .expect("processes")
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|pid| Some((parent(&pid)?, namespace(&pid)?)))
        .collect()
}

/// The namespaces in which a laboratory's programs run. Other tests have laboratories at the same time.
fn namespaces_of(lab: &Child) -> Vec<u64> {
    let own = fs::metadata("/proc/self/ns/net").expect("our namespace").ino();
    processes()
        .into_iter()
        .filter(|(parent, namespace)| *parent == lab.id() && *namespace != own)
        .map(|(_, namespace)| namespace)
        .collect()
}

/// Names in a folder; none where there is no such folder.
fn names_in(folder: &str) -> BTreeSet<OsString> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

fn start_lab() -> Child {
    Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["scenario", "syn", "--json", "-"])
        .arg("--scanguard")
        .arg(binary_beside_tests())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the lab")
}

#[test]
fn a_lab_killed_in_the_middle_leaves_no_process_and_no_namespace() {
    // What others have on this machine, links and named namespaces, is theirs.
    let machine = || ["/sys/class/net", "/run/netns"].map(names_in);
    let before = machine();
    assert!(!before[0].is_empty(), "there is a loopback link at least");
    let mut lab = start_lab();
    let mut namespaces = Vec::new();
    // tcpdump on two hosts, the daemon, and a scanner or a customer.
    wait_for("the lab to be under way", || {
        namespaces = namespaces_of(&lab);
        namespaces.len() >= 4
    });
    lab.kill().expect("a signal");
    lab.wait().expect("its end");
    wait_for("everything in it to be gone", || {
        processes().iter().all(|(_, namespace)| !namespaces.contains(namespace))
    });
    for (after, before) in machine().iter().zip(&before) {
        let new: Vec<_> = after.difference(before).collect();
        assert!(new.is_empty(), "links or named namespaces that were not there before: {new:?}");
    }
}
