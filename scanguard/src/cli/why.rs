//! `scanguard why`.

use clap::Args;

use super::backend::operate;
use super::output::Output;
use super::{Global, render};
use crate::api::{Address, Why};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;

/// Show what is done about an address, and why
///
/// The verdict, the evidence with what each attempt added to the score, the arithmetic behind it, whether the allowlist covers it,
/// and what comes next. Without a daemon the kernel's own counts are shown; the evidence is in the daemon's memory.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard why 203.0.113.66
  sudo scanguard why 2001:db8:1:2::7                its source is asked for: the /64 it is in
  sudo scanguard why 203.0.113.66 --json | jq .verdict")]
pub(super) struct WhyVerb {
    /// An address, or the prefix of a source
    #[arg(value_name = "ADDR")]
    address: String,
}

impl WhyVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        prefix::parse(&self.address).or_exit(ExitStatus::Usage)?;
        let why = operate(global, Address::<Why>::of(self.address))?;
        output.show(&why, render::why)?;
        Ok(ExitStatus::Done)
    }
}
