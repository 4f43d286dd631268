//! Days of traffic through the kernel part's own code and the policy: who is harmed, and who is caught.
//!
//! Needs no root; run by `cargo xtask test` with the others.

use scanguard::config::AutoLevel;
use scanguard_tests::simulation::{Kind, Options, Report, Size, YearReport, YearSize, simulate, simulate_year};

fn play(size: Size, max_auto_level: AutoLevel, seed: u64) -> Report {
    let report = simulate(&Options { size, max_auto_level, seed }).expect("a simulation");
    assert_eq!(report.harm_to_customers(), 0, "{report}");
    for (kind, row) in &report.rows {
        assert_eq!(row.unhandled, 0, "who is proven is blocked, or asked about, or the budget says why not\n{report}");
        assert!(row.proven >= row.blocked, "nobody is blocked without proof\n{report}");
        if matches!(
            kind,
            Kind::Framed | Kind::FramedAdmin | Kind::Admin | Kind::Customer | Kind::Erring | Kind::Mailing
        ) {
            assert_eq!(row.blocked, 0, "{kind:?}\n{report}");
        }
        if kind.is_customer() {
            assert_eq!(row.blocked_all, 0, "{kind:?}\n{report}");
        }
        if kind.is_provable() {
            assert_eq!(row.proven, row.count, "{kind:?}\n{report}");
        }
        if matches!(kind, Kind::RawScanner | Kind::Slow) {
            assert_eq!((row.concealed, row.blocked), (row.count, 0), "{kind:?}\n{report}");
        }
    }
    let admins = [Kind::Admin, Kind::FramedAdmin].map(|kind| report.rows[&kind]);
    assert!(admins.iter().all(|row| row.did.restricted > 0 && row.did.restricted_failed == 0), "{report}");
    report
}

#[test]
fn two_days_of_ten_thousand_customers_and_three_hundred_scanners_harm_no_customer() {
    let report = play(Size::FULL, AutoLevel::BlockPrivate, 1);
    assert!(report.questions.contains_key("max_auto_level"), "{report}");
    assert!(report.most_blocks_at_once <= 1_000, "{report}");
    println!("{report}");
}

#[test]
fn public_ports_are_taken_from_scanners_alone_where_the_operator_lets_it() {
    let mut taken = 0;
    for seed in 1..6 {
        let report = play(Size::SMALL, AutoLevel::BlockAll, seed);
        taken += report.rows[&Kind::Returning].blocked_all;
    }
    assert!(taken > 0, "who comes back to what looked open has proven harm");
}

#[test]
fn the_same_seed_gives_the_same_days() {
    let [first, second] = [(); 2].map(|()| {
        let report = Report { seconds: 0.0, ..play(Size::SMALL, AutoLevel::BlockPrivate, 9) };
        serde_json::to_value(report).expect("JSON")
    });
    assert_eq!(first, second);
}

fn play_year(size: &YearSize, seed: u64) -> YearReport {
    let report = simulate_year(size, seed).expect("a simulation");
    assert_eq!(report.known_by_guessing, 0, "{report}");
    assert_eq!((report.known, report.restricted_failed, report.public_failed), (report.by_right, 0, 0), "{report}");
    assert!(report.guesses > u64::from(size.guessers) && report.restricted > 0 && report.public > 0, "{report}");
    assert!(report.forged > 0, "{report}");
    report
}

#[test]
fn whoever_works_here_is_known_and_nobody_by_guessing() {
    for seed in 1..4 {
        play_year(&YearSize::SMALL, seed);
    }
}

#[test]
fn in_a_year_of_ten_thousand_guessers_those_are_known_who_work_here_and_no_customer_fails() {
    println!("{}", play_year(&YearSize::FULL, 1));
}
