//! Incidents of the real daemon: a campaign, a scan, and what is left of them without the daemon.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::process::Command;
use std::time::Duration;

use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::wait_for;
use scanguard_tests::lab::defender::{Daemon, Defender};
use scanguard_tests::lab::plan::{EDGE, PUBLIC, SCANNER};
use scanguard_tests::lab::report::{Incidents, Report};
use scanguard_tests::lab::scenario::{Scenario, nmap_syn};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, Setup, sandbox};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const CONFIG: &str = "mode = \"enforce\"\n";

#[test]
fn a_botnet_is_one_incident_and_one_alarm_and_nobody_is_blocked() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let setup = Setup {
        defender: Defender::Scanguard,
        scanguard: binary_beside_tests(),
        mode: Mode::Enforce,
        captures: None,
        full: false,
    };
    let report = Scenario::named("botnet").expect("a scenario").play(&setup).expect("a run");
    let [bots, customers] = &report.rows[..] else { panic!("not two variants: {report}") };
    let seen = |report: &Report| report.special.incidents.expect("incidents");
    let expected = Incidents { listed: 1, campaigns: 1, sources: 500, contacts: 1500, alarms: 1 };
    assert_eq!(seen(bots), expected, "{report}");
    assert_eq!(seen(customers), Incidents::default(), "{report}");
    for variant in [bots, customers] {
        assert!(variant.verdicts.is_empty(), "{variant}");
        assert!(variant.customers.requests > 0, "{variant}");
        assert_eq!((variant.customers.failures, variant.customers.established_broken), (0, 0), "{variant}");
    }
}

/// What a verb says in JSON.
fn json(daemon: &Daemon, arguments: &[&str]) -> Value {
    let told = daemon.cli(&[arguments, &["--json"]].concat()).expect("an answer").success("a verb").expect("success");
    serde_json::from_str(&told.stdout).expect("JSON")
}

/// The one incident that there is, whole, once it is told and satisfies a condition.
fn the_incident(daemon: &Daemon, condition: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    wait_for("the incident to be told whole", || {
        let list = json(daemon, &["incidents", "list"]);
        let incidents = list["incidents"].as_array().expect("a list");
        assert!(incidents.len() <= 1, "{list}");
        let id = incidents.first().and_then(|incident| incident["id"].as_u64());
        found = id.map_or(Value::Null, |id| json(daemon, &["incidents", "show", &id.to_string()]));
        !found.is_null() && condition(&found)
    });
    found
}

/// First contacts that the kernel part counted, of all sources.
fn contacts_counted(daemon: &Daemon) -> u64 {
    let counters = daemon.counters("contacts").expect("counters");
    counters.iter().map(|counter| counter["contacts"].as_u64().expect("a count")).sum()
}

/// How many ports of a list have an outcome.
fn with_outcome(incident: &Value, outcome: &str) -> Vec<u64> {
    let ports = incident["ports"].as_array().expect("ports").iter();
    ports.filter(|port| port["outcome"] == outcome).filter_map(|port| port["port"].as_u64()).collect()
}

#[test]
fn a_scan_is_one_incident_with_its_ports_and_answers_and_outlives_the_daemon() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("a laboratory");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), CONFIG).expect("the daemon");
    nmap_syn(&lab.scanner).expect("a scan");
    let page = format!("http://{EDGE}/");
    let arguments = ["--disable", "-sS", "--interface", &SCANNER.to_string(), &page];
    Tool::Curl.run(&lab.scanner, arguments, LIMIT).expect("curl").success("curl").expect("public ports are open to it");
    // All of it was heard: each contact that was counted, what was answered to scan and session, and that one to its end.
    let incident = the_incident(&daemon, |incident| {
        incident["totals"]["contacts"] == contacts_counted(&daemon)
            && incident["totals"]["answers"].as_u64() >= Some(3)
            && incident["sources"][0]["last_session"].is_string()
            && incident["sessions"][0]["ended"] == 1
    });
    assert!(with_outcome(&incident, "closed").len() > 150, "{incident}");
    assert_eq!((&incident["kind"], &incident["state"]), (&"source".into(), &"open".into()), "{incident}");
    assert_eq!(incident["subject"], SCANNER.to_string(), "{incident}");
    assert_eq!(incident["sources"][0]["source"], SCANNER.to_string(), "{incident}");
    let totals = &incident["totals"];
    assert_eq!(totals["sources"], 1, "{incident}");
    assert!(
        totals["before_suspicion"].as_u64() <= Some(4) && totals["before_suspicion"].as_u64() >= Some(2),
        "port 1 is a canary and weighs as much as two: {incident}"
    );
    let open: Vec<u64> = incident["answered"]
        .as_array()
        .expect("answers")
        .iter()
        .filter(|answer| answer["answer"] == "open")
        .filter_map(|answer| answer["port"].as_u64())
        .collect();
    assert_eq!(open, PUBLIC.map(u64::from), "what was answered: {incident}");
    assert_eq!(totals["sources_with_sessions"], 1, "{incident}");
    assert_eq!(incident["sessions"][0]["ports"], "public", "{incident}");
    assert_eq!(incident["done"][0]["action"], "conceal", "{incident}");
    assert_eq!(daemon.log().matches("an incident opens").count(), 1, "{}", daemon.log());
    let metrics = daemon.metrics().expect("metrics");
    for line in ["scanguard_incidents_total{kind=\"source\"} 1", "scanguard_incidents_open 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    let id = incident["id"].as_u64().expect("a number");
    let why = json(&daemon, &["why", &SCANNER.to_string()]);
    assert_eq!(why["incidents"], Value::from(vec![id]), "{why}");
    let missing = daemon.cli(&["incidents", "show", "77"]).expect("an answer");
    assert!(missing.stderr.contains("there is no incident 77"), "{missing:?}");
    daemon.stop().expect("a stop");

    // Without a daemon the file of state is read.
    let show = ["incidents", "show", &id.to_string(), "--json"];
    let mut offline = Command::new(binary_beside_tests());
    let offline = offline.args(show).args(["--socket", "/run/nobody.sock"]).output().expect("the command line");
    let kept: Value = serde_json::from_slice(&offline.stdout).expect("JSON");
    assert!(String::from_utf8_lossy(&offline.stderr).contains("no daemon runs"), "{offline:?}");

    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), CONFIG).expect("the next daemon");
    let later = the_incident(&daemon, |_| true);
    for told in [kept, later] {
        for field in
            ["id", "kind", "state", "ports", "sources", "totals", "answered", "done", "first_seen", "last_seen"]
        {
            assert_eq!(told[field], incident[field], "{field}");
        }
    }
    assert_eq!(daemon.log().matches("an incident opens").count(), 0, "it was told already");
    daemon.stop().expect("a stop");
}
