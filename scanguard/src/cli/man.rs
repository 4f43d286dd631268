//! `scanguard man`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::command;
use super::output::Output;
use crate::api::SCHEMA_VERSION;
use crate::exit::{ExitStatus, Failure};

/// Write the man pages into a folder
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard man /usr/local/share/man/man1
  scanguard man /tmp/man && man /tmp/man/scanguard.1")]
pub(super) struct Man {
    /// The folder; it is made if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Answer of `man --json`.
#[derive(Serialize)]
struct Written {
    schema_version: u32,
    folder: PathBuf,
    pages: usize,
}

impl Man {
    pub(super) fn execute(self, output: Output) -> Result<ExitStatus, Failure> {
        let Self { folder } = self;
        let complaint = || format!("cannot write man pages into {}", folder.display());
        fs::create_dir_all(&folder).with_context(complaint)?;
        clap_mangen::generate_to(command(), &folder).with_context(complaint)?;
        let pages = fs::read_dir(&folder).with_context(complaint)?.flatten();
        let pages = pages.filter(|page| page.file_name().to_string_lossy().starts_with("scanguard")).count();
        let written = Written { schema_version: SCHEMA_VERSION, folder, pages };
        output.show(&written, |Written { folder, pages, .. }, _| format!("{pages} pages in {}\n", folder.display()))?;
        Ok(ExitStatus::Done)
    }
}
