//! `scanguard logins`.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use nix::unistd::Group;

use super::output::{Output, tell};
use super::render;
use crate::api::LoginList;
use crate::control::socket::claim_blocking;
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::logins::{self, Watcher};

/// Show who is logged in from elsewhere
///
/// By utmp and by the connections of sshd: what the daemon puts on the allowlist meanwhile (`leases` of [safety]). Seeing connections of others
/// takes root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  sudo scanguard logins
  sudo scanguard logins --json | jq -r '.logins[].address'
  sudo scanguard logins serve --listen /run/scanguard-logins.sock   for a daemon that may not look itself")]
pub(super) struct Logins {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(Serve),
}

/// Tell a daemon without rights who is logged in
///
/// Each connection to the socket gets who is logged in at that moment, in records of 64 bytes, and nothing is read from it. The daemon asks
/// there if `logins` of [safety] names the socket. So the process that meets packets from everywhere needs none of the rights this takes,
/// which are nearly root. The package's units do it: scanguard-logins.socket and scanguard-logins.service.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard logins serve --listen /run/scanguard-logins.sock
  systemctl start scanguard-logins.socket        starts it when the daemon first asks")]
struct Serve {
    /// Make the socket [default: standard input is the socket, as systemd gives it with StandardInput=socket]
    #[arg(long, value_name = "PATH")]
    listen: Option<PathBuf>,
    /// The group that may connect to it, the daemon's [default: that of this process]
    #[arg(long, value_name = "GROUP", requires = "listen")]
    group: Option<String>,
}

impl Logins {
    pub(super) fn execute(self, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            None => {
                let seen = Watcher::Here.look();
                if let Some(reason) = &seen.unseen {
                    tell(&format!("connections of sshd are not seen: {reason}"));
                }
                output.show(&LoginList::of(&seen), render::logins)?;
                Ok(if seen.unseen.is_none() { ExitStatus::Done } else { ExitStatus::CannotRun })
            }
            Some(Verb::Serve(Serve { listen, group })) => {
                if let Some(reason) = Watcher::Here.look().unseen {
                    let complaint = format!("connections of sshd cannot be seen: {reason}");
                    return Err(Failure::message(ExitStatus::CannotRun, complaint));
                }
                let (listener, _file) = match listen {
                    Some(path) => {
                        let group = group.as_deref().map(group_named).transpose()?;
                        let (listener, file) = claim_blocking(&path, group).or_exit(ExitStatus::Failed)?;
                        (listener, Some(file))
                    }
                    None => (inherited()?, None),
                };
                logins::serve(&listener, || Watcher::Here.look()).context("the socket takes no more connections")?;
                Ok(ExitStatus::Done)
            }
        }
    }
}

fn group_named(name: &str) -> Result<u32, Failure> {
    let found = Group::from_name(name).with_context(|| format!("cannot look up the group {name:?}"))?;
    let missing = || Failure::message(ExitStatus::Usage, format!("there is no group {name:?}"));
    Ok(found.ok_or_else(missing)?.gid.as_raw())
}

/// The socket that was handed over as standard input.
fn inherited() -> anyhow::Result<UnixListener> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned().context("standard input cannot be used")?;
    let listener = UnixListener::from(descriptor);
    listener.local_addr().context("standard input is no socket: name one with --listen")?;
    Ok(listener)
}
