//! `scanguard replay`.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ipnetwork::IpNetwork;
use scanguard_common::reason::Mode;

use super::output::{Output, tell};
use super::{Global, render};
use crate::config::Config;
use crate::config::file::{Loaded, load};
use crate::config::ports::{PortList, PortRange};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::feeds::Feeds;
use crate::printable;
use crate::replay::labels::Labels;
use crate::replay::report::Report;
use crate::replay::{Kernel, Options, differences, page, replay};

/// Show what it would have done to the traffic of a capture
///
/// Runs the kernel part's own code and the daemon's policy over pcap or pcapng files, on their clock, without root and without a kernel.
/// Files may be compressed (gzip, zstd); `-` is standard input. Each file is judged by itself. Ports are open that the capture shows
/// answering; an attempt is a failure when the capture shows a RST, an ICMP error, or four seconds of silence.
///
/// Exit code 6 says that a file was truncated or broken and read as far as it goes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  scanguard replay traffic.pcap                             everybody in it, towards everybody
  scanguard replay --protect 203.0.113.0/24 traffic.pcapng  as a filter in front of this network would see it
  tcpdump -w - -c 100000 | scanguard replay -               what passes now
  scanguard replay traffic.pcap --report report.html        a page to look at and to hand on
  scanguard replay traffic.pcap --compare old.toml new.toml what a new configuration would change
  sudo scanguard replay --kernel traffic.pcap               the real XDP program beside it, packet by packet")]
pub(super) struct ReplayVerb {
    /// Captures; with --labels and none, all that the labels name
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What is guarded: packets towards it are judged, packets from it tell which ports are open [default: everything]
    #[arg(long, value_name = "CIDR")]
    protect: Vec<IpNetwork>,
    /// Ports that are public: 80, 8000-8100, 53/udp
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    public: Vec<PortRange>,
    /// Ports that are open but not for customers
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    restricted: Vec<PortRange>,
    /// Ports that nobody legitimate ever asks for
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    canary: Vec<PortRange>,
    /// The configuration to replay with [default: the defaults]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The mode, whatever the configuration says
    #[arg(long, value_enum)]
    mode: Option<ReplayMode>,
    /// Score against known scanners: a TOML file with [[capture]] sections
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Show every event of the kernel part too
    #[arg(long)]
    events: bool,
    /// Write a page to look at
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Drive the real programs beside it and stop at the first difference; needs root
    #[arg(long)]
    kernel: bool,
    /// Show which decisions differ between two configurations
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"], conflicts_with_all = ["config", "labels", "report", "kernel", "events"])]
    compare: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ReplayMode {
    Observe,
    Enforce,
}

impl ReplayVerb {
    pub(super) fn execute(self, _global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let labels = self.labels.as_deref().map(Labels::read).transpose().or_exit(ExitStatus::Usage)?;
        let files = match &labels {
            Some(labels) if self.files.is_empty() => {
                labels.captures.iter().map(|label| labels.folder.join(&label.file)).collect()
            }
            _ => self.files.clone(),
        };
        if files.is_empty() {
            return Err(Failure::message(ExitStatus::Usage, "name a capture to replay, or `-` for standard input"));
        }
        if let [old, new] = self.compare.as_slice() {
            return self.compare(&files, old, new, output);
        }
        let options = self.options(self.config.as_deref())?;
        let mut kernel = if self.kernel { Some(Kernel::load().map_err(failure)?) } else { None };
        let mut report = Report::new(&options, labels.is_some());
        for file in &files {
            let label = labels.as_ref().and_then(|labels| labels.of(file));
            if labels.is_some() && label.is_none() {
                tell(&format!("{} has no label: it is not scored", file.display()));
            }
            let mut options = options.clone();
            if let Some(label) = label
                && options.protect.is_empty()
            {
                options.protect.clone_from(&label.protected);
            }
            let bar = progress(file);
            let told = bar.clone();
            let replayed =
                replay(file, &options, kernel.as_mut(), move |read| told.set_position(read)).map_err(failure)?;
            bar.finish_and_clear();
            report.add(file, &replayed, label);
        }
        if let Some(path) = &self.report {
            fs::write(path, page::page(&report))
                .with_context(|| format!("cannot write {}", path.display()))
                .or_exit(ExitStatus::Failed)?;
        }
        output.show(&report, render::replayed)?;
        let is_partial = report.captures.iter().any(|capture| capture.partial.is_some());
        Ok(if is_partial { ExitStatus::PartialInput } else { ExitStatus::Done })
    }

    fn compare(&self, files: &[PathBuf], old: &Path, new: &Path, output: Output) -> Result<ExitStatus, Failure> {
        let (before, after) = (self.options(Some(old))?, self.options(Some(new))?);
        let mut found = differences::Differences::new(old, new);
        let mut is_partial = false;
        for file in files {
            if file.as_os_str() == "-" {
                return Err(Failure::message(ExitStatus::Usage, "standard input can be read only once: compare files"));
            }
            let one = replay(file, &before, None, |_| {}).map_err(failure)?;
            let other = replay(file, &after, None, |_| {}).map_err(failure)?;
            is_partial |= one.ending.broken.is_some();
            found.add(file, &one, &other);
        }
        output.show(&found, render::differences)?;
        Ok(if is_partial { ExitStatus::PartialInput } else { ExitStatus::Done })
    }

    fn options(&self, config: Option<&Path>) -> Result<Options, Failure> {
        let mut config = match config {
            Some(file) => {
                let Loaded { config, .. } = load(Some(file)).or_exit(ExitStatus::Usage)?;
                config
            }
            None => Config::default(),
        };
        if let Some(mode) = self.mode {
            config.mode = match mode {
                ReplayMode::Observe => Mode::Observe,
                ReplayMode::Enforce => Mode::Enforce,
            };
        }
        let lists = [&self.public, &self.restricted, &self.canary].map(|ranges| PortList(ranges.clone()));
        config.ports.name(lists).map_err(|reason| Failure::message(ExitStatus::Usage, reason))?;
        let protect = if self.protect.is_empty() { config.ports.protect.clone() } else { self.protect.clone() };
        let feeds = Feeds::read(&config.feeds, SystemTime::now()).or_exit(ExitStatus::Usage)?;
        Ok(Options { config, feeds, protect, events: self.events })
    }
}

/// What a person should do about it.
fn failure(error: anyhow::Error) -> Failure {
    use crate::kernel::KernelError;
    if error.downcast_ref::<KernelError>().is_some() {
        return Failure::new(
            ExitStatus::CannotRun,
            anyhow!("the kernel part cannot be loaded ({error}): --kernel needs root; without it none is needed"),
        );
    }
    error.into()
}

/// A bar on standard error while a file is read, where somebody looks.
fn progress(file: &Path) -> ProgressBar {
    let size = fs::metadata(file).map(|metadata| metadata.len()).unwrap_or(0);
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(size).with_message(printable::line(&file.display().to_string()).into_owned());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
