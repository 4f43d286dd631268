//! `scanguard known` for people.

use super::Paint;
use super::human::{count, moment};
use super::table::{Side, table};
use crate::api::{KnownAdded, KnownEntry, KnownList, KnownRemoved, ProposedKnown};

const COLUMNS: [(&str, Side); 5] = [
    ("SOURCE", Side::Left),
    ("BY", Side::Left),
    ("UNTIL", Side::Left),
    ("LAST LOGIN", Side::Left),
    ("COMMENT", Side::Left),
];

/// Who is known, and who may be worth adding.
#[must_use]
pub fn known(list: &KnownList, paint: Paint) -> String {
    let KnownList { schema_version: _, total, entries, proposed } = list;
    let mut text = if *total == 0 {
        "Nobody is known: no login from elsewhere was seen yet. `scanguard known add` says who is.\n".to_owned()
    } else {
        let row = |entry: &KnownEntry| {
            let KnownEntry { source, by, until, login, held_days: _, added: _, comment } = entry.clone();
            let until = until.map_or_else(|| "for ever".to_owned(), |until| moment(&until));
            let login = login.map_or_else(String::new, |login| moment(&login));
            [source, by.join(", "), until, login, comment.unwrap_or_default()]
        };
        table(COLUMNS, &entries.iter().map(row).collect::<Vec<_>>(), paint)
    };
    let left = total.saturating_sub(entries.len() as u64);
    if left > 0 {
        text.push_str(&format!("and {} more: `--limit 0` lists all\n", count(left)));
    }
    if !proposed.is_empty() {
        text.push_str(
            "\nThese have worked on restricted ports on seven days or more, in short sessions. Who guesses passwords can look \
             like that: add those you know with `scanguard known add`.\n",
        );
        text.extend(proposed.iter().map(|client| format!("  {}\n", proposal(client))));
    }
    text
}

fn proposal(client: &ProposedKnown) -> String {
    let ProposedKnown { source, days, sessions, last } = client;
    format!("{source}: {} sessions on {} days, the last {}", count(*sessions), count(*days), moment(last))
}

/// Who is known now.
#[must_use]
pub fn known_added(answer: &KnownAdded, paint: Paint) -> String {
    let KnownAdded { schema_version: _, added, updated, sources, until } = answer;
    let until =
        until.as_ref().map_or_else(|| "until that is removed".to_owned(), |until| format!("until {}", moment(until)));
    let lines =
        sources.iter().map(|source| format!("{}: restricted ports stay open to it {until}.\n", paint.strong(source)));
    let left = (added + updated).saturating_sub(sources.len() as u64);
    let more = (left > 0).then(|| format!("and {} more\n", count(left)));
    lines.chain(more).collect()
}

/// Who is known no more.
#[must_use]
pub fn known_removed(answer: &KnownRemoved, paint: Paint) -> String {
    let KnownRemoved { schema_version: _, removed, missing } = answer;
    let gone = removed.iter().map(|source| format!("{} is known no more.\n", paint.strong(source)));
    let note = paint.doubtful("note");
    let absent =
        missing.iter().map(|source| format!("{note}: {source} was not known; `scanguard known list` shows who is.\n"));
    gone.chain(absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SCHEMA_VERSION;

    #[test]
    fn who_is_known_who_is_added_and_who_is_not() {
        let entry = KnownEntry {
            source: "198.51.100.7".into(),
            by: vec!["login".into(), "sessions".into()],
            until: Some("2026-06-01T12:00:00.000Z".into()),
            login: Some("2026-03-03T12:00:00.000Z".into()),
            held_days: 3,
            added: None,
            comment: None,
        };
        let by_operator = KnownEntry {
            source: "2001:db8:1:2::/64".into(),
            by: vec!["operator".into()],
            until: None,
            added: Some("2026-03-01T12:00:00.000Z".into()),
            comment: Some("the shop, to its database".into()),
            ..KnownEntry::default()
        };
        let client = ProposedKnown {
            source: "203.0.113.20".into(),
            days: 9,
            sessions: 12_345,
            last: "2026-03-01T12:00:00.000Z".into(),
        };
        let list = KnownList {
            schema_version: SCHEMA_VERSION,
            total: 12,
            entries: vec![entry, by_operator],
            proposed: vec![client],
        };
        let added = KnownAdded {
            added: 1,
            updated: 1,
            sources: vec!["203.0.113.20".into()],
            until: Some("2026-04-01T12:00:00.000Z".into()),
            ..KnownAdded::default()
        };
        let removed = KnownRemoved {
            removed: vec!["203.0.113.20".into()],
            missing: vec!["192.0.2.9".into()],
            ..KnownRemoved::default()
        };
        let paint = Paint::new(false);
        let parts = [
            known(&list, paint),
            known(&KnownList::default(), paint),
            known_added(&added, paint),
            known_added(&KnownAdded { until: None, ..added }, paint),
            known_removed(&removed, paint),
        ];
        insta::assert_snapshot!(parts.join("\n"));
    }
}
