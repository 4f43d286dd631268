//! `scanguard lockdown`.

use clap::{Args, Subcommand};

use super::backend::operate;
use super::block::caller_logins;
use super::output::Output;
use super::span::Span;
use super::{Global, render};
use crate::api::{LockdownOff, LockdownOn, LockdownState, Nothing};
use crate::config::PortRange;
use crate::exit::{ExitStatus, Failure};

/// Have restricted ports answer only a few for a while
///
/// While a lockdown is in force, its ports answer nobody but whom the allowlist covers (entries of yours and of the configuration, and the
/// leases of who is logged in), over IPv4 and IPv6, TCP and UDP, in both modes. Connections that exist go on. It ends by itself: the kernel part
/// keeps to that, whatever becomes of the daemon and of this terminal. Nothing is held against those who are shut out that would not be otherwise.
#[derive(Args, Debug)]
pub(super) struct LockdownVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    On(On),
    Off(Off),
    Status(StatusOf),
}

/// Begin a lockdown, in place of one that is in force
///
/// In force in the kernel when it returns. It says who still gets in, and who of the last month does not. One that would shut out whoever asks, or
/// somebody else who is logged in, is refused (exit code 4) unless --force is given; a dry run that says so has exit code 4, too.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard lockdown on --for 2h --dry-run         who would be shut out
  sudo scanguard lockdown on --for 2h                   all restricted ports
  sudo scanguard lockdown on --for 2h --keep-known      and let known sources in
  sudo scanguard lockdown on --for 30m --port 22 --port 51820/udp
  sudo scanguard allow add 203.0.113.7 --for 1d         let this one in")]
struct On {
    /// How long, such as 30m or 2h; at most 7d
    #[arg(long = "for", visible_aliases = ["duration", "timeout"], value_name = "DURATION")]
    length: Span,
    /// Close these ports only, such as 22, 8000-8100 or 53/udp; public ones may be among them [default: all that are restricted]
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',')]
    ports: Vec<PortRange>,
    /// Let known sources in as well (`scanguard known list`)
    #[arg(long)]
    keep_known: bool,
    /// Say what it would do, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Begin it though somebody who is logged in is shut out
    #[arg(long)]
    force: bool,
}

/// End the lockdown
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard lockdown off")]
struct Off {}

/// Show whether a lockdown is in force, until when, whom it lets in and whom it shuts out
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard lockdown status
  sudo scanguard lockdown status --json | jq -r '.shut_out[].source'")]
struct StatusOf {}

impl LockdownVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::On(On { length, ports, keep_known, dry_run, force }) => {
                let wish = LockdownOn {
                    for_s: length.as_secs(),
                    ports: ports.iter().map(ToString::to_string).collect(),
                    keep_known,
                    dry_run,
                    force,
                    logged_in_from: caller_logins(),
                };
                let state = operate(global, wish)?;
                output.show(&state, render::lockdown)?;
                let is_refused = state.refused.is_some() && !force;
                Ok(if is_refused { ExitStatus::Refused } else { ExitStatus::Done })
            }
            Verb::Off(Off {}) => {
                output.show(&operate(global, LockdownOff {})?, render::lockdown_off)?;
                Ok(ExitStatus::Done)
            }
            Verb::Status(StatusOf {}) => {
                output.show(&operate(global, Nothing::<LockdownState>::default())?, render::lockdown)?;
                Ok(ExitStatus::Done)
            }
        }
    }
}
