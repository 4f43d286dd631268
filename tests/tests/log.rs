//! What others can make the daemon write, and what it does while nobody reads what it writes.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first. `SCANGUARD_FULL` forges 400,000 suspects, and lets the log stand
//! still for longer than the kernel part's patience.

use std::io::{PipeReader, Read as _, Write as _, pipe};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{connect, done, serves, wait_for};
use scanguard_tests::lab::craft::{self, TCP};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{EDGE, SCANNER, customer};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::wire::Tap;
use scanguard_tests::lab::{Lab, sandbox};

const CONFIG: &str = "mode = \"enforce\"\n[safety]\nleases = false\n[ports]\nlearning = \"0s\"\n";
/// A log may be so long, whoever sends whatever: with a line of some 200 bytes for each suspect it would be longer by far.
const MOST_BYTES: usize = 100_000;
/// Suspects that are forged at a time; then the link is given time to take them.
const AT_ONCE: u32 = 250;

fn full() -> bool {
    std::env::var_os("SCANGUARD_FULL").is_some()
}

/// Two segments without flags, to two ports: enough to be a suspect, and nothing that the sender would have to answer for.
fn forge(tap: &Tap, number: u32) {
    let from = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + number));
    for port in [1_000, 1_001] {
        let packet = craft::packet(from, EDGE.into(), TCP, craft::tcp(40_000, port, 1, 0, 0, &[], &[]));
        tap.send(&craft::framed(tap.peer, tap.mac, &packet)).expect("a frame on the link");
    }
}

/// A value of the metrics, without labels or with all of them.
fn metric(daemon: &Daemon, name: &str) -> f64 {
    let metrics = daemon.metrics().expect("metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("scanguard_{name} ")));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {metrics}"))
}

#[test]
fn forged_suspects_fill_no_log_hold_up_no_answer_and_push_out_no_question() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), CONFIG).expect("the daemon");
    wait_for("the service", || serves(&lab, 0));
    // A customer, of whom a log tool tells: a person is asked.
    let patron = customer(0).to_string();
    done(&daemon, &["signal", &patron, "--weight", "1", "--reason", "sshd: 5 failed logins", "--proof"]);
    let waits = || {
        let waiting = done(&daemon, &["pending", "list"]);
        waiting["entries"].as_array().is_some_and(|entries| entries.iter().any(|entry| entry["source"] == *patron))
    };
    assert!(waits());

    let tap = Tap::beside_edge(&lab).expect("a socket on the link");
    let forged = if full() { 400_000 } else { 10_000 };
    for number in 0..forged {
        forge(&tap, number);
        if number % AT_ONCE == 0 {
            thread::sleep(Duration::from_millis(10));
        }
        if number % (forged / 4) == 0 {
            assert_eq!(done(&daemon, &["status"])["daemon"], true, "it answers meanwhile");
        }
    }
    // (Of the frames the link loses some.)
    wait_for("many suspects", || metric(&daemon, "suspects") >= 1_000.0);
    wait_for("a sum of what was left out", || daemon.log().contains("left_out="));
    let log = daemon.log();
    assert!(log.len() < MOST_BYTES, "{} bytes for {forged} suspects:\n{}", log.len(), &log[log.len() - 2_000..]);
    assert!(metric(&daemon, "log_lines_dropped_total{reason=\"repeated\"}") >= 900.0, "most are in sums: {log}");
    assert!(metric(&daemon, "log_lines_dropped_total{reason=\"unread\"}") < 1.0, "nothing else is missing: {log}");
    assert!(waits(), "the genuine question is still there");
    assert!(serves(&lab, 0), "and the customer is served");
    daemon.stop().expect("a clean stop");
}

/// A pipe that is full, and its other end.
fn stalled() -> (PipeReader, Stdio) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("a pipe that does not wait");
    while writer.write(&[b'\n'; 512]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, flags).expect("a pipe that waits");
    (reader, writer.into())
}

#[test]
fn while_nobody_reads_the_log_scans_are_concealed_and_the_daemon_answers() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let (mut reader, log) = stalled();
    let daemon = Daemon::launch_logging_to(&lab.edge, &binary_beside_tests(), CONFIG, log)
        .and_then(Daemon::attached)
        .expect("it starts though not a line of it is written");
    let tap = Tap::beside_edge(&lab).expect("a socket on the link");
    for number in 0..2_000 {
        forge(&tap, number);
    }
    if full() {
        // Longer than the kernel part waits for a daemon that does not beat.
        thread::sleep(Duration::from_secs(60));
    }
    assert!(metric(&daemon, "heartbeat_seconds") < 30.0);
    // A fresh scan, of closed ports and then of a restricted one that is open.
    let closed = (2_000..2_010).filter(|port| connect(&lab.scanner, *port).is_some()).count();
    assert_eq!(closed, 0, "nothing listens there");
    let scanner = SCANNER.to_string();
    wait_for("the scanner to be a suspect", || done(&daemon, &["why", &scanner])["verdict"]["level"] == "conceal");
    assert!(connect(&lab.scanner, 22).is_none(), "hidden from it");
    done(&daemon, &["allow", "add", "198.18.0.0/24"]);
    assert!(serves(&lab, 0));
    // When it is read again, all that found room is there.
    let read = thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).expect("a log");
        log
    });
    daemon.stop().expect("a clean stop");
    let log = read.join().expect("a log");
    for said in ["attached", "ready", "left_out=", "stopped; nothing stays attached"] {
        assert!(log.contains(said), "no {said:?} in {log}");
    }
}
