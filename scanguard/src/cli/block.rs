//! `scanguard block`, `scanguard ban`, `scanguard unban`.

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::ArgValueCandidates;

use super::backend::{Backend, operate};
use super::filter::Addresses;
use super::output::Output;
use super::span::{Since, Until};
use super::{Global, render};
use crate::api::{BlockAdd, BlockList, BlockRemove, HistoryQuery, Nothing};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::operator::records;
use crate::store::Journal;
use crate::{logins, prefix};

/// Block addresses and prefixes, lift blocks, list them
///
/// A person's block is carried out in both modes, observe and enforce. What is on the allowlist is never blocked, and a block
/// that would lock you or the host out is refused (exit code 4).
#[derive(Args, Debug)]
pub(super) struct Block {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    Remove(Remove),
    List(List),
    History(History),
}

/// Block addresses or prefixes; `ban` is the same
///
/// In force in the kernel when it returns. Several are blocked one after the other; the first that is refused ends it. With
/// --json each block is an object of its own.
///
/// Refused, with exit code 4 and what would happen: addresses of this host, its gateways and name servers, addresses somebody
/// is logged in from, what is on the allowlist, loopback and the like, prefixes shorter than a limit. The message says whether
/// --force overrides it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard block add 203.0.113.66                          for a day
  sudo scanguard block add 203.0.113.0/24 --for 7d --reason spam
  sudo scanguard block add 2001:db8:bad::/48 --for forever
  sudo scanguard ban 203.0.113.66 --scope private                public ports stay open to it
  sudo scanguard ban 203.0.113.66 --hard                         cuts its connections, too")]
pub(super) struct Add {
    /// Addresses or prefixes, IPv4 or IPv6
    #[arg(required = true, value_name = "ADDR|CIDR")]
    prefixes: Vec<String>,
    /// How long, such as 90s, 10m, 2h or 7d, or `forever`: until it is removed
    #[arg(
        long = "for",
        visible_aliases = ["duration", "timeout"],
        value_name = "DURATION|forever",
        default_value = "24h"
    )]
    length: Until,
    /// Why, one line; `block list` and `why` show it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// What is closed to it
    #[arg(long, value_enum, default_value_t)]
    scope: Scope,
    /// Cut established connections as well, instead of refusing new ones only
    #[arg(long)]
    hard: bool,
    /// Override the safety rules that a person may override
    #[arg(long)]
    force: bool,
}

/// What a block covers.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Scope {
    /// Everything
    #[default]
    All,
    /// All but public ports
    Private,
}

/// Lift blocks, whoever made them; `unban` is the same
///
/// Names prefixes as `block list` does. What was not blocked is told; exit code 1 if nothing was.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard block remove 203.0.113.66
  sudo scanguard unban 203.0.113.0/24 2001:db8:bad::/48

A block of the daemon's own may come back when its source goes on: `scanguard allow add ADDR` ends it for good.")]
pub(super) struct Remove {
    /// Addresses or prefixes, as in `block list`
    #[arg(required = true, value_name = "ADDR|CIDR", add = ArgValueCandidates::new(super::candidates::blocked))]
    prefixes: Vec<String>,
}

/// List the blocks in force: the operator's, and the daemon's own
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard block list
  sudo scanguard block list 203.0.113.66             what is blocked of it, or around it
  sudo scanguard block list --json | jq -r '.entries[] | select(.origin == \"operator\").source'")]
struct List {
    /// Only blocks that cover this address or prefix, or lie in it
    #[arg(value_name = "ADDR|CIDR")]
    addresses: Vec<String>,
}

/// Show when blocks began, changed and ended, and why; the last at the end
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard block history                      of everybody, the last 100
  sudo scanguard block history 203.0.113.66         of this one
  sudo scanguard block history --since 7d --json")]
struct History {
    /// An address or a prefix, as in `block list`
    #[arg(value_name = "ADDR|CIDR")]
    address: Option<String>,
    /// Only of this time: a length such as 2h or 7d, until now, or a moment such as 2026-11-27T12:00:00Z
    #[arg(long, value_name = "DURATION|TIME")]
    since: Option<Since>,
    /// How many, 1 to 10000
    #[arg(long, value_name = "N", default_value_t = HistoryQuery::default().limit)]
    limit: u32,
}

impl Block {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::Add(add) => add.execute(global, output),
            Verb::Remove(remove) => remove.execute(global, output),
            Verb::List(List { addresses }) => {
                let addresses = Addresses::parse(&addresses)?;
                let mut list = operate(global, Nothing::<BlockList>::default())?;
                list.entries.retain(|entry| addresses.mean(&entry.source));
                output.show(&list, render::blocks)?;
                Ok(ExitStatus::Done)
            }
            Verb::History(history) => history.execute(global, output),
        }
    }
}

impl History {
    fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Self { address, since, limit } = self;
        let query = HistoryQuery { address, since: since.map(Since::shown), limit };
        let (prefix, since, limit) = records::history_wanted(&query).or_exit(ExitStatus::Usage)?;
        let history = Backend::new(global)?.kept(
            async |client| client.history(&query).await,
            |store, _| records::history(Some(store), &Journal::default(), prefix.as_deref(), since, limit),
        )?;
        output.show(&history, render::block_history)?;
        Ok(ExitStatus::Done)
    }
}

impl Add {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Self { prefixes, length, reason, scope, hard, force } = self;
        // A slip in the last one is found before the first one is blocked.
        for text in &prefixes {
            prefix::parse(text).or_exit(ExitStatus::Usage)?;
        }
        let scope = match scope {
            Scope::All => "all",
            Scope::Private => "private",
        };
        let logged_in_from = caller_logins();
        let mut backend = Backend::new(global)?;
        for prefix in prefixes {
            let wish = BlockAdd {
                prefix,
                scope: scope.to_owned(),
                hard,
                for_s: length.as_secs(),
                reason: reason.clone(),
                force,
                logged_in_from: logged_in_from.clone(),
            };
            output.show(&backend.operate(wish)?, render::block_added)?;
        }
        Ok(ExitStatus::Done)
    }
}

impl Remove {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let answer = operate(global, BlockRemove { prefixes: self.prefixes })?;
        output.show(&answer, render::block_removed)?;
        Ok(if answer.removed.is_empty() { ExitStatus::Failed } else { ExitStatus::Done })
    }
}

/// Where the person who calls is logged in from, as far as processes tell.
pub(super) fn caller_logins() -> Vec<String> {
    logins::of_caller(std::process::id()).into_iter().map(|login| login.address.to_string()).collect()
}
