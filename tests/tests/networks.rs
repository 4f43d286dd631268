//! What is behind the edge: containers, and a network that it protects.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::thread;

use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::plan::Role;
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::Scenario;
use scanguard_tests::lab::{Setup, sandbox};

/// Plays it with scanguard enforcing: whatever happens, customers must not notice.
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
    assert!(report.verdicts.iter().all(|verdict| verdict.role == Role::Scanner), "{report}");
    report
}

#[test]
fn services_of_containers_are_found_by_what_they_answer_and_scans_learn_no_more_than_elsewhere() {
    let report = enforced("containers");
    let processors = thread::available_parallelism().map_or(1, usize::from) as u64;
    assert!(report.customers.requests >= 200, "{report}");
    assert!(report.scanner.closed_answered <= 3 + processors, "{report}");
    assert_eq!(report.scanner.restricted_revealed, 0, "{report}");
    assert!(!report.verdicts.is_empty(), "{report}");
}

#[test]
fn sweeps_of_a_protected_network_are_concealed_and_its_customers_are_not() {
    let report = enforced("gateway");
    assert_eq!(report.rows.len(), 4, "{report}");
    // Four contacts make a suspect. A contact may share its bit of 256 with an earlier one, once in forty scans, and counts nothing then.
    let most = 4 + 1;
    for row in &report.rows {
        assert!(row.customers.requests >= 900, "{row}");
        assert!(row.scanner.probes_sent >= 250, "{row}");
        assert!(row.scanner.unanswered_before_concealed.is_some_and(|hosts| hosts <= most), "{row}");
        assert!(!row.verdicts.is_empty(), "{row}");
    }
}
