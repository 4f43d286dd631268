//! What log tools say of those who are really there, of those who are not, and of customers, by the real command line against the real daemon.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, connect, done, serves, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{EDGE, SCANNER, customer};
use scanguard_tests::lab::process::{Finished, Running};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

/// How long a packet may take that comes through.
const PATIENCE: Duration = Duration::from_secs(2);
const SOCKET: &str = "/run/scanguard/control.sock";
const SSH: u16 = 22;
const WEB: u16 = 80;

fn signal(daemon: &Daemon, address: IpAddr, weight: &str, proof: &[&str]) -> Value {
    let address = address.to_string();
    let arguments = ["signal", &address, "--weight", weight, "--reason", "sshd: 5 failed logins"];
    done(daemon, &[&arguments, proof].concat())
}

/// Whether it is backed, its level, the scope of a block, and what was decided.
fn told(answer: &Value) -> (bool, &str, Option<&str>, &str) {
    assert!(answer["next_step"].as_str().is_some_and(|step| !step.is_empty()), "{answer}");
    (
        answer["backed"].as_bool().expect("a fact"),
        answer["level"].as_str().expect("a level"),
        answer["scope"].as_str(),
        answer["decision"]["action"].as_str().expect("an action"),
    )
}

fn start(lab: &Lab, level: &str) -> Daemon {
    let config = format!("mode = \"enforce\"\n[safety]\nleases = false\n[block]\nmax_auto_level = \"{level}\"\n");
    Daemon::start(&lab.edge, &binary_beside_tests(), &config).expect("the daemon")
}

#[test]
fn a_block_that_an_operators_block_forestalls_is_neither_counted_nor_told_as_done() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let daemon = start(&lab, "block all");
    let scanner = IpAddr::from(SCANNER);
    wait_for("the service", || serves(&lab, 0));
    done(&daemon, &["block", "add", &scanner.to_string(), "--scope", "private"]);
    let session = connect(&lab.scanner, WEB).expect("public ports are open to it");
    let answer = signal(&daemon, scanner, "5", &["--proof"]);
    assert!(told(&answer).0, "its session backs it: {answer}");
    assert_ne!(answer["decision"]["action"], "block", "the operator's block holds, and no other was made: {answer}");
    let metrics = daemon.metrics().expect("metrics");
    assert!(!metrics.contains("scanguard_decisions_total{action=\"block\""), "{metrics}");
    let history = done(&daemon, &["block", "history"]);
    assert_eq!(history["entries"].as_array().map(Vec::len), Some(1), "the operator's: {history}");
    drop(session);
    daemon.stop().expect("a clean stop");
}

#[test]
fn a_signal_is_good_for_a_block_only_of_who_is_really_there_and_of_no_customer() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(2).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let daemon = start(&lab, "block all");
    let scanner = IpAddr::from(SCANNER);
    wait_for("the service", || serves(&lab, 0));

    // Somebody who never was here, so that the line in the log may be forged: suspicion.
    let answer = signal(&daemon, scanner, "1", &["--proof"]);
    assert_eq!(told(&answer), (false, "none", None, "defer"), "{answer}");
    let answer = signal(&daemon, scanner, "3", &["--proof"]);
    assert_eq!(told(&answer), (false, "conceal", None, "defer"), "{answer}");
    let (value, step) = (answer["score"]["value"].as_f64(), answer["score"]["step"].as_f64());
    assert!((value.expect("a score") - 4.0 * step.expect("a step")).abs() < 0.01, "{answer}");
    assert!(connect(&lab.scanner, SSH).is_none(), "restricted ports are hidden from a suspect");
    let why = done(&daemon, &["why", &scanner.to_string()]);
    assert_eq!(why["verdict"]["reason"], "signal", "{why}");
    assert_eq!(why["signals"].as_array().map(Vec::len), Some(2), "{why}");
    let expected = json!({"weight": 3.0, "reason": "sshd: 5 failed logins", "backed": false, "proof": true});
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&why["signals"][1][key], value, "{why}");
    }
    wait_for("the incident", || {
        let list = done(&daemon, &["incidents", "list"]);
        list["incidents"].as_array().is_some_and(|incidents| !incidents.is_empty())
    });
    let incident = done(&daemon, &["incidents", "show", "1"]);
    let conceals = |deed: &Value| deed["action"] == "conceal" && deed["reason"] == "signal";
    assert!(incident["done"].as_array().expect("deeds").iter().any(conceals), "{incident}");

    // A session on a public port, which a suspect may have, shows that he is there.
    let session = connect(&lab.scanner, WEB).expect("public ports are open to a suspect");
    let answer = signal(&daemon, scanner, "0.5", &[]);
    assert_eq!(told(&answer), (true, "conceal", None, "none"), "suspicion is all that was asked for: {answer}");
    let answer = signal(&daemon, scanner, "0.5", &["--proof"]);
    assert_eq!(told(&answer), (true, "block", Some("all"), "block"), "{answer}");
    assert_eq!(answer["decision"]["reason"], "signal", "{answer}");
    assert!(connect(&lab.scanner, WEB).is_none(), "in force when it is answered");
    drop(session);

    // A customer's neighbour: a person is asked, and nothing is taken from either.
    let (patron, name) = (IpAddr::from(customer(1)), customer(1).to_string());
    assert!(serves(&lab, 1));
    let answer = signal(&daemon, patron, "1", &["--proof"]);
    assert_eq!(told(&answer), (true, "none", None, "ask"), "{answer}");
    assert!(serves(&lab, 1));
    let waiting = done(&daemon, &["pending", "list"]);
    let entry = &waiting["entries"][0];
    assert_eq!(
        (&entry["source"], &entry["reason"], &entry["doubt"]),
        (&json!(name), &json!("signal"), &json!("customer")),
        "{waiting}"
    );
    let approved = done(&daemon, &["pending", "approve", &name]);
    assert_eq!(approved["entry"]["reason"], "a signal, approved", "{approved}");

    // The allowlist is never acted on, nor is this host.
    done(&daemon, &["allow", "add", &scanner.to_string()]);
    let answer = signal(&daemon, scanner, "10", &["--proof"]);
    assert_eq!(told(&answer), (true, "none", None, "defer"), "{answer}");
    assert_eq!((&answer["applied"], &answer["decision"]["reason"]), (&json!(false), &json!("allowed")), "{answer}");
    for (address, code) in [("127.0.0.1", 4), (&*EDGE.to_string(), 4), ("224.0.0.1", 4), ("198.18.0.0/16", 2)] {
        let refused = cli(&daemon, &["signal", address, "--weight", "1", "--reason", "x"]);
        assert_eq!(refused.status.code(), Some(code), "{address}: {refused:?}");
    }
    for rest in [["--weight", "11", "--reason", "x"], ["--weight", "1", "--reason", "two\nlines"]] {
        let refused = cli(&daemon, &[&["signal", "198.18.0.9"], &rest[..]].concat());
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
    let audit = done(&daemon, &["audit", "list"]);
    let entries = audit["entries"].as_array().expect("records").iter();
    let signals: Vec<_> = entries.filter(|entry| entry["verb"] == "signal").collect();
    assert!(signals.len() >= 9 && signals.iter().all(|entry| entry["program"] == "scanguard"), "{audit}");
    daemon.stop().expect("a clean stop");

    // Without a daemon nothing hears it.
    let mut command = lab.edge.command(binary_beside_tests());
    command.args(["signal", "198.18.0.9", "--weight", "1", "--reason", "x", "--socket", SOCKET]);
    let alone = Running::start(command).expect("the program").wait(LIMIT).expect("an end");
    assert_eq!(alone.status.code(), Some(3), "{alone:?}");
    assert!(alone.stderr.contains("needs a running daemon"), "{alone:?}");
}

#[test]
fn a_log_tool_gone_wild_is_refused_leaves_no_trace_and_others_are_heard() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let config = "[safety]\nleases = false\n[signals]\nper_minute = 5\nper_source = 3\n";
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), config).expect("the daemon");
    let give = |address: &str| cli(&daemon, &["signal", address, "--weight", "0.1", "--reason", "wild"]);
    // (A minute has room for one more about a source every 20 s, and this takes less; were it slower, more would be heard.)
    let about_one: Vec<Finished> = (0..12).map(|_| give("203.0.113.66")).collect();
    let codes: Vec<_> = about_one.iter().map(|given| given.status.code()).collect();
    assert_eq!(codes[..3], [Some(0); 3], "{about_one:?}");
    assert!(codes.contains(&Some(4)), "{codes:?}");
    let refused = about_one.iter().find(|given| given.status.code() == Some(4)).expect("one of them");
    assert!(refused.stderr.contains("`per_source` of [signals]"), "{refused:?}");
    assert_eq!(give("203.0.113.67").status.code(), Some(0), "others are heard");
    let about_many: Vec<_> = (1..20).map(|number| give(&format!("198.18.7.{number}")).status.code()).collect();
    assert!(about_many.contains(&Some(4)), "{about_many:?}");

    // What was refused is counted, and nowhere else.
    let count = |codes: &[Option<i32>], code| codes.iter().filter(|it| **it == Some(code)).count();
    let (heard, over) = (count(&codes, 0) + 1 + count(&about_many, 0), count(&codes, 4));
    let metrics = daemon.metrics().expect("metrics");
    for (result, number) in [("heard", heard), ("over_per_source", over), ("over_per_minute", count(&about_many, 4))] {
        let line = format!("scanguard_signals_total{{result=\"{result}\"}} {number}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    let audit = done(&daemon, &["audit", "list"]);
    let signals = audit["entries"].as_array().expect("records").iter().filter(|entry| entry["verb"] == "signal");
    assert_eq!(signals.count(), heard, "{audit}");
    assert_eq!(daemon.log().matches("more signals are given than are heard").count(), 1, "{}", daemon.log());
    daemon.stop().expect("a clean stop");
}

#[test]
fn who_guesses_passwords_loses_private_ports_and_a_person_is_asked_for_more() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let daemon = start(&lab, "block private");
    let scanner = IpAddr::from(SCANNER);
    // Each guess is a session with data both ways, as work is.
    let mut guess = connect(&lab.scanner, SSH).expect("a restricted port");
    guess.write_all(b"SSH-2.0-guess\r\n").expect("an open session");
    let _ = guess.read(&mut [0; 64]).expect("a banner");
    drop(guess);
    let known = || done(&daemon, &["why", &SCANNER.to_string()])["known"].clone();
    wait_for("the guess to count as a session", || known()["restricted_sessions"] == 1);
    assert!(known()["restricted_until"].is_null(), "which makes nobody known");
    let mut session = connect(&lab.scanner, SSH).expect("a restricted port");
    let answer = signal(&daemon, scanner, "4", &["--proof"]);
    assert_eq!(told(&answer), (true, "block", Some("private"), "block"), "{answer}");
    assert!(connect(&lab.scanner, SSH).is_none(), "no new session");
    assert!(connect(&lab.scanner, WEB).is_some(), "public ports stay");
    // What is established is nobody's to cut.
    session.set_read_timeout(Some(PATIENCE)).expect("a socket");
    session.write_all(b"SSH-2.0-guess\r\n").expect("an open session");
    let _ = session.read(&mut [0; 64]).expect("an answer, or the end");
    assert_eq!(known()["restricted_sessions"], 0, "it was no work");
    drop(session);
    let waiting = done(&daemon, &["pending", "list"]);
    let entry = &waiting["entries"][0];
    assert_eq!((&entry["reason"], &entry["doubt"]), (&json!("signal"), &json!("max_auto_level")), "{waiting}");
    let again = signal(&daemon, scanner, "4", &["--proof"]);
    assert_eq!(told(&again).1, "block", "{again}");
    assert!(known()["restricted_sessions"] == 0 && connect(&lab.scanner, SSH).is_none(), "nor is what began before");
    daemon.stop().expect("a clean stop");
}
