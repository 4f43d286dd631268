//! Real sockets decide what an answer is: a datagram for a connected UDP socket is not an attempt, over IPv4 and IPv6.
//!
//! Needs root; run by `cargo xtask test`.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use etherparse::PacketBuilder;
use scanguard::kernel::{Datapath, LoadOptions};
use scanguard_common::config::KernelConfig;
use scanguard_common::flow::Flow;
use scanguard_common::reason::Reason;
use scanguard_tests::lab::netns::Netns;

/// `BPF_MAP_TYPE_HASH` (`include/uapi/linux/bpf.h`).
const HASH: u32 = 1;

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip, of package iproute2");
    assert!(status.success(), "ip {arguments}");
}

fn datagram(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => ethernet.ipv4(from.ip().octets(), to.ip().octets(), 64),
        (SocketAddr::V6(from), SocketAddr::V6(to)) => ethernet.ipv6(from.ip().octets(), to.ip().octets(), 64),
        _ => panic!("two addresses of one family"),
    };
    let mut frame = Vec::new();
    ip.udp(from.port(), to.port()).write(&mut frame, b"payload").expect("a valid packet");
    frame
}

/// The one reason under which a fresh datapath counts a frame.
fn reason(frame: &[u8]) -> Reason {
    let mut datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part");
    datapath.set_config(&KernelConfig::new([1, 2])).expect("settings");
    datapath.trial(frame, 1).expect("a trial run");
    let reasons: Vec<Reason> =
        datapath.readings().counters().expect("counters").verdicts().map(|(_, reason, ..)| reason).collect();
    let [reason] = reasons[..] else { panic!("one reason, not {reasons:?}") };
    reason
}

#[test]
fn a_datagram_for_a_connected_socket_is_an_answer_and_any_other_an_attempt() {
    let namespace = Netns::new("sockets").expect("a namespace, which needs root: run `cargo xtask test`");
    namespace
        .run(|| {
            ip("link set dev lo up");
            for (own, peer, stranger) in [
                ("192.0.2.10", "198.51.100.53", "203.0.113.66"),
                ("2001:db8:2::10", "2001:db8:100::53", "2001:db8:66::66"),
            ] {
                let version = if own.contains(':') { "-6" } else { "-4" };
                // An address whose uniqueness is still looked at takes no socket.
                let at_once = if version == "-6" { " nodad" } else { "" };
                ip(&format!("addr add {own} dev lo{at_once}"));
                ip(&format!("{version} route add default dev lo"));
                let address = |text: &str, port| SocketAddr::new(text.parse().expect("an address"), port);
                let connected = UdpSocket::bind(address(own, 41_000)).expect("a socket");
                connected.connect(address(peer, 53)).expect("a connected socket");
                let _server = UdpSocket::bind(address(own, 5353)).expect("a socket");
                for (from, to, expected) in [
                    (address(peer, 53), address(own, 41_000), Reason::UdpEstablished),
                    (address(peer, 54), address(own, 41_000), Reason::NewFlow),
                    (address(stranger, 53), address(own, 41_000), Reason::NewFlow),
                    (address(stranger, 53), address(own, 5353), Reason::NewFlow),
                    (address(stranger, 53), address(own, 9), Reason::NewFlow),
                ] {
                    assert_eq!(reason(&datagram(from, to)), expected, "{from} to {to}");
                }
            }
        })
        .expect("the namespace");
}

/// Capacities of the hash maps of this process that have a flow as key and a number as value, as VIRTUAL_SOCKETS has
/// and no other map (bpf_map_show_fdinfo in kernel/bpf/syscall.c).
fn virtual_sockets() -> Vec<u32> {
    let files = fs::read_dir("/proc/self/fdinfo").expect("descriptors");
    let texts = files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok());
    let capacity = |text: String| {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            value.trim().parse::<u32>().ok()
        };
        let is_it =
            (field("map_type")?, field("key_size")?, field("value_size")?) == (HASH, size_of::<Flow>() as u32, 4);
        is_it.then(|| field("max_entries")).flatten()
    };
    texts.filter_map(capacity).collect()
}

#[test]
fn the_table_of_virtual_sockets_has_one_entry_on_a_host() {
    let datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part, which needs root");
    let found = virtual_sockets();
    assert!(!found.is_empty() && found.iter().all(|capacity| *capacity == 1), "{found:?}");
    drop(datapath);
    let options = LoadOptions { virtual_world: true, ..LoadOptions::default() };
    let _datapath = Datapath::load(&options).expect("the kernel part");
    assert!(virtual_sockets().contains(&65_536), "replay and tests have room for theirs");
}
