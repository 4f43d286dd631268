//! Lists that others make, with the real daemon: who is on one and scans is blocked as far as the list may go, who is on one and does nothing is not.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, connect, done, serves, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{EDGE, SCANNER};
use scanguard_tests::lab::process::Running;
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

const CONFIG: &str = "/run/scanguard-lab.toml";
const LIST: &str = "/run/drop.txt";
const WEB: u16 = 80;
const SETTINGS: &str = "mode = \"enforce\"\n\
    feeds = [{ name = \"drop\", file = \"/run/drop.txt\", level = \"block all\" }]\n\
    [safety]\nleases = false\n[block]\nmax_auto_level = \"block all\"\n";

fn scan(lab: &Lab, ports: &str) {
    let scan = ["-n", "-Pn", "-sS", "--max-retries", "0", "-p", ports, &EDGE.to_string()].map(str::to_owned);
    Tool::Nmap.run(&lab.scanner, scan, LIMIT).expect("nmap").success("nmap").expect("a scan");
}

/// What is done about the scanner, once it is blocked.
fn blocked(daemon: &Daemon) -> Value {
    let mut why = Value::Null;
    wait_for("a block", || {
        why = done(daemon, &["why", &SCANNER.to_string()]);
        why["verdict"]["level"] == "block"
    });
    why
}

#[test]
fn a_pipe_is_no_list_and_that_of_before_stays() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    fs::write(LIST, "203.0.113.0/24\n").expect("a list");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), SETTINGS).expect("the daemon");
    for (round, verb) in [["feeds", "refresh"], ["config", "reload"]].into_iter().enumerate() {
        // Whoever opens it to read waits until somebody writes, which nobody does.
        fs::remove_file(LIST).expect("the list");
        mknodat(CWD, LIST, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let refused = cli(&daemon, &verb);
        assert_ne!(refused.status.code(), Some(0), "{refused:?}");
        assert!(refused.stderr.contains("/run/drop.txt of feed \"drop\" is no regular file"), "{refused:?}");
        let blocked = format!("203.0.113.{}", 100 + round);
        done(&daemon, &["block", "add", &blocked]);
        assert_eq!(done(&daemon, &["why", &blocked])["verdict"]["level"], "block");
        assert_eq!(done(&daemon, &["feeds", "list"])["feeds"][0]["prefixes"], 1 + round, "those of before are there");
        fs::remove_file(LIST).expect("the pipe");
        let list: String = (0..2 + round).map(|number| format!("198.51.100.{number}\n")).collect();
        fs::write(LIST, list).expect("a list");
        done(&daemon, &verb);
        assert_eq!(done(&daemon, &["feeds", "list"])["feeds"][0]["prefixes"], 2 + round);
        let metrics = daemon.metrics().expect("metrics");
        assert!(metrics.contains(&format!("scanguard_feed_prefixes{{feed=\"drop\"}} {}\n", 2 + round)), "{metrics}");
        assert!(metrics.contains("scanguard_feed_age_seconds{feed=\"drop\"} "), "{metrics}");
    }
    daemon.stop().expect("a clean stop");
}

#[test]
fn whose_address_many_share_by_a_list_is_left_alone_and_a_person_is_asked_before_they_are_harmed() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    fs::write(LIST, "203.0.113.64/26 ; a carrier\n").expect("a list");
    let settings = SETTINGS.replace("\"drop\"", "\"carriers\"").replacen("\"block all\"", "\"shared\"", 1);
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), &settings).expect("the daemon");
    let scanner = SCANNER.to_string();
    assert_eq!(done(&daemon, &["feeds", "list"])["feeds"][0]["level"], "shared");
    let test = done(&daemon, &["feeds", "test", &scanner]);
    assert_eq!((&test["level"], &test["shared"]), (&Value::Null, &json!(true)), "{test}");
    assert_eq!(test["feeds"][0]["prefix"], "203.0.113.64/26", "{test}");

    // Nothing is done for it, nor left undone: a scan makes a suspect, and no more.
    scan(&lab, "1-20");
    let why = done(&daemon, &["why", &scanner]);
    assert_eq!((&why["verdict"]["level"], &why["feeds"]), (&json!("conceal"), &json!(["carriers"])), "{why}");
    assert_eq!(why["behind"]["shared_by"], json!(["feed carriers"]), "{why}");
    let told = why["arithmetic"].as_array().expect("sentences");
    assert!(told.contains(&json!("Many people share its address, by feed carriers.")), "{why}");

    // What would have it blocked from public ports waits for a person.
    let _session = connect(&lab.scanner, WEB).expect("public ports are open to a suspect");
    let proof = ["signal", &scanner, "--weight", "1", "--reason", "sshd: a guessed password", "--proof"];
    let answer = done(&daemon, &proof);
    assert_eq!((&answer["level"], &answer["scope"]), (&json!("block"), &json!("private")), "{answer}");
    let waiting = done(&daemon, &["pending", "list"]);
    let entry = &waiting["entries"][0];
    assert_eq!((&entry["doubt"], &entry["people"]), (&json!("harmed"), &json!(16)), "{waiting}");

    // A new list holds at once.
    fs::write(LIST, "198.51.100.0/24\n").expect("a list");
    done(&daemon, &["feeds", "refresh"]);
    assert_eq!(done(&daemon, &["why", &scanner])["behind"]["people"], 0);
    daemon.stop().expect("a clean stop");
}

#[test]
fn who_is_on_a_list_and_scans_is_blocked_and_who_does_nothing_is_not() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    fs::write(LIST, "# a list\n203.0.113.0/24 ; SBL1\n198.51.100.0/24\n").expect("a list");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), SETTINGS).expect("the daemon");
    let scanner = SCANNER.to_string();
    let list = done(&daemon, &["feeds", "list"]);
    let feed = &list["feeds"][0];
    assert_eq!(
        [&feed["name"], &feed["file"], &feed["level"], &feed["prefixes"]],
        [&json!("drop"), &json!(LIST), &json!("block all"), &json!(2)],
        "{list}"
    );
    let test = done(&daemon, &["feeds", "test", &scanner]);
    assert_eq!(
        (&test["level"], &test["feeds"][0]["prefix"]),
        (&json!("block all"), &json!("203.0.113.0/24")),
        "{test}"
    );
    assert_eq!(cli(&daemon, &["feeds", "test", "192.0.2.99"]).status.code(), Some(1));
    assert!(serves(&lab, 0), "who is on a list and does nothing is a customer like others");

    // Its packets may be forged: private ports.
    scan(&lab, "1-20");
    let why = blocked(&daemon);
    assert_eq!((&why["verdict"]["scope"], &why["verdict"]["reason"]), (&json!("private"), &json!("feed")), "{why}");
    assert_eq!(why["feeds"], json!(["drop"]), "{why}");
    assert!(connect(&lab.scanner, WEB).is_some());

    // The same again by somebody with a session: all ports.
    done(&daemon, &["allow", "add", &scanner]);
    done(&daemon, &["allow", "remove", &scanner]);
    // (One without data, that ended: whoever has another one is a customer, of whom a person is asked.)
    drop(connect(&lab.scanner, WEB).expect("nothing is held against it"));
    wait_for("both sessions to end", || done(&daemon, &["why", &scanner])["sessions"][0]["bytes_in"] == 2);
    scan(&lab, "101-120");
    let why = blocked(&daemon);
    assert_eq!((&why["verdict"]["scope"], &why["verdict"]["reason"]), (&json!("all"), &json!("feed")), "{why}");
    assert!(connect(&lab.scanner, WEB).is_none());
    assert!(serves(&lab, 0));

    // A file that is no list changes nothing, whoever reads it.
    fs::write(LIST, "198.51.100.0/24\nnobody\n").expect("a list");
    let place = format!("{LIST}:2: ");
    for (verb, code) in [(["feeds", "refresh"], 1), (["config", "reload"], 2), (["config", "check"], 2)] {
        let file: &[&str] = if verb[1] == "check" { &[CONFIG] } else { &[] };
        let refused = cli(&daemon, &[&verb[..], file].concat());
        assert_eq!(refused.status.code(), Some(code), "{verb:?}: {refused:?}");
        assert!((refused.stderr.clone() + &refused.stdout).contains(&place), "{verb:?}: {refused:?}");
    }
    assert_eq!(done(&daemon, &["feeds", "list"])["feeds"][0]["prefixes"], 2);
    fs::write(LIST, "198.51.100.0/24\n").expect("a list");
    let refreshed = done(&daemon, &["feeds", "refresh"]);
    assert_eq!((&refreshed["feeds"][0]["prefixes"], &refreshed["before"]), (&json!(1), &json!([2])), "{refreshed}");
    assert_eq!(cli(&daemon, &["feeds", "test", &scanner]).status.code(), Some(1));
    daemon.stop().expect("a clean stop");

    // Nor does a daemon start with it.
    fs::write(LIST, "nobody\n").expect("a list");
    let mut command = lab.edge.command(binary_beside_tests());
    command.args(["run", "-i", "uplink0", "--config", CONFIG]);
    let refused = Running::start(command).expect("the program").wait(LIMIT).expect("an end");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains(&format!("{LIST}:1: ")), "{refused:?}");
}
