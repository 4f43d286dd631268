//! The daemon sees which ports are open, tells the kernel part, and remembers.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::plan::{self, EDGE, MOST_CUSTOMERS};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};

const LIMIT: Duration = Duration::from_secs(20);
const STATE: &str = "/var/lib/scanguard/state.db";

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(MOST_CUSTOMERS).expect("the lab");
    forward(&lab, false);
    lab
}

fn forward(lab: &Lab, whether: bool) {
    let value = if whether { "1" } else { "0" };
    lab.edge.sysctl(&[("ipv4/ip_forward", value), ("ipv6/conf/all/forwarding", value)]).expect("a setting");
}

fn start(lab: &Lab, ports: &str) -> Daemon {
    let config = format!("{ports}\n[log]\nlevel = \"debug\"\n");
    Daemon::start(&lab.edge, &binary_beside_tests(), &config).expect("the daemon")
}

fn listen(lab: &Lab, port: u16) -> TcpListener {
    lab.edge.run(|| TcpListener::bind((EDGE, port)).expect("a socket")).expect("the edge")
}

/// Waits for a line that has all of these in it.
fn wait_for_line(daemon: &Daemon, parts: &[&str]) {
    let deadline = Instant::now() + LIMIT;
    while !daemon.log().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
        assert!(Instant::now() < deadline, "no line with {parts:?}:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Asks for a port as a customer who has not asked for anything yet, and waits for the class that the kernel part had for it.
///
/// Another customer each time: a source's contacts share 256 bits, so that the second may be taken for the first.
fn expect_class(lab: &Lab, daemon: &Daemon, customer: u8, port: u16, class: &str) {
    let source = plan::customer(customer).to_string();
    let url = format!("http://{EDGE}:{port}/");
    // Whether it answers is of no interest.
    let arguments = ["--disable", "-s", "--max-time", "1", "--interface", &source, &url];
    Tool::Curl.run(&lab.customers, arguments, LIMIT).expect("curl");
    let source = format!("source={source} ");
    wait_for_line(daemon, &["contact", &source, &format!("port={port} "), &format!("class=\"{class}\"")]);
}

#[test]
fn ports_that_open_and_close_are_told_and_remembered_over_a_restart() {
    let lab = lab();
    let ssh = listen(&lab, 22);
    let daemon = start(&lab, "");
    expect_class(&lab, &daemon, 0, 22, "restricted");
    expect_class(&lab, &daemon, 1, 3306, "closed");
    let service = listen(&lab, 8081);
    wait_for_line(&daemon, &["port 8081/tcp opened: public"]);
    expect_class(&lab, &daemon, 2, 8081, "public");
    drop(service);
    wait_for_line(&daemon, &["port 8081/tcp closed: unknown"]);
    drop(ssh);
    wait_for_line(&daemon, &["port 22/tcp closed: unknown"]);
    daemon.stop().expect("a clean stop");

    let daemon = start(&lab, "ports.canary = [22, 23]");
    for (customer, port, class) in [(0, 22, "unknown"), (1, 8081, "unknown"), (2, 23, "canary"), (3, 3306, "closed")] {
        expect_class(&lab, &daemon, customer, port, class);
    }
    daemon.stop().expect("a clean stop");
}

#[test]
fn a_host_that_forwards_learns_before_it_calls_a_port_closed() {
    let lab = lab();
    forward(&lab, true);
    let daemon = start(&lab, "ports = { public = [8443], canary = [23] }");
    wait_for_line(&daemon, &["none counts as closed yet", "until="]);
    for (customer, port, class) in [(0, 8443, "public"), (1, 23, "unknown"), (2, 3306, "unknown")] {
        expect_class(&lab, &daemon, customer, port, class);
    }
    forward(&lab, false);
    wait_for_line(&daemon, &["the others count as closed"]);
    expect_class(&lab, &daemon, 3, 3307, "closed");
    daemon.stop().expect("a clean stop");
}

/// What leaves is seen, so that a datagram out of the blue is told from one to a port from which its sender was asked, whatever port it comes
/// from.
#[test]
fn a_datagram_is_held_against_nobody_whom_this_host_asked() {
    let lab = lab();
    forward(&lab, true);
    let daemon = start(&lab, "ports.learning = \"0s\"");
    let send = |customer: u8| {
        let socket = lab.customers.run(|| UdpSocket::bind((plan::customer(customer), 0))).expect("the customers");
        socket.expect("a socket").send_to(b"hello", (EDGE, 2000)).expect("a datagram");
        format!("source={} ", plan::customer(customer))
    };
    expect_class(&lab, &daemon, 0, 2000, "closed");
    wait_for_line(&daemon, &["contact", &send(1), "port=2000 ", "protocol=\"udp\"", "outcome=\"closed\""]);
    // From another port it frees nobody; the socket is gone when the answer comes.
    for (customer, port) in [(2, 2000), (3, 2001)] {
        let asking = lab.edge.run(|| UdpSocket::bind((EDGE, port))).expect("the edge").expect("a socket");
        asking.send_to(b"question", (plan::customer(customer), 5000)).expect("a datagram");
    }
    wait_for_line(&daemon, &["contact", &send(2), "port=2000 ", "perhaps an answer", "outcome=\"unknown\""]);
    wait_for_line(&daemon, &["contact", &send(3), "port=2000 ", "protocol=\"udp\"", "outcome=\"closed\""]);
    daemon.stop().expect("a clean stop");
}

/// A daemon that has just come does not know what left before it did.
#[test]
fn at_first_a_datagram_to_a_port_of_clients_may_be_an_answer() {
    let lab = lab();
    let daemon = start(&lab, "");
    let socket = lab.customers.run(|| UdpSocket::bind((plan::customer(0), 0))).expect("the customers");
    socket.expect("a socket").send_to(b"hello", (EDGE, 40_000)).expect("a datagram");
    let source = format!("source={} ", plan::customer(0));
    wait_for_line(&daemon, &["contact", &source, "port=40000 ", "perhaps an answer", "outcome=\"unknown\""]);
    daemon.stop().expect("a clean stop");
}

#[test]
fn without_a_usable_file_of_state_the_daemon_guards_all_the_same() {
    let lab = lab();
    fs::create_dir(STATE.rsplit_once('/').expect("a folder").0).expect("a folder");
    let rubbish = "no database, but long enough to be taken for one by somebody";
    fs::write(STATE, rubbish).expect("a file");
    let daemon = start(&lab, "");
    wait_for_line(&daemon, &["damaged", "set aside", STATE]);
    expect_class(&lab, &daemon, 0, 3306, "closed");
    daemon.stop().expect("a clean stop");
    let folder = STATE.rsplit_once('/').expect("a folder").0;
    let kept = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let aside: Vec<_> = kept.filter(|path| path.to_string_lossy().contains(".damaged-")).collect();
    let [aside] = &aside[..] else { panic!("not one file was set aside: {aside:?}") };
    assert_eq!(fs::read_to_string(aside).expect("what was set aside"), rubbish, "it is left as it was");
}
