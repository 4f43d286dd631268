//! docs/metrics.md says what the program has: its tables are made of the same enums. `SCANGUARD_UPDATE_DOCS=1` writes them anew.

use std::fmt::Write as _;
use std::path::Path;

use prometheus::Histogram;
use prometheus::core::Collector as _;
use scanguard::metrics::families::Families;
use scanguard::metrics::labels;
use scanguard::metrics::sample::Sample;
use scanguard::policy::{BlockReason, Deferral, Doubt, Ending};
use scanguard_common::challenge::ChallengeResult;
use scanguard_common::contact::Outcome;
use scanguard_common::reason::Reason;

/// The document with a part between two marks replaced.
fn with_part(document: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: made by a test -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("docs/metrics.md has no mark {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("docs/metrics.md has no mark {end}"));
    format!("{before}{begin}{part}{end}{after}")
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for cells in rows {
        writeln!(text, "| {} |", cells.join(" | ")).expect("a String takes everything");
    }
    text
}

fn code(label: &str) -> String {
    format!("`{label}`")
}

#[test]
fn the_reference_of_metrics_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let document = std::fs::read_to_string(&path).expect("docs/metrics.md");
    // What is told as something else is said so.
    let told = |label: &str, as_label: &str| if label == as_label { String::new() } else { code(as_label) };
    let reasons = Reason::ALL.iter().map(|reason| {
        let name = format!("`{}` ({})", reason.label(), reason.level().label());
        [name, told(reason.label(), labels::reason(*reason)), reason.sentence().to_owned()]
    });
    let outcomes = Outcome::ALL.iter().map(|outcome| {
        let as_label = told(outcome.label(), labels::outcome(*outcome));
        [code(outcome.label()), as_label, outcome.sentence().to_owned()]
    });
    let blocks =
        BlockReason::ALL.map(|reason| [format!("`block`, `{}`", reason.label()), reason.sentence().to_owned()]);
    let ends = Ending::ALL.map(|ending| [format!("`end`, `{}`", ending.label()), ending.sentence().to_owned()]);
    let deferrals =
        Deferral::ALL.map(|deferral| [format!("`defer`, `{}`", deferral.label()), deferral.sentence().to_owned()]);
    let made = with_part(&document, "reasons", &table(["reason (level)", "on `/metrics`", "means"], reasons));
    let made = with_part(&made, "outcomes", &table(["outcome", "on `/metrics`", "means"], outcomes));
    let results = ChallengeResult::ALL.iter().map(|result| [code(result.label()), result.sentence().to_owned()]);
    let made = with_part(&made, "challenges", &table(["result", "means"], results));
    let questions = Doubt::ALL.map(|doubt| [format!("`ask`, `{}`", doubt.label()), doubt.sentence().to_owned()]);
    let decisions = blocks.into_iter().chain(questions).chain(ends).chain(deferrals);
    let made = with_part(&made, "decisions", &table(["action, reason", "means"], decisions));
    if std::env::var_os("SCANGUARD_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &made).expect("docs/metrics.md can be written");
    } else {
        assert!(made == document, "docs/metrics.md is out of date: run this test with SCANGUARD_UPDATE_DOCS=1");
    }
}

#[test]
fn every_metric_is_in_the_reference_and_no_other() {
    let histogram = Histogram::with_opts(prometheus::HistogramOpts::new("scanguard_decision_seconds", "x"));
    let sample = Sample { decision_seconds: Some(histogram.expect("a histogram")), ..Sample::default() };
    let families = Families { sample: Some(sample), scrape_errors: 0 }.collect();
    let mut served: Vec<String> = families.iter().map(|family| family.name().to_owned()).collect();
    let document = include_str!("../../docs/metrics.md");
    let rows = document.lines().filter(|line| line.starts_with("| `scanguard_"));
    let mut listed: Vec<String> = rows
        .flat_map(|row| row.split('|').nth(1).into_iter().flat_map(|cell| cell.split(',')))
        .map(|name| name.trim().trim_matches('`').to_owned())
        .collect();
    served.sort();
    listed.sort();
    assert_eq!(listed, served);
}
