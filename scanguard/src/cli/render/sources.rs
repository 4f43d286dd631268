//! `scanguard sources list` for people.

use super::Paint;
use super::human::{ago, count};
use super::table::{Side, table};
use crate::api::{Source, SourceList};

const COLUMNS: [(&str, Side); 8] = [
    ("SOURCE", Side::Left),
    ("ATTEMPTS", Side::Right),
    ("CONTACTS", Side::Right),
    ("FAILED", Side::Right),
    ("SCORE", Side::Right),
    ("LEVEL", Side::Left),
    ("FIRST SEEN", Side::Right),
    ("LAST SEEN", Side::Right),
];

/// The sources as a table.
#[must_use]
pub fn sources(list: &SourceList, paint: Paint) -> String {
    let SourceList { total, sources, as_of, .. } = list;
    if sources.is_empty() && *total == 0 {
        return "No source has asked for anything yet.\n".to_owned();
    }
    let rows: Vec<[String; COLUMNS.len()]> = sources.iter().map(|source| row(source, as_of)).collect();
    let mut text = table(COLUMNS, &rows, paint);
    let shown = sources.len() as u64;
    if shown < *total {
        text.push_str(&format!("\n{} of {} sources; --limit 0 lists all.\n", count(shown), count(*total)));
    }
    text
}

fn row(source: &Source, as_of: &str) -> [String; COLUMNS.len()] {
    let Source { source, attempts, score, level, contacts, failures, first_seen, last_seen, .. } = source;
    [
        source.clone(),
        count(*attempts),
        count(*contacts),
        count(*failures),
        format!("{score:.2}"),
        level.clone(),
        ago(first_seen, as_of),
        ago(last_seen, as_of),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SCHEMA_VERSION;

    fn example() -> SourceList {
        let source = |source: &str, attempts, score, level: &str, contacts| Source {
            source: source.into(),
            attempts,
            score,
            level: level.into(),
            scope: None,
            reason: None,
            since: None,
            expires: None,
            contacts,
            failures: contacts / 2,
            first_seen: "2026-03-01T10:00:00.000Z".into(),
            last_seen: "2026-03-01T11:59:53.000Z".into(),
        };
        SourceList {
            schema_version: SCHEMA_VERSION,
            as_of: "2026-03-01T12:00:00.000Z".into(),
            total: 4_711,
            sources: vec![
                source("203.0.113.9", 1_002, 4.595, "conceal", 251),
                source("2001:db8:1:2::/64", 12, 0.0, "none", 2),
                source("198.51.100.7", 3, 0.0, "none", 1),
            ],
        }
    }

    #[test]
    fn a_limited_list() {
        insta::assert_snapshot!(sources(&example(), Paint::new(false)));
        insta::assert_json_snapshot!(example());
    }

    #[test]
    fn nobody_yet() {
        let list = SourceList { total: 0, sources: Vec::new(), ..example() };
        assert_eq!(sources(&list, Paint::new(true)), "No source has asked for anything yet.\n");
    }
}
