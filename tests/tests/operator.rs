//! An operator at work, by the real command line against the real daemon: he cannot hurt himself, what he changes is in force at once, and however
//! badly the socket is treated the daemon stays well.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, done, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{EDGE, EDGE6, SCANNER, UPLINK, customer};
use scanguard_tests::lab::process::Running;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;

const SOCKET: &str = "/run/scanguard/control.sock";
const CONFIG: &str = "/run/scanguard-lab.toml";
const REFUSED: Option<i32> = Some(4);

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(2).expect("the lab")
}

fn start(lab: &Lab, config: &str) -> Daemon {
    Daemon::start(&lab.edge, &binary_beside_tests(), config).expect("the daemon")
}

/// A login in the private `/run/utmp`: `struct utmpx` of glibc (utmp(5)), of a process that lives.
fn log_in(user: &str, address: [u8; 4]) {
    let mut record = vec![0_u8; 384];
    record[0..2].copy_from_slice(&7_i16.to_ne_bytes()); // USER_PROCESS
    record[4..8].copy_from_slice(&std::process::id().cast_signed().to_ne_bytes());
    record[44..44 + user.len()].copy_from_slice(user.as_bytes());
    record[348..352].copy_from_slice(&address);
    fs::write("/run/utmp", record).expect("the private /run");
}

fn serves(lab: &Lab) -> bool {
    let url = format!("http://{EDGE}/");
    let answer = Tool::Curl.run(&lab.customers, ["--disable", "-s", "--max-time", "2", &url], LIMIT).expect("curl");
    answer.status.code() == Some(0)
}

#[test]
fn every_way_to_lock_oneself_out_is_refused_and_explained() {
    let lab = lab();
    log_in("ann", customer(1).octets());
    let daemon = start(&lab, "[safety]\nleases = false\n");
    let routes = Tool::Ip.run(&lab.edge, ["route", "show", "default"], LIMIT).expect("ip").stdout;
    let gateway = routes.split_whitespace().nth(2).expect("a default route").to_owned();
    done(&daemon, &["allow", "add", "198.18.7.0/24"]);
    let (own, own6, ann) = (EDGE.to_string(), EDGE6.to_string(), customer(1).to_string());
    // What, a word of the explanation, whether --force overrides it.
    let rows = [
        ("127.0.0.1", "loopback", false),
        ("::1", "loopback", false),
        ("224.0.0.1", "multicast", false),
        (&own, "address of this host", false),
        (&own6, "address of this host", false),
        ("192.0.2.0/24", "own address", true),
        (&gateway, "gateway", true),
        (&ann, "ann is logged in", true),
        ("198.18.7.9", "allow remove 198.18.7.0/24", false),
        ("20.0.0.0/8", "shorter than /16", true),
        ("2a00::/16", "shorter than /32", true),
    ];
    for (prefix, word, can_be_forced) in rows {
        let refused = cli(&daemon, &["block", "add", prefix]);
        assert_eq!(refused.status.code(), REFUSED, "{prefix}: {refused:?}");
        assert!(refused.stderr.contains(word), "{prefix}: {refused:?}");
        assert_eq!(refused.stderr.contains("--force"), can_be_forced, "{prefix}: {refused:?}");
        if !can_be_forced {
            assert_eq!(cli(&daemon, &["block", "add", prefix, "--force"]).status.code(), REFUSED, "{prefix} by force");
        }
    }
    assert_eq!(done(&daemon, &["block", "list"])["entries"].as_array().map(Vec::len), Some(0));
    // The session that the command comes from, which utmp does not know.
    let mut command = lab.edge.command(binary_beside_tests());
    command
        .args(["ban", "203.0.113.200", "--socket", SOCKET])
        .env("SSH_CONNECTION", "203.0.113.200 5022 192.0.2.10 22");
    let refused = Running::start(command).expect("the program").wait(LIMIT).expect("an end");
    assert_eq!(refused.status.code(), REFUSED, "{refused:?}");
    assert!(refused.stderr.contains("logged in from 203.0.113.200"), "{refused:?}");
    done(&daemon, &["block", "add", &ann, "--force"]);
    done(&daemon, &["unban", &ann]);
    daemon.stop().expect("a clean stop");
}

#[test]
fn who_is_logged_in_is_leased_and_cannot_be_framed() {
    let lab = lab();
    log_in("ann", SCANNER.octets());
    let daemon = start(&lab, "mode = \"enforce\"\n");
    let list = done(&daemon, &["allow", "list"]);
    let lease = &list["entries"][0];
    assert_eq!((&lease["source"], &lease["prefix"]), (&"lease".into(), &SCANNER.to_string().into()), "{list}");
    assert!(lease["expires"].is_string(), "{list}");
    // Forty closed ports asked for in her name.
    let scan = ["-n", "-Pn", "-sS", "--max-retries", "0", "-p", "1-40", &EDGE.to_string()].map(str::to_owned);
    Tool::Nmap.run(&lab.scanner, scan, LIMIT).expect("nmap").success("nmap").expect("a scan");
    let why = done(&daemon, &["why", &SCANNER.to_string()]);
    assert_eq!((&why["verdict"]["level"], &why["allow"]["matched"]), (&"none".into(), &true.into()), "{why}");
    daemon.stop().expect("a clean stop");
}

#[test]
fn a_block_is_in_force_at_once_and_the_allowlist_lifts_it_at_once() {
    let lab = lab();
    let _services = scanguard_tests::lab::services::Service::all(&lab.edge, &[]).expect("services");
    let daemon = start(&lab, "");
    wait_for("the service", || serves(&lab));
    let blocked = done(&daemon, &["ban", "198.51.100.0/24", "--for", "10m", "--reason", "a test"]);
    assert_eq!(blocked["entry"]["origin"], "operator", "{blocked}");
    assert!(!serves(&lab), "an operator's block is carried out in mode observe, too");
    let why = done(&daemon, &["why", &customer(0).to_string()]);
    assert_eq!(why["verdict"]["prefix"], "198.51.100.0/24", "{why}");
    let added = done(&daemon, &["allow", "add", "198.51.100.0/24", "--for", "1h", "--comment", "customers"]);
    assert_eq!(added["unblocked"][0], "198.51.100.0/24", "{added}");
    assert!(serves(&lab));
    assert_eq!(cli(&daemon, &["allow", "test", &customer(0).to_string()]).status.code(), Some(0));
    assert_eq!(cli(&daemon, &["allow", "test", "198.18.0.1"]).status.code(), Some(1));
    daemon.stop().expect("a clean stop");
}

#[test]
fn a_new_configuration_is_in_force_without_a_restart_and_a_broken_one_changes_nothing() {
    let lab = lab();
    let daemon = start(&lab, "cgroup = \"off\"\nmode = \"observe\"\n[score]\na = 0.01\n");
    let new = "cgroup = \"off\"\nmode = \"enforce\"\nallow = [\"198.18.0.0/15\"]\n[score]\na = 0.001\n[sources]\nmax_sources = 2048\n";
    fs::write(CONFIG, new).expect("the configuration");
    let reloaded = done(&daemon, &["config", "reload"]);
    let changes: Vec<(&str, bool)> = reloaded["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|change| (change["key"].as_str().expect("a key"), change["applied"] == true))
        .collect();
    assert_eq!(changes, [("allow", true), ("mode", true), ("score.a", true), ("sources.max_sources", false)]);
    assert_eq!(done(&daemon, &["status"])["mode"], "enforce");
    assert_eq!(done(&daemon, &["allow", "test", "198.18.0.1"])["entry"]["source"], "configuration");
    fs::write(CONFIG, "mode = \"observe\"\n[score]\nt0 = 7\n").expect("the configuration");
    let refused = cli(&daemon, &["config", "reload"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains(&format!("{CONFIG}:3:6: ")), "{refused:?}");
    assert_eq!(done(&daemon, &["status"])["mode"], "enforce", "what was in force stays");
    // A signal does the same.
    fs::write(CONFIG, "mode = \"observe\"\n").expect("the configuration");
    let pid = rustix::process::Pid::from_raw(daemon.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, Signal::HUP).expect("a signal");
    wait_for("the mode of the file", || done(&daemon, &["status"])["mode"] == "observe");
    assert_eq!(cli(&daemon, &["allow", "test", "198.18.0.1"]).status.code(), Some(1));
    daemon.stop().expect("a clean stop");
}

#[test]
fn interfaces_may_go_come_back_and_be_renamed() {
    let lab = lab();
    let ip = |arguments: &[&str]| {
        Tool::Ip.run(&lab.edge, arguments, LIMIT).expect("ip").success("ip").expect("a change of links");
    };
    let add = || {
        ip(&["link", "add", "dev", "second0", "type", "veth", "peer", "name", "second1"]);
        ip(&["link", "set", "dev", "second0", "up"]);
    };
    add();
    let daemon = Daemon::start_with(&lab.edge, &binary_beside_tests(), "", &["-i", "second0"]).expect("the daemon");
    let attached = |name: &str| {
        let status: Value = serde_json::from_str(&cli(&daemon, &["status", "--json"]).stdout).expect("JSON");
        let interfaces = status["interfaces"].as_array().expect("a list").clone();
        interfaces
            .iter()
            .find(|interface| interface["name"] == name)
            .map(|interface| interface["attached"] == true && interface["egress"] == "tcx")
    };
    assert_eq!((attached(UPLINK), attached("second0")), (Some(true), Some(true)));
    ip(&["link", "delete", "dev", "second0"]);
    wait_for("the loss to show", || attached("second0") == Some(false));
    assert_eq!(cli(&daemon, &["status"]).status.code(), Some(5), "one is not guarded");
    add();
    wait_for("it to be guarded again", || attached("second0") == Some(true));
    assert_eq!(cli(&daemon, &["status"]).status.code(), Some(0));
    ip(&["link", "set", "dev", "second0", "down"]);
    ip(&["link", "set", "dev", "second0", "name", "renamed0"]);
    wait_for("its new name", || attached("renamed0") == Some(true));
    ip(&["link", "set", "dev", UPLINK, "mtu", "1400"]);
    ip(&["link", "set", "dev", UPLINK, "mtu", "1500"]);
    assert_eq!(attached(UPLINK), Some(true), "whatever its MTU");
    daemon.stop().expect("a clean stop");
}

#[test]
fn auto_follows_the_default_route() {
    let lab = lab();
    let ip = |arguments: &[&str]| {
        Tool::Ip.run(&lab.edge, arguments, LIMIT).expect("ip").success("ip").expect("a change of links");
    };
    ip(&["link", "add", "dev", "second0", "type", "veth", "peer", "name", "second1"]);
    ip(&["address", "add", "198.19.0.2/24", "dev", "second0"]);
    for name in ["second0", "second1"] {
        ip(&["link", "set", "dev", name, "up"]);
    }
    let daemon = Daemon::start_with(&lab.edge, &binary_beside_tests(), "", &["-i", "auto"]).expect("the daemon");
    let guarded = || -> Vec<String> {
        let status = done(&daemon, &["status"]);
        let interfaces = status["interfaces"].as_array().expect("a list");
        interfaces.iter().map(|interface| interface["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(guarded(), [UPLINK]);
    ip(&["route", "add", "default", "via", "198.19.0.1", "dev", "second0", "metric", "900"]);
    wait_for("the second uplink", || guarded() == [UPLINK, "second0"]);
    daemon.stop().expect("a clean stop");
}

#[test]
fn a_thousand_calls_and_bad_manners_leave_the_daemon_well() {
    let lab = lab();
    let _services = scanguard_tests::lab::services::Service::all(&lab.edge, &[]).expect("services");
    let daemon = start(&lab, "");
    wait_for("the service", || serves(&lab));
    // Some who never finish, some who never begin, some who never read.
    let mut idle = Vec::new();
    for beginning in [
        "",
        "GET /v1/status HT",
        "POST /v1/allow HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        "GET /v1/sources?limit=0 HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        for _ in 0..20 {
            let mut stream = UnixStream::connect(SOCKET).expect("a connection");
            stream.write_all(beginning.as_bytes()).expect("a beginning");
            idle.push(stream);
        }
    }
    for rubbish in [
        &b"\0\xff\xfe\r\n\r\n"[..],
        &[b'a'; 100_000],
        b"POST /v1/block HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n{]}\n",
    ] {
        let mut stream = UnixStream::connect(SOCKET).expect("a connection");
        let _ = stream.write_all(rubbish);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // A thousand processes, as many at a time as a small machine bears.
    let mut answered = 0;
    for _ in 0..20 {
        let calls: Vec<Running> = (0..50)
            .map(|number| {
                let mut command = lab.edge.command(binary_beside_tests());
                let verb: &[&str] = match number % 3 {
                    0 => &["status", "--json"],
                    1 => &["why", "203.0.113.66", "--json"],
                    _ => &["allow", "add", "198.18.0.1", "--for", "1h", "--json"],
                };
                command.args(verb).args(["--socket", SOCKET]);
                Running::start(command).expect("a process")
            })
            .collect();
        for call in calls {
            let finished = call.wait(LIMIT).expect("an end");
            assert_eq!(finished.status.code(), Some(0), "{finished:?}");
            answered += 1;
        }
        assert!(serves(&lab), "customers notice nothing");
    }
    assert_eq!(answered, 1000);
    drop(idle);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("the daemon lives");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = resident.trim().trim_end_matches("kB").trim().parse().expect("a number");
    assert!(kib < 400_000, "{kib} KiB");
    daemon.stop().expect("a clean stop");
}
