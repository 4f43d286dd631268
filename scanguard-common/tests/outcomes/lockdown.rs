//! Lockdowns: what a flood at a port that is closed by one does to the tables, and what is remembered of those who are shut out.

use scanguard_common::counter::{CounterIndex, Loss};
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::reason::Reason;
use scanguard_common::tables::Tables as _;

use super::*;

const LOCKED: [u16; 2] = [443, 22];

fn locked() -> MemoryTables {
    let mut tables = host();
    let config = *tables.config().expect("settings");
    tables.set_config(KernelConfig {
        lockdown_until_ns: START_NS + DAY_NS,
        newcomers: NewcomerRules { per_second: 5, reserved: 0 },
        ..config
    });
    for port in LOCKED {
        let entry = tables.port(Protocol::Tcp, port);
        tables.set_port(Protocol::Tcp, port, entry.locked());
    }
    tables
}

fn dropped(tables: &MemoryTables) -> u64 {
    tables.counter(CounterIndex::verdict(Reason::Lockdown.level(), Reason::Lockdown, Mode::Enforce)).packets
}

#[test]
fn a_flood_at_a_public_port_that_is_closed_is_dropped_and_washes_nobody_out() {
    let tables = locked();
    for sender in 0..200 {
        assert!(!asks(&tables, [203, 0, 113, sender], HOST, 443));
    }
    assert_eq!(dropped(&tables), 200);
    let recorded = tables.records().len() as u64;
    let left_out = tables.counter(CounterIndex::loss(Loss::Newcomers)).packets;
    assert!(recorded < 20 && recorded + left_out == 200, "{recorded} recorded, {left_out} left out");
    let attempts = tables.counter(CounterIndex::attempt(PortClass::Public, Protocol::Tcp)).packets;
    assert_eq!(attempts, 200, "each is counted");
}

#[test]
fn who_is_shut_out_is_recorded_where_what_he_asks_for_says_something_against_him() {
    let tables = locked();
    for sender in 0..200 {
        assert!(!asks(&tables, [203, 0, 113, sender], HOST, 22));
    }
    assert_eq!((dropped(&tables), tables.records().len()), (200, 200));
}
