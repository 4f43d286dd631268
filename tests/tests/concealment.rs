//! What the kernel part hides from whom, step by step, through `BPF_PROG_TEST_RUN`; the host's model must agree at each step, in all
//! tables.
//!
//! Needs root; run by `cargo xtask test`.

use std::net::{IpAddr, Ipv4Addr};

use scanguard::kernel::NEVER_NS;
use scanguard::kernel::trial::{XDP_DROP, XDP_PASS};
use scanguard_common::counter::CounterIndex;
use scanguard_common::reason::{Mode, Reason};
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Known, Origin, Scope, Verdict};
use scanguard_tests::frames::{segment, syn};
use scanguard_tests::twin::Twin;

const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * SECOND_NS;
const START_NS: u64 = 100 * HOUR_NS;
const SCANNER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
const PUBLIC: u16 = 443;
const RESTRICTED: u16 = 22;
const CANARY: u16 = 23;
const UNKNOWN: u16 = 9999;

fn twin() -> Twin {
    let mut twin = Twin::new(1 << 14);
    twin.set_mode(Mode::Enforce);
    twin.set_now(START_NS);
    twin
}

fn key(address: Ipv4Addr) -> SourceKey {
    SourceKey(IpAddr::from(address).into())
}

/// Asks for closed ports 1, 2, … until the source is a suspect; returns how many passed.
fn scan(twin: &mut Twin, from: Ipv4Addr) -> usize {
    let passed = (1..=10).take_while(|port| twin.feed(&syn(from, *port)) == XDP_PASS).count();
    twin.assert_equal("a scan");
    passed
}

fn dropped(twin: &Twin, reason: Reason, mode: Mode) -> u64 {
    twin.kernel_counters().get(CounterIndex::verdict(reason.level(), reason, mode)).packets
}

#[test]
fn the_packet_that_crosses_the_threshold_is_hidden_itself() {
    let mut twin = twin();
    assert_eq!(scan(&mut twin, SCANNER), 3);
    for (port, action) in
        [(PUBLIC, XDP_PASS), (UNKNOWN, XDP_PASS), (RESTRICTED, XDP_DROP), (CANARY, XDP_DROP), (1, XDP_DROP)]
    {
        assert_eq!(twin.feed(&syn(SCANNER, port)), action, "{port}");
    }
    assert_eq!(twin.feed(&segment(SCANNER, PUBLIC, 0x10)), XDP_PASS, "an established segment");
    assert_eq!(twin.feed(&segment(SCANNER, 5, 0x10)), XDP_DROP, "nmap -sA");
    twin.assert_equal("the ladder");
}

#[test]
fn observing_drops_nothing_and_counts_what_would_be() {
    let mut twin = twin();
    twin.set_mode(Mode::Observe);
    assert_eq!(scan(&mut twin, SCANNER), 10);
    assert_eq!(dropped(&twin, Reason::HiddenClosed, Mode::Observe), 7);
}

#[test]
fn suspicion_ends_by_itself_and_begins_again_with_new_evidence() {
    let mut twin = twin();
    scan(&mut twin, SCANNER);
    twin.set_now(START_NS + HOUR_NS - SECOND_NS);
    assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_DROP);
    twin.set_now(START_NS + 2 * HOUR_NS);
    assert_eq!(twin.feed(&syn(SCANNER, PUBLIC)), XDP_PASS);
    assert_eq!(twin.feed(&syn(SCANNER, 1)), XDP_DROP, "the score is still there, whatever it asks for");
    twin.assert_equal("suspicion that ended and began");
    twin.set_now(START_NS + 80 * HOUR_NS);
    assert_eq!(twin.feed(&syn(SCANNER, 12)), XDP_PASS, "all is forgotten");
    twin.assert_equal("forgotten");
}

#[test]
fn without_a_daemon_nobody_becomes_a_suspect_and_suspicion_ends_on_time() {
    let mut twin = twin();
    scan(&mut twin, SCANNER);
    twin.set_watched(false);
    let other = Ipv4Addr::new(198, 51, 100, 7);
    twin.set_now(START_NS + 31 * SECOND_NS);
    assert_eq!(scan(&mut twin, other), 10);
    for minutes in [10, 30, 59] {
        twin.set_now(START_NS + minutes * 60 * SECOND_NS);
        assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_DROP, "after {minutes} minutes");
    }
    twin.set_now(START_NS + HOUR_NS + SECOND_NS);
    assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_PASS, "not prolonged by what came meanwhile");
    twin.assert_equal("a dead daemon");
}

#[test]
fn the_allowlist_exempts_before_and_after() {
    let mut twin = twin();
    twin.set_allowed(&[("203.0.113.0/24".parse().expect("a prefix"), NEVER_NS)]);
    assert_eq!(scan(&mut twin, SCANNER), 10, "allowed before");
    let other = Ipv4Addr::new(198, 51, 100, 7);
    assert_eq!(scan(&mut twin, other), 3);
    twin.set_allowed(&[("198.51.100.7".parse().expect("an address"), START_NS + HOUR_NS)]);
    assert_eq!(twin.feed(&syn(other, RESTRICTED)), XDP_PASS, "allowed after, with the next packet");
    assert_eq!(dropped(&twin, Reason::Allowed, Mode::Enforce), 0, "suspicion is lifted, not overruled");
    twin.set_now(START_NS + 2 * HOUR_NS);
    // It begins anew with the half step of the restricted port.
    let answered = (11..=14).filter(|port| twin.feed(&syn(other, *port)) == XDP_PASS).count();
    assert_eq!(answered, 2, "the entry has ended");
    twin.assert_equal("an allowlist");
}

#[test]
fn blocks_cover_their_scope_and_end() {
    let mut twin = twin();
    let ends_ns = START_NS + HOUR_NS;
    let expectations = [
        (Scope::Private, [XDP_PASS, XDP_PASS, XDP_DROP, XDP_DROP, XDP_DROP]),
        (Scope::All, [XDP_DROP, XDP_DROP, XDP_DROP, XDP_DROP, XDP_DROP]),
    ];
    for (scope, expected) in expectations {
        twin.set_verdict(key(SCANNER), Some(Verdict::block(scope, Origin::Controller, ends_ns)));
        for (port, action) in [PUBLIC, UNKNOWN, RESTRICTED, CANARY, 5].into_iter().zip(expected) {
            assert_eq!(twin.feed(&syn(SCANNER, port)), action, "{scope:?} {port}");
        }
        assert_eq!(twin.feed(&segment(SCANNER, PUBLIC, 0x10)), XDP_PASS, "{scope:?}: an established segment");
    }
    let hard = Verdict { hard: 1, ..Verdict::block(Scope::All, Origin::Operator, ends_ns) };
    twin.set_verdict(key(SCANNER), Some(hard));
    assert_eq!(twin.feed(&segment(SCANNER, PUBLIC, 0x10)), XDP_DROP, "hard: an established segment");
    assert_eq!(twin.feed(&segment(Ipv4Addr::new(203, 0, 113, 67), PUBLIC, 0x10)), XDP_PASS, "somebody else's");
    twin.set_now(ends_ns);
    assert_eq!(twin.feed(&syn(SCANNER, PUBLIC)), XDP_PASS, "it ended, though nobody lifted it");
    assert_eq!(twin.feed(&segment(SCANNER, PUBLIC, 0x10)), XDP_PASS, "the hard one too");
    twin.assert_equal("blocks");
}

#[test]
fn what_an_operator_blocks_is_dropped_in_both_modes() {
    let mut twin = twin();
    twin.set_mode(Mode::Observe);
    twin.set_verdict(key(SCANNER), Some(Verdict::block(Scope::All, Origin::Controller, NEVER_NS)));
    assert_eq!(twin.feed(&syn(SCANNER, PUBLIC)), XDP_PASS, "the controller's");
    twin.set_verdict(key(SCANNER), Some(Verdict::block(Scope::All, Origin::Operator, NEVER_NS)));
    assert_eq!(twin.feed(&syn(SCANNER, PUBLIC)), XDP_DROP, "the operator's");
    let counted = [Mode::Observe, Mode::Enforce].map(|mode| dropped(&twin, Reason::BlockedAll, mode));
    assert_eq!(counted, [1, 1]);
    twin.assert_equal("an operator");
}

#[test]
fn who_has_worked_on_a_restricted_port_keeps_it() {
    let mut twin = twin();
    twin.set_known(key(SCANNER), Known { restricted_until_ns: START_NS + HOUR_NS });
    scan(&mut twin, SCANNER);
    assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_PASS, "a suspect");
    twin.set_verdict(key(SCANNER), Some(Verdict::block(Scope::Private, Origin::Controller, NEVER_NS)));
    assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_PASS, "under block private");
    assert_eq!(twin.feed(&syn(SCANNER, CANARY)), XDP_DROP);
    twin.set_now(START_NS + HOUR_NS);
    assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_DROP, "long ago");
    twin.assert_equal("a known source");
}

#[test]
fn a_network_whose_addresses_scan_in_turn_sees_no_closed_port() {
    let mut twin = twin();
    // The contact of one address with one port is no evidence to speak of.
    let passed = (1..=17_u8)
        .take_while(|host| twin.feed(&syn(Ipv4Addr::new(203, 0, 113, *host), u16::from(*host))) == XDP_PASS)
        .count();
    // Contacts share 256 bits: one of them may be taken for another.
    assert!((9..=10).contains(&passed), "{passed}");
    let fresh = Ipv4Addr::new(203, 0, 113, 200);
    for (port, action) in [(PUBLIC, XDP_PASS), (RESTRICTED, XDP_PASS), (1, XDP_DROP)] {
        assert_eq!(twin.feed(&syn(fresh, port)), action, "{port}");
    }
    assert_eq!(twin.feed(&syn(Ipv4Addr::new(198, 51, 100, 7), 1)), XDP_PASS, "another network");
    twin.assert_equal("a network");
}

#[test]
fn when_suspects_arise_too_fast_closed_ports_are_hidden_from_strangers_and_nothing_else() {
    let mut twin = twin();
    // Networks of their own, so that only the storm hides anything.
    let forged = |number: u16| Ipv4Addr::from(0x2d00_0001 + (u32::from(number) << 8));
    let limit = 100;
    for number in 0..=limit {
        scan(&mut twin, forged(number));
    }
    let stranger = forged(1000);
    for (port, action) in [(PUBLIC, XDP_PASS), (RESTRICTED, XDP_PASS), (UNKNOWN, XDP_PASS), (1, XDP_DROP)] {
        assert_eq!(twin.feed(&syn(stranger, port)), action, "{port}");
    }
    assert_eq!(dropped(&twin, Reason::Storm, Mode::Enforce), 1);
    twin.set_now(START_NS + 61 * SECOND_NS);
    assert_eq!(twin.feed(&syn(stranger, 1)), XDP_PASS, "it is over");
    twin.assert_equal("a storm");
}

#[test]
fn a_blocked_prefix_spares_the_allowlist_and_ends() {
    let mut twin = twin();
    let ends_ns = START_NS + HOUR_NS;
    let [spared, other] = [Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(203, 0, 114, 7)];
    let block = |hard| Verdict { hard, ..Verdict::block(Scope::All, Origin::Operator, ends_ns) };
    twin.set_mode(Mode::Observe);
    twin.set_allowed(&[(IpAddr::from(spared).into(), NEVER_NS)]);
    twin.set_prefix_verdicts(&[("203.0.113.0/24".parse().expect("a prefix"), block(0))]);
    assert_eq!(twin.feed(&syn(SCANNER, PUBLIC)), XDP_DROP, "an operator's block, in both modes");
    assert_eq!(twin.feed(&segment(SCANNER, PUBLIC, 0x10)), XDP_PASS, "an established segment");
    for passed in [spared, other] {
        assert_eq!(twin.feed(&syn(passed, PUBLIC)), XDP_PASS, "{passed}");
    }
    twin.set_prefix_verdicts(&[("203.0.113.0/24".parse().expect("a prefix"), block(1))]);
    assert_eq!(twin.feed(&segment(SCANNER, PUBLIC, 0x10)), XDP_DROP, "a hard block");
    assert_eq!(twin.feed(&segment(spared, PUBLIC, 0x10)), XDP_PASS);
    twin.set_now(ends_ns);
    assert_eq!(twin.feed(&syn(SCANNER, PUBLIC)), XDP_PASS, "it ends by itself");
    twin.assert_equal("a blocked prefix");
}

#[test]
fn enforcing_ends_by_itself_where_it_is_to() {
    let mut twin = twin();
    twin.set_enforce_until(START_NS + 60 * SECOND_NS);
    assert_eq!(scan(&mut twin, SCANNER), 3);
    twin.set_watched(false);
    twin.set_now(START_NS + 59 * SECOND_NS);
    assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_DROP);
    twin.set_now(START_NS + 60 * SECOND_NS);
    assert_eq!(twin.feed(&syn(SCANNER, RESTRICTED)), XDP_PASS, "with nobody there to do it");
    assert_eq!(dropped(&twin, Reason::HiddenRestricted, Mode::Observe), 1);
    twin.assert_equal("an end of enforcing");
}
