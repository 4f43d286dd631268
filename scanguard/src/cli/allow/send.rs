//! Long lists, sent in parts.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::api::{AllowAdd, AllowAdded, MOST_ENTRIES, NewAllow, SCHEMA_VERSION};
use crate::cli::Global;
use crate::cli::backend::Backend;
use crate::cli::output::tell;
use crate::exit::{ExitStatus, Failure};
use crate::prefix;
use crate::safety::check_allow;

/// Names that an answer lists at most.
const MOST_NAMES: usize = 100;

/// Adds all entries; tells how far it is if that takes more than one part and somebody looks on.
pub(super) fn send(global: &Global, entries: Vec<NewAllow>, force: bool) -> Result<AllowAdded, Failure> {
    let force = force || is_meant(&entries)?;
    let mut backend = Backend::new(global)?;
    let looked_on = entries.len() > MOST_ENTRIES && io::stderr().is_terminal();
    let bar = if looked_on { ProgressBar::new(entries.len() as u64) } else { ProgressBar::hidden() };
    let style =
        ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} entries").context("a broken style")?;
    bar.set_style(style);
    let mut sum = AllowAdded { schema_version: SCHEMA_VERSION, ..AllowAdded::default() };
    for part in entries.chunks(MOST_ENTRIES) {
        let answer = backend.operate(AllowAdd { entries: part.to_vec(), force }).map_err(|failure| {
            bar.abandon();
            so_far(failure, &sum)
        })?;
        add(&mut sum, answer);
        bar.inc(part.len() as u64);
    }
    bar.finish_and_clear();
    Ok(sum)
}

/// Whether entries that switch scanguard off are meant: a person at a terminal is asked, who is not at one is refused. False where there are
/// none.
fn is_meant(entries: &[NewAllow]) -> Result<bool, Failure> {
    let refused = entries.iter().find_map(|entry| {
        let network = prefix::parse(&entry.prefix).ok()?;
        check_allow(&network, false).err()
    });
    let Some(refused) = refused else { return Ok(false) };
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        tell(&refused.message);
        eprint!("Add it all the same? [y/N] ");
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).context("cannot read the answer")?;
        if is_yes(&answer) {
            return Ok(true);
        }
    }
    Err(Failure::message(ExitStatus::Refused, refused.message))
}

/// Whether somebody said yes.
fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

fn add(sum: &mut AllowAdded, part: AllowAdded) {
    let AllowAdded { schema_version: _, added, updated, unblocked, cleared } = part;
    sum.added += added;
    sum.updated += updated;
    sum.unblocked.extend(unblocked);
    sum.unblocked.truncate(MOST_NAMES);
    sum.cleared.extend(cleared);
    sum.cleared.truncate(MOST_NAMES);
}

/// What is in force when a later part fails.
fn so_far(failure: Failure, sum: &AllowAdded) -> Failure {
    let count = sum.added + sum.updated;
    if count == 0 {
        return failure;
    }
    let Failure { status, error } = failure;
    Failure { status, error: error.context(format!("the first {count} entries are in force, and then it went wrong")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        let is_yes: Vec<bool> = ["y\n", "Yes\n", "", "\n", "n\n", "yesterday\n"].map(is_yes).into();
        assert_eq!(is_yes, [true, true, false, false, false, false]);
    }

    #[test]
    fn parts_are_summed_up_and_names_stay_few() {
        let names = |count: usize| vec!["192.0.2.7".to_owned(); count];
        let part =
            |added, updated| AllowAdded { schema_version: 1, added, updated, unblocked: names(60), cleared: names(1) };
        let mut sum = AllowAdded::default();
        add(&mut sum, part(5, 1));
        add(&mut sum, part(7, 0));
        assert_eq!((sum.added, sum.updated, sum.unblocked.len(), sum.cleared.len()), (12, 1, 100, 2));
    }

    #[test]
    fn a_part_that_fails_says_what_is_in_force() {
        let failure = || Failure::message(ExitStatus::Unreachable, "it went away");
        assert_eq!(so_far(failure(), &AllowAdded::default()).to_string(), "it went away");
        let later = so_far(failure(), &AllowAdded { added: 4_000, updated: 1_000, ..AllowAdded::default() });
        let expected = "the first 5000 entries are in force, and then it went wrong: it went away";
        assert_eq!((later.status, later.to_string().as_str()), (ExitStatus::Unreachable, expected));
    }
}
