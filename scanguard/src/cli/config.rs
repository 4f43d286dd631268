//! `scanguard config`.

use std::path::{Path, PathBuf};
use std::slice;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::backend::Backend;
use super::output::{Output, print};
use super::{Global, render};
use crate::api::{Change, SCHEMA_VERSION};
use crate::config::changes::changes;
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
  sudo scanguard config show --running        what the daemon runs with
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
    /// Show the configuration that `run` would use, or the one that the daemon runs with
    ///
    /// With --running the daemon is asked, and what the file says otherwise is marked: it was changed since the daemon read it,
    /// takes a restart, or an option of `run` overrides it.
    Show {
        /// The file [default: /etc/scanguard/scanguard.toml]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Ask the daemon
        #[arg(long)]
        running: bool,
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
            Verb::Show { config, running: false } => show(config.as_deref(), output),
            Verb::Show { config, running: true } => {
                let text = Backend::new(global)?.ask(async |client| client.running().await)?.text;
                show_running(&text, config.or_else(|| global.config.clone()).as_deref(), output)
            }
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

/// Answer of `config show --running --json`.
#[derive(Serialize)]
struct ShownRunning {
    schema_version: u32,
    /// The file that it is compared with; none where there is none, and the defaults are.
    file: Option<PathBuf>,
    config: toml::Table,
    /// What the file says otherwise: `old` is in force, `new` is what the file says.
    differs: Vec<Change>,
    /// What is wrong with the file, where it cannot be compared.
    unread: Option<String>,
}

/// Shows the settings in force, `text`, beside those of a file.
fn show_running(text: &str, file: Option<&Path>, output: Output) -> Result<ExitStatus, Failure> {
    let config = text.parse().or_exit(ExitStatus::Failed)?;
    let running = Config::parse(text.as_bytes()).map_err(|problems| {
        let first = problems.first().map(|problem| problem.reason.clone()).unwrap_or_default();
        Failure::message(
            ExitStatus::Failed,
            format!("the daemon's settings cannot be read, is it another version? {first}"),
        )
    })?;
    let (file, differs, unread) = match load(file) {
        Ok(Loaded { config, file }) => (file, changes(&running, &config), None),
        Err(error) => (file.map(Path::to_owned), Vec::new(), Some(error.to_string())),
    };
    let name = file.as_ref().map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    let told = match (&unread, differs.len()) {
        (Some(unread), _) => format!("# in force; it cannot be compared: {}\n", unread.replace('\n', "\n# ")),
        (None, 0) => format!("# in force, as {name} says\n"),
        (None, 1) => format!("# in force; {name} says otherwise of 1 key\n"),
        (None, keys) => format!("# in force; {name} says otherwise of {keys} keys\n"),
    };
    let marked = told + &marked(text, &differs);
    let shown = ShownRunning { schema_version: SCHEMA_VERSION, file, config, differs, unread };
    output.show(&shown, |_, _| marked)?;
    Ok(ExitStatus::Done)
}

/// The text of a configuration, with what the file says of each key of which it says something else.
fn marked(text: &str, differs: &[Change]) -> String {
    let (mut section, mut marked) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(name) =
            line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).filter(|_| !line.starts_with("[["))
        {
            section = format!("{name}.");
        }
        let key = line.split_once(" = ").map(|(key, _)| format!("{section}{key}"));
        if let Some(change) = differs.iter().find(|change| key.as_deref() == Some(change.key.as_str())) {
            let after = if change.applied { "`config reload`" } else { "a restart" };
            marked.push_str(&format!("# the file says {}, in force after {after}:\n", change.new.replace('\n', " ")));
        }
        marked.push_str(line);
        marked.push('\n');
    }
    marked
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_otherwise_is_marked_at_its_key() {
        let running = Config::default();
        let mut file =
            Config { mode: scanguard_common::reason::Mode::Enforce, events_ring_kib: 2048, ..Config::default() };
        file.blocks.most = 7;
        let differs = changes(&running, &file);
        let text = marked(&document(&running, Comments::Without), &differs);
        for mark in [
            "# the file says \"enforce\", in force after `config reload`:\nmode = \"observe\"\n",
            "# the file says 7, in force after `config reload`:\nmost = 1000\n",
            "# the file says 2048, in force after a restart:\nring_kib = 1024\n",
        ] {
            assert!(text.contains(mark), "{mark}\n{text}");
        }
        assert_eq!(text.matches("the file says").count(), 3, "{text}");
        let read = Config::parse(marked(&text, &[]).as_bytes()).expect("a configuration: marks are comments");
        assert_eq!(read, running);
    }
}
