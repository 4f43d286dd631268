//! The programs that see what leaves and who completes a handshake: where they hang, what becomes of them and of what they counted
//! when the daemon ends, and what is said where they cannot be.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scanguard::kernel::{Datapath, EgressHook, LoadOptions, egress};
use scanguard_common::config::KernelConfig;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{cli, done};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{EDGE, UPLINK, behind, customer};
use scanguard_tests::lab::services::{Kind, Service};
use scanguard_tests::lab::{Lab, sandbox};

use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(30);
const SSH: u16 = 22;

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(4).expect("the lab")
}

fn start(lab: &Lab, config: &str, options: &[&str]) -> Daemon {
    Daemon::start_with(&lab.edge, &binary_beside_tests(), config, options).expect("the daemon")
}

fn status(daemon: &Daemon) -> Value {
    daemon.ask("/v1/status", None).expect("a status")
}

fn why(daemon: &Daemon, address: Ipv4Addr) -> Value {
    daemon.ask(&format!("/v1/why?address={address}"), None).expect("an answer")
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The first of the customers' addresses that the kernel takes by itself.
fn worker(lab: &Lab) -> Ipv4Addr {
    let socket = lab.customers.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect((EDGE, SSH)).expect("a route");
        socket.local_addr().expect("an address")
    });
    match socket.expect("the customers").ip() {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

fn restricted_sessions(daemon: &Daemon, address: Ipv4Addr) -> u64 {
    why(daemon, address)["known"]["restricted_sessions"].as_u64().expect("a number")
}

/// The number of an interface of this thread's namespace.
fn if_nametoindex(name: &str) -> u32 {
    // (/sys shows the links of the namespace in which it was mounted.)
    let shown = std::process::Command::new("ip").args(["-j", "link", "show", "dev", name]).output().expect("ip");
    let links: Value = serde_json::from_slice(&shown.stdout).expect("JSON of ip");
    links[0]["ifindex"].as_u64().and_then(|index| u32::try_from(index).ok()).expect("an index")
}

fn egress_of(daemon: &Daemon) -> String {
    let status = status(daemon);
    let interface = status["interfaces"].as_array().expect("interfaces").iter().find(|link| link["name"] == UPLINK);
    interface.expect("the uplink")["egress"].as_str().expect("a text").to_owned()
}

#[test]
fn work_while_no_daemon_watches_counts_with_the_next_one_and_after_every_restart_and_makes_nobody_known() {
    let lab = lab();
    let _ssh = Service::start(&lab.edge, SSH, Kind::of(SSH)).expect("a service");
    let from = worker(&lab);
    let daemon = start(&lab, "", &["--keep"]);
    wait_for("sessions to be counted", || (status(&daemon)["sessions"]["watched"] == true).then_some(()));
    assert_eq!(egress_of(&daemon), "tcx");
    daemon.end(Signal::KILL).expect("an end");
    let alone = lab.edge.run(|| egress::running(UPLINK)).expect("the edge").expect("programs");
    assert_eq!(alone, ["scanguard_egres"], "it goes on alone; names of programs have 15 characters");
    for _ in 0..2 {
        work_from(&lab, from);
    }
    let daemon = start(&lab, "", &["--keep"]);
    wait_for("work without a daemon to count", || (restricted_sessions(&daemon, from) == 2).then_some(()));
    assert_eq!(egress_of(&daemon), "tcx");
    let programs = lab.edge.run(|| egress::running(UPLINK)).expect("the edge").expect("programs");
    assert_eq!(programs.len(), 1, "one took the place of the other: {programs:?}");
    work_from(&lab, from);
    wait_for("work with one to count", || (restricted_sessions(&daemon, from) == 3).then_some(()));
    assert!(why(&daemon, from)["known"]["restricted_until"].is_null(), "a guesser has such sessions as well");
    assert_eq!(status(&daemon)["known"], 0);
    let source = from.to_string();
    let added = done(&daemon, &["known", "add", &source, "--comment", "a backup", "--for", "30d"]);
    assert_eq!(
        (&added["added"], &added["updated"], &added["sources"][0]),
        (&1.into(), &0.into(), &json!(source)),
        "{added}"
    );
    let added = done(&daemon, &["known", "add", &source, "--comment", "a backup", "--for", "60d"]);
    assert_eq!((&added["added"], &added["updated"]), (&0.into(), &1.into()), "{added}");
    daemon.stop().expect("a clean stop");
    // Nothing is pinned any more: what is known comes from the file of state.
    let daemon = start(&lab, "", &[]);
    let found = why(&daemon, from);
    assert_eq!((&found["known"]["restricted_sessions"], &found["known"]["days"]), (&3.into(), &1.into()), "{found}");
    assert!(found["known"]["restricted_until"].is_string() && found["known"]["by"] == json!(["operator"]), "{found}");
    wait_for("the table to have it", || (status(&daemon)["known"] == 1).then_some(()));
    let list = done(&daemon, &["known", "list"]);
    assert_eq!((&list["total"], &list["entries"][0]["comment"]), (&1.into(), &json!("a backup")), "{list}");
    let removed = done(&daemon, &["known", "remove", &source]);
    assert_eq!((&removed["removed"], &removed["missing"]), (&json!([source]), &json!([])), "{removed}");
    wait_for("the table to be empty", || (status(&daemon)["known"] == 0).then_some(()));
    for (arguments, code) in [
        (vec!["remove", &*source], 1),
        (vec!["add", "198.18.0.0/16"], 2),
        (vec!["add", "nobody"], 2),
        (vec!["add", "127.0.0.1"], 4),
        (vec!["add", "192.0.2.10"], 4),
        (vec!["add", &*source, "--comment", "two\nlines"], 2),
    ] {
        let refused = cli(&daemon, &[&["known"], &arguments[..]].concat());
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {refused:?}");
    }
    let audit = done(&daemon, &["audit", "list"]);
    let verbs = audit["entries"].as_array().expect("records").iter().filter_map(|entry| entry["verb"].as_str());
    let known = verbs.filter(|verb| verb.starts_with("known ")).count();
    assert_eq!(known, 8, "{audit}");
    // What an operator says for a while ends by itself.
    done(&daemon, &["known", "add", &source, "--for", "1s"]);
    wait_for("it to be known no more", || (status(&daemon)["known"] == 0).then_some(()));
    assert!(why(&daemon, from)["known"]["restricted_until"].is_null());
    work_from(&lab, from);
    wait_for("more of it to be added", || (restricted_sessions(&daemon, from) == 4).then_some(()));
    daemon.stop().expect("a clean stop");
}

/// Work on a restricted port: something said, something heard, the end.
fn work_from(lab: &Lab, from: Ipv4Addr) {
    work_at(lab, from, EDGE);
}

fn work_at(lab: &Lab, from: Ipv4Addr, to: Ipv4Addr) {
    lab.customers
        .run(|| {
            let mut stream = TcpStream::connect(SocketAddr::from((to, SSH)))?;
            assert_eq!(stream.local_addr()?.ip(), from);
            stream.write_all(b"SSH-2.0-somebody\r\n")?;
            let mut banner = [0; 4];
            stream.read_exact(&mut banner)
        })
        .expect("the customers")
        .expect("a session");
}

#[test]
fn where_sessions_cannot_be_counted_it_says_so_and_goes_on() {
    let lab = lab();
    let daemon = start(&lab, "cgroup = \"/nowhere\"\n", &[]);
    let told = status(&daemon);
    assert_eq!(told["healthy"], true, "{told}");
    let warnings = told["warnings"].as_array().expect("warnings");
    assert!(warnings.iter().any(|warning| warning["code"] == "sessions_unseen"), "{told}");
    assert_eq!(told["sessions"]["watched"], false);
    daemon.stop().expect("a clean stop");
    let daemon = start(&lab, "cgroup = \"off\"\n", &[]);
    let told = status(&daemon);
    assert_eq!((&told["warnings"], &told["sessions"]["watched"]), (&Value::Array(Vec::new()), &false.into()), "{told}");
    daemon.stop().expect("a clean stop");
}

/// Where the kernel has no TCX.
#[test]
fn the_queueing_discipline_clsact_does_as_well_and_what_a_killed_process_left_there_is_removed() {
    let lab = lab();
    lab.edge
        .run(|| {
            let filters = || {
                let shown = std::process::Command::new("tc").args(["filter", "show", "dev", UPLINK, "egress"]).output();
                let shown = shown.expect("tc, of iproute2");
                String::from_utf8_lossy(&shown.stdout).matches("scanguard_egress").count()
            };
            let index = if_nametoindex(UPLINK);
            let attach = || {
                let mut datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part");
                datapath.set_config(&KernelConfig::new([1, 2])).expect("settings");
                let readings = datapath.readings();
                let (mut program, ..) = datapath.into_parts();
                program.prefer_egress(EgressHook::Clsact);
                let attachment = program.watch_leaving(UPLINK, index).expect("an attachment");
                assert_eq!(attachment.hook, EgressHook::Clsact);
                (program, readings)
            };
            let (program, readings) = attach();
            assert_eq!(filters(), 1);
            let socket = UdpSocket::bind((EDGE, 0)).expect("a socket");
            socket.send_to(b"question", (customer(0), 53)).expect("a datagram");
            let flows = readings.flows().expect("flows");
            assert!(flows.iter().any(|(flow, _)| flow.source_port == 53), "{flows:?}");
            drop(program);
            assert_eq!(filters(), 0, "nothing is left by one that ends");
            // One that is killed does not get to take its filter away. The next one does, and has its own.
            std::mem::forget(attach().0);
            assert_eq!(filters(), 1);
            let (program, _) = attach();
            assert_eq!(filters(), 1);
            drop(program);
            assert_eq!(filters(), 0);
        })
        .expect("the edge");
}

/// The control group decides whose sockets are seen, and not the network namespace.
#[test]
fn work_in_another_network_namespace_is_seen_as_well() {
    let lab = lab();
    lab.put_inside("198.51.101.1/24", ["198.51.101.10/24".to_owned()]).expect("a host behind the edge");
    lab.route_behind().expect("a route");
    let _ssh = Service::start(&lab.inside, SSH, Kind::of(SSH)).expect("a service");
    let daemon = start(&lab, "[ports]\nprotect = [\"198.51.101.0/24\"]\n", &[]);
    let from = worker(&lab);
    work_at(&lab, from, behind(10));
    wait_for("work behind the edge to be known", || (restricted_sessions(&daemon, from) == 1).then_some(()));
    daemon.stop().expect("a clean stop");
}
