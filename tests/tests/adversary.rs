//! Attacks by somebody who knows the source code, each against its bound; and what a framed peer must not lose.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first. Each world of `adversary` says which
//! challenges are on.

use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::Scenario;
use scanguard_tests::lab::{Setup, sandbox};

fn play(scenario: &str) -> Report {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let (mode, full) = (Mode::Enforce, std::env::var_os("SCANGUARD_FULL").is_some());
    let defender = Defender::Scanguard;
    let setup = Setup { defender, scanguard: binary_beside_tests(), mode, captures: None, full };
    let scenario = Scenario::named(scenario).expect("a scenario");
    let report = scenario.play(&setup).unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name));
    assert!(report.customers.requests > 0, "{report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
    report
}

#[test]
fn every_attack_stays_within_its_bound() {
    let report = play("adversary");
    assert!(report.rows.len() >= 50, "{report}");
    assert!(report.rows.iter().all(|row| !row.row.claims.is_empty()), "each row claims something: {report}");
    let broken: Vec<&str> = report.broken().iter().filter_map(|row| row.name.as_deref()).collect();
    assert!(broken.is_empty(), "beyond their bounds: {broken:?}\n{report}");
    documented(&report);
}

/// The document's table has each row with its bounds. (`lab table FILE` prints the table of a report.)
fn documented(report: &Report) {
    let cells = |line: &str| -> Vec<String> { line.split(" | ").map(str::to_owned).collect() };
    let document: Vec<_> = include_str!("../../docs/threat-model.md").lines().map(cells).collect();
    for row in report.table().lines().skip(2).map(cells) {
        let is_there = document.iter().any(|line| line.len() == 4 && (&line[0], &line[2]) == (&row[0], &row[2]));
        assert!(is_there, "docs/threat-model.md lacks, or says otherwise: {row:?}");
    }
}

#[test]
fn a_framed_or_blocked_peer_loses_no_fragment() {
    let report = play("framing-fragments");
    assert_eq!(report.rows.len(), 3, "{report}");
    for row in &report.rows {
        assert!(row.customers.requests >= 160, "{row}");
        // Four flows of the peer, and sessions of customers.
        assert!(row.customers.established >= 5, "{row}");
    }
}
