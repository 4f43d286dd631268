//! `scanguard man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::command;
use super::output::Output;
use crate::api::SCHEMA_VERSION;
use crate::exit::{ExitStatus, Failure};

/// The date of pages without one of their own: that of the latest release.
const CHANGELOG: &str = include_str!("../../../CHANGELOG.md");

/// What each exit code means, as `exit` has them.
const EXIT_CODES: [(&str, &str); 8] = [
    ("0", "It is done."),
    ("1", "It failed; the message says why."),
    ("2", "The arguments or the configuration are wrong."),
    ("3", "The daemon cannot be reached."),
    ("4", "A safety rule forbids it, and the message says how to override it; or whoever asks may not."),
    ("5", "Something should be seen to (`status`, `doctor`)."),
    ("6", "The input was cut short or broken (`replay`)."),
    ("77", "It cannot run here: a right or a kernel feature is missing, or another XDP program has the interface."),
];

/// Files, unless the configuration names others.
const FILES: [(&str, &str); 4] = [
    (
        "/etc/scanguard/scanguard.toml",
        "The configuration. `scanguard config default` writes one with every key explained.",
    ),
    ("/run/scanguard/control.sock", "The control socket of the daemon."),
    ("/var/lib/scanguard/state.db", "What outlives the daemon: allowlist, blocks, who is known, incidents, the audit."),
    ("/sys/fs/bpf/scanguard", "Maps and links in the kernel that outlive the daemon (`run --keep`)."),
];

/// Write the man pages into a folder
///
/// Their date is that of SOURCE_DATE_EPOCH, if that is set, or of the latest release.
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
        let mut root = command().disable_help_subcommand(true);
        root.build();
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
        let pages = write(&root, None, &date(epoch, CHANGELOG), &folder).with_context(complaint)?;
        let written = Written { schema_version: SCHEMA_VERSION, folder, pages };
        output.show(&written, |Written { folder, pages, .. }, _| format!("{pages} pages in {}\n", folder.display()))?;
        Ok(ExitStatus::Done)
    }
}

/// The date of pages: that many seconds after 1970, or that of the latest release that a changelog has; nothing before the first.
fn date(epoch: Option<u64>, changelog: &str) -> String {
    if let Some(epoch) = epoch {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch.min(253_402_300_799));
        return humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect();
    }
    let headings = changelog.lines().filter(|line| line.starts_with("## ["));
    let dates = headings.filter_map(|line| line.rsplit_once(" - ")).map(|(_, date)| date.trim());
    let is_date = |date: &&str| humantime::parse_rfc3339(&format!("{date}T00:00:00Z")).is_ok();
    dates.into_iter().find(is_date).unwrap_or_default().to_owned()
}

/// Writes the page of a command and those of its verbs; returns how many.
fn write(command: &clap::Command, parent: Option<&str>, date: &str, folder: &Path) -> io::Result<usize> {
    let name = name_of(command);
    fs::write(folder.join(format!("{name}.1")), page(command, parent, date)?)?;
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.map(|verb| write(verb, Some(&name), date, folder)).try_fold(1, |sum, pages| Ok(sum + pages?))
}

fn name_of(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// A page, as roff has it (man(7)).
fn page(command: &clap::Command, parent: Option<&str>, date: &str) -> io::Result<Vec<u8>> {
    let version = env!("CARGO_PKG_VERSION");
    let man = clap_mangen::Man::new(command.clone());
    let man = man.date(date).source(format!("scanguard {version}")).manual("scanguard");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = String::new();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    for paragraph in help.split("\n\n").filter(|paragraph| !paragraph.starts_with("Exit codes:")) {
        match paragraph.split_once(":\n").filter(|(_, text)| text.starts_with("  ")) {
            Some((heading, text)) => rest.push_str(&verbatim(heading, text)),
            None => rest.push_str(&format!(".PP\n{}\n", escaped(paragraph))),
        }
    }
    rest.push_str(".SH \"EXIT STATUS\"\n");
    rest.push_str(&definitions(&EXIT_CODES));
    rest.push_str(".SH FILES\n");
    rest.push_str(&definitions(&FILES));
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).map(name_of);
    let more = parent.map(str::to_owned).into_iter().chain(verbs);
    let others = ["bpftool(8)", "nft(8)"].map(str::to_owned);
    let pages: Vec<String> = more.map(|page| format!("{page}(1)")).chain(others).collect();
    let pages: Vec<String> = pages.iter().map(|page| reference(page)).collect();
    rest.push_str(&format!(".SH \"SEE ALSO\"\n{}\n", pages.join(",\n")));
    page.extend_from_slice(rest.as_bytes());
    Ok(page)
}

/// A page that is referred to: its name is bold.
fn reference(page: &str) -> String {
    let (name, section) = page.split_once('(').unwrap_or((page, ""));
    format!("\\fB{}\\fR({section}", escaped(name))
}

/// Lines as they are, which nothing wraps anew.
fn verbatim(heading: &str, text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| escaped(line.strip_prefix("  ").unwrap_or(line))).collect();
    format!(".SH \"{}\"\n.nf\n{}\n.fi\n", escaped(&heading.to_uppercase()), lines.join("\n"))
}

fn definitions(rows: &[(&str, &str)]) -> String {
    rows.iter().map(|(term, text)| format!(".TP\n\\fB{}\\fR\n{}\n", escaped(term), escaped(text))).collect()
}

/// Text in which roff sees nothing but text: no macros, no escapes, and hyphens that can be copied.
fn escaped(text: &str) -> String {
    let escape = |line: &str| {
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq")
            .replace('`', "\\(ga")
            .replace('…', "...");
        if line.starts_with('.') { format!("\\&{line}") } else { line }
    };
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn pages(date: &str) -> (tempfile::TempDir, usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut root = command().disable_help_subcommand(true);
        root.build();
        let count = write(&root, None, date, folder.path()).expect("pages");
        (folder, count)
    }

    #[test]
    fn the_date_is_the_one_of_the_build_or_of_the_latest_release() {
        let changelog = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-11-30\n\n## [0.1.0] - 2026-01-02\n";
        assert_eq!(date(Some(1_767_312_000), changelog), "2026-01-02");
        assert_eq!(date(None, changelog), "2026-11-30");
        assert_eq!(date(None, "## [Unreleased]\n"), "");
    }

    #[test]
    fn every_page_has_its_sections_in_order_and_is_the_same_each_time() {
        let (folder, count) = pages("2026-11-30");
        let (again, _) = pages("2026-11-30");
        assert!(count > 40, "{count} pages");
        for page in fs::read_dir(folder.path()).expect("pages").flatten() {
            let text = fs::read_to_string(page.path()).expect("a page");
            assert_eq!(fs::read_to_string(again.path().join(page.file_name())).expect("a page"), text);
            let title = text.lines().find(|line| line.starts_with(".TH")).unwrap_or_default();
            assert!(title.contains("2026-11-30") && title.contains("scanguard 0.1.0"), "{:?}: {title}", page.path());
            let places: Vec<Option<usize>> =
                ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "FILES", "\"SEE ALSO\""]
                    .map(|section| text.find(&format!("\n.SH {section}\n")))
                    .into();
            assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{:?}: {places:?}", page.path());
            assert!(!text.contains(".SH EXTRA"), "{:?}", page.path());
        }
        let list = fs::read_to_string(folder.path().join("scanguard-sources-list.1")).expect("a page");
        assert!(list.contains(".SH \"EXAMPLES\"\n.nf\nsudo scanguard sources list  "), "{list}");
        assert!(list.contains("\\fBscanguard\\-sources\\fR(1)"), "{list}");
    }

    /// groff takes every page without a warning, where it is there.
    #[test]
    fn groff_has_nothing_to_say() {
        let (folder, _) = pages("2026-11-30");
        for page in fs::read_dir(folder.path()).expect("pages").flatten() {
            let Ok(output) = Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(page.path()).output()
            else {
                return;
            };
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{:?}: {}",
                page.path(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    #[test]
    fn text_is_text_to_roff() {
        assert_eq!(escaped(".x --for 'a\\b'\nnext"), "\\&.x \\-\\-for \\(aqa\\eb\\(aq\nnext");
    }
}
