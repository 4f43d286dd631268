//! The laboratory itself: what it measures without a defender, that scanguard counts what was on the wire, and that
//! nothing is left of it however it ends.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::plan::SCANNER;
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::Scenario;
use scanguard_tests::lab::{Setup, sandbox};

fn syn(defender: Defender) -> Report {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let setup = Setup { defender, scanguard: binary_beside_tests(), captures: None };
    let report = Scenario::named("syn").expect("the scenario").play(&setup).expect("a run");
    assert_eq!(report.scanner.probes_sent, 1000, "{report}");
    assert!(report.customers.requests >= 60, "{report}");
    report
}

fn attempts(report: &Report, source: &str) -> Option<u64> {
    report.wire.sources.iter().find(|count| count.source == source).map(|count| count.attempts)
}

#[test]
fn scanguard_counts_every_source_exactly_as_the_wire_shows() {
    let report = syn(Defender::Scanguard);
    let counted = report.counted.clone().expect("counts of scanguard");
    assert_eq!(counted, report.wire, "{report}");
    assert!(attempts(&report, &SCANNER.to_string()).is_some_and(|attempts| attempts >= 1000), "{report}");
    assert!(counted.sources.len() >= 21, "the scanner, ten customers over IPv4 and ten over IPv6: {report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
}

#[test]
fn without_a_defender_a_scan_learns_every_port() {
    let report = syn(Defender::None);
    assert!(report.scanner.closed_answered >= 990, "{report}");
    assert_eq!((report.scanner.restricted_revealed, report.scanner.public_revealed), (5, 2), "{report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
}

#[test]
fn the_usual_meter_answers_about_its_burst() {
    let report = syn(Defender::NftMeter);
    assert!((40..=80).contains(&report.scanner.closed_answered), "{report}");
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

fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
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
    let links_before = fs::read_dir("/sys/class/net").expect("links").count();
    let mut lab = start_lab();
    let mut namespaces = Vec::new();
    // tcpdump on two hosts, the daemon, and a scanner or a customer.
    wait_for("the lab to be under way", Duration::from_secs(30), || {
        namespaces = namespaces_of(&lab);
        namespaces.len() >= 4
    });
    lab.kill().expect("a signal");
    lab.wait().expect("its end");
    wait_for("everything in it to be gone", Duration::from_secs(10), || {
        processes().iter().all(|(_, namespace)| !namespaces.contains(namespace))
    });
    assert_eq!(fs::read_dir("/sys/class/net").expect("links").count(), links_before, "links of this machine");
    assert!(
        !fs::exists("/run/netns").unwrap_or(false)
            || fs::read_dir("/run/netns").is_ok_and(|mut all| all.next().is_none())
    );
}
