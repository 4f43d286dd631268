//! `scanguard feeds` for people.

use super::Paint;
use super::human::{count, moment};
use super::table::{Side, table};
use crate::api::{FeedEntry, FeedList, FeedMatch, FeedTest, FeedsRefreshed};

const COLUMNS: [(&str, Side); 5] = [
    ("FEED", Side::Left),
    ("LEVEL", Side::Left),
    ("PREFIXES", Side::Right),
    ("READ", Side::Left),
    ("FILE", Side::Left),
];

/// All feeds.
#[must_use]
pub fn feeds(list: &FeedList, paint: Paint) -> String {
    if list.feeds.is_empty() {
        return "There are no feeds. `feeds` of the configuration names them.\n".to_owned();
    }
    let row = |entry: &FeedEntry| {
        let FeedEntry { name, file, level, prefixes, read_at } = entry.clone();
        [name, level, count(prefixes), moment(&read_at), file]
    };
    table(COLUMNS, &list.feeds.iter().map(row).collect::<Vec<_>>(), paint)
}

/// Which feeds name an address.
#[must_use]
pub fn feed_test(test: &FeedTest, paint: Paint) -> String {
    let FeedTest { schema_version: _, address, level, shared, feeds } = test;
    let suspect =
        level.as_ref().map(|level| format!("once it is a suspect, up to {level} as far as `max_auto_level` allows"));
    let shared = shared.then(|| "many people share its address".to_owned());
    let said: Vec<String> = suspect.into_iter().chain(shared).collect();
    if said.is_empty() {
        return format!("{address}: no feed names it.\n");
    }
    let lines = feeds.iter().map(|FeedMatch { name, level, prefix }| format!("  {name} by {prefix} ({level})\n"));
    let heading = format!("{}: {}\n", paint.strong(address), said.join("; "));
    [heading].into_iter().chain(lines).collect()
}

/// What was read.
#[must_use]
pub fn feeds_refreshed(answer: &FeedsRefreshed, paint: Paint) -> String {
    let FeedsRefreshed { schema_version: _, feeds: entries, before } = answer;
    if entries.is_empty() {
        return feeds(&FeedList::default(), paint);
    }
    let line = |(entry, before): (&FeedEntry, &u64)| {
        format!("{}: {} prefixes, {} before\n", paint.strong(&entry.name), count(entry.prefixes), count(*before))
    };
    entries.iter().zip(before).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_and_whom_they_name() {
        let entry = |name: &str, level: &str, prefixes| FeedEntry {
            name: name.into(),
            file: format!("/etc/scanguard/feeds/{name}.txt"),
            level: level.into(),
            prefixes,
            read_at: "2026-03-01T12:00:00.000Z".into(),
        };
        let entries = vec![entry("drop", "block all", 1_234), entry("mild", "conceal", 0)];
        let found = |name: &str, level: &str, prefix: &str| FeedMatch {
            name: name.into(),
            level: level.into(),
            prefix: prefix.into(),
        };
        let named = FeedTest {
            address: "203.0.113.66".into(),
            level: Some("block all".into()),
            feeds: vec![found("drop", "block all", "203.0.113.0/24"), found("mild", "conceal", "203.0.113.66")],
            ..FeedTest::default()
        };
        let shared = FeedTest {
            address: "100.64.1.7".into(),
            shared: true,
            feeds: vec![found("cgnat", "shared", "100.64.0.0/10")],
            ..FeedTest::default()
        };
        let unnamed = FeedTest { address: "192.0.2.9".into(), ..FeedTest::default() };
        let refreshed = FeedsRefreshed { feeds: entries.clone(), before: vec![1_200, 3], ..FeedsRefreshed::default() };
        let paint = Paint::new(false);
        let told = [
            feeds(&FeedList { feeds: entries, ..FeedList::default() }, paint),
            feeds(&FeedList::default(), paint),
            feed_test(&named, paint),
            feed_test(&shared, paint),
            feed_test(&unnamed, paint),
            feeds_refreshed(&refreshed, paint),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }
}
