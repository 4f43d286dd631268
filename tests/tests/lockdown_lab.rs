//! A lockdown by the real command line and daemon, with real clients on the lab's links: who gets in, what goes on, what an attacker sees, and that it
//! ends by itself whatever becomes of the daemon.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, done, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::plan::{EDGE, EDGE6, SCANNER, SCANNER6};
use scanguard_tests::lab::process::Running;
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

const SSH: u16 = 22;
const HTTP: u16 = 80;
/// A restricted port on which nothing listens.
const CLOSED: u16 = 2049;
const MONITOR: u16 = 161;
const SOCKET: &str = "/run/scanguard/control.sock";
const CONFIG: &str = "restricted = [\"default\", \"161/udp\"]\n";
const REFUSED: Option<i32> = Some(4);
/// How long an answer may take on the lab's links.
const PATIENCE: Duration = Duration::from_millis(700);

struct Site {
    lab: Lab,
    _services: Vec<Service>,
}

impl Site {
    fn new() -> Self {
        sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
        let lab = Lab::build(2).expect("the lab");
        let services = Service::all(&lab.edge, &[]).expect("services");
        let socket =
            lab.edge.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, MONITOR))).expect("the edge").expect("a port");
        thread::spawn(move || {
            let mut datagram = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut datagram) {
                let _ = socket.send_to(&datagram[..length], from);
            }
        });
        Self { lab, _services: services }
    }

    fn start(&self, mode: &str, options: &[&str]) -> Daemon {
        let config = format!("mode = {mode:?}\n[ports]\n{CONFIG}[safety]\nleases = false\n");
        Daemon::start_with(&self.lab.edge, &binary_beside_tests(), &config, options).expect("the daemon")
    }
}

fn connect(from: &Netns, to: impl Into<IpAddr>, port: u16) -> Option<TcpStream> {
    let to = SocketAddr::new(to.into(), port);
    let stream = from.run(|| TcpStream::connect_timeout(&to, PATIENCE).ok()).expect("a namespace")?;
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    Some(stream)
}

fn datagram_is_answered(from: &Netns, to: impl Into<IpAddr>) -> bool {
    let to = SocketAddr::new(to.into(), MONITOR);
    from.run(|| {
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        socket.send_to(b"who is there?", to).expect("a datagram");
        socket.recv_from(&mut [0; 64]).is_ok()
    })
    .expect("a namespace")
}

/// What of the edge's restricted services answers a host: TCP and UDP, IPv4 and IPv6.
fn reached(from: &Netns) -> [bool; 4] {
    [
        connect(from, EDGE, SSH).is_some(),
        connect(from, EDGE6, SSH).is_some(),
        datagram_is_answered(from, EDGE),
        datagram_is_answered(from, EDGE6),
    ]
}

/// The states that nmap finds these ports in, by a kind of scan.
fn scanned(from: &Netns, kind: &str, ports: &[u16]) -> Vec<String> {
    let list = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let edge = EDGE.to_string();
    let scan = ["-n", "-Pn", kind, "--max-retries", "1", "--max-rtt-timeout", "200ms", "-p", &list, "-oG", "-", &edge];
    let found = Tool::Nmap.run(from, scan, LIMIT).expect("nmap").success("nmap").expect("a scan").stdout;
    let state = |port: &u16| {
        let at = found.split([' ', '\t', ',']).find_map(|word| word.strip_prefix(&format!("{port}/")));
        at.and_then(|rest| rest.split('/').next()).unwrap_or("?").to_owned()
    };
    ports.iter().map(state).collect()
}

fn is_on(daemon: &Daemon) -> bool {
    done(daemon, &["lockdown", "status"])["on"] == true
}

fn names(list: &Value, field: &str) -> Vec<String> {
    let entries = list.as_array().expect("a list").iter();
    entries.map(|entry| entry[field].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn restricted_ports_answer_the_allowlist_alone_in_both_modes_and_what_exists_goes_on() {
    let site = Site::new();
    let (stranger, friend) = (&site.lab.customers, &site.lab.scanner);
    for mode in ["observe", "enforce"] {
        let daemon = site.start(mode, &[]);
        wait_for("the services", || reached(stranger) == [true; 4]);
        assert_eq!(reached(friend), [true; 4]);
        done(&daemon, &["allow", "add", &SCANNER.to_string(), &SCANNER6.to_string(), "--comment", "a friend"]);
        let mut session = connect(stranger, EDGE, SSH).expect("a session");
        session.read_exact(&mut [0; 8]).expect("a banner");
        let dry = done(&daemon, &["lockdown", "on", "--for", "1h", "--dry-run"]);
        assert_eq!(
            (&dry["on"], &dry["dry_run"], &dry["refused"]),
            (&false.into(), &true.into(), &Value::Null),
            "{dry}"
        );
        assert_eq!(reached(stranger), [true; 4], "nothing was changed");
        let on = done(&daemon, &["lockdown", "on", "--for", "1h"]);
        assert_eq!(
            (&on["on"], &on["was_on"], &on["all_restricted"]),
            (&true.into(), &false.into(), &true.into()),
            "{on}"
        );
        assert_eq!(reached(stranger), [false; 4], "{mode}");
        assert_eq!(reached(friend), [true; 4], "{mode}");
        assert!(connect(stranger, EDGE, HTTP).is_some(), "public ports answer");
        session.write_all(b"still here\r\n").expect("a session that goes on");
        assert!(connect(stranger, EDGE, SSH).is_none());
        drop(session);
        // What is closed and what is open look the same, by whatever segment.
        let ports = [SSH, CLOSED];
        for kind in ["-sS", "-sA", "-sN", "-sF"] {
            let states = scanned(&site.lab.router, kind, &ports);
            assert_eq!(states[0], states[1], "{kind}, {mode}: {states:?}");
            assert!(states[0].contains("filtered"), "{kind}, {mode}: {states:?}");
        }
        // What is said of it.
        let status = done(&daemon, &["lockdown", "status"]);
        assert_eq!(
            names(&status["admitted"], "source"),
            [SCANNER.to_string(), "2001:db8:66::66".to_owned()],
            "{status}"
        );
        assert!(status["open"].as_array().expect("ports").contains(&json!("22")), "{status}");
        assert!(status["ports"].as_array().expect("ports").contains(&json!("161/udp")), "{status}");
        let until = humantime::parse_rfc3339(status["until"].as_str().expect("a time")).expect("a time");
        let left = until.duration_since(SystemTime::now()).expect("in the future");
        assert!(left <= Duration::from_secs(3600) && left > Duration::from_secs(3500), "{left:?}");
        for (whose, says) in [("198.51.100.10", "does not let it through"), ("203.0.113.66", "lets it through")] {
            let why = done(&daemon, &["why", whose])["arithmetic"].to_string();
            assert!(why.contains("lockdown") && why.contains(says), "{whose}: {why}");
        }
        let told = done(&daemon, &["status"]);
        assert_eq!(told["lockdown"]["until"], status["until"], "{told}");
        assert!(cli(&daemon, &["status"]).stdout.contains("lockdown: until"));
        let metrics = daemon.metrics().expect("metrics");
        assert!(metrics.contains("\nscanguard_lockdown 1\n"), "{metrics}");
        assert!(daemon.packets().expect("counters")["lockdown"] > 0);
        let off = done(&daemon, &["lockdown", "off"]);
        assert_eq!((&off["on"], &off["was_on"]), (&false.into(), &true.into()), "{off}");
        assert_eq!(reached(stranger), [true; 4], "{mode}");
        assert!(daemon.metrics().expect("metrics").contains("\nscanguard_lockdown 0\n"));
        let audit = done(&daemon, &["audit", "list"]);
        let verbs = names(&audit["entries"], "verb");
        let of_lockdown: Vec<_> = verbs.iter().filter(|verb| verb.starts_with("lockdown")).rev().take(2).collect();
        assert_eq!(of_lockdown, ["lockdown off", "lockdown on"], "a dry run is none: {verbs:?}");
        // A stranger who knocked is no suspect for it.
        let sources = daemon.sources().expect("sources");
        let levels = names(&sources["sources"], "level");
        let from = names(&sources["sources"], "source");
        let of_stranger: Vec<_> =
            from.iter().zip(&levels).filter(|(source, _)| source.starts_with("198.51.100.")).collect();
        assert!(!of_stranger.is_empty() && of_stranger.iter().all(|(_, level)| *level == "none"), "{sources}");
        daemon.stop().expect("a clean stop");
    }
}

#[test]
fn ports_that_are_named_and_known_sources_and_a_second_one_in_its_place() {
    let site = Site::new();
    let daemon = site.start("observe", &[]);
    let (stranger, other) = (&site.lab.customers, &site.lab.scanner);
    wait_for("the services", || reached(stranger) == [true; 4]);
    done(&daemon, &["known", "add", &SCANNER.to_string(), "--comment", "a backup"]);
    let on = done(&daemon, &["lockdown", "on", "--for", "1h", "--port", "80,22", "--keep-known"]);
    assert_eq!((&on["ports"], &on["public"]), (&json!(["80", "22"]), &json!(["80"])), "{on}");
    assert!(names(&on["admitted"], "source").contains(&SCANNER.to_string()), "{on}");
    for port in [SSH, HTTP] {
        assert!(connect(stranger, EDGE, port).is_none(), "{port}");
        assert!(connect(other, EDGE, port).is_some(), "{port} to who is known");
    }
    assert!(datagram_is_answered(stranger, EDGE), "a port that was not named");
    let on = done(&daemon, &["lockdown", "on", "--for", "30m"]);
    assert_eq!((&on["was_on"], &on["keep_known"]), (&true.into(), &false.into()), "{on}");
    let shut_out = &on["shut_out"];
    assert!(names(shut_out, "source").contains(&SCANNER.to_string()), "{on}");
    assert!(connect(stranger, EDGE, HTTP).is_some(), "not among the ports of the second");
    assert!(connect(other, EDGE, SSH).is_none(), "who is known is shut out now");
    let text = cli(&daemon, &["lockdown", "status"]).stdout;
    assert!(text.contains("SHUT OUT") && text.contains(&SCANNER.to_string()), "{text}");
    // A reload of the configuration changes nothing of it.
    done(&daemon, &["config", "reload"]);
    assert!(is_on(&daemon) && connect(other, EDGE, SSH).is_none());
    for (arguments, code) in [
        (&["on"][..], 2),
        (&["on", "--for", "8d"][..], 2),
        (&["on", "--for", "1h", "--port", "ssh"][..], 2),
        (&["on", "--for", "0s"][..], 2),
    ] {
        let refused = cli(&daemon, &[&["lockdown"], arguments].concat());
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {refused:?}");
    }
    daemon.stop().expect("a clean stop");
}

#[test]
fn who_types_it_is_not_shut_out_unless_he_insists() {
    let site = Site::new();
    let daemon = site.start("observe", &[]);
    let lockdown = |arguments: &[&str]| {
        let mut command = site.lab.edge.command(binary_beside_tests());
        command.args(["lockdown", "on", "--for", "1h", "--json", "--socket", SOCKET]).args(arguments);
        command.env("SSH_CONNECTION", "203.0.113.200 5022 192.0.2.10 22");
        Running::start(command).expect("the program").wait(LIMIT).expect("an end")
    };
    let refused = lockdown(&[]);
    assert_eq!(refused.status.code(), REFUSED, "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("logged in from 203.0.113.200") && said.contains("--force"), "{refused:?}");
    let dry = lockdown(&["--dry-run"]);
    assert_eq!(dry.status.code(), REFUSED, "{dry:?}");
    let dry: Value = serde_json::from_str(&dry.stdout).expect("JSON");
    assert_eq!(dry["refused"]["rule"], "logged_in", "{dry}");
    assert!(!is_on(&daemon));
    assert_eq!(lockdown(&["--force"]).status.code(), Some(0));
    assert!(is_on(&daemon));
    done(&daemon, &["lockdown", "off"]);
    // Who is known is let through where known sources are; who is on the allowlist always.
    done(&daemon, &["known", "add", "203.0.113.200"]);
    assert_eq!(lockdown(&[]).status.code(), REFUSED);
    assert_eq!(lockdown(&["--keep-known"]).status.code(), Some(0));
    done(&daemon, &["lockdown", "off"]);
    done(&daemon, &["allow", "add", "203.0.113.0/24"]);
    assert_eq!(lockdown(&[]).status.code(), Some(0));
    daemon.stop().expect("a clean stop");
}

#[test]
fn it_outlives_the_daemon_and_never_its_end() {
    let site = Site::new();
    let stranger = &site.lab.customers;
    let is_open = || connect(stranger, EDGE, SSH).is_some();
    // A daemon that is killed leaves it at work, and its end with it.
    let daemon = site.start("observe", &["--keep"]);
    wait_for("the services", is_open);
    let began = Instant::now();
    done(&daemon, &["lockdown", "on", "--for", "8s"]);
    daemon.end(Signal::KILL).expect("an end");
    assert!(!is_open(), "nobody is needed for it");
    wait_for("its end", is_open);
    assert!(began.elapsed() >= Duration::from_secs(8) - PATIENCE, "after {:?}", began.elapsed());
    let daemon = site.start("observe", &["--keep"]);
    assert!(!is_on(&daemon) && is_open(), "a daemon does not begin again what is over");
    // Over pins and without.
    let until = done(&daemon, &["lockdown", "on", "--for", "1h", "--port", "22"])["until"].clone();
    daemon.end(Signal::KILL).expect("an end");
    let daemon = site.start("observe", &["--keep"]);
    let taken_over = done(&daemon, &["lockdown", "status"]);
    assert_eq!((&taken_over["on"], &taken_over["ports"]), (&true.into(), &json!(["22"])), "{taken_over}");
    assert!(!is_open());
    daemon.stop().expect("a clean stop, which takes the pins away");
    assert!(is_open(), "nothing is there that would keep to it");
    let daemon = site.start("observe", &[]);
    let kept = done(&daemon, &["lockdown", "status"]);
    assert_eq!((&kept["on"], &kept["ports"]), (&true.into(), &json!(["22"])), "{kept}");
    let time = |value: &Value| humantime::parse_rfc3339(value.as_str().expect("a time")).expect("a time");
    let moved = time(&kept["until"]).duration_since(time(&until)).unwrap_or_else(|before| before.duration());
    assert!(moved < Duration::from_secs(2), "{until} and {kept}");
    assert!(!is_open());
    done(&daemon, &["lockdown", "off"]);
    daemon.stop().expect("a clean stop");
    let daemon = site.start("observe", &[]);
    assert!(!is_on(&daemon) && is_open(), "what was ended stays ended");
    daemon.stop().expect("a clean stop");
}
