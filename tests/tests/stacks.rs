//! Machines behind one address, told apart by what their TCP stacks show of themselves, with the real daemon: who would be harmed by a block.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, done, wait_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::plan::{EDGE, EDGE6, SCANNER, SCANNER6, UPLINK};
use scanguard_tests::lab::process::{Running, in_memory};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::{Value, json};

/// How long a packet may take that comes through.
const PATIENCE: Duration = Duration::from_secs(2);
const WEB: u16 = 80;
const CLOSED: u16 = 9;
const SETTINGS: &str = "mode = \"enforce\"\n[safety]\nleases = false\n[block]\nmax_auto_level = \"block all\"\n";

/// A session that goes on.
fn session(from: &Netns, to: IpAddr) -> TcpStream {
    let edge = SocketAddr::new(to, WEB);
    from.run(|| TcpStream::connect_timeout(&edge, PATIENCE)).expect("a namespace").expect("public ports are open")
}

/// A machine at home, behind the scanner's host, which translates its address to its own.
fn machine(lab: &Lab, name: &'static str, number: u8) -> Netns {
    let machine = Netns::new(name).expect("a namespace");
    let (link, path) = (format!("{name}0"), machine.path());
    let router = format!(
        "link add {link} type veth peer name {UPLINK} netns {}\nlink set {link} up\naddr add 10.66.{number}.1/24 dev {link}\n",
        path.display()
    );
    batch(&lab.scanner, &router);
    let own = format!(
        "link set lo up\nlink set {UPLINK} up\naddr add 10.66.{number}.2/24 dev {UPLINK}\nroute add default via 10.66.{number}.1\n"
    );
    batch(&machine, &own);
    machine
}

fn batch(host: &Netns, lines: &str) {
    let mut command = Tool::Ip.command(host).expect("ip");
    command.args(["-batch", "-"]);
    let running = Running::start_reading(command, in_memory("ip", lines).expect("memory")).expect("ip");
    running.wait(LIMIT).expect("an end").success("ip -batch").expect("links");
}

fn translate(lab: &Lab) {
    lab.scanner.sysctl(&[("ipv4/ip_forward", "1")]).expect("a setting");
    let rule = "add table ip home\nadd chain ip home out { type nat hook postrouting priority srcnat; }\n\
                add rule ip home out oifname uplink0 masquerade\n";
    let mut command = Tool::Nft.command(&lab.scanner).expect("nft");
    command.args(["-f", "-"]);
    let running = Running::start_reading(command, in_memory("nft", rule).expect("memory")).expect("nft");
    running.wait(LIMIT).expect("an end").success("nft").expect("a rule");
}

/// Who is behind an address, by its sessions: stacks and people.
fn behind(daemon: &Daemon, address: IpAddr) -> (Value, Value) {
    let why = done(daemon, &["why", &address.to_string()]);
    (why["behind"]["stacks"].clone(), why["behind"]["people"].clone())
}

/// A log tool says so much of an address that its score is that of a block.
fn signal(daemon: &Daemon, address: IpAddr, proof: &[&str]) -> Value {
    let address = address.to_string();
    let arguments = ["signal", &address, "--weight", "10", "--reason", "sshd: 50 failed logins"];
    done(daemon, &[&arguments, proof].concat())
}

#[test]
fn two_machines_behind_one_address_are_two_and_a_person_is_asked_before_both_are_blocked() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    translate(&lab);
    let (desk, phone) = (machine(&lab, "desk", 1), machine(&lab, "phone", 2));
    // As Windows has it, and a window of the size that fits a phone.
    phone.sysctl(&[("ipv4/tcp_timestamps", "0"), ("ipv4/tcp_rmem", "4096 131072 262144")]).expect("another stack");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), SETTINGS).expect("the daemon");
    let address = IpAddr::from(SCANNER);
    assert_eq!(behind(&daemon, address), (json!(0), json!(0)), "nobody is there");

    // From now on it is a suspect, whose sessions make it no customer.
    assert_eq!(signal(&daemon, address, &[])["level"], "conceal");
    let mut at_desk: Vec<TcpStream> = (0..3).map(|_| session(&desk, EDGE.into())).collect();
    wait_for("the sessions of one machine", || behind(&daemon, address) == (json!(1), json!(0)));
    // That they go on and work changes nothing.
    for stream in &mut at_desk {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n").expect("an open session");
        assert!(stream.read(&mut [0; 512]).expect("an answer") > 0);
    }
    assert_eq!(behind(&daemon, address), (json!(1), json!(0)), "three sessions of one machine are of one");

    let at_phone = session(&phone, EDGE.into());
    wait_for("the session of the other", || behind(&daemon, address) == (json!(2), json!(1)));
    let why = done(&daemon, &["why", &address.to_string()]);
    let told = why["arithmetic"].as_array().expect("sentences").iter().filter_map(Value::as_str);
    assert!(told.into_iter().any(|sentence| sentence.contains("show 2 TCP stacks")), "{why}");

    let answer = signal(&daemon, address, &["--proof"]);
    assert_eq!((&answer["level"], &answer["scope"]), (&json!("block"), &json!("private")), "{answer}");
    let waiting = done(&daemon, &["pending", "list"]);
    let entry = &waiting["entries"][0];
    assert_eq!((&entry["doubt"], &entry["people"]), (&json!("harmed"), &json!(1)), "{waiting}");
    assert_eq!(entry["source"], address.to_string(), "{waiting}");
    // When the other has gone, it still counts for a while.
    drop(at_phone);
    assert_eq!(behind(&daemon, address), (json!(2), json!(1)));
    daemon.stop().expect("a clean stop");
}

#[test]
fn who_proves_harm_by_decoys_is_looked_at_before_more_is_decided_than_about_private_ports() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    translate(&lab);
    let phone = machine(&lab, "phone", 2);
    phone.sysctl(&[("ipv4/tcp_timestamps", "0")]).expect("another stack");
    let config = format!("challenge = \"on\"\n{SETTINGS}");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), &config).expect("the daemon");
    let address = IpAddr::from(SCANNER);
    // Challenges are for hosts that refuse what is closed.
    let refused = lab.customers.run(|| TcpStream::connect((EDGE, CLOSED))).expect("a namespace");
    assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(ErrorKind::ConnectionRefused));
    assert_eq!(signal(&daemon, address, &[])["level"], "conceal");
    let _sessions = [session(&lab.scanner, EDGE.into()), session(&phone, EDGE.into())];
    // Nobody asked `why` so far, so that nobody looked. Browsers refuse to connect to some of these.
    let edge = EDGE.to_string();
    let scan = ["-n", "-Pn", "-sT", "--max-retries", "1", "--host-timeout", "25s", "-p", "101-140", &edge];
    Tool::Nmap.run(&lab.scanner, scan, LIMIT).expect("nmap").success("nmap").expect("a scan");
    let mut waiting = Value::Null;
    wait_for("the question", || {
        waiting = done(&daemon, &["pending", "list"]);
        waiting["entries"].as_array().is_some_and(|entries| !entries.is_empty())
    });
    let entry = &waiting["entries"][0];
    assert_eq!((&entry["reason"], &entry["doubt"]), (&json!("harm"), &json!("harmed")), "{waiting}");
    assert_eq!(entry["people"], 1, "{waiting}");
    let verdict = &done(&daemon, &["why", &address.to_string()])["verdict"];
    assert_eq!((&verdict["level"], &verdict["scope"]), (&json!("block"), &json!("private")), "{verdict}");
    daemon.stop().expect("a clean stop");
}

#[test]
fn one_machine_with_several_sessions_is_blocked_and_a_subscribers_machines_are_told_apart_by_ipv6_too() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(1).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let daemon = Daemon::start(&lab.edge, &binary_beside_tests(), SETTINGS).expect("the daemon");
    let address = IpAddr::from(SCANNER);
    assert_eq!(signal(&daemon, address, &[])["level"], "conceal");
    let sessions: Vec<TcpStream> = (0..4).map(|_| session(&lab.scanner, EDGE.into())).collect();
    wait_for("its sessions", || behind(&daemon, address) == (json!(1), json!(0)));
    let answer = signal(&daemon, address, &["--proof"]);
    assert_eq!((&answer["level"], &answer["scope"]), (&json!("block"), &json!("all")), "{answer}");
    drop(sessions);

    // Another address of the same /64, with another stack: the same subscriber.
    let other = Ipv6Addr::from(u128::from(SCANNER6) + 1);
    let (own, edge) = (IpAddr::from(SCANNER6), IpAddr::from(EDGE6));
    batch(&lab.scanner, &format!("addr add {other}/64 dev {UPLINK} nodad preferred_lft 0\n"));
    let _first = session(&lab.scanner, edge);
    wait_for("the session", || behind(&daemon, own).0 == json!(1));
    lab.scanner.sysctl(&[("ipv4/tcp_window_scaling", "0")]).expect("another stack");
    batch(&lab.scanner, &format!("route replace {edge} via 2001:db8:66::1 dev {UPLINK} src {other}\n"));
    let second = session(&lab.scanner, edge);
    assert_eq!(second.local_addr().expect("an address").ip(), IpAddr::from(other));
    wait_for("the other session", || behind(&daemon, own).0 == json!(2));
    assert_eq!(behind(&daemon, other.into()).0, json!(2), "by whatever address it is named");
    daemon.stop().expect("a clean stop");
}
