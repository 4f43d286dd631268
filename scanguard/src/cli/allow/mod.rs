//! `scanguard allow`.

mod export;
mod import;
mod list;
mod send;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use super::backend::operate;
use super::output::Output;
use super::span::Span;
use super::{Global, candidates, render};
use crate::api::{Address, AllowList, AllowRemove, AllowTest, NewAllow, Nothing};
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;

/// Keep the allowlist: who is never acted on
///
/// What is on the allowlist is never dropped, concealed or blocked, on any path. Entries come from here, from `allow` in the
/// configuration, and from leases: while somebody is logged in from an address, it is on the list.
#[derive(Args, Debug)]
pub(super) struct Allow {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Add(Add),
    Remove(Remove),
    List(List),
    Test(Test),
    Import(import::Import),
    Export(export::Export),
}

/// Add addresses or prefixes
///
/// In force in the kernel when it returns; blocks on and suspicion of what it covers are lifted by then. What is there already
/// gets the new comment and end.
///
/// A prefix shorter than /8 (IPv4) or /16 (IPv6) covers so much that scanguard is as good as switched off: it is asked about on a
/// terminal, and refused elsewhere (exit code 4) without --force.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard allow add 198.51.100.0/24 --comment monitoring
  sudo scanguard allow add 203.0.113.7 2001:db8::7 --for 2h
  sudo scanguard allow add --file office.txt --for 30d       a prefix a line, as in `allow import`")]
struct Add {
    /// Addresses or prefixes, IPv4 or IPv6
    #[arg(required_unless_present = "file", value_name = "PREFIX")]
    prefixes: Vec<String>,
    /// How long, such as 90s, 10m, 2h or 7d [default: until it is removed]
    #[arg(long = "for", visible_aliases = ["duration", "timeout"], value_name = "DURATION")]
    length: Option<Span>,
    /// Why it is there, one line
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// A name for it, one line
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Add what a file lists, too; `-` for standard input. What a line says itself goes before the options here
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Add prefixes, too, that switch scanguard off: shorter than /8 (IPv4) or /16 (IPv6)
    #[arg(long)]
    force: bool,
}

/// Remove addresses or prefixes
///
/// Only what `allow add` and `allow import` put there: what the configuration says is taken out there, and leases end by
/// themselves. What was not on the list is told; exit code 1 if nothing was.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard allow remove 198.51.100.0/24")]
struct Remove {
    /// Addresses or prefixes, as in `allow list`
    #[arg(required = true, value_name = "PREFIX", add = ArgValueCandidates::new(candidates::allowed))]
    prefixes: Vec<String>,
}

/// List what is on the allowlist, and where it comes from
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard allow list
  sudo scanguard allow list --json | jq -r '.entries[].prefix'")]
struct List {}

/// Tell whether an address is on the allowlist: exit code 0 if it is, 1 if not
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard allow test 198.51.100.7
  sudo scanguard allow test 198.51.100.0/25         whether all of it is
  sudo scanguard allow test \"$peer\" > /dev/null || echo \"nobody knows $peer\"")]
struct Test {
    /// An address or a prefix
    #[arg(value_name = "ADDR")]
    address: String,
}

impl Allow {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        match self.verb {
            Verb::Add(add) => add.execute(global, output),
            Verb::Remove(remove) => remove.execute(global, output),
            Verb::List(List {}) => {
                output.show(&operate(global, Nothing::<AllowList>::default())?, render::allow_list)?;
                Ok(ExitStatus::Done)
            }
            Verb::Test(Test { address }) => {
                let test = operate(global, Address::<AllowTest>::of(address))?;
                output.show(&test, render::allow_test)?;
                Ok(if test.matched { ExitStatus::Done } else { ExitStatus::Failed })
            }
            Verb::Import(import) => import.execute(global, output),
            Verb::Export(export) => export.execute(global, output),
        }
    }
}

impl Add {
    fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Self { prefixes, length, comment, name, file, force } = self;
        for text in &prefixes {
            prefix::parse(text).or_exit(ExitStatus::Usage)?;
        }
        let of_arguments = prefixes.into_iter().map(|prefix| NewAllow { prefix, ..NewAllow::default() });
        let mut entries: Vec<NewAllow> = of_arguments.collect();
        if let Some(file) = file {
            entries.extend(import::read(&file)?);
        }
        for entry in &mut entries {
            entry.name = entry.name.take().or_else(|| name.clone());
            entry.comment = entry.comment.take().or_else(|| comment.clone());
            entry.for_s = entry.for_s.or(length.map(Span::as_secs));
        }
        let added = send::send(global, entries, force)?;
        output.show(&added, render::allow_added)?;
        Ok(ExitStatus::Done)
    }
}

impl Remove {
    fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let answer = operate(global, AllowRemove { prefixes: self.prefixes })?;
        output.show(&answer, render::allow_removed)?;
        Ok(if answer.removed.is_empty() { ExitStatus::Failed } else { ExitStatus::Done })
    }
}
