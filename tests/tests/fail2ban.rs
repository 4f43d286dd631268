//! A real fail2ban reads the log of a real server of ssh, and tells of what it sees with the action that docs/operations.md shows.
//!
//! Needs root; run by `cargo xtask test`, which unpacks fail2ban and builds the programs first.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, connect, done, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{EDGE, SCANNER, customer};
use scanguard_tests::lab::process::Running;
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::ssh::{SshServer, login, try_login};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

/// Private to the laboratory, like all of `/run`.
const FOLDER: &str = "/run/fail2ban";
const SSH: u16 = 22;
/// Failed logins until fail2ban acts.
const TRIES: usize = 3;
/// What this server says of one with the address: of names that nobody has it says nothing else with it, and the filter that comes with fail2ban
/// knows other lines only.
const FAILED: &str = "Exit before auth from <";
/// Somebody who never was here, into whose name a line of the log is put.
const FRAMED: &str = "203.0.113.99";

/// The lines of a fenced block of the documents that begins with this line.
fn documented(first: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = fs::read_to_string(file).expect("the document");
    let start = text.find(first).unwrap_or_else(|| panic!("no block begins with {first:?}"));
    let block = &text[start..];
    block[..block.find("```").expect("its end")].to_owned()
}

/// A server of it with the filter that comes with it, and the documented action.
fn fail2ban(lab: &Lab, log: &Path) -> Running {
    let program = Tool::Fail2ban.path().expect("fail2ban");
    let own = program.ancestors().nth(3).expect("where it is unpacked").join("etc/fail2ban");
    let settings = PathBuf::from(FOLDER).join("etc");
    let copied = Command::new("cp").arg("-r").args([&own, &settings]).status().expect("cp");
    assert!(copied.success());
    // No jails but ours.
    fs::remove_dir_all(settings.join("jail.d"))
        .and_then(|()| fs::create_dir(settings.join("jail.d")))
        .expect("a folder");
    let _ = fs::remove_file(settings.join("jail.local"));
    let action = documented("# /etc/fail2ban/action.d/scanguard.conf");
    let here = binary_beside_tests().display().to_string();
    assert!(action.contains(" = /usr/bin/scanguard signal <ip> "), "{action}");
    fs::write(settings.join("action.d/scanguard.conf"), action.replace("/usr/bin/scanguard", &here)).expect("a file");
    let jail = documented("# /etc/fail2ban/jail.d/sshd.local").replace("[sshd]", "[dropbear]");
    let reads = format!(
        "logpath = {}\nbackend = polling\nmaxretry = {TRIES}\ndatepattern = ^\\[\\d+\\] %%b %%d %%H:%%M:%%S\n\
         failregex = ^{FAILED}<HOST>:\\d+>: \n",
        log.display()
    );
    fs::write(settings.join("jail.d/sshd.local"), jail + &reads).expect("a file");
    fs::write(settings.join("fail2ban.local"), "[Definition]\ndbfile = None\n").expect("a file");
    let mut command = Tool::Fail2ban.command(&lab.edge).expect("fail2ban");
    command.args(["-f", "--logtarget", "STDERR", "--syslogsocket", "none", "--loglevel", "INFO"]);
    command.args(["-c", &settings.display().to_string(), "-s", "/run/fail2ban/socket", "-p", "/run/fail2ban/pid"]);
    command.arg("start");
    let running = Running::start(command).expect("fail2ban");
    running.wait_for_stderr("Jail 'dropbear' started", LIMIT).expect("a jail");
    running
}

fn signals(daemon: &Daemon, address: &str) -> Vec<Value> {
    done(daemon, &["why", address])["signals"].as_array().expect("a list").clone()
}

#[test]
fn what_fail2ban_reads_in_a_log_is_good_for_a_block_only_of_who_was_there() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[SSH]).expect("services");
    let server = SshServer::start(&lab).expect("a server of ssh");
    let daemon =
        Daemon::start(&lab.edge, &binary_beside_tests(), "mode = \"enforce\"\n[safety]\nleases = false\n").expect("it");
    fs::create_dir_all(FOLDER).expect("a folder");
    let log = Path::new(FOLDER).join("dropbear.log");
    let mut file = OpenOptions::new().create(true).append(true).open(&log).expect("a log");
    // What the server says goes into the log, as a service manager would put it there.
    let mut kept = 0;
    let mut keep = || {
        let said = server.said();
        file.write_all(&said.as_bytes()[kept..]).expect("a line");
        kept = said.len();
        said
    };
    keep();
    let fail2ban = fail2ban(&lab, &log);

    // Somebody guesses names. He is really there: each time he completes a handshake and more.
    let (edge, scanner) = (SocketAddr::new(IpAddr::from(EDGE), SSH), SCANNER.to_string());
    for _ in 0..TRIES {
        assert!(!try_login(&lab.scanner, SCANNER.into(), edge, "oracle").expect("a client of ssh"));
    }
    let mut said = String::new();
    wait_for("what the server says", || {
        said = keep();
        said.matches(FAILED).count() >= TRIES
    });
    wait_for("fail2ban to tell", || !signals(&daemon, &scanner).is_empty());
    let why = done(&daemon, &["why", &scanner]);
    let expected = json!({"weight": 4.0, "reason": "fail2ban: dropbear", "backed": true, "proof": true});
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&why["signals"][0][key], value, "{why}");
    }
    assert_eq!((&why["verdict"]["level"], &why["verdict"]["scope"]), (&json!("block"), &json!("private")), "{why}");
    assert!(connect(&lab.scanner, SSH).is_none(), "in force");
    let waiting = done(&daemon, &["pending", "list"]);
    assert_eq!(waiting["entries"][0]["source"], scanner.as_str(), "{waiting}");

    // The same lines in the name of somebody who never was here: suspicion, and no more.
    let lines: String =
        said.lines().filter(|line| line.contains(FAILED)).map(|line| line.replace(&scanner, FRAMED) + "\n").collect();
    assert!(lines.lines().count() >= TRIES && lines.contains(FRAMED), "{lines}");
    OpenOptions::new().append(true).open(&log).and_then(|mut log| log.write_all(lines.as_bytes())).expect("lines");
    wait_for("fail2ban to tell of him, too", || !signals(&daemon, FRAMED).is_empty());
    let why = done(&daemon, &["why", FRAMED]);
    assert_eq!((&why["signals"][0]["backed"], &why["verdict"]["level"]), (&json!(false), &json!("conceal")), "{why}");

    // Who has the key goes on as before.
    login(&lab.customers, customer(0).into(), edge).expect("a login");
    fail2ban.stop(Signal::TERM, LIMIT).expect("an end");
    server.stop().expect("an end");
    daemon.stop().expect("a clean stop");
}
