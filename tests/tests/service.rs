//! The daemon as a service manager runs it: a user of its own with few rights. What it may not see itself another process
//! tells it, and what nobody tells it, it says.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, done, wait_for};
use scanguard_tests::lab::defender::{Daemon, SERVICE_USER};
use scanguard_tests::lab::plan::{SCANNER, UPLINK};
use scanguard_tests::lab::process::Running;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::utmp::Login;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;

const CONFIG: &str = "/run/scanguard-lab.toml";
const LOGINS: &str = "/run/scanguard-logins.sock";

fn has_warning(daemon: &Daemon, code: &str) -> bool {
    let status = done(daemon, &["status"]);
    status["warnings"].as_array().expect("a list").iter().any(|warning| warning["code"] == code)
}

fn leases(daemon: &Daemon) -> Vec<Value> {
    let list = done(daemon, &["allow", "list"]);
    let entries = list["entries"].as_array().expect("a list").iter();
    entries.filter(|entry| entry["source"] == "lease").map(|entry| entry["prefix"].clone()).collect()
}

#[test]
fn with_three_capabilities_it_works_and_who_is_logged_in_is_told_by_another_process() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _ann = Login::write(SCANNER.into(), std::process::id()).expect("a login");
    // Only root may read who is logged in, as with connections of sshd.
    fs::set_permissions("/run/utmp", fs::Permissions::from_mode(0o600)).expect("the list of logins");
    let daemon = Daemon::start_as_service(&lab.edge, &binary_beside_tests(), "").expect("the daemon");

    let status = done(&daemon, &["status"]);
    let uplink = &status["interfaces"][0];
    assert_eq!((&uplink["name"], &uplink["attached"]), (&UPLINK.into(), &true.into()), "{status}");
    assert_ne!(uplink["egress"], "none", "what leaves is seen, and that it is: {status}");
    assert!(!has_warning(&daemon, "egress_missing"), "{status}");
    wait_for("it to say that it does not see who is logged in", || has_warning(&daemon, "logins_unseen"));
    assert_eq!(leases(&daemon), Vec::<Value>::new());

    let mut command = Command::new(binary_beside_tests());
    command.args(["logins", "serve", "--listen", LOGINS]);
    let helper = Running::start(command).expect("the other process");
    wait_for("its socket", || fs::metadata(LOGINS).is_ok());
    // The daemon's group, which `--group` would give it by name: nobody's has different names.
    std::os::unix::fs::chown(LOGINS, None, Some(SERVICE_USER)).expect("the socket");
    let config = fs::read_to_string(CONFIG).expect("the configuration");
    fs::write(CONFIG, format!("{config}\n[safety]\nlogins = {LOGINS:?}\n")).expect("the configuration");
    done(&daemon, &["config", "reload"]);
    wait_for("a lease", || leases(&daemon) == [SCANNER.to_string()]);
    assert!(!has_warning(&daemon, "logins_unseen"), "now it is told");

    helper.stop(Signal::KILL, LIMIT).expect("its end");
    wait_for("it to say that nobody tells it any more", || has_warning(&daemon, "logins_unseen"));
    assert_eq!(leases(&daemon), [SCANNER.to_string()], "the lease goes on for its time");
    daemon.stop().expect("a clean stop");
}

#[test]
fn an_interface_of_the_configuration_that_comes_later_is_waited_for() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let ip = |arguments: &[&str]| {
        Tool::Ip.run(&lab.edge, arguments, LIMIT).expect("ip").success("ip").expect("a change of links");
    };
    let config = "interfaces = [\"later0\"]\n";
    let daemon = Daemon::launch_configured(&lab.edge, &binary_beside_tests(), config).expect("the daemon");
    let status = || -> Value {
        let status = daemon.cli(&["status", "--json"]).expect("status");
        serde_json::from_str(&status.stdout).unwrap_or_default()
    };
    let is_attached = || status()["interfaces"][0]["attached"].as_bool();
    wait_for("it to wait", || is_attached() == Some(false));
    let waiting = status();
    assert_eq!(waiting["interfaces"][0]["name"], "later0", "{waiting}");
    assert_eq!(waiting["warnings"][0]["code"], "not_attached", "{waiting}");
    ip(&["link", "add", "dev", "later0", "type", "veth", "peer", "name", "later1"]);
    wait_for("the interface to be guarded", || is_attached() == Some(true));
    daemon.stop().expect("a clean stop");
}
