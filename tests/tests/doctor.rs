//! `scanguard doctor` on a real host: what it finds, what it changes (nothing), and how it ends.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use rustix::process::Signal;
use scanguard::kernel::rig::{Floor, Rig};
use scanguard_tests::daemon::{LIMIT, done};
use scanguard_tests::lab::defender::{Daemon, left_attached};
use scanguard_tests::lab::plan::UPLINK;
use scanguard_tests::lab::process::{Finished, Running};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use scanguard_tests::{binary_beside_tests, rig};
use serde_json::Value;

/// From where whoever asks is logged in.
const ADMIN: &str = "203.0.113.7";

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(1).expect("the lab")
}

/// The verb on the edge, as from a session of ssh.
fn doctor(lab: &Lab, options: &[&str]) -> Finished {
    let mut command = lab.edge.command(binary_beside_tests());
    command.env("SSH_CONNECTION", format!("{ADMIN} 50022 192.0.2.10 22"));
    command.args(["doctor", "-i", UPLINK]).args(options);
    Running::start(command).expect("the program").wait(LIMIT).expect("an end")
}

fn report(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

/// The state and the message of a check that is there once.
fn check<'r>(report: &'r Value, name: &str) -> (&'r str, &'r str) {
    let checks = report["checks"].as_array().expect("checks");
    let found: Vec<&Value> = checks.iter().filter(|check| check["name"] == name).collect();
    assert_eq!(found.len(), 1, "{name}: {report:#}");
    (found[0]["state"].as_str().expect("a state"), found[0]["message"].as_str().expect("a message"))
}

#[test]
fn before_the_first_start_it_tells_what_others_reach_and_that_nothing_keeps_whoever_asks() {
    let lab = lab();
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let nft = ["add", "table", "inet", "mine"];
    Tool::Nft.run(&lab.edge, nft, LIMIT).expect("nft").success("nft").expect("a table");
    let found = doctor(&lab, &["--json"]);
    assert_eq!(found.status.code(), Some(5), "{found:?}");
    let report = report(&found);
    assert_eq!((&report["schema_version"], &report["state"]), (&1.into(), &"warn".into()), "{report:#}");
    for (name, state, part) in [
        ("kernel", "ok", "loaded and verified in"),
        ("rights", "ok", ""),
        (UPLINK, "ok", "An end of a veth pair"),
        ("nftables", "ok", "inet mine"),
        ("you", "warn", ADMIN),
        ("ports", "ok", "80/tcp"),
        ("port-6379-tcp", "warn", "Redis"),
        ("memory", "ok", "MiB of kernel memory"),
    ] {
        let (found, message) = check(&report, name);
        assert!(found == state && message.contains(part), "{name}: {found} {message}");
    }
    assert!(
        report["checks"].as_array().expect("checks").iter().all(|check| check["name"] != "port-22-tcp"),
        "{report:#}"
    );
    let interface = &report["interfaces"][0];
    assert_eq!((&interface["name"], &interface["driver"]), (&UPLINK.into(), &"veth".into()));
    assert_eq!((&interface["mode"], &interface["others"]), (&"none".into(), &Value::Array(Vec::new())));
    assert_eq!((&report["you"]["address"], &report["you"]["safe"]), (&ADMIN.into(), &false.into()));
    // The services are this very program's.
    let own = std::fs::read_to_string("/proc/self/comm").expect("a name");
    let exposed = report["exposed"].as_array().expect("ports");
    let redis = exposed.iter().find(|port| port["port"] == 6379).expect("the port");
    assert_eq!((&redis["proto"], &redis["class"]), (&"tcp".into(), &"restricted".into()));
    assert_eq!(redis["program"], own.trim_end());
    assert!(report["memory"]["kernel_bytes"].as_u64() > Some(50_000_000), "{report:#}");
    assert_eq!(left_attached(&lab.edge).expect("a list"), Vec::<String>::new(), "it leaves nothing");
    let text = doctor(&lab, &[]);
    assert!(text.stdout.contains("\nwarn  you: You come from 203.0.113.7"), "{text:?}");
    assert!(text.stdout.contains("should be seen to.\n"), "{text:?}");
}

#[test]
fn beside_a_daemon_it_says_how_that_is_and_whether_whoever_asks_is_on_its_allowlist() {
    let lab = lab();
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), "").expect("the daemon");
    let asked = |expected: bool| {
        let report = report(&doctor(&lab, &["--json"]));
        assert_eq!(report["you"]["safe"], expected, "{report:#}");
        report
    };
    asked(false);
    done(&daemon, &["allow", "add", ADMIN, "--comment", "me"]);
    let report = asked(true);
    assert!(report["you"]["how"].as_str().is_some_and(|how| how.contains("allowlist (operator)")), "{report:#}");
    let (state, message) = check(&report, "daemon");
    assert!(state != "warn" && message == "A daemon guards uplink0, mode observe.", "{state} {message}");
    assert_eq!(check(&report, "kernel").0, "ok");
    assert_eq!(report["interfaces"][0]["mode"], "generic", "ours is not somebody else's");
    assert_eq!(report["interfaces"][0]["others"], Value::Array(Vec::new()), "nor is what sees what leaves");
    for part in ["kernel_bytes", "daemon_bytes"] {
        assert!(report["memory"][part].as_u64() > Some(1_000_000), "{report:#}");
    }
    daemon.end(Signal::TERM).expect("an end");
    assert_eq!(asked(false)["memory"]["daemon_bytes"], Value::Null);
}

#[test]
fn a_foreign_xdp_program_is_named_with_the_command_that_takes_it_away_and_left_alone() {
    let lab = lab();
    let mut other = Rig::load(rig::OBJECT, 0, 1).expect("the rig");
    lab.edge.run(|| other.attach(Floor::Pass, UPLINK, false).expect("an attachment")).expect("the edge");
    let found = doctor(&lab, &["--json"]);
    assert_eq!(found.status.code(), Some(77), "{found:?}");
    let report = report(&found);
    let (state, message) = check(&report, UPLINK);
    assert!(state == "fail" && message.starts_with("Another XDP program, rig_pass (id "), "{message}");
    assert_eq!(report["interfaces"][0]["others"][0], "xdp: rig_pass");
    assert!(!left_attached(&lab.edge).expect("a list").is_empty(), "it is still there");
    let hint = report["checks"].as_array().expect("checks").iter().find(|check| check["name"] == UPLINK).expect("it");
    let hint = hint["hint"].as_str().expect("a hint");
    let command = hint.split('`').find(|part| part.starts_with("bpftool link detach id ")).expect("a command");
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    Tool::Bpftool.run(&lab.edge, arguments, LIMIT).expect("bpftool").success(command).expect("it does what it says");
    assert_eq!(check(&self::report(&doctor(&lab, &["--json"])), UPLINK).0, "ok");
}

#[test]
fn without_rights_it_says_which_are_missing_and_looks_at_the_rest() {
    let lab = lab();
    let mut command = lab.edge.command("/usr/bin/setpriv");
    command.args(["--bounding-set", "-all", "--inh-caps", "-all"]).arg(binary_beside_tests());
    command.args(["doctor", "-i", UPLINK, "--json"]);
    let found = Running::start(command).expect("setpriv").wait(LIMIT).expect("an end");
    assert_eq!(found.status.code(), Some(77), "{found:?}");
    let report = report(&found);
    let (state, message) = check(&report, "rights");
    assert!(state == "fail" && message.contains("CAP_BPF") && message.contains("CAP_NET_ADMIN"), "{message}");
    assert_eq!(report["interfaces"][0]["name"], UPLINK);
    assert_eq!(report["memory"]["kernel_bytes"], Value::Null, "what was not loaded was not measured");
}
