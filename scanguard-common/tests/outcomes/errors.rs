//! ICMP errors that leave: which are kept from whom.

use super::*;

/// A host that judges what leaves, to which the peer is a suspect.
fn judging_host() -> MemoryTables {
    let mut tables = host();
    let mut config = *tables.config().expect("settings");
    config.judges_leaving = 1;
    tables.set_config(config);
    for port in 1..=4 {
        asks(&tables, PEER, HOST, port);
    }
    assert!(is_suspect(&tables, PEER));
    tables
}

fn error_about(kind: icmpv4::DestUnreachableHeader, to: Ip, port: u16) -> Vec<u8> {
    let asked = tcp(to, 40_000, HOST, port, &Tcp::Ack);
    let mut frame = Vec::new();
    let kind = Icmpv4Type::DestinationUnreachable(kind);
    ip(HOST, to).icmpv4(kind).write(&mut frame, &asked[14..14 + 40]).expect("a valid packet");
    frame
}

fn verdict_on(tables: &MemoryTables, frame: &[u8]) -> Action {
    judge_leaving(&Frame(frame), tables)
}

#[test]
fn what_a_firewall_says_of_a_hidden_port_does_not_leave_for_a_suspect() {
    use icmpv4::DestUnreachableHeader::{FilterProhibited, Port};
    let tables = judging_host();
    for kind in [FilterProhibited, Port] {
        for (port, action) in [(22, Action::Drop), (9, Action::Drop), (80, Action::Pass)] {
            assert_eq!(verdict_on(&tables, &error_about(kind.clone(), PEER, port)), action, "{port}");
        }
        let stranger = [203, 0, 113, 67];
        assert_eq!(verdict_on(&tables, &error_about(kind, stranger, 22)), Action::Pass, "a stranger is told");
    }
}

#[test]
fn how_long_packets_may_be_is_told_to_everybody() {
    let kind = || icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
    let mut tables = judging_host();
    for scope in [None, Some(Scope::Private), Some(Scope::All)] {
        tables.set_verdict(key(PEER), scope.map(|scope| block(scope, 0)));
        for port in [22, 80] {
            assert_eq!(verdict_on(&tables, &error_about(kind(), PEER, port)), Action::Pass, "{scope:?}, {port}");
        }
    }
    let about_another = icmpv4::DestUnreachableHeader::Port;
    assert_eq!(verdict_on(&tables, &error_about(about_another, PEER, 80)), Action::Drop, "under a block of all ports");
}

#[test]
fn a_packet_that_is_too_big_is_no_refusal() {
    let tables = host();
    let mut config = *tables.config().expect("settings");
    // While learning only ports that refuse count.
    config.learnt = 0;
    let mut tables = tables;
    tables.set_config(config);
    for number in 1..=10 {
        let asked = udp(PEER, 40_000, behind(number), 443);
        assert!(arrives(&tables, &asked));
        let kind = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1280 };
        let mut frame = Vec::new();
        let step = ip(HOST, PEER).icmpv4(Icmpv4Type::DestinationUnreachable(kind));
        step.write(&mut frame, &asked[14..14 + 28]).expect("a valid packet");
        leaves(&tables, &frame);
    }
    assert_eq!(score(&tables, PEER), 0);
}
