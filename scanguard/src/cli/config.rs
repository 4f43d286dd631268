//! `scanguard config`.

use std::path::{Path, PathBuf};
use std::slice;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::backend::Backend;
use super::output::{Output, print};
use super::{Global, render};
use crate::api::SCHEMA_VERSION;
use crate::config::document::{Comments, document};
use crate::config::file::{DEFAULT_FILE, LoadError, Loaded, load};
use crate::config::{Config, Problem};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::feeds::Feeds;

/// Check, show, write or reload the configuration
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  scanguard config default | sudo tee /etc/scanguard/scanguard.toml
  scanguard config check ./scanguard.toml
  scanguard config show --json
  sudo scanguard config reload")]
pub(super) struct ConfigVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Tell everything that is wrong with a file and with the feeds that it names; exit with 2 if anything is
    Check {
        /// The file [default: /etc/scanguard/scanguard.toml]
        file: Option<PathBuf>,
    },
    /// Show the configuration that `run` would use
    Show {
        /// The file [default: /etc/scanguard/scanguard.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print a file with the defaults and every key explained
    Default,
    /// Have the daemon read its file anew, and tell what changed
    ///
    /// All of it or nothing: of a file that is wrong every problem is told, nothing changes, and the exit code is 2. What takes a
    /// restart is marked. SIGHUP does the same.
    Reload,
}

impl ConfigVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::Check { file } => check(file.as_deref(), output),
            Verb::Show { config } => show(config.as_deref(), output),
            Verb::Default => {
                print(document(&Config::default(), Comments::With).as_bytes())?;
                Ok(ExitStatus::Done)
            }
            Verb::Reload => {
                let reloaded = Backend::new(global)?.ask(async |client| client.reload().await)?;
                output.show(&reloaded, render::reloaded)?;
                Ok(ExitStatus::Done)
            }
        }
    }
}

/// Answer of `config check --json`.
#[derive(Serialize)]
struct Checked {
    schema_version: u32,
    file: PathBuf,
    ok: bool,
    problems: Vec<Problem>,
    /// What is wrong with files of feeds.
    feed_problems: Vec<String>,
}

fn check(file: Option<&Path>, output: Output) -> Result<ExitStatus, Failure> {
    // Whoever asks to check a file wants it to be there, the default one too.
    let file = file.unwrap_or(Path::new(DEFAULT_FILE));
    let mut feed_problems = Vec::new();
    let (problems, text) = match load(Some(file)) {
        Ok(Loaded { config, .. }) => {
            let read = |feed| Feeds::read(slice::from_ref(feed), SystemTime::now()).err();
            feed_problems.extend(config.feeds.iter().filter_map(read).map(|error| error.to_string()));
            let told =
                if feed_problems.is_empty() { format!("{}: ok", file.display()) } else { feed_problems.join("\n") };
            (Vec::new(), told + "\n")
        }
        Err(error @ LoadError::Unreadable { .. }) => return Err(error).or_exit(ExitStatus::Usage),
        Err(error) => {
            let text = format!("{error}\n");
            let LoadError::Invalid { problems, .. } = error else { unreachable!("the other kind is handled above") };
            (problems, text)
        }
    };
    let ok = problems.is_empty() && feed_problems.is_empty();
    let checked = Checked { schema_version: SCHEMA_VERSION, file: file.to_owned(), ok, problems, feed_problems };
    output.show(&checked, |_, _| text)?;
    Ok(if ok { ExitStatus::Done } else { ExitStatus::Usage })
}

/// Answer of `config show --json`.
#[derive(Serialize)]
struct Shown {
    schema_version: u32,
    file: Option<PathBuf>,
    config: toml::Table,
}

fn show(file: Option<&Path>, output: Output) -> Result<ExitStatus, Failure> {
    let Loaded { config, file } = load(file).or_exit(ExitStatus::Usage)?;
    let text = document(&config, Comments::Without);
    // The same keys and values as in a file, whatever names the program has for them.
    let table = text.parse().or_exit(ExitStatus::Failed)?;
    let origin = match &file {
        Some(file) => format!("# {}, and the defaults for what it leaves out\n", file.display()),
        None => format!("# the defaults: there is no {DEFAULT_FILE}\n"),
    };
    let shown = Shown { schema_version: SCHEMA_VERSION, file, config: table };
    output.show(&shown, |_, _| origin + &text)?;
    Ok(ExitStatus::Done)
}
