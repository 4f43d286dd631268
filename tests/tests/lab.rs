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

/// Processes whose network namespace is neither ours nor that of init: inhabitants of a laboratory.
fn inhabitants() -> Vec<String> {
    let namespace = |pid: &str| fs::metadata(format!("/proc/{pid}/ns/net")).map(|file| file.ino()).ok();
    let (own, init) = (namespace("self"), namespace("1"));
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| namespace(pid).is_some_and(|theirs| Some(theirs) != own && Some(theirs) != init))
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
    let before = inhabitants();
    let links_before = fs::read_dir("/sys/class/net").expect("links").count();
    let mut lab = start_lab();
    // The daemon, tcpdump and a scanner or customer live in the lab's namespaces.
    wait_for("the lab to be under way", Duration::from_secs(30), || inhabitants().len() >= before.len() + 3);
    lab.kill().expect("a signal");
    lab.wait().expect("its end");
    wait_for("everything in it to be gone", Duration::from_secs(10), || {
        inhabitants().iter().all(|pid| before.contains(pid))
    });
    assert_eq!(fs::read_dir("/sys/class/net").expect("links").count(), links_before, "links of this machine");
    assert!(
        !fs::exists("/run/netns").unwrap_or(false)
            || fs::read_dir("/run/netns").is_ok_and(|mut all| all.next().is_none())
    );
}
