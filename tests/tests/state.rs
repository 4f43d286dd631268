//! The file of state on real disks that fail: full, read-only, overwritten, removed. Filtering goes on, it is told, and it recovers by itself.
//! And who may ask what, and what is written down of it.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs::{self, File, Permissions};
use std::io::{PipeWriter, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, done, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::process::{Finished, Running};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

const FOLDER: &str = "/var/lib/scanguard";
const STATE: &str = "/var/lib/scanguard/state.db";
const SOCKET: &str = "/run/scanguard/control.sock";
/// The configuration of the laboratory's daemon.
const CONFIG: &str = "/run/scanguard-lab.toml";
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

/// Runs a verb against what the daemon with this configuration left.
fn without_daemon(lab: &Lab, arguments: &[&str]) -> Finished {
    let mut command = lab.edge.command(binary_beside_tests());
    command.args(arguments).args(["--socket", SOCKET, "--config", CONFIG, "--json"]);
    Running::start(command).expect("the program").wait(LIMIT).expect("an end")
}

fn read(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("no JSON: {finished:?}"))
}

#[test]
fn on_a_full_disk_whoever_changes_something_is_told_that_it_is_in_force_and_not_saved() {
    let lab = lab();
    fs::create_dir_all(FOLDER).expect("a folder");
    mount("small", FOLDER, "tmpfs", MountFlags::empty(), Some(c"size=1m,mode=0755")).expect("a small disk");
    let daemon = start(&lab, &[]);
    let filler = Path::new(FOLDER).join("filler");
    fill(&filler);
    let list = Path::new("/run/list.txt");
    let lines: Vec<String> = (0..2000).map(|number| format!("2001:db8:{number:x}::/48 a partner\n")).collect();
    fs::write(list, lines.concat()).expect("a list");
    let imported = daemon.cli(&["allow", "import", "/run/list.txt", "--json"]).expect("an answer");
    assert_eq!(imported.status.code(), Some(1), "{imported:?}");
    let answer = read(&imported);
    let keys = ["added", "applied", "saved"].map(|key| answer[key].clone());
    assert_eq!(keys, [json!(2000), json!(true), json!(false)], "{answer}");
    assert!(imported.stderr.contains("in force, but not saved"), "{imported:?}");
    assert_eq!(allowed(&daemon).len(), 2000, "it stays in force");
    assert!(has(&daemon, "state_full"));
    fs::remove_file(&filler).expect("room again");
    wait_for("the trouble to be over", || warnings(&daemon).iter().all(|code| !code.starts_with("state_")));
    let answer = done(&daemon, &["allow", "remove", "2001:db8:1::/48"]);
    assert_eq!(answer.get("saved"), None, "{answer}");
    daemon.end(Signal::KILL).expect("an end");
    let daemon = start(&lab, &[]);
    assert_eq!(allowed(&daemon).len(), 1999);
    daemon.stop().expect("a clean stop");
}

/// Somebody who holds the lock of the state file: each write of the daemon waits five seconds and fails, and what
/// comes after it waits, too.
struct Locked {
    _stdin: PipeWriter,
    shell: Running,
}

fn lock_state(lab: &Lab) -> Locked {
    let (stdin, mut statements) = std::io::pipe().expect("a pipe");
    let mut command = lab.edge.command(Tool::Sqlite3.path().expect("sqlite3"));
    command.arg(STATE);
    let shell = Running::start_reading(command, stdin.into()).expect("sqlite3");
    statements.write_all(b".timeout 20000\nBEGIN IMMEDIATE;\n.shell touch /run/locked\n").expect("statements");
    wait_for("the lock", || Path::new("/run/locked").exists());
    Locked { _stdin: statements, shell }
}

#[test]
fn on_a_disk_that_hangs_nothing_that_decides_waits_and_nobody_is_told_that_it_is_done() {
    let lab = lab();
    let daemon = start(&lab, &[]);
    block(&daemon, "203.0.113.1");
    let locked = lock_state(&lab);
    thread::scope(|scope| {
        let daemon = &daemon;
        let adding: Vec<_> = (2..5)
            .map(|number| {
                let prefix = format!("203.0.113.{number}");
                scope.spawn(move || daemon.cli(&["block", "add", &prefix, "--json"]).expect("an answer"))
            })
            .collect();
        wait_for("all of them to be in force", || blocked(daemon).len() == 4);
        let asking: Vec<_> =
            (0..3).map(|_| scope.spawn(|| daemon.cli(&["why", "203.0.113.1", "--json"]).expect("an answer"))).collect();
        let mut slowest = Duration::ZERO;
        while !asking.iter().all(ScopedJoinHandle::is_finished) {
            let started = Instant::now();
            assert_eq!(blocked(daemon).len(), 4);
            slowest = slowest.max(started.elapsed());
        }
        assert!(slowest < Duration::from_secs(3), "who owns the decisions was away for {slowest:?}");
        for asked in asking {
            let asked = asked.join().expect("an answer");
            assert_eq!(asked.status.code(), Some(0), "{asked:?}");
            let why = read(&asked);
            assert_eq!(why["verdict"]["level"], "block", "{why}");
        }
        for added in adding {
            let added = added.join().expect("an answer");
            assert_eq!(added.status.code(), Some(1), "{added:?}");
            let answer = read(&added);
            assert_eq!((&answer["applied"], &answer["saved"]), (&json!(true), &json!(false)), "{answer}");
        }
    });
    let Locked { _stdin, shell } = locked;
    drop(_stdin);
    shell.wait(LIMIT).expect("the lock is gone");
    wait_for("the trouble to be over", || warnings(&daemon).iter().all(|code| !code.starts_with("state_")));
    daemon.end(Signal::KILL).expect("an end");
    let daemon = start(&lab, &[]);
    assert_eq!(blocked(&daemon).len(), 4);
    assert_eq!(audited(&daemon).len(), 4);
    daemon.stop().expect("a clean stop");
}

#[test]
fn without_a_daemon_blocks_keep_their_reason_and_time_and_what_is_done_is_written_down() {
    let lab = lab();
    let config = "state = \"/var/lib/scanguard/own.db\"\n";
    let daemon = Daemon::start_with(&lab.edge, &binary_beside_tests(), config, &["--keep"]).expect("the daemon");
    done(&daemon, &["block", "add", "203.0.113.1", "--reason", "before"]);
    let before = see(&daemon, "/v1/block");
    daemon.end(Signal::KILL).expect("an end");
    let listed = without_daemon(&lab, &["block", "list"]);
    assert_eq!(read(&listed), before, "with its reason and since when");
    assert!(!listed.stderr.contains("knows nothing"), "{listed:?}");
    let added = without_daemon(&lab, &["block", "add", "203.0.113.2", "--reason", "meanwhile"]);
    assert_eq!(added.status.code(), Some(0), "{added:?}");
    let expected = read(&without_daemon(&lab, &["block", "list"]));
    let audit = read(&without_daemon(&lab, &["audit", "list"]));
    let last = audit["entries"].as_array().and_then(|entries| entries.last()).expect("a record").clone();
    assert_eq!((&last["verb"], &last["uid"]), (&json!("block add"), &json!(0)), "{audit}");
    assert_eq!(last["arguments"]["reason"], "meanwhile", "{audit}");
    // Another configuration names another file, which cannot know: that is said.
    let mut command = lab.edge.command(binary_beside_tests());
    command.args(["block", "list", "--socket", SOCKET]);
    let other = Running::start(command).expect("the program").wait(LIMIT).expect("an end");
    assert!(other.stderr.contains("name it with --config"), "{other:?}");
    let daemon = Daemon::start_with(&lab.edge, &binary_beside_tests(), config, &[]).expect("the daemon");
    assert_eq!(see(&daemon, "/v1/block"), expected, "the next daemon keeps both");
    assert_eq!(audited(&daemon).len(), 2);
    daemon.stop().expect("a clean stop");
}

/// The documented commands that have this in them.
fn documented(part: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(page).expect("the page");
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("sudo ") && line.contains(part)).collect();
    assert_eq!(lines.len(), 1, "{part}: {lines:?}");
    lines[0].trim_start_matches("sudo ").replace("/var/backups/", "/run/")
}

#[test]
fn a_backup_made_as_documented_is_for_its_owner_alone_and_can_be_restored() {
    let lab = lab();
    let shell = |line: &str| {
        let mut command = lab.edge.command("sh");
        // As most users' shells have it.
        command.args(["-c", &format!("umask 022; {line}")]);
        Running::start(command).expect("a shell").wait(LIMIT).expect("an end").success(line).expect("done");
    };
    let daemon = start(&lab, &[]);
    allow(&daemon, "198.18.0.1");
    done(&daemon, &["block", "add", "203.0.113.9", "--reason", "kept"]);
    done(&daemon, &["mode", "enforce"]);
    let (allowlist, blocks) = (see(&daemon, "/v1/allow"), see(&daemon, "/v1/block"));
    shell(&documented(".backup"));
    let backup = fs::metadata("/run/scanguard.db").expect("the backup");
    assert_eq!(backup.mode() & 0o777, 0o600);
    done(&daemon, &["allow", "remove", "198.18.0.1"]);
    done(&daemon, &["block", "remove", "203.0.113.9"]);
    done(&daemon, &["mode", "observe"]);
    daemon.stop().expect("a clean stop");
    shell(&documented("install "));
    assert_eq!(fs::metadata(STATE).expect("the file").mode() & 0o777, 0o600);
    let daemon = start(&lab, &[]);
    assert_eq!((see(&daemon, "/v1/allow"), see(&daemon, "/v1/block")), (allowlist, blocks));
    assert_eq!(see(&daemon, "/v1/mode")["mode"], "enforce");
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
    for nothing in [["pending", "deny"], ["block", "remove"], ["allow", "remove"]] {
        let finished = daemon.cli(&[&nothing[..], &["203.0.113.77"]].concat()).expect("an answer");
        assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    }
    daemon.cli(&["mode", "enforce"]).expect("an answer").success("mode").expect("done");
    daemon.cli(&["config", "reload"]).expect("an answer").success("reload").expect("done");
    let results = [
        "block add done",
        "block add refused",
        "pending deny not_found",
        "block remove not_found",
        "allow remove not_found",
        "mode done",
        "config reload done",
    ];
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

#[test]
fn a_file_of_state_that_cannot_be_used_is_told_once_and_makes_status_degraded() {
    let lab = lab();
    let config = "state = \"/dev/null/state.db\"\n";
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), config).expect("the daemon");
    // It is tried again and again.
    wait_for("several tries", || metric(&daemon, "state_failures_total") >= 3);
    let log = daemon.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("/dev/null/state.db")).collect();
    assert_eq!(told.len(), 1, "the cause is told once:\n{log}");
    assert!(told[0].contains("ERROR") && told[0].contains("nothing of before is known"), "{log}");
    assert!(has(&daemon, "state_unusable"), "{:?}", warnings(&daemon));
    let status = daemon.cli(&["status"]).expect("an answer");
    assert_eq!(status.status.code(), Some(5), "{status:?}");
    assert!(status.stdout.contains("is degraded"), "{status:?}");
    assert_eq!(see(&daemon, "/v1/status")["degraded"], true);
    daemon.stop().expect("a clean stop");
    // One that can be used is not.
    let daemon = start(&lab, &[]);
    assert_eq!(see(&daemon, "/v1/status")["degraded"], false);
}
