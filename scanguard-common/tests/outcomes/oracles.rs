//! What a scanner could conclude later from what it asked before: what stands behind a hidden port must make no difference to
//! its score, to the end of its suspicion, or to whether it becomes a suspect.

use super::*;

const HOUR_NS: u64 = 3600 * SECOND_NS;
const MINUTE_NS: u64 = 60 * SECOND_NS;
/// A port that is closed in one world and restricted in the other.
const HIDDEN: u16 = 5000;

/// A host that judges what leaves, on which these ports are restricted.
fn host_with(restricted: impl IntoIterator<Item = u16>) -> MemoryTables {
    let mut tables = host();
    let mut config = *tables.config().expect("settings");
    config.judges_leaving = 1;
    tables.set_config(config);
    for port in restricted {
        let entry = PortEntry::new(PortClass::Restricted, PortClass::Restricted);
        tables.set_port(Protocol::Tcp, port, entry);
    }
    tables
}

/// Sends an ACK that belongs to no connection; Linux answers it by a reset without ACK. Whether that comes back.
fn acks(tables: &MemoryTables, from: Ip, port: u16) -> bool {
    let reset = || {
        let mut frame = tcp(HOST, port, from, 40_000, &Tcp::Rst);
        // Without ACK, as to a segment that had one (RFC 9293, section 3.10.7.1).
        frame[14 + 20 + 13] = 4;
        frame
    };
    arrives(tables, &tcp(from, 40_000, HOST, port, &Tcp::Ack))
        && judge_leaving(&Frame(&reset()), tables) != Action::Drop
}

fn two_worlds<T>(what: impl Fn(&MemoryTables) -> T) -> [T; 2] {
    [vec![22], vec![22, HIDDEN]].map(|restricted| what(&host_with(restricted)))
}

fn suspect(tables: &MemoryTables) {
    for port in 1..=4 {
        asks(tables, PEER, HOST, port);
    }
    assert!(is_suspect(tables, PEER));
}

#[test]
fn an_ack_prolongs_suspicion_whatever_port_it_goes_to() {
    let [closed, restricted] = two_worlds(|tables| {
        suspect(tables);
        later(tables, START_NS + 59 * MINUTE_NS);
        let answered = acks(tables, PEER, HIDDEN);
        later(tables, START_NS + 61 * MINUTE_NS);
        (answered, record(tables, PEER).is_suspect(START_NS + 61 * MINUTE_NS))
    });
    assert_eq!(closed, (false, true));
    assert_eq!(restricted, closed);
}

#[test]
fn what_a_suspect_does_not_get_adds_the_same_to_its_score() {
    let ways: [fn(&MemoryTables) -> bool; 2] =
        [|tables| asks(tables, PEER, HOST, HIDDEN), |tables| acks(tables, PEER, HIDDEN)];
    for ask in ways {
        let [closed, restricted] = two_worlds(|tables| {
            suspect(tables);
            assert!(!ask(tables));
            later(tables, START_NS + 6 * HOUR_NS + MINUTE_NS);
            (asks(tables, PEER, HOST, 7), score(tables, PEER))
        });
        assert_eq!(restricted, closed);
    }
}

/// Where nobody judges what leaves, ACKs to restricted ports are looked at on their way in. (Where somebody does, those of
/// strangers are not weighed: docs/threat-model.md says what that gives.)
#[test]
fn without_an_egress_program_acks_to_restricted_ports_count_as_syns_do() {
    let mut tables = host_with(6000..6050);
    let mut config = *tables.config().expect("settings");
    (config.egress_since_ns, config.judges_leaving) = (u64::MAX, 0);
    tables.set_config(config);
    let answered = (6000..6050).filter(|port| acks(&tables, PEER, *port)).count();
    assert_eq!(answered, 6, "as many as by SYNs");
    assert!(is_suspect(&tables, PEER));
}

/// Somebody else's scan in our name has servers send us SYN-ACKs; Linux refuses them as it does ACKs.
#[test]
fn syn_acks_to_restricted_ports_are_no_evidence() {
    let tables = host_with(6000..6050);
    for port in 6000..6050 {
        assert!(arrives(&tables, &tcp(PEER, 443, HOST, port, &Tcp::SynAck)));
        let mut reset = tcp(HOST, port, PEER, 443, &Tcp::Rst);
        reset[14 + 20 + 13] = 4;
        assert_eq!(judge_leaving(&Frame(&reset), &tables), Action::Pass);
    }
    assert_eq!(score(&tables, PEER), 0);
}

#[test]
fn who_is_known_pays_nothing_for_late_segments_to_restricted_ports() {
    let mut tables = host_with(6000..6050);
    tables.set_known(key(PEER), Known { restricted_until_ns: u64::MAX });
    for port in 6000..6050 {
        assert!(acks(&tables, PEER, port));
    }
    assert_eq!(score(&tables, PEER), 0);
}

#[test]
fn a_customer_of_a_protected_host_keeps_its_public_port_whatever_port_of_that_number_is_here() {
    let mut tables = host_with([]);
    tables.set_port(Protocol::Tcp, 9464, PortEntry::new(PortClass::Restricted, PortClass::Public));
    suspect(&tables);
    let syn_ack = |from: Ip| judge_leaving(&Frame(&tcp(from, 9464, PEER, 40_000, &Tcp::SynAck)), &tables);
    assert_eq!(syn_ack(behind(7)), Action::Pass);
    assert_eq!(syn_ack(HOST), Action::Drop);
}
