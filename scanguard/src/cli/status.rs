//! `scanguard status`.

use clap::Args;

use super::backend::Backend;
use super::output::Output;
use super::{Global, render};
use crate::exit::{ExitStatus, Failure};

/// Show how the daemon is and what it did
///
/// Exits with 5 when something keeps scanguard from doing its work, such as an interface it is no longer attached to, or that no
/// daemon runs and the kernel part goes on alone (`run --keep`), and when what it decides is not kept (degraded); with 3 when there is
/// neither a daemon nor such a kernel part.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard status
  sudo scanguard status --json | jq '.warnings[].message'
  sudo scanguard status > /dev/null || mail -s 'scanguard needs a look' root < /dev/null")]
pub(super) struct StatusVerb {}

impl StatusVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let status = Backend::new(global)?.status()?;
        output.show(&status, render::status)?;
        Ok(if status.healthy && !status.degraded { ExitStatus::Done } else { ExitStatus::Unhealthy })
    }
}
