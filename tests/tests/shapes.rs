//! The real stack as judge of odd frames: what it answers blocked, concealed and fresh sources.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first. Challenges are off in it, for their
//! answers have numbers that differ.

use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::Scenario;
use scanguard_tests::lab::{Setup, sandbox};

fn play(defender: Defender) -> Report {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let (mode, full) = (Mode::Enforce, std::env::var_os("SCANGUARD_FULL").is_some());
    let setup = Setup { defender, scanguard: binary_beside_tests(), mode, captures: None, full };
    let scenario = Scenario::named("shapes").expect("a scenario");
    let report = scenario.play(&setup).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.customers.requests > 0, "{report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
    assert!(report.verdicts.is_empty(), "a customer is judged: {report}");
    assert_eq!(report.rows.len(), 3, "{report}");
    report
}

#[test]
fn frames_of_every_shape_break_no_promise() {
    let report = play(Defender::Scanguard);
    assert!(report.broken().is_empty(), "{report}");
    let strangers = report.rows[2].row.answered.unwrap_or_default();
    assert!(strangers > 100, "nobody is answered, so this shows nothing: {report}");
}

#[test]
fn without_a_defender_linux_answers_frames_of_every_shape_and_tells_ports_apart() {
    let report = play(Defender::None);
    let [blocked, suspects, strangers] = &report.rows[..] else { panic!("{report}") };
    for row in [blocked, suspects, strangers] {
        assert!(row.row.answered > Some(100), "{row}");
    }
    assert!(suspects.row.told_apart > Some(100), "{suspects}");
    assert!(!suspects.row.failures.is_empty(), "it shows how: {suspects}");
}
