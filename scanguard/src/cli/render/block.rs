//! `scanguard block` for people.

use super::Paint;
use super::human::{counted, moment};
use super::table::{Side, table};
use crate::api::{BlockAdded, BlockEntry, BlockList, BlockRemoved};

const COLUMNS: [(&str, Side); 6] = [
    ("SOURCE", Side::Left),
    ("SCOPE", Side::Left),
    ("BY", Side::Left),
    ("SINCE", Side::Left),
    ("UNTIL", Side::Left),
    ("REASON", Side::Left),
];

/// A block that is in force now.
#[must_use]
pub fn block_added(answer: &BlockAdded, paint: Paint) -> String {
    let BlockAdded { schema_version: _, entry, replaced, spared } = answer;
    let BlockEntry { source, scope, hard, expires, .. } = entry;
    let from = if scope == "private" { "from all but public ports" } else { "from everything" };
    let until = expires.as_deref().map_or_else(|| "it is removed".to_owned(), moment);
    let mut text = format!("{source} is {} {from} until {until}.", paint.good("blocked"));
    text.push_str(if *hard { " Its connections are cut.\n" } else { " Connections that it has go on.\n" });
    if *replaced {
        text.push_str("It takes the place of an earlier block.\n");
    }
    if *spared > 0 {
        let spared = counted(*spared, "entry of the allowlist is", "entries of the allowlist are");
        text.push_str(&format!("{spared} within it, and spared.\n"));
    }
    text
}

/// What was lifted, and what is blocked all the same.
#[must_use]
pub fn block_removed(answer: &BlockRemoved, paint: Paint) -> String {
    let BlockRemoved { schema_version: _, removed, missing, still_covered } = answer;
    let mut text = String::new();
    for source in removed {
        text.push_str(&format!("The block on {source} is lifted.\n"));
    }
    for source in missing {
        let note = paint.doubtful("note");
        text.push_str(&format!("{note}: {source} had no block of its own; `scanguard block list` shows what is.\n"));
    }
    for (source, covering) in still_covered {
        let warning = paint.bad("still blocked");
        text.push_str(&format!(
            "{warning}: {source} lies in {covering}; `scanguard block remove {covering}` lifts that.\n"
        ));
    }
    text
}

/// The blocks as a table.
#[must_use]
pub fn blocks(list: &BlockList, paint: Paint) -> String {
    if list.entries.is_empty() {
        return "Nothing is blocked.\n".to_owned();
    }
    let rows: Vec<_> = list.entries.iter().map(row).collect();
    table(COLUMNS, &rows, paint)
}

fn row(entry: &BlockEntry) -> [String; COLUMNS.len()] {
    let BlockEntry { source, level: _, scope, hard, reason, origin, since, expires } = entry;
    [
        source.clone(),
        if *hard { format!("{scope}, hard") } else { scope.clone() },
        origin.clone(),
        moment(since),
        expires.as_deref().map_or_else(|| "removed".to_owned(), moment),
        reason.clone().filter(|reason| !reason.is_empty()).unwrap_or_else(|| "-".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SCHEMA_VERSION;

    fn entry(source: &str) -> BlockEntry {
        BlockEntry {
            source: source.into(),
            level: "block".into(),
            scope: "all".into(),
            hard: false,
            reason: Some("spam".into()),
            origin: "operator".into(),
            since: "2026-03-01T12:00:00.000Z".into(),
            expires: Some("2026-03-02T12:00:00.000Z".into()),
        }
    }

    #[test]
    fn the_list() {
        let forever = BlockEntry { hard: true, reason: None, expires: None, ..entry("2001:db8:bad::/48") };
        let automatic = BlockEntry {
            scope: "private".into(),
            origin: "controller".into(),
            reason: Some("score".into()),
            ..entry("203.0.113.77")
        };
        let entries = vec![entry("203.0.113.0/24"), automatic, forever];
        let list = BlockList { schema_version: SCHEMA_VERSION, entries };
        insta::assert_snapshot!(blocks(&list, Paint::new(false)));
        insta::assert_json_snapshot!(list);
        assert_eq!(blocks(&BlockList::default(), Paint::new(false)), "Nothing is blocked.\n");
    }

    #[test]
    fn additions() {
        let plain =
            BlockAdded { schema_version: SCHEMA_VERSION, entry: entry("203.0.113.66"), replaced: false, spared: 0 };
        let mut full = BlockAdded { replaced: true, spared: 1, ..plain.clone() };
        full.entry = BlockEntry { scope: "private".into(), hard: true, expires: None, ..entry("203.0.113.0/24") };
        let texts = [plain, full].map(|answer| block_added(&answer, Paint::new(false)));
        insta::assert_snapshot!(texts.join("--\n"));
    }

    #[test]
    fn removals() {
        let answer = BlockRemoved {
            schema_version: SCHEMA_VERSION,
            removed: vec!["203.0.113.66".into()],
            missing: vec!["192.0.2.99".into()],
            still_covered: vec![("203.0.113.66".into(), "203.0.113.0/24".into())],
        };
        insta::assert_snapshot!(block_removed(&answer, Paint::new(false)));
    }
}
