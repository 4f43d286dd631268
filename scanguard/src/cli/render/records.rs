//! `scanguard audit list` and `scanguard block history` for people.

use serde_json::Value;

use super::Paint;
use super::human::moment;
use super::table::{Side, table};
use crate::api::{AuditEntry, AuditList, BlockEvent, BlockHistory};

const AUDIT: [(&str, Side); 5] = [
    ("TIME", Side::Left),
    ("WHO", Side::Left),
    ("VERB", Side::Left),
    ("RESULT", Side::Left),
    ("ARGUMENTS", Side::Left),
];

const HISTORY: [(&str, Side); 7] = [
    ("TIME", Side::Left),
    ("SOURCE", Side::Left),
    ("BLOCK", Side::Left),
    ("SCOPE", Side::Left),
    ("BY", Side::Left),
    ("UNTIL", Side::Left),
    ("WHY", Side::Left),
];

/// Records of the audit as a table.
#[must_use]
pub fn audit(list: &AuditList, paint: Paint) -> String {
    if list.entries.is_empty() {
        return "Nobody asked for anything.\n".to_owned();
    }
    let rows: Vec<_> = list.entries.iter().map(audit_row).collect();
    table(AUDIT, &rows, paint)
}

fn audit_row(entry: &AuditEntry) -> [String; AUDIT.len()] {
    let AuditEntry { number: _, time, uid, pid, user, program, verb, arguments, result, detail } = entry;
    let name = user.clone().or_else(|| uid.map(|uid| format!("uid {uid}")));
    let process = match (program, pid) {
        (Some(program), Some(pid)) => format!("({program} {pid})"),
        (Some(program), None) => format!("({program})"),
        (None, Some(pid)) => format!("(process {pid})"),
        (None, None) => String::new(),
    };
    let who = [name.unwrap_or_default(), process].join(" ");
    let result = match detail {
        Some(detail) => format!("{result}: {}", detail.lines().next().unwrap_or_default()),
        None => result.clone(),
    };
    [moment(time), who.trim().to_owned(), verb.clone(), result, words(arguments)]
}

/// Arguments as words: what was named, and `key=value` for the rest. What is not given is left out.
fn words(arguments: &Value) -> String {
    match arguments {
        Value::Null | Value::Bool(false) => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(words).filter(|item| !item.is_empty()).collect();
            items.join(", ")
        }
        Value::Object(fields) => {
            let fields = fields.iter().filter_map(|(name, value)| {
                let text = words(value);
                let names_it =
                    ["address", "addresses", "entries", "mode", "prefix", "prefixes"].contains(&name.as_str());
                (!text.is_empty()).then(|| if names_it { text } else { format!("{name}={text}") })
            });
            fields.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// The lives of blocks as a table.
#[must_use]
pub fn block_history(history: &BlockHistory, paint: Paint) -> String {
    if history.entries.is_empty() {
        return "Nothing was blocked.\n".to_owned();
    }
    let rows: Vec<_> = history.entries.iter().map(history_row).collect();
    table(HISTORY, &rows, paint)
}

fn history_row(event: &BlockEvent) -> [String; HISTORY.len()] {
    let BlockEvent { time, source, event, scope, origin, hard, reason, expires, why } = event;
    let why = match reason.as_deref().filter(|reason| !reason.is_empty() && !why.ends_with(reason)) {
        Some(reason) => format!("{why} ({reason})"),
        None => why.clone(),
    };
    [
        moment(time),
        source.clone(),
        event.clone(),
        if *hard { format!("{scope}, hard") } else { scope.clone() },
        origin.clone(),
        expires.as_deref().map_or_else(|| "removed".to_owned(), moment),
        why,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::SCHEMA_VERSION;

    #[test]
    fn arguments_are_told_in_words() {
        let rows = [
            (json!({}), ""),
            (
                json!({"prefix": "203.0.113.66", "scope": "all", "hard": false, "for_s": 86_400, "reason": null}),
                "for_s=86400 203.0.113.66 scope=all",
            ),
            (
                json!({"entries": [{"prefix": "192.0.2.1"}, {"prefix": "192.0.2.2", "comment": "x y"}]}),
                "192.0.2.1, comment=x y 192.0.2.2",
            ),
            (json!({"prefixes": ["192.0.2.1", "192.0.2.2"], "force": true}), "force=true 192.0.2.1, 192.0.2.2"),
            (json!({"logged_in_from": [], "mode": "enforce"}), "enforce"),
        ];
        for (arguments, expected) in rows {
            assert_eq!(words(&arguments), expected);
        }
    }

    #[test]
    fn the_audit() {
        let done = AuditEntry {
            number: Some(7),
            time: "2026-03-01T12:00:00.000Z".into(),
            uid: Some(1000),
            pid: Some(4711),
            user: Some("ann".into()),
            program: Some("scanguard".into()),
            verb: "allow add".into(),
            arguments: json!({"entries": [{"prefix": "198.51.100.0/24"}]}),
            result: "done".into(),
            detail: None,
        };
        let refused = AuditEntry {
            number: None,
            user: None,
            verb: "block add".into(),
            arguments: json!({"prefix": "127.0.0.1"}),
            result: "refused".into(),
            detail: Some("loopback is never judged\nso a block does nothing".into()),
            ..done.clone()
        };
        let signal = AuditEntry {
            uid: None,
            pid: None,
            user: None,
            program: Some("SIGHUP".into()),
            verb: "config reload".into(),
            arguments: json!({}),
            ..done.clone()
        };
        let list = AuditList { schema_version: SCHEMA_VERSION, entries: vec![done, refused, signal] };
        insta::assert_snapshot!(audit(&list, Paint::new(false)));
        insta::assert_json_snapshot!(list);
    }

    #[test]
    fn the_lives_of_blocks() {
        let begin = BlockEvent {
            time: "2026-03-01T12:00:00.000Z".into(),
            source: "203.0.113.66".into(),
            event: "begin".into(),
            scope: "private".into(),
            origin: "controller".into(),
            hard: false,
            reason: Some("proven".into()),
            expires: Some("2026-03-01T12:10:00.000Z".into()),
            why: "the policy: proven".into(),
        };
        let end = BlockEvent { event: "end".into(), why: "its time was over".into(), ..begin.clone() };
        let operator = BlockEvent {
            origin: "operator".into(),
            hard: true,
            reason: Some("spam".into()),
            expires: None,
            why: "by an operator".into(),
            ..begin.clone()
        };
        let history = BlockHistory { schema_version: SCHEMA_VERSION, entries: vec![begin, end, operator] };
        insta::assert_snapshot!(block_history(&history, Paint::new(false)));
        insta::assert_json_snapshot!(history);
    }
}
