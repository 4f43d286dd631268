//! The real daemon on a real link: what it shows, what it refuses, and that it leaves nothing behind.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use scanguard::kernel::rig::{Floor, Rig};
use scanguard_tests::lab::defender::{Daemon, left_attached};
use scanguard_tests::lab::plan::UPLINK;
use scanguard_tests::lab::process::{Finished, Running};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use scanguard_tests::{binary_beside_tests, rig};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const NOTHING_THERE: &str = "/run/scanguard/nobody.sock";

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(1).expect("the lab")
}

fn start(lab: &Lab) -> Daemon {
    Daemon::start(&lab.edge, &binary_beside_tests(), "").expect("the daemon")
}

/// Runs the program on the edge to its end.
fn scanguard(lab: &Lab, arguments: &[&str]) -> Finished {
    let mut command = lab.edge.command(binary_beside_tests());
    command.args(arguments);
    Running::start(command).expect("the program").wait(LIMIT).expect("an end")
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[test]
fn status_has_the_agreed_keys_and_a_clean_stop_leaves_nothing() {
    let lab = lab();
    let daemon = start(&lab);
    let status = daemon.cli(&["status", "--json"]).expect("an answer");
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    let status = json(&status);
    for key in [
        "schema_version",
        "mode",
        "interfaces",
        "uptime_s",
        "kernel",
        "packets",
        "sources",
        "suspects",
        "verdicts",
        "drift",
        "ring_lost",
        "maps",
        "warnings",
    ] {
        assert!(!status[key].is_null(), "status has no {key}: {status}");
    }
    assert_eq!(status["mode"], "observe");
    let interface = &status["interfaces"][0];
    assert_eq!(interface["name"], UPLINK);
    assert_eq!(interface["driver_mode"], "generic", "generic by default on veth");
    assert_eq!(interface["attached"], true);
    for (object, keys) in [("packets", &["passed", "dropped", "would_drop"][..]), ("verdicts", &["conceal", "block"])] {
        for key in keys {
            assert!(status[object][key].is_u64(), "status has no {object}.{key}: {status}");
        }
    }
    assert!(status["maps"].as_array().is_some_and(|maps| maps.iter().any(|map| map["name"] == "SOURCES")));
    assert!(!left_attached(&lab.edge).expect("a list").is_empty(), "something is attached while it runs");
    daemon.stop().expect("a clean stop that leaves nothing");
}

#[test]
fn a_killed_daemon_leaves_nothing_attached() {
    let lab = lab();
    let daemon = start(&lab);
    let pid = daemon.pid();
    // Dropping kills with SIGKILL and waits.
    drop(daemon);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(left_attached(&lab.edge).expect("a list"), Vec::<String>::new());
}

#[test]
fn a_second_daemon_on_the_same_host_is_refused_and_the_first_goes_on() {
    let lab = lab();
    let daemon = start(&lab);
    let second = scanguard(&lab, &["run", "-i", UPLINK]);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(second.stderr.contains("already"), "{second:?}");
    let status = json(&daemon.cli(&["status", "--json"]).expect("an answer"));
    assert_eq!(status["interfaces"][0]["attached"], true);
    daemon.stop().expect("a clean stop");
}

#[test]
fn another_program_on_the_interface_is_named_and_left_alone_until_the_command_that_is_told_removes_it() {
    let lab = lab();
    let mut other = Rig::load(rig::OBJECT, 0, 1).expect("the rig");
    lab.edge.run(|| other.attach(Floor::Pass, UPLINK, false).expect("an attachment")).expect("the edge");
    // Held by a link first, then as `ip` and older programs attach, over netlink.
    for begins in ["bpftool link detach id ", "ip link set dev uplink0 xdpgeneric off"] {
        let refused = scanguard(&lab, &["run", "-i", UPLINK]);
        assert_eq!(refused.status.code(), Some(77), "{refused:?}");
        assert!(refused.stderr.contains("another XDP program, rig_pass (id "), "{refused:?}");
        assert!(!left_attached(&lab.edge).expect("a list").is_empty(), "the other program is still there");
        let id = refused.stderr.split("(id ").nth(1).and_then(|rest| rest.split(')').next()).expect("an id");
        let command = refused.stderr.split('`').find(|part| part.starts_with(begins));
        let command: Vec<&str> = command.unwrap_or_else(|| panic!("no command: {refused:?}")).split(' ').collect();
        let tool = if command[0] == "ip" { Tool::Ip } else { Tool::Bpftool };
        tool.run(&lab.edge, &command[1..], LIMIT)
            .expect("the command")
            .success("the command that was told")
            .expect("done");
        assert_eq!(left_attached(&lab.edge).expect("a list"), Vec::<String>::new());
        if command[0] == "bpftool" {
            let attach = ["net", "attach", "xdpgeneric", "id", id, "dev", UPLINK];
            Tool::Bpftool
                .run(&lab.edge, attach, LIMIT)
                .expect("bpftool")
                .success("bpftool net attach")
                .expect("attached");
        }
    }
    start(&lab).stop().expect("a clean stop");
}

#[test]
fn an_interface_taken_away_makes_status_unhealthy() {
    let lab = lab();
    let daemon = start(&lab);
    let ip = Tool::Ip;
    ip.run(&lab.edge, ["link", "set", "dev", UPLINK, "xdpgeneric", "off"], LIMIT).expect("ip");
    ip.run(&lab.edge, ["link", "delete", "dev", UPLINK], LIMIT).expect("ip").success("ip link delete").expect("gone");
    let status = daemon.cli(&["status", "--json"]).expect("an answer");
    assert_eq!(status.status.code(), Some(5), "{status:?}");
    assert_eq!(json(&status)["interfaces"][0]["attached"], false);
}

#[test]
fn what_is_asked_of_nobody_says_how_to_start_the_daemon() {
    let lab = lab();
    for arguments in [&["status"][..], &["sources", "list"]] {
        let refused = scanguard(&lab, &[arguments, &["--socket", NOTHING_THERE]].concat());
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        assert!(refused.stderr.contains("scanguard run"), "{refused:?}");
    }
}

#[test]
fn an_unknown_interface_is_named() {
    let lab = lab();
    let refused = scanguard(&lab, &["run", "-i", "nosuch0"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("nosuch0"), "{refused:?}");
}

#[test]
fn without_rights_all_that_is_missing_is_listed_at_once() {
    let lab = lab();
    let mut command = lab.edge.command("/usr/bin/setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all"]).arg(binary_beside_tests());
    command.args(["run", "-i", UPLINK]);
    let refused = Running::start(command).expect("setpriv").wait(LIMIT).expect("an end");
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    for missing in ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] {
        assert!(refused.stderr.contains(missing), "{missing} is not named: {refused:?}");
    }
}

#[test]
fn an_interrupt_ends_it_as_well() {
    let lab = lab();
    let mut command = lab.edge.command(binary_beside_tests());
    command.args(["run", "-i", UPLINK]);
    let running = Running::start(command).expect("the program");
    running.wait_for_stderr("attached", LIMIT).expect("a log line of the attachment");
    let ended = running.stop(Signal::INT, LIMIT).expect("an end");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(left_attached(&lab.edge).expect("a list"), Vec::<String>::new());
}

#[test]
fn the_kernel_part_logs_frames_when_asked_and_only_then() {
    for (config, expected) in
        [("[log]\nlevel = \"debug\"\nframes = true\n", true), ("[log]\nlevel = \"debug\"\n", false)]
    {
        let lab = lab();
        let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), config).expect("the daemon");
        let attempts = || {
            let listed = json(&daemon.cli(&["sources", "list", "--json"]).expect("an answer"));
            listed["sources"].as_array().map_or(0, Vec::len)
        };
        let deadline = Instant::now() + LIMIT;
        while attempts() == 0 || daemon.log().contains("frame of") != expected {
            assert!(Instant::now() < deadline, "frames logged is not {expected}:\n{}", daemon.log());
            let url = format!("http://{}/", scanguard_tests::lab::plan::EDGE);
            Tool::Curl.run(&lab.customers, ["--disable", "-s", "--max-time", "1", &url], LIMIT).expect("curl");
        }
        daemon.stop().expect("a clean stop");
    }
}
