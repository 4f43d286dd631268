//! `scanguard completions`.

use std::io;

use clap::{Args, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::env::Shells;

use super::command;
use super::output::print;
use crate::exit::{ExitStatus, Failure, OrExit as _};

/// The variable by which a shell asks for completions.
const ASKED_BY: &str = "SCANGUARD_COMPLETE";

/// Print a completion script for a shell
///
/// It completes verbs, options and values: interfaces, what is blocked or allowed, what waits, the numbers of incidents. For values
/// the shell asks the daemon, as the user that you are, and offers none where it cannot.
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    Power,
    Zsh,
}

impl Completions {
    pub(super) fn execute(self) -> Result<ExitStatus, Failure> {
        let name = match self.shell {
            Shell::Bash => "bash",
            Shell::Elvish => "elvish",
            Shell::Fish => "fish",
            Shell::Power => "powershell",
            Shell::Zsh => "zsh",
        };
        let shells = Shells::builtins();
        let no_shell = || io::Error::other(format!("there are no completions for {name}"));
        let shell = shells.completer(name).ok_or_else(no_shell).or_exit(ExitStatus::Failed)?;
        let mut script = Vec::new();
        shell
            .write_registration(ASKED_BY, "scanguard", "scanguard", "scanguard", &mut script)
            .or_exit(ExitStatus::Failed)?;
        print(&script)?;
        Ok(ExitStatus::Done)
    }
}

/// Answers a shell that asks for completions, and ends the program then.
pub(super) fn answer() {
    CompleteEnv::with_factory(command).var(ASKED_BY).bin("scanguard").complete();
}
