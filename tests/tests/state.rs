//! The file of state on real disks that fail: full, read-only, overwritten, removed. Filtering goes on, it is told, and it recovers by itself.
//! And who may ask what, and what is written down of it.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::process::Running;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

const FOLDER: &str = "/var/lib/scanguard";
const STATE: &str = "/var/lib/scanguard/state.db";
const SOCKET: &str = "/run/scanguard/control.sock";
/// `nobody`.
const NOBODY: u32 = 65_534;
/// `adm` of Debian.
const ADM: u32 = 4;

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(1).expect("the lab")
}

fn start(lab: &Lab, options: &[&str]) -> Daemon {
    Daemon::start_with(&lab.edge, &binary_beside_tests(), "", options).expect("the daemon")
}

fn see(daemon: &Daemon, path: &str) -> Value {
    daemon.ask(path, None).expect("an answer")
}

fn allow(daemon: &Daemon, prefix: &str) {
    daemon.ask("/v1/allow", Some(&json!({"entries": [{"prefix": prefix}]}))).expect("an answer");
}

fn block(daemon: &Daemon, prefix: &str) {
    daemon.ask("/v1/block", Some(&json!({"prefix": prefix, "scope": "all", "for_s": 3600}))).expect("an answer");
}

/// The prefixes of a list.
fn listed(daemon: &Daemon, path: &str, field: &str) -> Vec<String> {
    let list = see(daemon, path);
    let entries = list["entries"].as_array().expect("entries").iter();
    entries.map(|entry| entry[field].as_str().expect("a prefix").to_owned()).collect()
}

fn allowed(daemon: &Daemon) -> Vec<String> {
    listed(daemon, "/v1/allow", "prefix")
}

fn blocked(daemon: &Daemon) -> Vec<String> {
    listed(daemon, "/v1/block", "source")
}

fn warnings(daemon: &Daemon) -> Vec<String> {
    let status = see(daemon, "/v1/status");
    assert_eq!(status["healthy"], true, "filtering goes on: {status}");
    let warnings = status["warnings"].as_array().expect("warnings").iter();
    warnings.map(|warning| warning["code"].as_str().expect("a code").to_owned()).collect()
}

fn has(daemon: &Daemon, code: &str) -> bool {
    warnings(daemon).iter().any(|warning| warning == code)
}

fn metric(daemon: &Daemon, name: &str) -> u64 {
    let metrics = daemon.metrics().expect("metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(&format!("scanguard_{name} ")));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {metrics}"))
}

/// What was asked for by verb, with the result.
fn audited(daemon: &Daemon) -> Vec<(String, String)> {
    let list = see(daemon, "/v1/audit?limit=1000");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let entries = list["entries"].as_array().expect("entries").iter();
    entries.map(|entry| (text(&entry["verb"]), text(&entry["result"]))).collect()
}

/// Writes until no byte more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    for piece in [65_536, 4096, 1] {
        while file.write_all(&vec![0; piece]).is_ok() {}
    }
}

/// Damaged files that were set aside.
fn set_aside() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).expect("a folder").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("state.db.damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .collect();
    files.sort_unstable();
    files
}

#[test]
fn on_a_full_disk_everything_goes_on_and_is_kept_when_there_is_room_again() {
    let lab = lab();
    fs::create_dir_all(FOLDER).expect("a folder");
    mount("small", FOLDER, "tmpfs", MountFlags::empty(), Some(c"size=1m,mode=0755")).expect("a small disk");
    let daemon = start(&lab, &[]);
    allow(&daemon, "198.18.0.1");
    let filler = Path::new(FOLDER).join("filler");
    fill(&filler);
    // More than fits into pages that the file has already.
    let entries: Vec<Value> = (0..200).map(|number| json!({"prefix": format!("198.18.1.{number}")})).collect();
    daemon.ask("/v1/allow", Some(&json!({"entries": entries}))).expect("an answer");
    block(&daemon, "203.0.113.9");
    wait_for("the full disk to be told", || has(&daemon, "state_full"));
    assert_eq!((allowed(&daemon).len(), blocked(&daemon).len()), (201, 1));
    assert_eq!(metric(&daemon, "state_failing"), 1);
    assert!(metric(&daemon, "state_failures_total") > 0 && daemon.log().contains("full"), "{}", daemon.log());
    assert_eq!(audited(&daemon).len(), 3, "records wait in memory");
    fs::remove_file(&filler).expect("room again");
    wait_for("the trouble to be over", || warnings(&daemon).iter().all(|code| !code.starts_with("state_")));
    assert_eq!(metric(&daemon, "state_failing"), 0);
    daemon.end(Signal::KILL).expect("an end");
    let daemon = start(&lab, &[]);
    assert_eq!((allowed(&daemon).len(), blocked(&daemon).len()), (201, 1));
    let verbs: Vec<String> = audited(&daemon).into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(verbs, ["allow add", "allow add", "block add"]);
    assert_eq!(listed(&daemon, "/v1/block/history", "event"), ["begin"]);
    daemon.stop().expect("a clean stop");
}

#[test]
fn from_a_read_only_disk_everything_is_read_and_what_is_new_is_kept_when_it_can_be_written_again() {
    let lab = lab();
    let daemon = start(&lab, &[]);
    allow(&daemon, "198.18.0.1");
    block(&daemon, "203.0.113.9");
    let before = see(&daemon, "/v1/block");
    daemon.stop().expect("a clean stop");
    mount_bind(FOLDER, FOLDER).expect("a mount");
    mount_remount(FOLDER, MountFlags::BIND | MountFlags::RDONLY, c"").expect("read-only");
    let daemon = start(&lab, &[]);
    assert_eq!(allowed(&daemon), ["198.18.0.1"]);
    assert_eq!(see(&daemon, "/v1/block"), before, "with the time that was left");
    assert!(has(&daemon, "state_read_only"), "{:?}", warnings(&daemon));
    allow(&daemon, "198.18.0.2");
    assert_eq!(allowed(&daemon), ["198.18.0.1", "198.18.0.2"]);
    // The daemon has its files open there.
    unmount(FOLDER, UnmountFlags::DETACH).expect("writable again");
    wait_for("the trouble to be over", || !has(&daemon, "state_read_only"));
    daemon.end(Signal::KILL).expect("an end");
    let daemon = start(&lab, &[]);
    assert_eq!((allowed(&daemon).len(), blocked(&daemon).len()), (2, 1));
    let verbs: Vec<String> = audited(&daemon).into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(verbs, ["allow add", "block add", "allow add"]);
    daemon.stop().expect("a clean stop");
}

#[test]
fn a_file_that_is_overwritten_is_set_aside_and_a_new_one_has_what_the_daemon_or_the_kernel_knew() {
    let lab = lab();
    let garbage: Vec<u8> = (0..200_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let daemon = start(&lab, &["--keep"]);
    allow(&daemon, "198.18.0.1");
    block(&daemon, "203.0.113.9");
    // While it runs: all of the file, in place.
    let inode = fs::metadata(STATE).expect("the file").ino();
    fs::write(STATE, &garbage).expect("overwritten");
    assert_eq!(fs::metadata(STATE).expect("the file").ino(), inode);
    wait_for("the damage to be told", || has(&daemon, "state_set_aside"));
    assert_eq!((allowed(&daemon).len(), blocked(&daemon).len()), (1, 1));
    let aside = set_aside();
    assert_eq!(fs::read(&aside[0]).expect("the damaged file"), garbage);
    wait_for("the new file to have everything", || metric(&daemon, "state_failing") == 0);
    assert_eq!(metric(&daemon, "state_set_aside_total"), 1);
    daemon.end(Signal::KILL).expect("an end");

    // What the new file has.
    let daemon = start(&lab, &["--keep"]);
    assert_eq!((allowed(&daemon), blocked(&daemon)), (vec!["198.18.0.1".to_owned()], vec!["203.0.113.9".to_owned()]));
    daemon.end(Signal::KILL).expect("an end");

    // Before the start: what the kernel still has is taken over.
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{STATE}{ending}"));
    }
    fs::write(STATE, &garbage).expect("overwritten");
    let daemon = start(&lab, &["--keep"]);
    assert!(has(&daemon, "state_set_aside"), "{:?}\n{}", warnings(&daemon), daemon.log());
    assert_eq!(set_aside().len(), 2);
    assert_eq!((allowed(&daemon), blocked(&daemon)), (vec!["198.18.0.1".to_owned()], vec!["203.0.113.9".to_owned()]));

    // And one that is taken away.
    for ending in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{STATE}{ending}")).expect("removed");
    }
    wait_for("a new file", || Path::new(STATE).exists() && metric(&daemon, "state_failing") == 0);
    daemon.stop().expect("a clean stop");
    let daemon = start(&lab, &[]);
    assert_eq!((allowed(&daemon).len(), blocked(&daemon).len()), (1, 1));
    daemon.stop().expect("a clean stop");
}

/// What somebody else gets who asks on the socket: the status of the answer.
fn ask_as(uid: u32, gid: u32, path: &str) -> String {
    let mut curl = Command::new(Tool::Curl.path().expect("curl"));
    curl.args(["--disable", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", SOCKET]);
    curl.arg(format!("http://scanguard{path}")).uid(uid).gid(gid);
    Running::start(curl).expect("curl").wait(LIMIT).expect("an end").stdout
}

#[test]
fn root_and_the_group_of_the_socket_may_ask_and_what_they_do_is_written_down() {
    let lab = lab();
    let config = "[control]\ngroup = \"adm\"\n";
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), config).expect("the daemon");
    let socket = fs::metadata(SOCKET).expect("the socket");
    assert_eq!((socket.mode() & 0o777, socket.gid()), (0o660, ADM));
    assert_eq!(ask_as(NOBODY, ADM, "/v1/status"), "200");
    assert_eq!(ask_as(NOBODY, NOBODY, "/v1/status"), "000", "it cannot even connect");
    fs::set_permissions(SOCKET, Permissions::from_mode(0o666)).expect("somebody opens it to everybody");
    assert_eq!(ask_as(NOBODY, NOBODY, "/v1/status"), "403");
    assert_eq!(ask_as(NOBODY, ADM, "/v1/status"), "200");

    daemon
        .cli(&["block", "add", "203.0.113.9", "--reason", "a test"])
        .expect("an answer")
        .success("ban")
        .expect("done");
    assert_eq!(daemon.cli(&["block", "add", "127.0.0.1"]).expect("an answer").status.code(), Some(4));
    daemon.cli(&["mode", "enforce"]).expect("an answer").success("mode").expect("done");
    daemon.cli(&["config", "reload"]).expect("an answer").success("reload").expect("done");
    let results = ["block add done", "block add refused", "mode done", "config reload done"];
    let found = |list: Vec<(String, String)>| -> Vec<String> {
        list.into_iter().map(|(verb, result)| format!("{verb} {result}")).collect()
    };
    assert_eq!(found(audited(&daemon)), results);
    let listed =
        daemon.cli(&["audit", "list", "--json", "--since", "1h"]).expect("an answer").success("audit").expect("done");
    let list: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let first = &list["entries"][0];
    assert_eq!((&first["uid"], &first["user"], &first["program"]), (&json!(0), &json!("root"), &json!("scanguard")));
    assert_eq!(
        (&first["arguments"]["prefix"], &first["arguments"]["reason"]),
        (&json!("203.0.113.9"), &json!("a test"))
    );
    assert!(first["pid"].as_u64().is_some_and(|pid| pid > 1), "{first}");
    assert!(list["entries"][1]["detail"].as_str().is_some_and(|detail| detail.contains("loopback")), "{list}");
    // A crash takes nothing back of what was answered, and without a daemon the file tells.
    let (binary, edge) = (binary_beside_tests(), lab.edge.clone());
    daemon.end(Signal::KILL).expect("an end");
    let mut command = edge.command(binary);
    command.args(["audit", "list", "--json", "--socket", SOCKET]);
    let listed = Running::start(command).expect("the program").wait(LIMIT).expect("an end");
    let again: Value = serde_json::from_str(&listed.stdout).unwrap_or_else(|_| panic!("JSON: {listed:?}"));
    assert_eq!(again, list);
}
