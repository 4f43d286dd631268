//! What enforcing would have done, for people.

use std::time::Duration;

use super::human::{count, counted, duration};
use crate::api::{Observed, ObservedCustomer};

/// Customers that are named.
const NAMED: usize = 5;

/// What enforcing would have done, in a sentence. `mode_since` says since when the mode is observe: where the daemon is younger than that, it
/// is told for how long it has counted.
pub(super) fn sentence(observed: &Observed, mode_since: Option<&str>, up: Duration) -> String {
    let Observed { since: counted_since, packets, sources, at_least, with_sessions, customers: _ } = observed;
    let is_younger =
        mode_since.is_none_or(|mode_since| counted_since.as_deref().is_some_and(|since| since > mode_since));
    let (begin, enforcing) = if is_younger {
        (format!("Since the daemon's start {} ago ", duration(up)), "enforcing")
    } else {
        (String::new(), "Enforcing")
    };
    if *packets == 0 && *sources == 0 {
        return format!("{begin}{enforcing} would have hidden nothing from anybody.");
    }
    let at_least = if *at_least { "at least " } else { "" };
    let first = match with_sessions {
        0 => "none of these had sessions here".to_owned(),
        1 => "1 of these had sessions here: look at it first".to_owned(),
        many => format!("{} of these had sessions here: look at them first", count(*many)),
    };
    format!(
        "{begin}{enforcing} would have hidden {} of {at_least}{}; {first}.",
        counted(*packets, "packet", "packets"),
        counted(*sources, "source", "sources")
    )
}

/// Those who had sessions here, a line each, with what shows more of them.
pub(super) fn customers(observed: &Observed) -> Vec<String> {
    let Observed { customers, with_sessions, .. } = observed;
    let line = |customer: &ObservedCustomer| {
        let ObservedCustomer { source, level, sessions, days } = customer;
        let fate = if level == "block" { "would be blocked" } else { "would be concealed" };
        let (sessions, days) = (counted(*sessions, "session", "sessions"), counted(*days, "day", "days"));
        format!("{source} ({sessions} on {days}) {fate}: `scanguard why {source}`")
    };
    let mut lines: Vec<String> = customers.iter().take(NAMED).map(line).collect();
    let more = with_sessions.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("… and {} more; `scanguard status --json` has 20 of them.", count(more)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Duration = Duration::from_secs(7_200);

    fn customer(number: u64) -> ObservedCustomer {
        let level = if number == 1 { "block" } else { "conceal" }.to_owned();
        ObservedCustomer { source: format!("198.51.100.{number}"), level, sessions: number, days: 1 }
    }

    #[test]
    fn packets_sources_and_customers_are_told() {
        let since = Some("2026-03-01T12:00:00.000Z".to_owned());
        let observed = Observed { since, packets: 41_203, sources: 312, with_sessions: 2, ..Observed::default() };
        let expected = "Enforcing would have hidden 41,203 packets of 312 sources; 2 of these had sessions here: look at them first.";
        assert_eq!(sentence(&observed, Some("2026-03-01T12:00:00.000Z"), UP), expected);
        let younger = sentence(&observed, Some("2026-02-01T12:00:00.000Z"), UP);
        assert!(younger.starts_with("Since the daemon's start 2h ago enforcing "), "{younger}");
        assert!(younger.contains("enforcing would have hidden 41,203 packets"), "{younger}");
        let one = Observed { sources: 1, packets: 1, with_sessions: 0, at_least: true, ..observed.clone() };
        let expected = "Enforcing would have hidden 1 packet of at least 1 source; none of these had sessions here.";
        assert_eq!(sentence(&one, one.since.as_deref(), UP), expected);
        let nothing = Observed { since: observed.since.clone(), ..Observed::default() };
        let expected = "Enforcing would have hidden nothing from anybody.";
        assert_eq!(sentence(&nothing, nothing.since.as_deref(), UP), expected);
    }

    #[test]
    fn a_few_customers_are_named_and_the_rest_counted() {
        let observed = Observed { with_sessions: 7, customers: (1..=7).map(customer).collect(), ..Observed::default() };
        let lines = customers(&observed);
        assert_eq!(lines[0], "198.51.100.1 (1 session on 1 day) would be blocked: `scanguard why 198.51.100.1`");
        assert_eq!(lines[1], "198.51.100.2 (2 sessions on 1 day) would be concealed: `scanguard why 198.51.100.2`");
        assert_eq!((lines.len(), lines[5].as_str()), (6, "… and 2 more; `scanguard status --json` has 20 of them."));
    }
}
