//! Destinations that are not an address of an interface: what is sent to many hosts, and prefixes that are local by route. The real daemon,
//! and what Linux answers.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::thread;
use std::time::Duration;

use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, done, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::plan::{EDGE, TO_EDGE};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;

/// How long an answer may take on a link of two hosts.
const PATIENCE: Duration = Duration::from_millis(500);
const RESTRICTED: u16 = 161;
const PUBLIC: u16 = 7000;
/// A network that no interface has.
const ROUTED: &str = "198.51.102.0/24";
const ROUTED_HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 102, 77);

/// Answers each datagram to a port, with the address that it came from.
fn answer(edge: &Netns, port: u16) {
    // A socket of each family: one of both gets no multicast of IPv4.
    for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
        let socket = edge.run(|| UdpSocket::bind((any, port))).expect("a namespace").expect("a socket");
        thread::spawn(move || {
            let mut datagram = [0; 64];
            while let Ok((_, from)) = socket.recv_from(&mut datagram) {
                let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
            }
        });
    }
}

/// Asks from an address of the router, and says as whom it was heard, if it was.
fn ask(router: &Netns, from: IpAddr, to: SocketAddr) -> Option<IpAddr> {
    router
        .run(|| {
            let socket = UdpSocket::bind((from, 0)).expect("a socket");
            socket.set_broadcast(true).expect("a setting");
            socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
            socket.send_to(b"who is there?", to).expect("a datagram");
            let mut answer = [0; 64];
            let (length, _) = socket.recv_from(&mut answer).ok()?;
            Some(std::str::from_utf8(&answer[..length]).expect("text").parse().expect("an address"))
        })
        .expect("a namespace")
}

#[test]
fn a_suspect_gets_no_answer_of_a_restricted_service_by_broadcast_or_multicast() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    lab.edge.sysctl(&[("ipv6/bindv6only", "1")]).expect("a setting");
    answer(&lab.edge, RESTRICTED);
    answer(&lab.edge, PUBLIC);
    let settings = "mode = \"enforce\"\n[ports]\nrestricted = [\"default\", \"161/udp\"]\n";
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), settings).expect("the daemon");
    let all_nodes = format!("ff02::1%{TO_EDGE}");
    let all_nodes = lab.router.run(|| (all_nodes.as_str(), 0).to_socket_addrs()).expect("a namespace").expect("a link");
    let mut all_nodes = all_nodes.collect::<Vec<_>>()[0];
    let router4 = IpAddr::from([192, 0, 2, 1]);
    let mut to = |port| -> Vec<(IpAddr, SocketAddr)> {
        all_nodes.set_port(port);
        vec![
            (router4, (EDGE, port).into()),
            (router4, ([192, 0, 2, 255], port).into()),
            (router4, ([255; 4], port).into()),
            (router4, ([224, 0, 0, 1], port).into()),
            (Ipv6Addr::UNSPECIFIED.into(), all_nodes),
        ]
    };
    // A neighbour that nothing is held against is answered, by whichever way it asks.
    let mut heard_as = Vec::new();
    for port in [RESTRICTED, PUBLIC] {
        for (from, to) in to(port) {
            heard_as.push(ask(&lab.router, from, to).unwrap_or_else(|| panic!("no answer from {to}")));
        }
    }
    // Nor does it become a suspect by asking many for closed ports.
    for port in 1..=20 {
        ask_without_answer(&lab.router, router4, ([192, 0, 2, 255], port).into());
    }
    heard_as.sort_unstable();
    heard_as.dedup();
    for address in &heard_as {
        let why = done(&daemon, &["why", &address.to_string()]);
        // But for the one datagram to the edge's own address.
        let evidence = why["evidence"].as_array().expect("evidence");
        let is_alone = |found: &Value| found["destination"] == EDGE.to_string() && found["port"] == RESTRICTED;
        assert!(evidence.len() <= 1 && evidence.iter().all(is_alone), "{why}");
        let told = done(&daemon, &["signal", &address.to_string(), "--weight", "10", "--reason", "test"]);
        assert_eq!(told["level"], "conceal", "{told}");
    }
    for (from, to) in to(RESTRICTED) {
        assert_eq!(ask(&lab.router, from, to), None, "{to}");
    }
    for (from, to) in to(PUBLIC) {
        assert!(ask(&lab.router, from, to).is_some(), "{to}");
    }
    daemon.stop().expect("a clean stop");
}

fn ask_without_answer(router: &Netns, from: IpAddr, to: SocketAddr) {
    let send = || {
        let socket = UdpSocket::bind((from, 0)).expect("a socket");
        socket.set_broadcast(true).expect("a setting");
        socket.send_to(b"who is there?", to).expect("a datagram");
    };
    router.run(send).expect("a namespace");
}

fn ip(host: &Netns, line: &str) {
    Tool::Ip.run(host, line.split(' '), LIMIT).expect("ip").success("ip").expect("a route");
}

/// What comes of a connection: none for one that is there.
fn refusal(from: &Netns, port: u16) -> Option<ErrorKind> {
    let to = SocketAddr::from((ROUTED_HOST, port));
    from.run(|| TcpStream::connect_timeout(&to, PATIENCE).err().map(|error| error.kind())).expect("a namespace")
}

#[test]
fn ports_of_a_prefix_that_is_local_by_route_are_judged_and_hidden() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    ip(&lab.router, &format!("route add {ROUTED} via {EDGE}"));
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), "mode = \"enforce\"\n").expect("the daemon");
    // It is there only now.
    ip(&lab.edge, &format!("route add local {ROUTED} dev lo"));
    wait_for("the route to be known", || daemon.log().contains(ROUTED));
    for port in [80, 22] {
        assert_eq!(refusal(&lab.customers, port), None, "{port} is there for a stranger");
    }
    let refused =
        (1001..=1010).filter(|port| refusal(&lab.scanner, *port) == Some(ErrorKind::ConnectionRefused)).count();
    // One more where two ports share a bit of the source's set (docs/limits.md).
    assert!((3..=4).contains(&refused), "the fourth closed port is hidden, and those that follow: {refused}");
    assert_eq!(refusal(&lab.scanner, 22), Some(ErrorKind::TimedOut));
    assert_eq!(refusal(&lab.scanner, 80), None);
    // Its addresses are this host's own, of which none is judged as a sender.
    let block = cli(&daemon, &["block", "add", "198.51.102.5", "--reason", "test"]);
    assert_eq!(block.status.code(), Some(4), "{block:?}");
    ip(&lab.edge, &format!("route del local {ROUTED} dev lo"));
    wait_for("the route to be gone", || daemon.log().matches(ROUTED).count() >= 2);
    done(&daemon, &["block", "add", "198.51.102.5", "--reason", "test"]);
    daemon.stop().expect("a clean stop");
}
