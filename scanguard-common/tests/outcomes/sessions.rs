//! What sessions earn their sources.

use scanguard_common::datapath::connection::{Connection, begin, end};
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::record::Backup;
use scanguard_common::session::{SessionRecord, SessionTally};
use zerocopy::FromZeros as _;

use super::*;

fn connection(cookie: u64, from: Ip, port: u16) -> Connection {
    let [remote, local] = [from, HOST].map(|address| Address::from(IpAddr::from(address)));
    Connection { cookie, remote, local, version: 4, port }
}

fn sessions(tables: &MemoryTables, of: Ip) -> SessionRecord {
    let all = tables.all_sessions();
    all.into_iter().find(|record| record.source == key(of)).unwrap_or_default()
}

/// A session from its SYN to its end.
fn works(tables: &MemoryTables, cookie: u64, from: Ip, port: u16, bytes: [u64; 2]) -> SessionTally {
    asks(tables, from, HOST, port);
    begin(&connection(cookie, from, port), tables);
    end(&connection(cookie, from, port), bytes[0], bytes[1], tables);
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

#[test]
fn what_is_forged_while_a_session_goes_on_does_not_undo_it() {
    let tables = host();
    asks(&tables, PEER, HOST, 22);
    begin(&connection(1, PEER, 22), &tables);
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
        begin(&connection(cookie, from, 22), &tables);
        end(&connection(cookie, from, 22), 500, 500, &tables);
        assert_eq!(sessions(&tables, from).restricted.worked, 0);
    }
    assert_eq!(sessions(&tables, HOST), SessionRecord::default(), "our own address is nobody");
}

#[test]
fn a_socket_is_counted_once_whoever_sees_it() {
    let tables = host();
    asks(&tables, PEER, HOST, 443);
    begin(&connection(1, PEER, 443), &tables);
    begin(&connection(1, PEER, 443), &tables);
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
    begin(&connection(9, PEER, 443), &tables);
    end(&connection(9, PEER, 443), 500, 500, &tables);
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
    begin(&connection(3, proxy, 443), &tables);
    end(&connection(3, proxy, 443), 500, 500, &tables);
    assert_eq!(sessions(&tables, proxy).public.worked, 0);
}
