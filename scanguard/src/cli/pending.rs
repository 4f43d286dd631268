//! `scanguard pending`.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use super::backend::operate;
use super::block::caller_logins;
use super::output::Output;
use super::span::Until;
use super::{Global, render};
use crate::api::{Nothing, PendingApprove, PendingDeny, PendingList};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;

/// Decide on blocks that are not made without a person
///
/// A source that has proven to be a scanner, and no browser, could be blocked from public ports as well. Where the configuration does not
/// let it go so far by itself (`max_auto_level` of [block]), or where many people may be behind the address, it waits here; until then it is
/// blocked from private ports like any proven scanner. A customer, behind whose address somebody has proven to be a scanner, waits here and is
/// not blocked at all. What nobody answers ends by itself, in the source's favour.
#[derive(Args, Debug)]
pub(super) struct Pending {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Approve(Approve),
    Deny(Deny),
}

/// List what waits, with the reasons
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard pending list
  sudo scanguard pending list --json | jq '.entries[] | {source, doubt, people}'")]
struct List {}

/// Block a source that waits, from the ports that were asked for
///
/// In force in the kernel when it returns, in both modes, and an operator's block from then on: `scanguard block remove` lifts it. The
/// safety rules of `block add` hold (exit code 4).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard pending approve 203.0.113.66            for as long as the list says
  sudo scanguard pending approve 203.0.113.66 --for 2h")]
struct Approve {
    /// An address of the source, or its prefix
    #[arg(value_name = "ADDR", add = ArgValueCandidates::new(super::candidates::pending))]
    address: String,
    /// How long, such as 90s, 10m, 2h or 7d, or `forever` [default: what the list says]
    #[arg(long = "for", visible_aliases = ["duration", "timeout"], value_name = "DURATION|forever")]
    length: Option<Until>,
    /// Override the safety rules that a person may override
    #[arg(long)]
    force: bool,
}

/// Leave sources as they are, and do not ask again for 7 days
///
/// What did not wait is told; exit code 1 if nothing did.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard pending deny 203.0.113.66
  sudo scanguard allow add 203.0.113.66                  never act on it at all")]
struct Deny {
    /// Addresses of sources, or their prefixes
    #[arg(required = true, value_name = "ADDR", add = ArgValueCandidates::new(super::candidates::pending))]
    addresses: Vec<String>,
}

impl Pending {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::List(List {}) => {
                output.show(&operate(global, Nothing::<PendingList>::default())?, render::pending)?;
                Ok(ExitStatus::Done)
            }
            Verb::Approve(Approve { address, length, force }) => {
                prefix::parse(&address).or_exit(ExitStatus::Usage)?;
                let wish = PendingApprove {
                    address,
                    for_s: length.map(|length| length.as_secs().unwrap_or(u64::MAX)),
                    force,
                    logged_in_from: caller_logins(),
                };
                output.show(&operate(global, wish)?, render::approved)?;
                Ok(ExitStatus::Done)
            }
            Verb::Deny(Deny { addresses }) => {
                for address in &addresses {
                    prefix::parse(address).or_exit(ExitStatus::Usage)?;
                }
                let answer = operate(global, PendingDeny { addresses })?;
                output.show(&answer, render::denied)?;
                Ok(if answer.denied.is_empty() { ExitStatus::Failed } else { ExitStatus::Done })
            }
        }
    }
}
