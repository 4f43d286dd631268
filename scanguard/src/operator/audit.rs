//! The audit: who asked for what, when, and what he got.

use std::fs;
use std::time::SystemTime;

use nix::unistd::{Uid, User, getpid, getuid};
use serde::Serialize;
use serde_json::{Value, json};

use super::desk::Desk;
use super::error::OperatorError;
use super::kept::milliseconds;
use super::wish::Wish;
use crate::api::RefusalCode;
use crate::printable;
use crate::store::{AuditRecord, Entry};

/// Items of a list in the arguments that are written down; of more of them only how many.
const MOST_ITEMS: usize = 20;

/// Who asks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caller {
    /// The user's number.
    pub uid: Option<u32>,
    /// The process' number.
    pub pid: Option<i32>,
    /// The user's name.
    pub user: Option<String>,
    /// The name of the program.
    pub program: Option<String>,
}

impl Caller {
    /// Whoever the kernel says is at the other end of a socket. Names are asked of the system, which may take a while: keep it off the async
    /// threads.
    #[must_use]
    pub fn of_peer(uid: Option<u32>, pid: Option<i32>) -> Self {
        let user = uid.and_then(|uid| User::from_uid(Uid::from_raw(uid)).ok().flatten()).map(|user| user.name);
        let program = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        // Whoever runs a program can call it what he likes, line breaks and all.
        let program =
            program.map(|program| printable::line(program.strip_suffix('\n').unwrap_or(&program)).into_owned());
        Self { uid, pid, user, program }
    }

    /// This process.
    #[must_use]
    pub fn this_process() -> Self {
        Self::of_peer(Some(getuid().as_raw()), Some(getpid().as_raw()))
    }
}

impl Desk {
    /// Writes down who asked for what and what he got.
    pub fn audit<T>(
        &self,
        caller: Caller,
        verb: &str,
        arguments: &impl Serialize,
        outcome: &Result<T, OperatorError>,
        now: SystemTime,
    ) {
        self.record(caller, verb, arguments, result_of(outcome), now);
    }

    /// The same of a wish, which may have been carried out and have found nothing to change.
    pub fn audit_wish<W: Wish>(
        &self,
        caller: Caller,
        wish: &W,
        outcome: &Result<W::Answer, OperatorError>,
        now: SystemTime,
    ) {
        if wish.is_dry_run() && outcome.is_ok() {
            return;
        }
        let result = match outcome {
            Ok(answer) if W::found_nothing(answer) => (
                RefusalCode::NotFound.label().to_owned(),
                Some("nothing was changed: there was no such thing".to_owned()),
            ),
            outcome => result_of(outcome),
        };
        self.record(caller, &verb(W::PATH), wish, result, now);
    }

    fn record(
        &self,
        caller: Caller,
        verb: &str,
        arguments: &impl Serialize,
        (result, detail): (String, Option<String>),
        now: SystemTime,
    ) {
        let Caller { uid, pid, user, program } = caller;
        let arguments = serde_json::to_value(arguments).map(shortened).unwrap_or_default();
        let (at, verb, arguments) = (milliseconds(now), verb.to_owned(), arguments.to_string());
        self.archive.append(Entry::Audit(AuditRecord { at, uid, pid, user, program, verb, arguments, result, detail }));
    }
}

fn result_of<T>(outcome: &Result<T, OperatorError>) -> (String, Option<String>) {
    match outcome {
        Ok(_) => ("done".to_owned(), None),
        Err(error) => {
            let refusal = error.refusal();
            (refusal.code.label().to_owned(), Some(refusal.error))
        }
    }
}

/// The verb of a route that changes something, in the words of the command line.
#[must_use]
pub fn verb(path: &str) -> String {
    let words = path.trim_start_matches("/v1/").replace('/', " ");
    match words.as_str() {
        "allow" | "block" | "known" => format!("{words} add"),
        "lockdown" => "lockdown on".to_owned(),
        _ => words,
    }
}

/// Long lists cut, so that an import of thousands is one record of bearable length; what was not asked for left out.
fn shortened(arguments: Value) -> Value {
    let mut arguments = given(arguments);
    let Some(fields) = arguments.as_object_mut() else { return json!({}) };
    let mut left_out = Vec::new();
    for (name, value) in fields.iter_mut() {
        if let Some(items) = value.as_array_mut().filter(|items| items.len() > MOST_ITEMS) {
            left_out.push((format!("{name}_left_out"), items.len() - MOST_ITEMS));
            items.truncate(MOST_ITEMS);
        }
    }
    fields.extend(left_out.into_iter().map(|(name, count)| (name, json!(count))));
    arguments
}

/// What is not null.
fn given(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let given_fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            given_fields.map(|(name, value)| (name, given(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(given).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_the_names_of_their_verbs() {
        let rows = [
            ("/v1/allow", "allow add"),
            ("/v1/allow/remove", "allow remove"),
            ("/v1/block", "block add"),
            ("/v1/mode", "mode"),
            ("/v1/lockdown", "lockdown on"),
            ("/v1/lockdown/off", "lockdown off"),
            ("/v1/config/reload", "config reload"),
        ];
        for (path, expected) in rows {
            assert_eq!(verb(path), expected);
        }
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let long: Vec<u32> = (0..25).collect();
        let cut = shortened(json!({"entries": long, "prefixes": [{"a": 1, "b": null}], "for_s": null}));
        assert_eq!(cut["entries"].as_array().map(Vec::len), Some(20));
        assert_eq!(
            (&cut["entries_left_out"], &cut["prefixes"], cut.get("for_s")),
            (&json!(5), &json!([{"a": 1}]), None)
        );
    }

    #[test]
    fn the_name_of_a_program_is_one_line_of_text_whatever_it_calls_itself() {
        let before = fs::read_to_string("/proc/self/comm").expect("a name");
        fs::write("/proc/self/comm", "a\nb\u{1b}[2J").expect("another name");
        let Caller { program, .. } = Caller::this_process();
        fs::write("/proc/self/comm", before.trim_end()).expect("the name of before");
        assert_eq!(program.as_deref(), Some("a\\nb\\u{1b}[2J"));
    }

    #[test]
    fn this_process_is_known_by_name() {
        let Caller { uid, pid, program, .. } = Caller::this_process();
        assert_eq!((uid, pid), (Some(getuid().as_raw()), Some(getpid().as_raw())));
        assert!(program.is_some_and(|program| !program.is_empty() && !program.ends_with('\n')));
    }
}
