//! Who proves himself is blocked from private ports, and who is framed is not, with real scanners and real stacks.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::defender::Defender;
use scanguard_tests::lab::plan::Role;
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::Scenario;
use scanguard_tests::lab::{Setup, sandbox};

/// Plays it with scanguard enforcing: no customer must notice.
fn play(scenario: &str) -> Report {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let setup = Setup {
        defender: Defender::Scanguard,
        scanguard: binary_beside_tests(),
        mode: Mode::Enforce,
        captures: None,
        full: std::env::var_os("SCANGUARD_FULL").is_some(),
    };
    let scenario = Scenario::named(scenario).expect("a scenario");
    let report = scenario.play(&setup).unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name));
    assert!(report.customers.requests > 0, "{report}");
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
    report
}

/// Each variant of it, or the one there is.
fn variants(report: &Report) -> &[Report] {
    if report.rows.is_empty() { std::slice::from_ref(report) } else { &report.rows }
}

/// The scanner, and nobody else, is blocked from private ports in every variant of it.
fn proves_the_scanner(scenario: &str) {
    for variant in variants(&play(scenario)) {
        let [verdict] = &variant.verdicts[..] else { panic!("not one verdict: {variant}") };
        assert_eq!((verdict.role, verdict.level.as_str()), (Role::Scanner, "block"), "{variant}");
        assert_eq!(verdict.scope.as_deref(), Some("private"), "{variant}");
        assert_eq!(verdict.reason.as_deref(), Some("proven"), "{variant}");
        assert!(variant.scanner.challenged >= 4, "{variant}");
        assert!(variant.special.decision_ms.is_some() && variant.special.decoys_completed >= Some(4), "{variant}");
    }
}

#[test]
fn who_comes_back_to_what_looked_open_is_blocked_from_private_ports_and_nobody_else() {
    proves_the_scanner("return");
}

#[test]
fn who_connects_is_blocked_from_private_ports_and_nobody_else() {
    proves_the_scanner("connect");
}

#[test]
fn a_grabber_of_banners_is_proven_by_a_real_stack_and_concealed_without_one() {
    for variant in variants(&play("banner-grab")) {
        let [verdict] = &variant.verdicts[..] else { panic!("not one verdict: {variant}") };
        assert_eq!(verdict.role, Role::Scanner, "{variant}");
        if variant.scanner.challenged == 0 {
            // masscan sends SYNs without options, which are not challenged.
            assert_eq!((verdict.level.as_str(), variant.scanner.restricted_revealed), ("conceal", 0), "{variant}");
        } else {
            assert_eq!((verdict.level.as_str(), verdict.reason.as_deref()), ("block", Some("proven")), "{variant}");
        }
    }
}

#[test]
fn whoever_proves_to_be_no_browser_loses_public_ports_where_no_person_is_asked() {
    for variant in variants(&play("proof-of-harm")) {
        let [verdict] = &variant.verdicts[..] else { panic!("not one verdict: {variant}") };
        assert_eq!((verdict.role, verdict.level.as_str()), (Role::Scanner, "block"), "{variant}");
        assert_eq!(verdict.scope.as_deref(), Some("all"), "{variant}");
        assert_eq!(verdict.reason.as_deref(), Some("harm"), "{variant}");
        assert_eq!(variant.special.pending, Some(0), "{variant}");
    }
}

#[test]
fn nobody_in_whose_name_others_send_is_blocked() {
    for scenario in ["framing", "decoys", "guess", "flood"] {
        let report = play(scenario);
        for variant in variants(&report) {
            let blocked = variant.verdicts.iter().find(|verdict| verdict.level == "block");
            assert!(blocked.is_none(), "{variant}");
        }
    }
}

#[test]
fn a_customer_in_whose_name_others_sent_may_be_wrong_once() {
    for variant in variants(&play("honest-mistake")) {
        let [verdict] = &variant.verdicts[..] else { panic!("not one verdict: {variant}") };
        assert_eq!((verdict.role, verdict.level.as_str()), (Role::Customer, "conceal"), "{variant}");
        assert_eq!(variant.special.decoys_completed, Some(0), "{variant}");
    }
}

#[test]
fn a_page_that_steers_a_customers_browser_costs_him_no_public_port() {
    let report = play("browser-steering");
    let steered = report.special.steered.expect("a browser");
    assert_eq!((steered.told, steered.connected, steered.forbidden_connected), (40, 20, 0), "{report}");
    let [verdict] = &report.verdicts[..] else { panic!("not one verdict: {report}") };
    assert_eq!(verdict.role, Role::Customer, "{report}");
    assert_ne!(verdict.scope.as_deref(), Some("all"), "{report}");
}

#[test]
fn a_balancer_that_asks_after_dead_backends_is_not_blocked_nor_led_to_think_them_alive() {
    for variant in variants(&play("balancer")) {
        assert!(variant.verdicts.iter().all(|verdict| verdict.level == "conceal"), "{variant}");
        let balanced = variant.special.balanced.expect("a balancer");
        assert_eq!((balanced.backends, balanced.requests, balanced.up), (10, 0, 0), "{variant}");
        assert_eq!(variant.special.decoys_completed, Some(0), "{variant}");
    }
}

#[test]
fn nobody_gets_more_by_the_edge_than_was_sent_in_his_name_and_no_more_than_the_limits() {
    // What of a burst may have piled up between the answers and the recording.
    const PILED_UP: u64 = 10;
    for variant in variants(&play("reflect")) {
        let reflect = variant.special.reflect.expect("a victim");
        // A SYN without options is never answered: a service's answer to it could not be made like a decoy's.
        assert_eq!(reflect.answers == 0, variant.scenario == "bare SYNs", "{variant}");
        assert!(reflect.packets_out <= reflect.packets_in && reflect.bytes_out <= reflect.bytes_in, "{variant}");
        assert!(reflect.burst_to_one <= 16 && reflect.burst_to_all <= 100 + PILED_UP, "{variant}");
        // His stack resets what he did not ask for, his firewall drops it.
        let shielded = reflect.victim_invalid.is_some();
        assert_eq!(reflect.victim_resets == 0, shielded || reflect.answers == 0, "{variant}");
        assert!(!shielded || reflect.victim_invalid >= Some(reflect.answers), "{variant}");
        assert!(variant.verdicts.iter().all(|verdict| verdict.level == "conceal"), "{variant}");
    }
}

#[test]
fn a_scanner_behind_a_shared_address_costs_those_who_share_it_no_public_port() {
    let report = play("nat-shared");
    let [verdict] = &report.verdicts[..] else { panic!("not one verdict: {report}") };
    assert_eq!((verdict.role, verdict.level.as_str()), (Role::Customer, "conceal"), "{report}");
    assert!(report.special.decoys_completed >= Some(4), "he proved himself: {report}");
    assert_eq!(report.special.pending, Some(1), "a person is asked: {report}");
}
