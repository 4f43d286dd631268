//! `scanguard allow` for people.

use super::Paint;
use super::human::{count, counted, moment};
use super::table::{Side, table};
use crate::api::{AllowAdded, AllowEntry, AllowList, AllowRemoved, AllowTest};

const COLUMNS: [(&str, Side); 5] = [
    ("PREFIX", Side::Left),
    ("FROM", Side::Left),
    ("UNTIL", Side::Left),
    ("NAME", Side::Left),
    ("COMMENT", Side::Left),
];

/// What was added, and what it lifted.
#[must_use]
pub fn allow_added(answer: &AllowAdded, _: Paint) -> String {
    let AllowAdded { schema_version: _, added, updated, unblocked, cleared } = answer;
    let total = added + updated;
    if total == 0 {
        return "Nothing to add.\n".to_owned();
    }
    let mut text = format!("{} in force", counted(total, "entry is", "entries are"));
    if *updated > 0 {
        text.push_str(&format!(": {} new, {} there before", count(*added), count(*updated)));
    }
    text.push_str(".\n");
    text.push_str(&lifted("No longer blocked", unblocked));
    text.push_str(&lifted("No longer suspected", cleared));
    text
}

fn lifted(what: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("{what}: {}\n", names.join(", ")) }
}

/// What was removed, and what covers it all the same.
#[must_use]
pub fn allow_removed(answer: &AllowRemoved, paint: Paint) -> String {
    let AllowRemoved { schema_version: _, removed, missing, still_covered } = answer;
    let mut text = String::new();
    for prefix in removed {
        text.push_str(&format!("{prefix} is off the allowlist.\n"));
    }
    for prefix in missing {
        text.push_str(&format!(
            "{}: {prefix} was not on it; `scanguard allow list` shows what is.\n",
            paint.doubtful("note")
        ));
    }
    for (prefix, covering) in still_covered {
        text.push_str(&format!("{}: {prefix} is still allowed by {covering}.\n", paint.doubtful("note")));
    }
    text
}

/// The list as a table.
#[must_use]
pub fn allow_list(list: &AllowList, paint: Paint) -> String {
    if list.entries.is_empty() {
        return "Nothing is on the allowlist. `scanguard allow add PREFIX` adds to it.\n".to_owned();
    }
    let rows: Vec<_> = list.entries.iter().map(row).collect();
    table(COLUMNS, &rows, paint)
}

fn row(entry: &AllowEntry) -> [String; COLUMNS.len()] {
    let AllowEntry { prefix, name, comment, expires, source, since: _ } = entry;
    let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    [
        prefix.clone(),
        source.clone(),
        or_dash(expires.as_deref().map(moment)),
        or_dash(name.clone()),
        or_dash(comment.clone()),
    ]
}

/// Whether an address is on the list, and by what.
#[must_use]
pub fn allow_test(test: &AllowTest, paint: Paint) -> String {
    let AllowTest { schema_version: _, address, matched, entry } = test;
    match entry {
        Some(entry) if *matched => format!("{address} is {}: {}.\n", paint.good("allowed"), by(entry)),
        _ => format!("{address} is {} on the allowlist.\n", paint.doubtful("not")),
    }
}

/// An entry in one line.
pub(super) fn by(entry: &AllowEntry) -> String {
    let AllowEntry { prefix, name, comment, expires, source, since: _ } = entry;
    let mut parts = vec![format!("{prefix} ({source})")];
    parts.extend(name.clone());
    parts.extend(comment.clone());
    parts.extend(expires.as_deref().map(|expires| format!("until {}", moment(expires))));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SCHEMA_VERSION;

    fn entries() -> Vec<AllowEntry> {
        let entry =
            |prefix: &str, source: &str, name: Option<&str>, comment: Option<&str>, expires: Option<&str>| AllowEntry {
                prefix: prefix.into(),
                name: name.map(str::to_owned),
                comment: comment.map(str::to_owned),
                expires: expires.map(str::to_owned),
                source: source.into(),
                since: None,
            };
        vec![
            entry("192.0.2.7", "lease", Some("ann"), None, Some("2026-03-01T12:10:00.000Z")),
            entry("198.51.100.0/24", "operator", Some("büro"), Some("the office in Vienna"), None),
            entry("2001:db8::/32", "configuration", None, None, None),
        ]
    }

    #[test]
    fn the_list() {
        let list = AllowList { schema_version: SCHEMA_VERSION, entries: entries() };
        insta::assert_snapshot!(allow_list(&list, Paint::new(false)));
        insta::assert_json_snapshot!(list);
        assert!(allow_list(&AllowList::default(), Paint::new(false)).starts_with("Nothing is on the allowlist."));
    }

    #[test]
    fn additions() {
        let plain = AllowAdded { schema_version: SCHEMA_VERSION, added: 1, ..AllowAdded::default() };
        let changed = AllowAdded { added: 0, updated: 1, ..plain.clone() };
        let full = AllowAdded {
            added: 99_990,
            updated: 10,
            unblocked: vec!["203.0.113.66".into(), "203.0.113.0/26".into()],
            cleared: vec!["203.0.113.67".into()],
            ..plain.clone()
        };
        let texts = [AllowAdded::default(), plain, changed, full].map(|answer| allow_added(&answer, Paint::new(false)));
        insta::assert_snapshot!(texts.join("--\n"));
    }

    #[test]
    fn removals() {
        let answer = AllowRemoved {
            schema_version: SCHEMA_VERSION,
            removed: vec!["198.51.100.0/24".into(), "198.51.100.7".into()],
            missing: vec!["192.0.2.99".into()],
            still_covered: vec![("198.51.100.7".into(), "198.51.0.0/16".into())],
        };
        insta::assert_snapshot!(allow_removed(&answer, Paint::new(false)));
    }

    #[test]
    fn tests_of_an_address() {
        let test = |entry: Option<AllowEntry>| AllowTest {
            schema_version: SCHEMA_VERSION,
            address: "198.51.100.7".into(),
            matched: entry.is_some(),
            entry,
        };
        let found = entries().into_iter().map(Some).chain([None]);
        let texts: Vec<String> = found.map(|entry| allow_test(&test(entry), Paint::new(false))).collect();
        insta::assert_snapshot!(texts.concat());
    }
}
