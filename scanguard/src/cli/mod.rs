//! The command line: one definition makes arguments, help, man pages and completions. One file per verb.

mod allow;
mod audit;
mod backend;
mod block;
mod candidates;
mod complaint;
mod completions;
mod config;
mod detach;
mod doctor;
mod feeds;
mod filter;
mod incidents;
mod known;
mod lockdown;
mod logins;
mod man;
mod mode;
mod output;
mod pending;
pub mod render;
mod replay;
mod run;
mod signal;
mod sources;
mod span;
mod status;
mod why;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::exit::{ExitStatus, Failure};
use output::{Output, UnsavedNotes};

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
  sudo scanguard doctor                       whether it can run here, and what should be seen to
  sudo scanguard run -i eth0                  guard eth0 until Ctrl-C; observe only
  sudo scanguard run -i auto --keep           guard whatever has a default route
  sudo scanguard status                       how it is, and what needs a look
  sudo scanguard sources list                 who asks most, and for how many ports
  sudo scanguard why 203.0.113.66             what is done about it, and on what evidence
  sudo scanguard allow add 198.51.100.0/24    never act on these
  sudo scanguard ban 203.0.113.66 --for 7d    block this one
  sudo scanguard known list                   to whom restricted ports stay open
  sudo scanguard signal 203.0.113.66 …        what a log tool saw it do
  sudo scanguard incidents list               scans as a person thinks of them
  sudo scanguard mode enforce --confirm 5m    drop packets; 5 minutes, unless confirmed
  sudo scanguard lockdown on --for 2h         restricted ports for the allowlist alone
  scanguard replay traffic.pcap               what it would have done to captured traffic
  scanguard config default                    a configuration file with every key explained

Exit codes:
  0 done   1 failed   2 usage or configuration   3 daemon not reachable
  4 refused by a safety rule, or to who may not ask
  5 unhealthy (status, doctor)   6 partial input   77 cannot run here";

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
    /// The configuration file: it names the socket, and without a daemon what one left [default:
    /// /etc/scanguard/scanguard.toml, which need not exist]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    #[arg(skip)]
    unsaved: UnsavedNotes,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Run),
    Status(status::StatusVerb),
    Doctor(doctor::DoctorVerb),
    Sources(sources::Sources),
    #[command(visible_alias = "explain")]
    Why(why::WhyVerb),
    Allow(allow::Allow),
    Block(block::Block),
    /// Block addresses or prefixes: the same as `block add`
    ///
    /// A block that would lock you or the host out is refused (exit code 4); `scanguard block add --help` says which those are.
    Ban(block::Add),
    /// Lift blocks: the same as `block remove`
    Unban(block::Remove),
    Known(known::Known),
    Logins(logins::Logins),
    Pending(pending::Pending),
    Signal(signal::SignalVerb),
    Feeds(feeds::Feeds),
    Incidents(incidents::Incidents),
    Audit(audit::Audit),
    Mode(mode::ModeVerb),
    Lockdown(lockdown::LockdownVerb),
    Confirm(mode::ConfirmVerb),
    Replay(replay::ReplayVerb),
    Config(config::ConfigVerb),
    Detach(detach::Detach),
    Completions(completions::Completions),
    Man(man::Man),
}

/// The program: reads the arguments, does what they say, tells what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    completions::answer();
    let Cli { global, verb } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            complaint::complain_of_arguments(&error, complaint::wants_json(std::env::args_os()));
            let asked_for = !error.use_stderr();
            return if asked_for { ExitStatus::Done } else { ExitStatus::Usage }.into();
        }
    };
    match execute(&global, verb) {
        Ok(status) => global.unsaved.exit_status(status).into(),
        Err(failure) if is_broken_pipe(&failure) => ExitStatus::Done.into(),
        Err(failure) => {
            complaint::complain(&failure, global.json);
            failure.status.into()
        }
    }
}

fn execute(global: &Global, verb: Verb) -> Result<ExitStatus, Failure> {
    let output = Output::new(global);
    match verb {
        Verb::Run(verb) => verb.execute(global),
        Verb::Status(verb) => verb.execute(global, output),
        Verb::Doctor(verb) => verb.execute(global, output),
        Verb::Sources(verb) => verb.execute(global, output),
        Verb::Why(verb) => verb.execute(global, output),
        Verb::Allow(verb) => verb.execute(global, output),
        Verb::Block(verb) => verb.execute(global, output),
        Verb::Ban(verb) => verb.execute(global, output),
        Verb::Unban(verb) => verb.execute(global, output),
        Verb::Known(verb) => verb.execute(global, output),
        Verb::Logins(verb) => verb.execute(output),
        Verb::Pending(verb) => verb.execute(global, output),
        Verb::Signal(verb) => verb.execute(global, output),
        Verb::Feeds(verb) => verb.execute(global, output),
        Verb::Incidents(verb) => verb.execute(global, output),
        Verb::Audit(verb) => verb.execute(global, output),
        Verb::Mode(verb) => verb.execute(global, output),
        Verb::Lockdown(verb) => verb.execute(global, output),
        Verb::Confirm(verb) => verb.execute(global, output),
        Verb::Replay(verb) => verb.execute(global, output),
        Verb::Config(verb) => verb.execute(global, output),
        Verb::Detach(verb) => verb.execute(global, output),
        Verb::Completions(verb) => verb.execute(),
        Verb::Man(verb) => verb.execute(output),
    }
}

/// Whether the reader of our output went away, as `head` does: no failure of ours.
fn is_broken_pipe(failure: &Failure) -> bool {
    let kind = failure.error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
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
        let verbs = "run, status, doctor, sources, sources list, why, allow, allow add, allow remove, allow list, allow test, \
                     allow import, allow export, block, block add, block remove, block list, block history, ban, unban, logins, \
                     logins serve, pending, \
                     pending list, pending approve, pending deny, signal, feeds, feeds list, feeds test, \
                     feeds refresh, incidents, incidents list, incidents show, audit, audit list, \
                     mode, lockdown, lockdown on, lockdown off, lockdown status, confirm, replay, \
                     config, config reload, detach, completions, man";
        for path in verbs.split(", ") {
            let path: Vec<&str> = path.split(' ').collect();
            let verb = path.iter().try_fold(&mut command, |command, verb| command.find_subcommand_mut(verb));
            let text = verb.expect("a verb").render_long_help();
            help.push_str(&format!("\n======== {}\n\n{text}", path.join(" ")));
        }
        insta::assert_snapshot!(help);
    }
}
