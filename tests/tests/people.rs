//! Those who mean well and are under suspicion or under a block all the same: who works on the edge, who has a flow with it.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::plan::Role;
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::Scenario;
use scanguard_tests::lab::{Setup, sandbox};

/// Plays it with scanguard enforcing: whatever happens, nobody who means well must notice.
fn enforced(scenario: &str) -> Report {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let setup = Setup {
        defender: Defender::Scanguard,
        scanguard: binary_beside_tests(),
        mode: Mode::Enforce,
        captures: None,
        full: false,
    };
    let scenario = Scenario::named(scenario).expect("a scenario");
    let report = scenario.play(&setup).unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name));
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
    report
}

#[test]
fn who_worked_on_a_restricted_port_comes_back_whatever_is_forged_in_his_name() {
    let report = enforced("framing-admin");
    let framed: Vec<_> = report.verdicts.iter().filter(|verdict| verdict.role == Role::Admin).collect();
    assert_eq!(framed.iter().map(|verdict| verdict.level.as_str()).collect::<Vec<_>>(), ["conceal"], "{report}");
    assert!(report.verdicts.iter().all(|verdict| verdict.role != Role::Customer), "{report}");
}

#[test]
fn flows_of_datagrams_go_on_under_every_verdict() {
    let report = enforced("udp-peers");
    assert_eq!(report.rows.len(), 3, "{report}");
    for row in &report.rows {
        assert!(row.customers.requests >= 180, "{row}");
        assert!(row.verdicts.iter().any(|verdict| verdict.level != "none"), "the other side is under a verdict: {row}");
    }
}

#[test]
fn forged_data_earns_nothing() {
    let report = enforced("tfo");
    assert!(report.verdicts.is_empty(), "{report}");
}

#[test]
fn nobody_is_known_by_guessing_nor_by_sessions_of_others_in_his_name_and_a_framed_program_goes_on() {
    let report = enforced("known");
    assert_eq!(report.rows.len(), 4, "{report}");
    assert!(report.broken().is_empty(), "{report}");
}
