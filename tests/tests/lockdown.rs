//! A lockdown in the kernel part, step by step, through `BPF_PROG_TEST_RUN`; the host's model must agree at each step, in all tables.
//!
//! Needs root; run by `cargo xtask test`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use scanguard::kernel::NEVER_NS;
use scanguard::kernel::trial::{XDP_DROP, XDP_PASS, XDP_TX};
use scanguard_common::challenge::{ChallengeMode, Nic};
use scanguard_common::class::Protocol;
use scanguard_common::contact::Outcome;
use scanguard_common::counter::CounterIndex;
use scanguard_common::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Known, Origin, Scope, Verdict};
use scanguard_tests::answers::{Kind, answer};
use scanguard_tests::frames::{HOST4, HOST6, asking_tcp, asking_udp, own_addresses, segment, syn};
use scanguard_tests::twin::Twin;

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * SECOND_NS;
const START_NS: u64 = 100 * HOUR_NS;
const END_NS: u64 = START_NS + 2 * HOUR_NS;

const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const ALLOWED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const KNOWN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 30);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x66, 1, 0, 0, 0, 7);
const ALLOWED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 1, 0, 0, 0, 7);

const RESTRICTED: u16 = 22;
const RESTRICTED_UDP: u16 = 2000;
const PUBLIC: u16 = 443;
const NAMED_PUBLIC: u16 = 80;
/// Of which userspace says nothing.
const NAMED_UNKNOWN: u16 = 9999;
/// One that is closed.
const NAMED_CLOSED: u16 = 7;
const LOCKED: [(Protocol, u16); 7] = [
    (Protocol::Tcp, RESTRICTED),
    (Protocol::Udp, RESTRICTED_UDP),
    (Protocol::Tcp, NAMED_PUBLIC),
    (Protocol::Tcp, NAMED_UNKNOWN),
    (Protocol::Tcp, NAMED_CLOSED),
    // From which the table's host asked a resolver, and from which a connection of its own goes out.
    (Protocol::Udp, 41_000),
    (Protocol::Tcp, 19),
];

fn key(address: impl Into<IpAddr>) -> SourceKey {
    SourceKey(address.into().into())
}

/// A host with somebody on its allowlist, and somebody who is known.
fn twin(mode: Mode) -> Twin {
    let mut twin = Twin::new(1 << 14);
    twin.set_mode(mode);
    twin.set_elsewhere(Some(0), false, true);
    twin.set_now(START_NS);
    twin.set_allowed(&[
        (format!("{ALLOWED}/32").parse().expect("a prefix"), NEVER_NS),
        (format!("{ALLOWED6}/64").parse().expect("a prefix"), NEVER_NS),
    ]);
    twin.set_known(key(KNOWN), Known { restricted_until_ns: NEVER_NS });
    twin
}

fn locked(mode: Mode) -> Twin {
    let mut twin = twin(mode);
    twin.set_lockdown(&LOCKED, END_NS, false);
    twin
}

fn syn6(from: Ipv6Addr, port: u16) -> Vec<u8> {
    asking_tcp(from.into(), HOST6.into(), port)
}

fn datagram(from: Ipv4Addr, port: u16) -> Vec<u8> {
    asking_udp(from.into(), HOST4.into(), port)
}

fn counted(twin: &Twin, reason: Reason, mode: Mode) -> u64 {
    twin.kernel_counters().get(CounterIndex::verdict(reason.level(), reason, mode)).packets
}

fn withheld(twin: &Twin) -> u64 {
    twin.kernel_counters().get(CounterIndex::withheld(Level::Conceal, Mode::Enforce)).packets
}

/// Each packet, whether it passes, and what it is counted under.
fn table() -> Vec<(&'static str, Vec<u8>, u32, Reason)> {
    use Reason::{AckProbe, Established, IllegalFlags, Lockdown, NewFlow, SynAck, UdpEstablished};
    let (from, resolver) = (STRANGER, IpAddr::from([198, 51, 100, 53]));
    let answer_of_resolver = {
        let mut frame = asking_udp(resolver, HOST4.into(), 41_000);
        frame[34..36].copy_from_slice(&53_u16.to_be_bytes());
        frame
    };
    vec![
        ("a stranger's SYN to a restricted port", syn(from, RESTRICTED), XDP_DROP, Lockdown),
        ("the same, again", syn(from, RESTRICTED), XDP_DROP, Lockdown),
        ("the same over IPv6", syn6(STRANGER6, RESTRICTED), XDP_DROP, Lockdown),
        ("a stranger's SYN to a public port that was named", syn(from, NAMED_PUBLIC), XDP_DROP, Lockdown),
        ("to one of which nothing is said", syn(from, NAMED_UNKNOWN), XDP_DROP, Lockdown),
        ("to a closed one", syn(from, NAMED_CLOSED), XDP_DROP, Lockdown),
        ("a stranger's datagram", datagram(from, RESTRICTED_UDP), XDP_DROP, Lockdown),
        ("SYN and FIN", segment(from, RESTRICTED, SYN | FIN), XDP_DROP, Lockdown),
        ("FIN alone", segment(from, RESTRICTED, FIN), XDP_DROP, Lockdown),
        ("a segment without flags", segment(from, RESTRICTED, 0), XDP_DROP, Lockdown),
        ("XMAS", segment(from, NAMED_PUBLIC, FIN | PSH | URG), XDP_DROP, Lockdown),
        ("a stranger's SYN to another public port", syn(from, PUBLIC), XDP_PASS, NewFlow),
        ("to another port of which nothing is said", syn(from, 9998), XDP_PASS, NewFlow),
        ("to a restricted port that was not named", syn(from, 3306), XDP_PASS, NewFlow),
        ("FIN alone to a public port", segment(from, PUBLIC, FIN), XDP_PASS, IllegalFlags),
        ("a segment of a connection", segment(from, RESTRICTED, ACK), XDP_PASS, Established),
        ("its end", segment(from, RESTRICTED, FIN | ACK), XDP_PASS, Established),
        ("a reset", segment(from, RESTRICTED, RST), XDP_PASS, Established),
        ("a SYN-ACK", segment(from, RESTRICTED, SYN | ACK), XDP_PASS, SynAck),
        ("ACK to a closed port, whose answer does not leave", segment(from, NAMED_CLOSED, ACK), XDP_PASS, AckProbe),
        ("what a resolver answers to us", answer_of_resolver, XDP_PASS, UdpEstablished),
        ("what nobody asked for there", datagram(from, 41_000), XDP_DROP, Lockdown),
        ("the allowlist covers it", syn(ALLOWED, RESTRICTED), XDP_PASS, NewFlow),
        ("its datagram", datagram(ALLOWED, RESTRICTED_UDP), XDP_PASS, NewFlow),
        ("over IPv6", syn6(ALLOWED6, RESTRICTED), XDP_PASS, NewFlow),
        ("who is known is not let through unasked", syn(KNOWN, RESTRICTED), XDP_DROP, Lockdown),
    ]
}

#[test]
fn each_packet_of_the_table_passes_or_is_dropped_as_its_row_says_in_both_modes() {
    for mode in [Mode::Observe, Mode::Enforce] {
        let mut twin = locked(mode);
        twin.set_watched(false); // Nobody becomes a suspect: each row stands for itself.
        twin.set_now(START_NS + 31 * SECOND_NS);
        for (shows, frame, action, reason) in table() {
            let counted_in = if reason == Reason::Lockdown { Mode::Enforce } else { mode };
            let before = counted(&twin, reason, counted_in);
            assert_eq!(twin.feed(&frame), action, "{shows}, {mode:?}");
            assert_eq!(counted(&twin, reason, counted_in), before + 1, "{shows}, {mode:?}");
            twin.assert_equal(shows);
        }
    }
}

#[test]
fn known_sources_get_through_where_they_were_kept() {
    let mut twin = twin(Mode::Observe);
    twin.set_lockdown(&LOCKED, END_NS, true);
    assert_eq!(twin.feed(&syn(KNOWN, RESTRICTED)), XDP_PASS);
    assert_eq!(twin.feed(&syn(KNOWN, NAMED_PUBLIC)), XDP_PASS);
    assert_eq!(twin.feed(&syn(STRANGER, RESTRICTED)), XDP_DROP);
    // Known until a time that is over.
    twin.set_known(key(KNOWN), Known { restricted_until_ns: START_NS });
    assert_eq!(twin.feed(&syn(KNOWN, RESTRICTED)), XDP_DROP);
    twin.assert_equal("known sources");
}

#[test]
fn it_ends_by_itself_to_the_nanosecond_and_another_one_replaces_it() {
    let mut twin = locked(Mode::Observe);
    twin.set_watched(false);
    for (now_ns, action) in [(END_NS - 1, XDP_DROP), (END_NS, XDP_PASS), (END_NS + HOUR_NS, XDP_PASS)] {
        twin.set_now(now_ns);
        assert_eq!(twin.feed(&syn(STRANGER, RESTRICTED)), action, "{}", now_ns.abs_diff(END_NS));
        twin.leave(&answer(&syn(STRANGER, RESTRICTED), Kind::Open).expect("an answer"));
        assert_eq!(withheld(&twin), 1, "before its end alone");
    }
    twin.set_lockdown(&[(Protocol::Tcp, PUBLIC)], END_NS + 2 * HOUR_NS, false);
    assert_eq!(twin.feed(&syn(STRANGER, RESTRICTED)), XDP_PASS, "not among the ports of the second");
    assert_eq!(twin.feed(&syn(STRANGER, PUBLIC)), XDP_DROP);
    twin.set_lockdown(&[], 0, false);
    assert_eq!(twin.feed(&syn(STRANGER, PUBLIC)), XDP_PASS);
    twin.assert_equal("the end");
}

#[test]
fn what_the_stack_would_answer_does_not_leave_but_for_who_is_let_through() {
    for mode in [Mode::Observe, Mode::Enforce] {
        let mut twin = locked(mode);
        let stray = |from: Ipv4Addr, port| {
            // What Linux says to a segment with ACK that belongs to nothing: a reset without ACK.
            let mut reset = answer(&segment(from, port, ACK), Kind::Reset).expect("an answer");
            let at = reset.len() - 20 + 13;
            reset[at] = RST;
            reset
        };
        let open = |asked: &[u8]| answer(asked, Kind::Open).expect("an answer");
        for (shows, leaves, kept) in [
            ("a SYN-ACK to a stranger", open(&syn(STRANGER, RESTRICTED)), true),
            ("over IPv6", open(&syn6(STRANGER6, RESTRICTED)), true),
            ("from a public port that was named", open(&syn(STRANGER, NAMED_PUBLIC)), true),
            ("a reset to his ACK", stray(STRANGER, RESTRICTED), true),
            ("from a closed port that was named", stray(STRANGER, NAMED_CLOSED), true),
            ("a SYN-ACK to who is known", open(&syn(KNOWN, RESTRICTED)), true),
            ("a SYN-ACK to who is allowed", open(&syn(ALLOWED, RESTRICTED)), false),
            ("over IPv6 to who is allowed", open(&syn6(ALLOWED6, RESTRICTED)), false),
            ("a reset to who is allowed", stray(ALLOWED, RESTRICTED), false),
            ("a SYN-ACK of another port", open(&syn(STRANGER, PUBLIC)), false),
            ("a reset of another port", stray(STRANGER, PUBLIC), false),
            ("a segment", answer(&segment(STRANGER, RESTRICTED, ACK), Kind::Segment).expect("one"), false),
        ] {
            let before = withheld(&twin);
            twin.leave(&leaves);
            assert_eq!(withheld(&twin) - before, u64::from(kept), "{shows}, {mode:?}");
            twin.assert_equal(shows);
        }
    }
}

#[test]
fn datagrams_of_a_flow_that_goes_on_pass() {
    let mut twin = locked(Mode::Enforce);
    let asked = datagram(STRANGER, RESTRICTED_UDP);
    assert_eq!(twin.feed(&asked), XDP_DROP);
    twin.leave(&answer(&asked, Kind::Open).expect("an answer"));
    assert_eq!(twin.feed(&asked), XDP_PASS, "something left for it");
    twin.set_now(START_NS + 181 * SECOND_NS);
    assert_eq!(twin.feed(&asked), XDP_DROP, "not for three minutes");
    twin.assert_equal("a flow");
}

/// The first five minutes of the egress program, in which it is not known what left.
#[test]
fn a_datagram_that_may_be_a_late_answer_does_not_get_through_either() {
    let mut twin = locked(Mode::Enforce);
    twin.set_elsewhere(Some(START_NS), false, true);
    let mut frame = datagram(STRANGER, RESTRICTED_UDP);
    frame[34..36].copy_from_slice(&53_u16.to_be_bytes());
    assert_eq!(twin.feed(&frame), XDP_DROP);
    twin.assert_equal("a late answer");
}

#[test]
fn a_lockdown_changes_what_is_answered_and_not_what_is_held_against_anyone() {
    let (mut with, mut without) = (locked(Mode::Observe), twin(Mode::Observe));
    for twin in [&mut with, &mut without] {
        // Somebody who comes back to a port that he used, many times; somebody who is known; and a scanner.
        for _ in 0..100 {
            twin.feed(&syn(STRANGER, RESTRICTED));
            twin.feed(&syn(KNOWN, RESTRICTED));
            twin.feed(&syn(STRANGER, NAMED_PUBLIC));
        }
        for port in 1..=10 {
            twin.feed(&syn(Ipv4Addr::new(203, 0, 113, 66), port));
        }
        twin.assert_equal("all that was asked");
    }
    assert_eq!(with.kernel_sources(), without.kernel_sources());
    let score = |address: Ipv4Addr| {
        let sources = with.kernel_sources();
        sources.iter().find(|record| record.source == key(address)).expect("a record").score
    };
    let half = u32::try_from(with.model().counter(CounterIndex::contact(Outcome::Restricted)).packets).expect("few");
    assert_eq!((half, score(KNOWN)), (2, 0), "who is known is held nothing against");
    let step = score(STRANGER);
    assert!(step > 0 && step * 4 < score(Ipv4Addr::new(203, 0, 113, 66)), "half a step, once: {step}");
}

#[test]
fn who_is_blocked_or_a_suspect_is_kept_out_in_mode_observe_too() {
    let mut twin = locked(Mode::Observe);
    let scanner = Ipv4Addr::new(203, 0, 113, 66);
    for port in 1..=6 {
        assert_eq!(twin.feed(&syn(scanner, port)), XDP_PASS, "observing");
    }
    let before = counted(&twin, Reason::Lockdown, Mode::Enforce);
    assert_eq!(twin.feed(&syn(scanner, RESTRICTED)), XDP_DROP, "a suspect");
    assert_eq!(counted(&twin, Reason::Lockdown, Mode::Enforce), before + 1);
    assert_eq!(twin.feed(&syn(scanner, 3306)), XDP_PASS, "of other ports nothing is hidden");
    let block = |origin| Verdict::block(Scope::Private, origin, NEVER_NS);
    twin.set_verdict(key(STRANGER), Some(block(Origin::Controller)));
    assert_eq!(twin.feed(&syn(STRANGER, RESTRICTED)), XDP_DROP, "blocked by the policy");
    assert_eq!(counted(&twin, Reason::Lockdown, Mode::Enforce), before + 2);
    twin.set_verdict(key(STRANGER), Some(block(Origin::Operator)));
    assert_eq!(twin.feed(&syn(STRANGER, RESTRICTED)), XDP_DROP, "by a person");
    assert_eq!(counted(&twin, Reason::BlockedPrivate, Mode::Enforce), 1, "counted under what came first");
    twin.assert_equal("blocks");
    // Who enforces counts what is hidden as ever.
    twin.set_mode(Mode::Enforce);
    assert_eq!(twin.feed(&syn(scanner, RESTRICTED)), XDP_DROP);
    assert_eq!(counted(&twin, Reason::HiddenRestricted, Mode::Enforce), 1);
    twin.assert_equal("enforcing");
}

/// A suspect whose stack met the challenge gets to a restricted port; in a lockdown it gets there what it gets at a closed one.
#[test]
fn challenges_tell_locked_ports_from_closed_ones_as_little_as_hidden_ones() {
    const NIC: Nic = Nic { mac: [2, 0, 0, 0, 0, 2], generic: 0, tagged_only: 0 };
    let scanner = Ipv4Addr::new(203, 0, 113, 66);
    let with_mss = |port: u16| {
        let mut frame = Vec::new();
        let tcp = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], NIC.mac)
            .ipv4(scanner.octets(), HOST4, 64)
            .tcp(40_000, port, 1, 64_240)
            .syn()
            .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1_460)]);
        tcp.expect("room").write(&mut frame, &[]).expect("a frame");
        frame
    };
    for is_locked in [false, true] {
        let mut twin = twin(Mode::Enforce);
        twin.set_challenge(ChallengeMode::On, Some(NIC));
        for address in own_addresses() {
            twin.set_refused(address, START_NS);
        }
        if is_locked {
            twin.set_lockdown(&LOCKED, END_NS, false);
        }
        for port in 1..=4 {
            twin.feed(&with_mss(port));
        }
        let mut said = Vec::new();
        for port in [RESTRICTED, 9] {
            let asked = with_mss(port);
            let (action, challenge) = twin.answer_to(&asked);
            let challenge = challenge.expect("a retry challenge");
            // Its acknowledgement number is the cookie, with which a real stack resets.
            let at = challenge.len() - 24 + 8;
            let mut reset = segment(scanner, port, RST);
            let sequence = reset.len() - 20 + 4;
            reset[sequence..sequence + 4].copy_from_slice(&challenge[at..at + 4]);
            fix_checksum(&mut reset);
            let met = twin.feed(&reset);
            let (again, decoy) = twin.answer_to(&asked);
            said.push((action, met, again, decoy.is_some()));
            twin.assert_equal("a challenge");
        }
        let decoy = (XDP_TX, XDP_PASS, XDP_TX, true);
        let service = (XDP_TX, XDP_PASS, XDP_PASS, false);
        assert_eq!(said, [if is_locked { decoy } else { service }, decoy], "locked: {is_locked}");
    }
}

/// Makes the TCP checksum right again.
fn fix_checksum(frame: &mut [u8]) {
    const IP: usize = 14;
    const TCP: usize = 34;
    frame[TCP + 16..TCP + 18].fill(0);
    let header = etherparse::TcpHeader::from_slice(&frame[TCP..]).expect("a header").0;
    let addresses = |at: usize| -> [u8; 4] { frame[IP + at..IP + at + 4].try_into().expect("an address") };
    let sum = header.calc_checksum_ipv4_raw(addresses(12), addresses(16), &[]).expect("a short segment");
    frame[TCP + 16..TCP + 18].copy_from_slice(&sum.to_be_bytes());
}
