//! `scanguard audit`.

use clap::{Args, Subcommand};

use super::backend::Backend;
use super::output::Output;
use super::span::Since;
use super::{Global, render};
use crate::api::{AuditEntry, AuditQuery, MOST_RECORDS};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::operator::records;
use crate::store::Journal;

/// Show who asked for what, when, and what became of it
///
/// Every change that somebody asks the daemon for is written down with the user and the program that the kernel says is at the other
/// end, before it is answered: allowing, blocking, switching modes, reloading, and what was refused. Records are neither altered nor
/// deleted before their time (`[retention]` in the configuration).
#[derive(Args, Debug)]
pub(super) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
}

/// List the latest records, the last at the end; without a daemon, those in the file of state
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard audit list                              the last 100
  sudo scanguard audit list --since 2h
  sudo scanguard audit list --since 2026-11-27T12:00:00Z --limit 1000
  sudo scanguard audit list --user ann --verb 'block add'
  sudo scanguard audit list --json | jq -r '.entries[] | select(.result == \"refused\")'")]
struct List {
    /// Only of this time: a length such as 2h or 7d, until now, or a moment such as 2026-11-27T12:00:00Z
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<Since>,
    /// Only what this user asked for: a name or a number
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only this verb: `mode`, `allow` for all of its verbs, or `allow add`
    #[arg(long, value_name = "VERB")]
    verb: Option<String>,
    /// How many, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = AuditQuery::default().limit)]
    limit: u32,
}

impl Audit {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Verb::List(List { since, user, verb, limit: wanted }) = self.verb;
        // What is filtered is looked for in as many as there are to be had.
        let limit = if user.is_some() || verb.is_some() { MOST_RECORDS } else { wanted };
        records::audit_wanted(&AuditQuery { since: None, limit: wanted }).or_exit(ExitStatus::Usage)?;
        let query = AuditQuery { since: since.map(Since::shown), limit };
        let (since, limit) = records::audit_wanted(&query).or_exit(ExitStatus::Usage)?;
        let mut list = Backend::new(global)?.kept(
            async |client| client.audit(&query).await,
            |store, _| records::audit(Some(store), &Journal::default(), since, limit),
        )?;
        list.entries.retain(|entry| {
            user.as_deref().is_none_or(|user| is_by(entry, user))
                && verb.as_deref().is_none_or(|verb| is_of(entry, verb))
        });
        let more = list.entries.len().saturating_sub(wanted as usize);
        list.entries.drain(..more);
        output.show(&list, render::audit)?;
        Ok(ExitStatus::Done)
    }
}

/// Whether a user asked for it, named or by number.
fn is_by(entry: &AuditEntry, user: &str) -> bool {
    entry.user.as_deref() == Some(user) || entry.uid.is_some_and(|uid| uid.to_string() == user)
}

/// Whether it is this verb, or one of this group.
fn is_of(entry: &AuditEntry, verb: &str) -> bool {
    entry.verb == verb || entry.verb.strip_prefix(verb).is_some_and(|rest| rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_by_user_and_verb() {
        let entry = AuditEntry {
            number: Some(1),
            time: "2026-03-01T12:00:00.000Z".into(),
            uid: Some(1000),
            pid: None,
            user: Some("ann".into()),
            program: None,
            verb: "allow add".into(),
            arguments: serde_json::Value::Null,
            result: "done".into(),
            detail: None,
        };
        assert_eq!(["ann", "1000", "an", "100"].map(|user| is_by(&entry, user)), [true, true, false, false]);
        assert_eq!(
            ["allow", "allow add", "allow a", "add"].map(|verb| is_of(&entry, verb)),
            [true, true, false, false]
        );
    }
}
