//! What is refused to whom, by the real command line against the real daemon.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, done};
use scanguard_tests::lab::defender::Daemon;
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
