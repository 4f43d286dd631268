//! Challenges to frames with VLAN tags, over a real link in native mode: the answers come back with the tags of what they answer.
//!
//! There need be no VLAN interfaces: tags are part of the frames. Needs root; run by `cargo xtask test`.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::Command;

use etherparse::{PacketBuilder, TcpOptionElement, VlanId};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};
use scanguard::kernel::rig::{Floor, Rig};
use scanguard::kernel::{AttachMode, Datapath, LoadOptions, clock};
use scanguard_common::challenge::{ChallengeMode, ChallengeRules, Nic};
use scanguard_common::config::KernelConfig;
use scanguard_common::reason::Mode;
use scanguard_tests::frames::{HOST4, HOST6, own_addresses, port_entries};
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::wire::Capture;
use scanguard_tests::rig;

/// The link-layer address of an interface as what a frame is sent to (`struct sockaddr_ll` of packet(7)).
#[repr(C)]
struct Link {
    family: u16,
    protocol: u16,
    index: i32,
    hardware: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

// SAFETY: it has the layout of `sockaddr_ll`, which is what sockets of this family take.
unsafe impl SocketAddrArg for Link {
    unsafe fn with_sockaddr<R>(&self, call: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        call(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

impl Link {
    fn of(link: &str) -> Self {
        let address = [0; 8];
        let family = AddressFamily::PACKET.as_raw();
        Self {
            family,
            protocol: 0,
            index: index(link).cast_signed(),
            hardware: 0,
            packet_type: 0,
            address_length: 0,
            address,
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip, of package iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Of the link in the namespace of the calling thread, asked of the kernel by `ip`: `/sys` shows another namespace's.
fn shown(link: &str) -> serde_json::Value {
    let output = Command::new("ip").args(["-j", "link", "show", "dev", link]).output().expect("ip");
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON of ip");
    links[0].clone()
}

fn index(link: &str) -> u32 {
    shown(link)["ifindex"].as_u64().and_then(|index| u32::try_from(index).ok()).expect("an index")
}

fn address(link: &str) -> [u8; 6] {
    let shown = shown(link);
    let bytes = shown["address"].as_str().expect("an address").split(':');
    let bytes: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
    bytes.try_into().expect("six bytes")
}

/// A SYN of the sender of this number, with so many tags.
fn syn(number: u8, version: u8, tags: u8, port: u16) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2(address("peer"), address("filtered"));
    let vlan = |number| VlanId::try_new(number).expect("a number of a VLAN");
    let from4 = [203, 0, 113, number];
    let from6 = [0x20, 1, 0xd, 0xb8, 0, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66];
    let ip = match (tags, version) {
        (0, 4) => ethernet.ipv4(from4, HOST4, 64),
        (0, _) => ethernet.ipv6(from6, HOST6, 64),
        (1, 4) => ethernet.single_vlan(vlan(7)).ipv4(from4, HOST4, 64),
        (1, _) => ethernet.single_vlan(vlan(7)).ipv6(from6, HOST6, 64),
        (_, 4) => ethernet.double_vlan(vlan(7), vlan(8)).ipv4(from4, HOST4, 64),
        (..) => ethernet.double_vlan(vlan(7), vlan(8)).ipv6(from6, HOST6, 64),
    };
    let tcp = ip.tcp(40_000, port, 1, 64_240).syn().options(&[TcpOptionElement::MaximumSegmentSize(1_460)]);
    let mut frame = Vec::new();
    tcp.expect("room").write(&mut frame, &[]).expect("a frame");
    frame
}

/// The datapath on the link, in the driver, as where challenges are on.
fn guard() -> Datapath {
    let mut datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part");
    let mut config = KernelConfig::new([1, 2]);
    (config.mode, config.heartbeat_ns) = (Mode::Enforce as u32, clock::monotonic_ns());
    config.challenge = ChallengeRules { keys: [[1, 2], [3, 4]], mode: ChallengeMode::On as u32, reply: 0 };
    datapath.set_config(&config).expect("settings");
    datapath.set_own_addresses(&own_addresses()).expect("addresses");
    datapath.set_port_classes(port_entries()).expect("port classes");
    for address in own_addresses() {
        datapath.set_refused(address.into(), clock::monotonic_ns()).expect("a refusal");
    }
    let nic = Nic { mac: address("filtered"), generic: 0, tagged_only: 0 };
    datapath.set_nics(&[(index("filtered"), nic)]).expect("interfaces");
    datapath
}

#[test]
fn answers_to_tagged_frames_have_the_same_tags() {
    let namespace = Netns::new("vlan").expect("a namespace, which needs root: run `cargo xtask test`");
    let kinds = [(4, 0), (4, 1), (4, 2), (6, 0), (6, 1), (6, 2)];
    let work = || {
        ip("link add peer type veth peer name filtered");
        for link in ["peer", "filtered"] {
            // Its solicitations would only be noise.
            fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1").expect("a setting of IPv6");
            ip(&format!("link set dev {link} up"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut datapath = guard();
        runtime.block_on(datapath.attach("filtered", AttachMode::Native)).expect("an attachment");
        // An answer in native mode is taken in by a program at the other end only.
        let mut peer = Rig::load(rig::OBJECT, 0, 1).expect("the rig");
        peer.attach(Floor::Pass, "peer", true).expect("an attachment");
        let capture = Capture::start(&namespace, "peer", "").expect("a recording");
        let socket: OwnedFd =
            socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None).expect("a packet socket");
        for (number, (version, tags)) in (1..).zip(kinds) {
            // Four failures make a suspect, and the fourth is challenged.
            for port in 1..=4 {
                let frame = syn(number, version, tags, port);
                sendto(&socket, &frame, SendFlags::empty(), &Link::of("peer")).expect("a frame");
            }
        }
        capture.stop().expect("a whole recording")
    };
    let recording = namespace.run(work).expect("the namespace");
    let folder = std::env::temp_dir().join(format!("scanguard-vlan-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("peer.pcap");
    recording.save(&file).expect("a capture");
    let answers = answers(&file);
    fs::remove_dir_all(folder).expect("the folder can be removed");
    let expected = ["4|7|8", "4||", "4||7", "6|7|8", "6||", "6||7"];
    assert_eq!(answers, expected.map(str::to_owned), "IP version and tags of each answer, the outer of two first");
}

/// IP version and tags of each answer, in order, by another program's reading; their checksums must be right.
fn answers(capture: &std::path::Path) -> Vec<String> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).args(["-n", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]);
    tshark.args(["-Y", "tcp.flags == 0x012 && tcp.checksum.status == 1 && !(ip.checksum.status == 0)"]);
    tshark.args(["-T", "fields", "-E", "separator=|", "-e", "ip.version", "-e", "ieee8021ad.id", "-e", "vlan.id"]);
    let output = tshark.output().expect("tshark, which `cargo xtask test` installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout);
    let mut answers: Vec<String> = lines.lines().map(str::to_owned).collect();
    answers.sort();
    answers
}
