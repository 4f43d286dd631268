//! `scanguard completions`.

use clap::Args;
use clap_complete::Shell;

use super::command;
use super::output::print;
use crate::exit::{ExitStatus, Failure};

/// Print a completion script for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  scanguard completions bash | sudo tee /usr/share/bash-completion/completions/scanguard
  scanguard completions fish > ~/.config/fish/completions/scanguard.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<ExitStatus, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "scanguard", &mut script);
        print(&script)?;
        Ok(ExitStatus::Done)
    }
}
