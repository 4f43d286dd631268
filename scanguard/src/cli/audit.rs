//! `scanguard audit`.

use clap::{Args, Subcommand};

use super::backend::Backend;
use super::output::Output;
use super::span::Since;
use super::{Global, render};
use crate::api::AuditQuery;
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
  sudo scanguard audit list --json | jq -r '.entries[] | select(.result == \"refused\")'")]
struct List {
    /// Only of this time: a length such as 2h or 7d, until now, or a moment such as 2026-11-27T12:00:00Z
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<Since>,
    /// How many, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = AuditQuery::default().limit)]
    limit: u32,
}

impl Audit {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Verb::List(List { since, limit }) = self.verb;
        let query = AuditQuery { since: since.map(Since::shown), limit };
        let (since, limit) = records::audit_wanted(&query).or_exit(ExitStatus::Usage)?;
        let list = Backend::new(global)?.kept(
            async |client| client.audit(&query).await,
            |store, _| records::audit(Some(store), &Journal::default(), since, limit),
        )?;
        output.show(&list, render::audit)?;
        Ok(ExitStatus::Done)
    }
}
