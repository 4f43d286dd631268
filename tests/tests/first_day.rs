//! What somebody sees who looks at the daemon, and then enforces: by the real command line against the real daemon.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, connect, done, serves, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{SCANNER, UPLINK, customer};
use scanguard_tests::lab::process::Running;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;

const SOCKET: &str = "/run/scanguard/control.sock";

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(1).expect("the lab")
}

fn start(lab: &Lab, config: &str) -> Daemon {
    Daemon::start(&lab.edge, &binary_beside_tests(), config).expect("the daemon")
}

#[test]
fn status_and_mode_enforce_say_first_what_enforcing_would_have_done() {
    let lab = lab();
    let daemon = start(&lab, "mode = \"observe\"\nchallenge = \"off\"\n");
    let first = |daemon: &Daemon| cli(daemon, &["status"]).stdout.lines().next().unwrap_or_default().to_owned();
    let nothing = first(&daemon);
    assert!(nothing.starts_with(&format!("Guarding {UPLINK}, observing for ")), "{nothing}");
    assert!(nothing.ends_with("nforcing would have hidden nothing from anybody."), "{nothing}");
    assert!(serves(&lab, 0), "a customer at work");
    for port in 1..=40 {
        drop(connect(&lab.scanner, port));
    }
    let status = || done(&daemon, &["status"]);
    wait_for("what would have been hidden", || {
        status()["observed"]["packets"].as_u64() > Some(20) && status()["observed"]["sources"] == 1
    });
    let told = first(&daemon);
    assert!(told.contains(" packets of 1 source; none of these had sessions here."), "{told}");
    let cannot = status()["cannot"].clone();
    assert_eq!(cannot[0]["code"], "automatic_block", "{cannot}");
    assert!(cli(&daemon, &["status"]).stdout.contains("\nNo automatic block is possible: `challenge` is \"off\""));

    // Filters.
    let (scanner, guest) = (SCANNER.to_string(), customer(0).to_string());
    let listed = |arguments: &[&str]| -> Vec<String> {
        let list = done(&daemon, &[&["sources", "list"], arguments].concat());
        let sources = list["sources"].as_array().expect("sources").iter();
        sources.map(|source| source["source"].as_str().expect("a source").to_owned()).collect()
    };
    assert_eq!(listed(&["--level", "conceal"]), [scanner.clone()]);
    assert_eq!(listed(&[&guest]), [guest.clone()]);
    assert_eq!(listed(&[&guest, "--level", "conceal"]), [""; 0]);
    done(&daemon, &["block", "add", "203.0.113.0/24"]);
    let blocked = |address: &str| done(&daemon, &["block", "list", address])["entries"].as_array().map(Vec::len);
    assert_eq!((blocked("203.0.113.66"), blocked("203.0.114.66")), (Some(1), Some(0)));

    // The evidence of a scan fits a screen, and all of it is there.
    let (page, full) = (cli(&daemon, &["why", &scanner]).stdout, cli(&daemon, &["why", &scanner, "--full"]).stdout);
    assert!(page.lines().count() <= 40 && page.lines().count() < full.lines().count(), "{page}");

    // The mode is known since its last change, over a restart.
    let since = status()["mode_since"].clone();
    assert!(since.is_string(), "{since}");
    daemon.stop().expect("a stop");
    let daemon = start(&lab, "mode = \"observe\"\nchallenge = \"off\"\n");
    let seconds = |time: &Value| time.as_str().map(|time| time.chars().take(19).collect::<String>());
    assert_eq!(seconds(&done(&daemon, &["status"])["mode_since"]), seconds(&since));
    for port in 1..=40 {
        drop(connect(&lab.scanner, port));
    }
    wait_for("what would be hidden", || done(&daemon, &["status"])["observed"]["sources"] == 1);
    let enforced = cli(&daemon, &["mode", "enforce", "--confirm", "5m"]);
    let (told, changed) = (enforced.stdout.find("would have hidden "), enforced.stdout.find("The mode is enforce now"));
    assert!(told.is_some() && told < changed, "{enforced:?}");
    assert!(enforced.stdout.contains("The way back: `scanguard mode observe`."), "{enforced:?}");
    assert!(first(&daemon).contains("enforcing for "), "{}", first(&daemon));
    done(&daemon, &["mode", "observe"]);
    let enforced = done(&daemon, &["mode", "enforce"]);
    assert_eq!((&enforced["mode"], &enforced["would_have"]["sources"]), (&"enforce".into(), &1.into()), "{enforced}");
    assert_eq!(done(&daemon, &["mode", "enforce"])["would_have"], Value::Null, "it enforces already");
    let entries = done(&daemon, &["audit", "list", "--verb", "mode", "--user", "0"])["entries"].as_array().cloned();
    let entries = entries.expect("records");
    assert!(entries.len() == 4 && entries.iter().all(|entry| entry["verb"] == "mode"), "{entries:?}");
    daemon.stop().expect("a stop");
}

#[test]
fn what_switches_scanguard_off_and_who_may_not_ask_are_refused_with_one_code() {
    let lab = lab();
    let daemon = start(&lab, "[block]\nmost = 7\n");
    for prefix in ["0.0.0.0/0", "::/0", "128.0.0.0/1"] {
        let refused = cli(&daemon, &["allow", "add", prefix, "--json"]);
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        let told: Value = serde_json::from_str(&refused.stdout).expect("JSON");
        assert_eq!(
            (&told["error"]["code"], &told["error"]["hint"]),
            (&"refused".into(), &"--force overrides it".into())
        );
    }
    assert_eq!(done(&daemon, &["allow", "list"])["entries"].as_array().map(Vec::len), Some(0));
    done(&daemon, &["allow", "add", "0.0.0.0/0", "--force"]);
    done(&daemon, &["allow", "remove", "0.0.0.0/0"]);

    // The daemon tells what it runs with, whatever a file says.
    let shown = done(&daemon, &["config", "show", "--running"]);
    assert_eq!(shown["config"]["block"]["most"], 7, "{shown}");

    // Whether the socket's mode or the daemon says no is the same to whoever asks.
    let mut codes = Vec::new();
    for mode in ["0660", "0666"] {
        let mode = u32::from_str_radix(mode, 8).expect("a mode");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(SOCKET, permissions).expect("the socket's mode");
        let mut command = lab.edge.command("/usr/bin/setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(binary_beside_tests());
        command.args(["status", "--json", "--socket", SOCKET]);
        let finished = Running::start(command).expect("setpriv").wait(LIMIT).expect("an end");
        let told: Value = serde_json::from_str(&finished.stdout).expect("JSON");
        codes.push((finished.status.code(), told["error"]["code"].clone(), told["error"]["rule"].clone()));
    }
    assert_eq!(codes, [(Some(4), "refused".into(), "peer".into()), (Some(4), "refused".into(), "peer".into())]);
    daemon.stop().expect("a stop");
}
