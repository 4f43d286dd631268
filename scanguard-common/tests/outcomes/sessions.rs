//! What sessions earn their sources.

use scanguard_common::datapath::connection::{Connection, begin, end, half_close};
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::record::Backup;
use scanguard_common::session::{SYN_ACK_NS, SessionRecord, SessionTally};
use zerocopy::FromZeros as _;

use super::*;

fn connection(cookie: u64, from: Ip, port: u16) -> Connection {
    let [remote, local] = [from, HOST].map(|address| Address::from(IpAddr::from(address)));
    // As `answers` writes it.
    Connection { cookie, remote, local, version: 4, port, remote_port: 40_000, sequence: 1 }
}

/// A session whose answer leaves.
fn opens(tables: &MemoryTables, cookie: u64, from: Ip, port: u16) -> Connection {
    let connection = connection(cookie, from, port);
    answers(tables, HOST, port, from, &Tcp::SynAck);
    begin(&connection, tables);
    connection
}

fn sessions(tables: &MemoryTables, of: Ip) -> SessionRecord {
    let all = tables.all_sessions();
    all.into_iter().find(|record| record.source == key(of)).unwrap_or_default()
}

/// A session from its SYN to its end.
fn works(tables: &MemoryTables, cookie: u64, from: Ip, port: u16, bytes: [u64; 2]) -> SessionTally {
    asks(tables, from, HOST, port);
    end(&opens(tables, cookie, from, port), bytes[0], bytes[1], tables);
    let record = sessions(tables, from);
    if port == 22 { record.restricted } else { record.public }
}

#[test]
fn work_is_what_went_both_ways_while_nothing_was_held_against_its_source() {
    let tables = host();
    for (cookie, bytes, worked) in
        [(1, [0, 0], 0), (2, [1, 500], 0), (3, [500, 1], 0), (4, [2, 2], 1), (5, [500, 500], 2)]
    {
        assert_eq!(works(&tables, cookie, PEER, 22, bytes).worked, worked, "{bytes:?}");
    }
    let found = sessions(&tables, PEER).restricted;
    assert_eq!((found.sessions, found.bytes_in, found.bytes_out), (5, 1003, 1003));
    // A scanner that gets to ssh afterwards has not worked there.
    let scanner = [203, 0, 113, 7];
    for port in 1..=3 {
        asks(&tables, scanner, HOST, port);
    }
    assert_eq!(works(&tables, 6, scanner, 22, [500, 500]).worked, 0);
    // But who has is welcome whatever is forged in his name.
    let mut tables = tables;
    tables.set_known(key(scanner), Known { restricted_until_ns: u64::MAX });
    assert_eq!(works(&tables, 7, scanner, 22, [500, 500]).worked, 1);
}

/// A session that goes on for so long before one side ends its half, and the socket for an hour more; how many such are counted then.
fn holds(tables: &MemoryTables, cookie: u64, port: u16, seconds: u64, bytes: [u64; 2]) -> u64 {
    const SECOND_NS: u64 = 1_000_000_000;
    asks(tables, PEER, HOST, port);
    let connection = opens(tables, cookie, PEER, port);
    later(tables, tables.now_ns() + seconds * SECOND_NS);
    half_close(&connection, bytes[0], bytes[1], tables);
    later(tables, tables.now_ns() + 3_600 * SECOND_NS);
    end(&connection, bytes[0], bytes[1], tables);
    sessions(tables, PEER).held
}

#[test]
fn a_session_that_outlasts_the_time_for_a_login_is_counted_and_a_socket_that_lives_on_is_not() {
    let mut tables = host();
    for port in [5432, 6379] {
        tables.set_port_class(Protocol::Tcp, port, PortClass::Restricted);
    }
    let rows = [
        // Guessing: sshd ends it, whatever the client does with its side of the socket.
        (22, 120, [900, 2_000], 0),
        (22, 300, [900, 2_000], 0),
        // Idle, or one-sided.
        (22, 900, [1, 2_000], 0),
        (22, 900, [900, 1], 0),
        (22, 301, [900, 2_000], 1),
        (5432, 120, [500, 500], 1),
        (5432, 121, [500, 500], 2),
        // Nobody is timed out there, nor on a public port.
        (6379, 86_400, [500, 500], 2),
        (443, 86_400, [500, 500], 2),
    ];
    for (cookie, (port, seconds, bytes, held)) in (1..).zip(rows) {
        assert_eq!(holds(&tables, cookie, port, seconds, bytes), held, "{port} for {seconds} s with {bytes:?}");
    }
    for port in 1..=3 {
        asks(&tables, PEER, HOST, port);
    }
    assert_eq!(holds(&tables, 20, 22, 900, [900, 2_000]), 2, "something is held against it");
}

#[test]
fn failures_are_dated_and_first_contacts_with_restricted_ports_are_none() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let tables = host();
    asks(&tables, PEER, HOST, 22);
    let now_ns = tables.now_ns();
    assert_eq!(record(&tables, PEER).failed_ns(now_ns), None);
    asks(&tables, PEER, HOST, 1);
    let later_ns = now_ns + 30 * HOUR_NS;
    assert_eq!(record(&tables, PEER).failed_ns(later_ns), Some(now_ns / HOUR_NS * HOUR_NS));
}

#[test]
fn what_is_forged_while_a_session_goes_on_does_not_undo_it() {
    let tables = host();
    asks(&tables, PEER, HOST, 22);
    opens(&tables, 1, PEER, 22);
    for port in 1..=9 {
        asks(&tables, PEER, HOST, port);
    }
    end(&connection(1, PEER, 22), 500, 500, &tables);
    assert_eq!(sessions(&tables, PEER).restricted.worked, 1);
}

#[test]
fn a_source_that_never_arrived_earns_nothing() {
    let tables = host();
    let proxy = [172, 17, 0, 1];
    for (cookie, from) in [(1, proxy), (2, HOST)] {
        end(&opens(&tables, cookie, from, 22), 500, 500, &tables);
        assert_eq!(sessions(&tables, from).restricted.worked, 0);
    }
    assert_eq!(sessions(&tables, HOST), SessionRecord::default(), "our own address is nobody");
}

#[test]
fn a_session_in_somebodys_name_whose_answer_did_not_leave_for_him_counts_for_nothing() {
    let tables = host();
    let nobody = || assert_eq!(sessions(&tables, PEER), SessionRecord::default());
    // He asked for a page once, and somebody on this host has what he calls a connection with him.
    asks(&tables, PEER, HOST, 80);
    let [ssh, other_port, other_number] = [
        connection(1, PEER, 22),
        Connection { remote_port: 40_001, ..connection(2, PEER, 22) },
        Connection { sequence: 2, ..connection(3, PEER, 22) },
    ];
    begin(&ssh, &tables);
    end(&ssh, 500, 500, &tables);
    nobody();
    answers(&tables, HOST, 22, PEER, &Tcp::SynAck);
    for forged in [other_port, other_number] {
        begin(&forged, &tables);
        end(&forged, 500, 500, &tables);
        nobody();
    }
    // The answer is of a socket of this host, and not of his.
    tables.set_sender_cookie(77);
    answers(&tables, HOST, 22, PEER, &Tcp::SynAck);
    begin(&connection(78, PEER, 22), &tables);
    nobody();
    answers(&tables, HOST, 22, PEER, &Tcp::SynAck);
    begin(&connection(77, PEER, 22), &tables);
    assert_eq!(sessions(&tables, PEER).restricted.sessions, 1);
    // An answer is good for one session, and for so long.
    begin(&connection(77, PEER, 22), &tables);
    assert_eq!(sessions(&tables, PEER).restricted.sessions, 1);
    answers(&tables, HOST, 22, PEER, &Tcp::SynAck);
    later(&tables, tables.now_ns() + SYN_ACK_NS);
    begin(&connection(77, PEER, 22), &tables);
    assert_eq!(sessions(&tables, PEER).restricted.sessions, 1);
}

#[test]
fn an_answer_that_another_host_behind_this_one_sends_is_none_of_ours() {
    let tables = host();
    asks(&tables, PEER, HOST, 22);
    answers(&tables, [10, 9, 8, 7], 22, PEER, &Tcp::SynAck);
    begin(&connection(1, PEER, 22), &tables);
    assert_eq!(sessions(&tables, PEER), SessionRecord::default());
    // Of a container, after translation, and of a network that is protected.
    for (cookie, local) in [(2, HOST), (3, [198, 51, 100, 9])] {
        answers(&tables, local, 8080, PEER, &Tcp::SynAck);
        begin(&connection(cookie, PEER, 80), &tables);
    }
    assert_eq!(sessions(&tables, PEER).public.sessions, 2);
}

#[test]
fn where_it_is_not_seen_what_leaves_sessions_may_be_a_customers_and_make_nobody_known_or_backed() {
    for since_ns in [u64::MAX, START_NS - SYN_ACK_NS + 1] {
        let mut tables = host();
        let config = *tables.config().expect("settings");
        tables.set_config(KernelConfig { egress_since_ns: since_ns, ..config });
        for (cookie, port) in [(1, 443), (2, 22)] {
            asks(&tables, PEER, HOST, port);
            begin(&connection(cookie, PEER, port), &tables);
            end(&connection(cookie, PEER, port), 500, 500, &tables);
        }
        let found = sessions(&tables, PEER);
        assert_eq!((found.public.worked, found.restricted.worked, found.there_ns), (1, 0, 0));
        // Whose answer was seen is no case of doubt.
        assert_eq!(works(&tables, 3, PEER, 22, [500, 500]).worked, 1);
        assert_eq!(sessions(&tables, PEER).there_ns, START_NS);
    }
}

#[test]
fn a_socket_is_counted_once_whoever_sees_it() {
    let tables = host();
    asks(&tables, PEER, HOST, 443);
    opens(&tables, 1, PEER, 443);
    opens(&tables, 1, PEER, 443);
    end(&connection(1, PEER, 443), 500, 500, &tables);
    end(&connection(1, PEER, 443), 500, 500, &tables);
    let found = sessions(&tables, PEER).public;
    assert_eq!((found.sessions, found.worked, found.bytes_in), (1, 1, 500));
}

#[test]
fn work_on_public_ports_lowers_the_score_twice_a_day_and_ends_no_suspicion() {
    let tables = host();
    for port in 1..=2 {
        asks(&tables, PEER, HOST, port);
    }
    let before = score(&tables, PEER);
    works(&tables, 1, PEER, 443, [500, 500]);
    assert_eq!(score(&tables, PEER), before, "what began while more than a step was held against it is no work");
    let customer = [203, 0, 113, 7];
    asks(&tables, customer, HOST, 1);
    works(&tables, 2, customer, 443, [500, 500]);
    assert_eq!(score(&tables, customer), 0);
    for (cookie, port, left) in [(3, 2, 0), (4, 3, 1), (5, 4, 2)] {
        asks(&tables, customer, HOST, port);
        works(&tables, cookie, customer, 443, [500, 500]);
        assert_eq!(score(&tables, customer), left * step(), "port {port}");
    }
    later(&tables, START_NS + DAY_NS);
    for port in 10..=13 {
        asks(&tables, PEER, HOST, port);
    }
    end(&opens(&tables, 9, PEER, 443), 500, 500, &tables);
    assert!(record(&tables, PEER).is_suspect(START_NS + DAY_NS));
}

#[test]
fn sessions_of_suspects_and_on_restricted_ports_are_told() {
    let tables = host();
    works(&tables, 1, PEER, 443, [500, 500]);
    assert!(tables.take_events().iter().all(|event| event.kind == EventKind::Contact as u8));
    works(&tables, 2, PEER, 22, [30, 40]);
    let told: Vec<_> = tables
        .take_events()
        .into_iter()
        .filter(|event| event.kind != EventKind::Contact as u8)
        .map(|event| (event.kind, event.port, event.class, event.bytes_in, event.bytes_out))
        .collect();
    let restricted = PortClass::Restricted as u8;
    assert_eq!(
        told,
        [(EventKind::Session as u8, 22, restricted, 0, 0), (EventKind::SessionEnd as u8, 22, restricted, 30, 40)]
    );
    for port in 1..=4 {
        asks(&tables, PEER, HOST, port);
    }
    tables.take_events();
    works(&tables, 3, PEER, 443, [1, 1]);
    let kinds: Vec<u8> = tables.take_events().into_iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&(EventKind::Session as u8)) && kinds.contains(&(EventKind::SessionEnd as u8)));
}

#[test]
fn who_got_no_record_in_a_rush_earns_what_he_works() {
    let mut tables = host();
    let config = *tables.config().expect("settings");
    tables.set_config(KernelConfig { newcomers: NewcomerRules { per_second: 1, reserved: 0 }, ..config });
    let crowd = (1..=9).map(|number| [198, 51, 100, number]);
    for from in crowd {
        asks(&tables, from, HOST, 443);
    }
    assert_eq!(works(&tables, 1, PEER, 443, [500, 500]).worked, 1);
    assert!(tables.records().iter().all(|record| record.source != key(PEER)), "it got no record");
    // Who asks for anything but a public port gets one, and what is held against it counts.
    for port in 1..=3 {
        asks(&tables, PEER, HOST, port);
    }
    assert_eq!(works(&tables, 2, PEER, 443, [500, 500]).worked, 1, "no more than before");
    assert_eq!(score(&tables, PEER), 3 * step());
    // A suspect whose record was washed out, and is not made anew for what asks for public ports, is one all the same.
    let suspect = [203, 0, 113, 9];
    let backup = Backup { suspect_until_ns: u64::MAX, ..Backup::new_zeroed() };
    tables.back_up(&key(suspect), &backup, false);
    for (cookie, from) in (10..).zip((1..=9).map(|number| [198, 51, 101, number])) {
        works(&tables, cookie, from, 443, [1, 1]);
    }
    assert_eq!(works(&tables, 4, suspect, 443, [500, 500]).worked, 0);
    assert!(!tables.records().iter().any(|record| record.source == key(suspect)), "it got no record");
    // Long after the flood a source without a record did not come by here.
    later(&tables, START_NS + DAY_NS);
    let proxy = [172, 17, 0, 1];
    end(&opens(&tables, 3, proxy, 443), 500, 500, &tables);
    assert_eq!(sessions(&tables, proxy).public.worked, 0);
}
