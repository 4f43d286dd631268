//! What `why` and `incidents show` say is so: they contradict neither themselves nor what the daemon does. By the real
//! command line against the real daemon.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, connect, done, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{EDGE, EDGE6, SCANNER, customer};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(1).expect("the lab")
}

fn start(lab: &Lab, config: &str) -> Daemon {
    Daemon::start(&lab.edge, &binary_beside_tests(), config).expect("the daemon")
}

/// All that it says in sentences.
fn said(why: &Value) -> String {
    let arithmetic = why["arithmetic"].as_array().expect("sentences").iter();
    let sentences: Vec<&str> = arithmetic.chain([&why["next_step"]]).filter_map(Value::as_str).collect();
    sentences.join(" ")
}

#[test]
fn why_knows_after_a_restart_that_a_blocked_source_proved_itself() {
    let lab = lab();
    let config = "mode = \"enforce\"\nchallenge = \"on\"\n";
    let daemon = start(&lab, config);
    let scanner = SCANNER.to_string();
    let why = |daemon: &Daemon| done(daemon, &["why", &scanner]);
    // Whole connections to closed ports that no browser asks for, at the pace of the limits.
    let blocked = (1..=60).any(|port| {
        drop(connect(&lab.scanner, port));
        why(&daemon)["verdict"]["level"] == "block"
    });
    assert!(blocked, "{}\n{}", why(&daemon), daemon.log());
    let before = why(&daemon);
    assert!(said(&before).contains("It was proven at"), "{before}");
    daemon.stop().expect("a stop");
    let daemon = start(&lab, config);
    let after = why(&daemon);
    assert_eq!(
        (&after["verdict"]["level"], &after["verdict"]["reason"]),
        (&"block".into(), &"proven".into()),
        "{after}"
    );
    assert!(!said(&after).contains("completed no decoy"), "{after}");
    assert!(said(&after).contains("It was proven at"), "{after}");
    assert!(after["proven_at"].is_string(), "{after}");
    daemon.stop().expect("a stop");
}

#[test]
fn why_and_incidents_promise_and_claim_nothing_that_is_not_so() {
    let lab = lab();
    let daemon = start(&lab, "mode = \"observe\"\n[ports]\ncanary = []\n[sources]\nignore_private = true\n");
    let why = |address: &str| done(&daemon, &["why", address]);

    // Those who are never judged.
    let (own, own6) = (EDGE.to_string(), EDGE6.to_string());
    let rows = [
        ("127.0.0.1", "special"),
        ("::1", "special"),
        ("224.0.0.1", "special"),
        ("ff02::1", "special"),
        ("255.255.255.255", "special"),
        (&own, "own"),
        (&own6, "own"),
        ("10.1.2.3", "private"),
        ("fd00::1", "private"),
    ];
    for (address, kind) in rows {
        let never = why(address);
        assert_eq!((&never["never_judged"], &never["verdict"]["level"]), (&kind.into(), &"none".into()), "{never}");
        assert!(said(&never).contains("never judged") && !said(&never).contains("it is blocked"), "{never}");
        let page = cli(&daemon, &["why", address]).stdout;
        assert!(page.contains("never judged") && !page.contains("treated like everybody else"), "{page}");
    }

    // Without a canary, and only canaries challenged, nothing can be proven.
    let unknown = why(&customer(0).to_string());
    assert_eq!(unknown["never_judged"], Value::Null, "{unknown}");
    for words in
        ["no automatic block is possible with this configuration", "`challenge = \"on\"`", "`canary` of [ports]"]
    {
        assert!(said(&unknown).contains(words), "{words}: {unknown}");
    }

    // A source that is known by signals alone.
    let signalled = "198.18.4.4";
    done(&daemon, &["signal", signalled, "--weight", "4", "--reason", "sshd: 9 failed logins"]);
    wait_for("the incident", || {
        done(&daemon, &["incidents", "list"])["incidents"].as_array().is_some_and(|all| !all.is_empty())
    });
    let incident = done(&daemon, &["incidents", "show", "1"]);
    let source = &incident["sources"][0];
    assert_eq!((&source["source"], &source["contacts"]), (&signalled.into(), &0.into()), "{incident}");
    assert_eq!((&source["first_seen"], &source["last_seen"]), (&incident["first_seen"], &incident["last_seen"]));
    let deed = &incident["done"][0];
    assert_eq!((&deed["action"], &deed["carried_out"]), (&"conceal".into(), &false.into()), "{incident}");
    let page = cli(&daemon, &["incidents", "show", "1"]).stdout;
    assert!(page.contains("would have been concealed (mode observe)") && !page.contains("1970"), "{page}");

    // A scanner that an entry of the allowlist covered for a moment.
    let scan = ["-n", "-Pn", "-sS", "--max-retries", "0", "-p", "1-40", &own].map(str::to_owned);
    Tool::Nmap.run(&lab.scanner, scan, LIMIT).expect("nmap").success("nmap").expect("a scan");
    let scanner = SCANNER.to_string();
    wait_for("the scanner to be a suspect", || why(&scanner)["verdict"]["level"] == "conceal");
    assert!(said(&why(&scanner)).contains("of which counted against it"), "{}", why(&scanner));
    done(&daemon, &["allow", "add", &scanner]);
    done(&daemon, &["allow", "remove", &scanner]);
    let cleared = why(&scanner);
    assert_eq!((&cleared["verdict"]["level"], &cleared["score"]["value"]), (&"none".into(), &0.0.into()), "{cleared}");
    let told = said(&cleared);
    assert!(told.contains("an entry of the allowlist covered it: that cleared its score at"), "{told}");
    for words in ["of which counted against it", "Those remembered add up", "are only counted"] {
        assert!(!told.contains(words), "{words}: {told}");
    }
    daemon.stop().expect("a stop");
}
