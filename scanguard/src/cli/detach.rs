//! `scanguard detach`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::Global;
use super::output::Output;
use crate::api::SCHEMA_VERSION;
use crate::config::file;
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::kernel::KernelError;
use crate::kernel::pins;

/// Take away what a daemon run with --keep left in the kernel
///
/// Programs are detached, maps and pins go: nothing is filtered from then on. The allowlist, blocks and the mode are in the file of state and come back
/// with the next daemon. It is also the way out where pins of another version keep a daemon from starting.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard detach          asks first
  sudo scanguard detach --yes    for scripts")]
pub(super) struct Detach {
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Answer of `detach --json`.
#[derive(Serialize)]
struct Detached {
    schema_version: u32,
    pins: PathBuf,
    /// Whether something was there.
    detached: bool,
    /// Interfaces that were guarded.
    links: usize,
}

impl Detach {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let folder = file::load(global.config.as_deref()).or_exit(ExitStatus::Usage)?.config.pins;
        if folder.exists() && !self.yes && !confirmed()? {
            return Err(Failure::message(ExitStatus::Refused, "nothing was detached: --yes does it without asking"));
        }
        let links = match pins::detach(&folder) {
            Ok(links) => links,
            Err(error @ KernelError::PinsInUse { .. }) => return Err(error).or_exit(ExitStatus::Refused),
            Err(error) => return Err(error).or_exit(ExitStatus::Failed),
        };
        let answer = Detached {
            schema_version: SCHEMA_VERSION,
            pins: folder,
            detached: links.is_some(),
            links: links.unwrap_or(0),
        };
        output.show(&answer, |Detached { pins, detached, links, .. }, _| match (detached, links) {
            (false, _) => format!("nothing is pinned in {}\n", pins.display()),
            (true, 1) => "1 interface is no longer guarded; nothing is pinned any more\n".to_owned(),
            (true, count) => format!("{count} interfaces are no longer guarded; nothing is pinned any more\n"),
        })?;
        Ok(ExitStatus::Done)
    }
}

/// Asks, where there is somebody to ask.
fn confirmed() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    let mut error_stream = io::stderr();
    write!(error_stream, "Nothing is filtered any more after this. Detach? [y/N] ").context("cannot ask")?;
    error_stream.flush().context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
