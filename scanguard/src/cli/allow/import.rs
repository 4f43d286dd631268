//! `scanguard allow import`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::list::{Bad, parse};
use super::send;
use crate::api::NewAllow;
use crate::cli::output::Output;
use crate::cli::{Global, render};
use crate::exit::{ExitStatus, Failure, OrExit as _};

/// Longest list that is read: some millions of lines.
const MOST_BYTES: u64 = 256 * 1024 * 1024;

/// Add all prefixes of a file
///
/// One prefix a line; text after it is its comment. Empty lines and lines that begin with # are left out. JSON as `allow
/// export --json` and `allow list --json` write it is read, too: there ends are kept, and what is not the operator's own
/// (configuration, leases) is left out.
///
/// If anything is wrong every such line is told with its number, nothing is imported, and the exit code is 2.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard allow import partners.txt
  curl -fsS https://example.org/ranges.txt | sudo scanguard allow import -
  ssh old-host sudo scanguard allow export --json | sudo scanguard allow import -

A list:
  # monitoring
  198.51.100.0/24  the one in Vienna
  2001:db8:7::/48")]
pub(super) struct Import {
    /// The file; `-` for standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Add prefixes, too, that switch scanguard off, as in `allow add`
    #[arg(long)]
    force: bool,
}

impl Import {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let added = send::send(global, read(&self.file)?, self.force)?;
        output.show(&added, render::allow_added)?;
        Ok(ExitStatus::Done)
    }
}

/// Reads a file, or standard input.
pub(super) fn read(file: &Path) -> Result<Vec<NewAllow>, Failure> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let complaint = || format!("cannot read {name}");
    let bytes = if file == Path::new("-") { bounded(io::stdin().lock()) } else { File::open(file).and_then(bounded) };
    let bytes = bytes.with_context(complaint).or_exit(ExitStatus::Usage)?;
    parse(&bytes, SystemTime::now()).map_err(|bad| anyhow!("{}", describe(&name, &bad))).or_exit(ExitStatus::Usage)
}

fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it is longer than {} MiB", MOST_BYTES >> 20)));
    }
    Ok(bytes)
}

fn describe(name: &str, bad: &[Bad]) -> String {
    let count = bad.len();
    let mut text = format!("nothing was imported: {name} has {count} problem{}:", if count == 1 { "" } else { "s" });
    for Bad { place, reason } in bad {
        text.push_str(&format!("\n  {name}:{place}: {reason}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_file_is_told_line_by_line_and_exits_as_usage() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("list.txt");
        std::fs::write(&file, "192.0.2.7\nhost\n192.0.2.1/24\n").expect("a file");
        let failure = read(&file).expect_err("bad lines");
        let name = file.display();
        let text = failure.to_string();
        assert_eq!(failure.status, ExitStatus::Usage);
        assert!(text.starts_with(&format!("nothing was imported: {name} has 2 problems:\n  {name}:2: ")), "{text}");
        assert!(text.ends_with("did you mean 192.0.2.0/24?"), "{text}");
        let missing = read(&folder.path().join("none.txt")).expect_err("no file");
        assert_eq!(missing.status, ExitStatus::Usage);
    }
}
