//! `scanguard known`.

use clap::{Args, Subcommand};

use super::backend::operate;
use super::output::Output;
use super::span::Span;
use super::{Global, render};
use crate::api::{KnownAdd, KnownQuery, KnownRemove};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;

/// Say who is known: to whom restricted ports stay open, whatever is forged in their names
///
/// A source is known by a login that was seen from there (utmp, and sshd's processes), or by sessions on restricted ports on two days or more
/// that went on for longer than the service waits for a login, with nothing failing near them; both for 90 days. Or because you say so here:
/// programs whose sessions are short, as of an application to its database or of a backup, become known by nothing else. `status` proposes
/// those seen on seven days.
///
/// A known source is judged like any other, and its public ports are blocked like any other's; only restricted ports stay open to it. What is
/// never to be acted on at all goes on the allowlist (`scanguard allow add`).
#[derive(Args, Debug)]
pub(super) struct Known {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Add(Add),
    Remove(Remove),
}

/// List who is known, by what and until when, and clients that may be worth adding
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard known list
  sudo scanguard known list --json | jq -r '.proposed[].source'")]
struct List {
    /// How many at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = KnownQuery::default().limit)]
    limit: u64,
}

/// Have sources known from now on
///
/// In force in the kernel when it returns. What is there already gets the new comment and end. A source is an IPv4 address or an IPv6 /64.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard known add 203.0.113.20 --comment 'the shop, to its database'
  sudo scanguard known add 203.0.113.21 2001:db8:1:2::7 --for 30d")]
struct Add {
    /// Addresses of sources, or their prefixes
    #[arg(required = true, value_name = "ADDR")]
    addresses: Vec<String>,
    /// How long, such as 90s, 10m, 2h or 7d [default: until it is removed]
    #[arg(long = "for", visible_aliases = ["duration", "timeout"], value_name = "DURATION")]
    length: Option<Span>,
    /// Why, one line
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

/// Forget why sources are known
///
/// Whatever it is: what `known add` said, logins and sessions. Who is logged in then is known again when that is seen the next time. What was
/// not known is told; exit code 1 if nothing was.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard known remove 203.0.113.20")]
struct Remove {
    /// Addresses of sources, or their prefixes
    #[arg(required = true, value_name = "ADDR")]
    addresses: Vec<String>,
}

impl Known {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::List(List { limit }) => {
                output.show(&operate(global, KnownQuery { limit })?, render::known)?;
                Ok(ExitStatus::Done)
            }
            Verb::Add(Add { addresses, length, comment }) => {
                check(&addresses)?;
                let answer = operate(global, KnownAdd { addresses, for_s: length.map(Span::as_secs), comment })?;
                output.show(&answer, render::known_added)?;
                Ok(ExitStatus::Done)
            }
            Verb::Remove(Remove { addresses }) => {
                check(&addresses)?;
                let answer = operate(global, KnownRemove { addresses })?;
                output.show(&answer, render::known_removed)?;
                Ok(if answer.removed.is_empty() { ExitStatus::Failed } else { ExitStatus::Done })
            }
        }
    }
}

fn check(addresses: &[String]) -> Result<(), Failure> {
    for address in addresses {
        prefix::parse(address).or_exit(ExitStatus::Usage)?;
    }
    Ok(())
}
