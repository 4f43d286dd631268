//! What went wrong, for people on standard error, and for programs (`--json`) as an object on standard output.

use std::ffi::OsString;

use serde::Serialize;

use super::output::{print, tell};
use crate::api::SCHEMA_VERSION;
use crate::control::client::AskError;
use crate::exit::{ExitStatus, Failure};
use crate::operator::OperatorError;
use crate::printable;

/// What `--json` answers when it failed.
#[derive(Debug, Serialize)]
struct Complaint {
    schema_version: u32,
    error: Told,
}

#[derive(Debug, Serialize)]
struct Told {
    /// What kind it is.
    code: &'static str,
    /// What was tried, and why it failed.
    message: String,
    /// What made it fail, the nearest first, as far as `message` does not say it.
    cause: Vec<String>,
    /// What to do; none where the message says it, or nobody knows.
    hint: Option<String>,
    /// The safety rule that forbids it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

/// Whether the arguments ask for JSON, where they cannot be read otherwise.
pub(super) fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Tells of a failure.
pub(super) fn complain(failure: &Failure, json: bool) {
    if json {
        show(of_failure(failure));
    }
    tell(&failure.to_string());
}

/// Tells of arguments that make no sense. Help and version are errors to clap as well, but not to whoever asked for them.
pub(super) fn complain_of_arguments(error: &clap::Error, json: bool) {
    if json && error.use_stderr() {
        show(of_arguments(&error.render().to_string()));
    }
    let _ = error.print();
}

fn show(error: Told) {
    let complaint = Complaint { schema_version: SCHEMA_VERSION, error };
    // With standard output gone there is still the text.
    if let Ok(json) = serde_json::to_string_pretty(&complaint) {
        let _ = print(format!("{}\n", printable::json(json)).as_bytes());
    }
}

fn of_arguments(text: &str) -> Told {
    let message = text.split("\n\n").next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(message).trim().to_owned();
    let hint = Some("--help says what it takes".to_owned());
    Told { code: "usage", message, cause: Vec::new(), hint, rule: None }
}

fn of_failure(failure: &Failure) -> Told {
    let Failure { status, error } = failure;
    let message = error.to_string();
    let mut cause: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    cause.retain(|cause| !message.ends_with(cause.as_str()));
    let (mut code, mut rule) = (code_of(*status), None);
    match error.downcast_ref::<OperatorError>() {
        Some(OperatorError::NotFound(_)) => code = "not_found",
        Some(OperatorError::Refused { rule: of, .. }) => rule = Some(of.clone()).filter(|of| !of.is_empty()),
        _ => {}
    }
    let hint = match error.downcast_ref::<AskError>() {
        Some(AskError::NoDaemon { .. }) => Some("`sudo scanguard run -i INTERFACE` starts a daemon"),
        Some(AskError::NotAllowed(_)) => Some("use sudo, or join the group of the socket"),
        Some(AskError::TooSlow(_)) => Some("`scanguard status` and the daemon's log say what holds it up"),
        _ if message.contains("--force") => Some("--force overrides it"),
        _ => None,
    };
    if matches!(error.downcast_ref::<AskError>(), Some(AskError::NotAllowed(_))) {
        rule = Some("peer".to_owned());
    }
    Told { code, message, cause, hint: hint.map(str::to_owned), rule }
}

const fn code_of(status: ExitStatus) -> &'static str {
    match status {
        ExitStatus::Done | ExitStatus::Failed => "failed",
        ExitStatus::Usage => "usage",
        ExitStatus::Unreachable => "unreachable",
        ExitStatus::Refused => "refused",
        ExitStatus::Unhealthy => "unhealthy",
        ExitStatus::PartialInput => "partial_input",
        ExitStatus::CannotRun => "cannot_run",
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn arguments(line: &str) -> impl Iterator<Item = OsString> {
        line.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn arguments_that_cannot_be_read_may_still_ask_for_json() {
        assert!(wants_json(arguments("scanguard status --nonsense --json")));
        assert!(!wants_json(arguments("scanguard status")));
        assert!(!wants_json(arguments("scanguard why -- --json")));
    }

    #[test]
    fn a_failure_has_a_code_a_message_its_causes_and_what_to_do() {
        let io = std::io::Error::other("no such file");
        let failure = Failure::from(Err::<(), _>(io).context("cannot read it").expect_err("an error"));
        let told = of_failure(&failure);
        assert_eq!(
            (told.code, told.message.as_str(), told.cause.as_slice()),
            ("failed", "cannot read it", &["no such file".to_owned()][..])
        );
        let refused = OperatorError::Refused { rule: "own".into(), message: "no; --force blocks it".into() };
        let told = of_failure(&Failure::new(ExitStatus::Refused, refused));
        assert_eq!(
            (told.code, told.rule.as_deref(), told.hint.as_deref()),
            ("refused", Some("own"), Some("--force overrides it"))
        );
        let told = of_failure(&Failure::new(ExitStatus::Failed, OperatorError::NotFound("there is none".into())));
        assert_eq!((told.code, told.cause.len(), told.hint), ("not_found", 0, None));
        let told = of_failure(&Failure::new(ExitStatus::Refused, AskError::NotAllowed("x".into())));
        assert_eq!((told.code, told.rule.as_deref(), told.hint.is_some()), ("refused", Some("peer"), true));
        let told =
            of_arguments("error: invalid value 'x'\n  [possible values: a]\n\nFor more information, try '--help'.\n");
        assert_eq!((told.code, told.message.as_str()), ("usage", "invalid value 'x'\n  [possible values: a]"));
    }
}
