//! `scanguard allow export`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::list::write;
use crate::api::{AllowList, Nothing};
use crate::cli::Global;
use crate::cli::backend::operate;
use crate::cli::output::{Output, print, tell};
use crate::exit::{ExitStatus, Failure, OrExit as _};

/// Write the operator's entries as `allow import` reads them
///
/// A prefix a line with its comment; as JSON with --json, which keeps names and ends as well. In text an entry that ends is
/// written as a comment, because a line cannot say when. Entries of the configuration and leases are left out.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard allow export > allowed.txt
  sudo scanguard allow export --json allowed.json")]
pub(super) struct Export {
    /// The file to write; what it says now is lost [default: standard output]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Export {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let mut list = operate(global, Nothing::<AllowList>::default())?;
        list.entries.retain(|entry| entry.source == "operator");
        let text = if output.is_json() {
            serde_json::to_string_pretty(&list).or_exit(ExitStatus::Failed)? + "\n"
        } else {
            write(&list.entries)
        };
        match self.file {
            Some(file) => {
                fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
                tell(&format!("{} entries in {}", list.entries.len(), file.display()));
            }
            None => print(text.as_bytes())?,
        }
        Ok(ExitStatus::Done)
    }
}
