//! `scanguard run`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::ArgValueCandidates;

use super::output::color_wanted;
use super::{Global, candidates};
use crate::daemon;
use crate::exit::{ExitStatus, Failure};

/// Guard interfaces until stopped: the daemon
///
/// Loads the kernel part, attaches it to the interfaces, and answers the other verbs and Prometheus until SIGINT or
/// SIGTERM. Then it detaches; nothing stays behind, unless --keep says so. SIGHUP reads the configuration anew. It logs to
/// standard error; as JSON with --json.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard run -i eth0 -i eth1
  sudo scanguard run -i auto --config ./scanguard.toml

It needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, and tells what is missing (exit code 77).")]
pub(super) struct Run {
    /// Interface to guard, several times for several; `auto` for each with a default route [default: `interfaces` of the
    /// configuration]
    #[arg(short, long = "interface", value_name = "IF|auto", add = ArgValueCandidates::new(candidates::interfaces))]
    interfaces: Vec<String>,
    /// Configuration file [default: /etc/scanguard/scanguard.toml, which need not exist]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Leave the kernel part at work when the daemon ends, also by a crash: what is concealed or blocked stays so until its time is over. A new
    /// daemon takes over; `scanguard detach` ends it
    #[arg(long)]
    keep: bool,
}

impl Run {
    pub(super) fn execute(self, global: &Global) -> Result<ExitStatus, Failure> {
        let Self { interfaces, config, keep } = self;
        let socket = global.socket.clone();
        // Whether standard error is a terminal is for the log to find out.
        let color = color_wanted(global.no_color, true);
        daemon::run(daemon::Options { interfaces, config, socket, keep, color, json: global.json })
    }
}
