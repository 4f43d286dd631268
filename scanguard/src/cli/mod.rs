//! The command line: one definition makes arguments, help, man pages and completions. One file per verb.

mod completions;
mod config;
mod man;
mod output;
pub mod render;
mod run;
mod sources;
mod status;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{DEFAULT_SOCKET, file};
use crate::control::client::{AskError, Client};
use crate::exit::{ExitStatus, Failure};
use output::Output;

/// Counts who tries to connect to a server, at the kernel's edge.
///
/// scanguard counts connection attempts per source in the kernel (XDP), before the network stack sees them. `scanguard run` is
/// the daemon; the other verbs ask it.
#[derive(Debug, Parser)]
#[command(name = "scanguard", version, max_term_width = 100, arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const AFTER_HELP: &str = "\
Examples:
  sudo scanguard run -i eth0          guard eth0 until Ctrl-C; observe only
  sudo scanguard run -i auto          guard every interface with a default route
  sudo scanguard status               how it is, and what needs a look
  sudo scanguard sources list         who asks most, and for how many ports
  scanguard config default            a configuration file with every key explained

Exit codes:
  0 done   1 failed   2 usage or configuration   3 daemon not reachable   4 refused by a safety rule
  5 unhealthy (status)   6 partial input   77 cannot run here";

/// Options of every verb.
#[derive(Args, Clone, Debug)]
struct Global {
    /// Print JSON, for programs
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// Print without colours; so does NO_COLOR in the environment
    #[arg(long, global = true, help_heading = "Everywhere")]
    no_color: bool,
    /// The daemon's control socket [default: `socket` of the configuration, /run/scanguard/control.sock]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Everywhere")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Run),
    Status(status::StatusVerb),
    Sources(sources::Sources),
    Config(config::ConfigVerb),
    Completions(completions::Completions),
    Man(man::Man),
}

/// The program: reads the arguments, does what they say, tells what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { global, verb } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, but not to whoever asked for them.
            let _ = error.print();
            let asked_for = !error.use_stderr();
            return if asked_for { ExitStatus::Done } else { ExitStatus::Usage }.into();
        }
    };
    match execute(&global, verb) {
        Ok(status) => status.into(),
        Err(failure) if is_broken_pipe(&failure) => ExitStatus::Done.into(),
        Err(failure) => {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "scanguard: {failure}");
            failure.status.into()
        }
    }
}

fn execute(global: &Global, verb: Verb) -> Result<ExitStatus, Failure> {
    let output = Output::new(global.json, global.no_color);
    match verb {
        Verb::Run(verb) => verb.execute(global),
        Verb::Status(verb) => verb.execute(global, output),
        Verb::Sources(verb) => verb.execute(global, output),
        Verb::Config(verb) => verb.execute(output),
        Verb::Completions(verb) => verb.execute(),
        Verb::Man(verb) => verb.execute(output),
    }
}

/// Whether the reader of our output went away, as `head` does: no failure of ours.
fn is_broken_pipe(failure: &Failure) -> bool {
    let kind = failure.error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// Asks the daemon one question.
fn ask<T>(global: &Global, question: impl AsyncFnOnce(Client) -> Result<T, AskError>) -> Result<T, Failure> {
    let socket = global.socket.clone().unwrap_or_else(configured_socket);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(question(Client::new(&socket))).map_err(|error| {
        let status = match &error {
            AskError::NoDaemon { .. } | AskError::NotAllowed(_) | AskError::TooSlow(_) | AskError::Garbled { .. } => {
                ExitStatus::Unreachable
            }
            AskError::Refused(_) => ExitStatus::Failed,
        };
        Failure::new(status, error)
    })
}

/// The socket that the configuration names. A file that cannot be read or is wrong is the daemon's business, not that of
/// somebody who only asks.
fn configured_socket() -> PathBuf {
    file::load(None).map_or_else(|_| DEFAULT_SOCKET.into(), |loaded| loaded.config.control_socket)
}

/// The definition, for man pages and completions.
fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_teaches() {
        let mut command = command().term_width(100);
        command.build();
        let mut help = command.render_long_help().to_string();
        let verbs =
            [&["run"][..], &["status"], &["sources"], &["sources", "list"], &["config"], &["completions"], &["man"]];
        for path in verbs {
            let verb = path.iter().try_fold(&mut command, |command, verb| command.find_subcommand_mut(verb));
            let text = verb.expect("a verb").render_long_help();
            help.push_str(&format!("\n======== {}\n\n{text}", path.join(" ")));
        }
        insta::assert_snapshot!(help);
    }
}
