//! `scanguard why`.

use clap::Args;
use clap_complete::ArgValueCandidates;

use super::backend::operate;
use super::output::Output;
use super::{Global, render};
use crate::api::{Address, Why};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;

/// Show what is done about an address, and why
///
/// The verdict, what comes next, the arithmetic behind it and the latest evidence with what each attempt added to the score: a screen.
/// --full shows all that is remembered, as --json always does. Without a daemon the kernel's own counts are shown; the evidence is in the daemon's memory.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard why 203.0.113.66
  sudo scanguard why 203.0.113.66 --full            all evidence, proof and answers
  sudo scanguard why 2001:db8:1:2::7                its source is asked for: the /64 it is in
  sudo scanguard why 203.0.113.66 --json | jq .verdict")]
pub(super) struct WhyVerb {
    /// An address, or the prefix of a source
    #[arg(value_name = "ADDR", add = ArgValueCandidates::new(super::candidates::sources))]
    address: String,
    /// Show all of it, not a screen
    #[arg(long)]
    full: bool,
}

impl WhyVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Self { address, full } = self;
        prefix::parse(&address).or_exit(ExitStatus::Usage)?;
        let why = operate(global, Address::<Why>::of(address))?;
        output.show(&why, if full { render::why_in_full } else { render::why })?;
        Ok(ExitStatus::Done)
    }
}
