//! Lists for the allowlist: as text, one prefix a line, or as the JSON of `allow list --json`.

use std::time::SystemTime;

use serde::Deserialize;

use crate::api::{AllowEntry, NewAllow, SCHEMA_VERSION};
use crate::prefix;

/// Longest name or comment, in characters: what the daemon takes.
const LONGEST_TEXT: usize = 200;
/// Longer words are no prefixes, and are not repeated in complaints.
const LONGEST_PREFIX: usize = 64;

/// What is wrong with one line or entry.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Bad {
    /// Which one: `3` for a line, `entry 3` in JSON.
    pub(super) place: String,
    /// What is wrong.
    pub(super) reason: String,
}

/// Reads a list of either kind; JSON begins with a brace.
pub(super) fn parse(bytes: &[u8], now: SystemTime) -> Result<Vec<NewAllow>, Vec<Bad>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"{") { parse_json(bytes, now) } else { parse_text(bytes) }
}

fn parse_text(bytes: &[u8]) -> Result<Vec<NewAllow>, Vec<Bad>> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    sorted(lines.filter_map(|(index, line)| {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            return None;
        }
        Some(parse_line(line).map_err(|reason| Bad { place: (index + 1).to_string(), reason }))
    }))
}

fn parse_line(line: &[u8]) -> Result<NewAllow, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let (prefix, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let comment = rest.strip_prefix('#').unwrap_or(rest).trim();
    checked(NewAllow {
        prefix: prefix.to_owned(),
        comment: (!comment.is_empty()).then(|| comment.to_owned()),
        ..NewAllow::default()
    })
}

/// What is read of the JSON: more keys than these do no harm.
#[derive(Deserialize)]
struct Written {
    schema_version: Option<u32>,
    entries: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct WrittenEntry {
    prefix: String,
    name: Option<String>,
    comment: Option<String>,
    expires: Option<String>,
    source: Option<String>,
}

fn parse_json(bytes: &[u8], now: SystemTime) -> Result<Vec<NewAllow>, Vec<Bad>> {
    let written: Written = serde_json::from_slice(bytes).map_err(|error| {
        vec![Bad { place: format!("{}:{}", error.line(), error.column()), reason: without_place(&error) }]
    })?;
    if let Some(version) = written.schema_version.filter(|version| *version > SCHEMA_VERSION) {
        let reason = format!("its schema_version is {version}, and this scanguard knows {SCHEMA_VERSION} at most");
        return Err(vec![Bad { place: "schema_version".to_owned(), reason }]);
    }
    sorted(written.entries.into_iter().enumerate().filter_map(|(index, entry)| {
        let entry = serde_json::from_value(entry).map_err(|error| error.to_string());
        let entry = entry.and_then(|entry| parse_entry(entry, now)).transpose()?;
        Some(entry.map_err(|reason| Bad { place: format!("entry {}", index + 1), reason }))
    }))
}

/// One entry; none if it is not an operator's, or its time is over.
fn parse_entry(entry: WrittenEntry, now: SystemTime) -> Result<Option<NewAllow>, String> {
    let WrittenEntry { prefix, name, comment, expires, source } = entry;
    // Those of the configuration and of logins come and go with these.
    if source.is_some_and(|source| source != "operator") {
        return Ok(None);
    }
    let for_s = match expires {
        None => None,
        Some(text) => {
            let end = humantime::parse_rfc3339(&text)
                .map_err(|_| format!("{text:?} is no time: write it like 2026-03-01T12:00:00Z"))?;
            match end.duration_since(now).map(|left| left.as_secs()) {
                Ok(left) if left > 0 => Some(left),
                _ => return Ok(None),
            }
        }
    };
    checked(NewAllow { prefix, name, comment, for_s }).map(Some)
}

fn checked(entry: NewAllow) -> Result<NewAllow, String> {
    let NewAllow { prefix, name, comment, .. } = &entry;
    if prefix.len() > LONGEST_PREFIX {
        return Err("it begins with no address and no prefix".to_owned());
    }
    prefix::parse(prefix).map_err(|error| error.to_string())?;
    for (what, text) in [("name", name), ("comment", comment)] {
        let Some(text) = text else { continue };
        if text.chars().count() > LONGEST_TEXT {
            return Err(format!("its {what} is longer than {LONGEST_TEXT} characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(format!("its {what} has control characters in it"));
        }
    }
    Ok(entry)
}

/// All entries, or all that is wrong.
fn sorted(found: impl Iterator<Item = Result<NewAllow, Bad>>) -> Result<Vec<NewAllow>, Vec<Bad>> {
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for result in found {
        match result {
            Ok(entry) => entries.push(entry),
            Err(problem) => bad.push(problem),
        }
    }
    if bad.is_empty() { Ok(entries) } else { Err(bad) }
}

/// What serde says, without the place that it puts at the end.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

/// Writes entries as text that [`parse`] reads. What ends is written as a comment: text cannot say when, and without its end
/// it would be allowed for good.
pub(super) fn write(entries: &[AllowEntry]) -> String {
    let mut text = String::from("# Allowlist of scanguard: `scanguard allow import` reads it.\n");
    for AllowEntry { prefix, comment, expires, .. } in entries {
        if let Some(expires) = expires {
            text.push_str(&format!("# until {expires}: "));
        }
        text.push_str(prefix);
        if let Some(comment) = comment.as_deref().filter(|comment| !comment.trim().is_empty()) {
            text.push_str("  # ");
            text.push_str(comment);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::api::{AllowList, timestamp};

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn entry(prefix: &str, comment: Option<&str>) -> AllowEntry {
        let comment = comment.map(str::to_owned);
        AllowEntry { prefix: prefix.into(), comment, source: "operator".into(), ..AllowEntry::default() }
    }

    fn new(prefix: &str, comment: Option<&str>) -> NewAllow {
        NewAllow { prefix: prefix.into(), comment: comment.map(str::to_owned), ..NewAllow::default() }
    }

    #[test]
    fn text_has_a_prefix_a_line_and_comments() {
        let text = b"\xef\xbb\xbf# ours\r\n\r\n192.0.2.7\r\n  198.51.100.0/24 the office\n2001:db8::/32\t# a # b\n203.0.113.1 #\n";
        let expected = [
            new("192.0.2.7", None),
            new("198.51.100.0/24", Some("the office")),
            new("2001:db8::/32", Some("a # b")),
            new("203.0.113.1", None),
        ];
        assert_eq!(parse(text, NOW), Ok(expected.to_vec()));
        assert_eq!(parse(b"", NOW), Ok(Vec::new()));
    }

    #[test]
    fn every_bad_line_is_told_with_its_number() {
        let long = "a".repeat(LONGEST_TEXT + 1);
        let text = format!(
            "192.0.2.7\n192.0.2.1/24\n\nexample.org\n::ffff:192.0.2.7\n192.0.2.8 {long}\n192.0.2.9 a\u{1b}[2J\n{long}\n"
        );
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(b"192.0.2.7 caf\xe9");
        let bad = parse(&bytes, NOW).expect_err("bad lines");
        let told: Vec<String> = bad.iter().map(|bad| format!("{}: {}", bad.place, bad.reason)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn json_keeps_ends_and_leaves_out_what_is_not_the_operators() {
        let at = |seconds| Some(timestamp(NOW + Duration::from_secs(seconds)));
        let of = |source: &str, expires| AllowEntry { source: source.into(), expires, ..entry("192.0.2.7", Some("x")) };
        let entries = vec![
            of("operator", None),
            of("operator", at(3_600)),
            of("operator", at(0)),
            of("configuration", None),
            of("lease", at(3_600)),
        ];
        let json = serde_json::to_vec_pretty(&AllowList { schema_version: SCHEMA_VERSION, entries }).expect("JSON");
        let expected = [new("192.0.2.7", Some("x")), NewAllow { for_s: Some(3_600), ..new("192.0.2.7", Some("x")) }];
        assert_eq!(parse(&json, NOW), Ok(expected.to_vec()));
        assert_eq!(parse(b"{\"entries\": [{\"prefix\": \"192.0.2.7\"}]}", NOW), Ok(vec![new("192.0.2.7", None)]));
    }

    #[test]
    fn every_bad_entry_of_json_is_told() {
        let rows = [
            "{\"entries\": [\n{\"prefix\": \"192.0.2.7\"}\n{",
            "{\"entries\": 7}",
            "{\"entries\": [], \"schema_version\": 99}",
            "{\"entries\": [{\"prefix\": 7}, {\"prefix\": \"192.0.2.1/24\"}, {\"prefix\": \"192.0.2.1\", \"expires\": \"soon\"}, {}]}",
        ];
        let told = rows.iter().flat_map(|row| parse(row.as_bytes(), NOW).expect_err("bad JSON"));
        let told: Vec<String> = told.map(|bad| format!("{}: {}", bad.place, bad.reason)).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn what_ends_is_not_written_as_if_it_did_not() {
        let temporary =
            AllowEntry { expires: Some("2026-03-01T12:00:00.000Z".into()), ..entry("192.0.2.9", Some("guest")) };
        let text = write(&[entry("192.0.2.7", None), entry("198.51.100.0/24", Some("office")), temporary]);
        insta::assert_snapshot!(text);
        let read = parse(text.as_bytes(), NOW).expect("what was written");
        assert_eq!(read, [new("192.0.2.7", None), new("198.51.100.0/24", Some("office"))]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(comments in prop::collection::vec("[ -~äß]{0,20}", 0..5)) {
            let prefix = |index: usize| format!("192.0.2.{index}");
            let entries: Vec<_> =
                comments.iter().enumerate().map(|(index, comment)| entry(&prefix(index), Some(comment))).collect();
            let read = parse(write(&entries).as_bytes(), NOW).expect("what was written");
            let expected: Vec<_> = comments
                .iter()
                .enumerate()
                .map(|(index, comment)| new(&prefix(index), Some(comment.trim()).filter(|comment| !comment.is_empty())))
                .collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, NOW);
        }
    }
}
