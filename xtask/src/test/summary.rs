//! What is told at the end: times, what was left out, what failed.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::skip;

/// What became of a program of tests, or of all tests of the code.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    /// What it is called.
    pub(super) name: String,
    /// How long it took.
    pub(super) took: Duration,
    /// Why it failed, if it did.
    pub(super) failed: Option<String>,
    /// What it said that it left out.
    pub(super) notes: Vec<String>,
}

impl Ran {
    /// By how it ended and what it said.
    pub(super) fn of(name: &str, status: ExitStatus, took: Duration, said: &str) -> Self {
        let failed = (!status.success()).then(|| {
            // As in this project's other reports; a signal has no code.
            let how = status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"));
            let tests = failures(said);
            if tests.is_empty() { how } else { format!("{how}: {}", tests.join(", ")) }
        });
        let notes = said.lines().filter_map(skip::note).map(str::to_owned).collect();
        Self { name: name.to_owned(), took, failed, notes }
    }

    /// It could not be run.
    pub(super) fn not_at_all(name: &str, why: String) -> Self {
        Self { name: name.to_owned(), took: Duration::ZERO, failed: Some(why), notes: Vec::new() }
    }

    /// It was left out, and may be.
    pub(super) fn left_out(name: &str, why: &str) -> Self {
        Self { name: name.to_owned(), took: Duration::ZERO, failed: None, notes: vec![why.to_owned()] }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, took, failed, notes: _ } = self;
        let how = if failed.is_some() { "FAILED" } else { "passed" };
        write!(out, "{name}: {how} in {:.0} s", took.as_secs_f64())
    }
}

/// The tests that libtest lists at the end as failed.
fn failures(said: &str) -> Vec<&str> {
    let lines: Vec<&str> = said.lines().collect();
    let Some(last) = lines.iter().rposition(|line| *line == "failures:") else { return Vec::new() };
    lines[last + 1..].iter().map_while(|line| line.strip_prefix("    ")).collect()
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Summary {
    ran: Vec<Ran>,
}

impl Summary {
    pub(super) fn add(&mut self, ran: Ran) {
        self.ran.push(ran);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.ran.iter().any(|ran| ran.failed.is_some())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ran } = self;
        let mut longest: Vec<&Ran> = ran.iter().filter(|ran| !ran.took.is_zero()).collect();
        longest.sort_by_key(|ran| std::cmp::Reverse(ran.took));
        writeln!(out, "what took how long:")?;
        longest.iter().try_for_each(|Ran { name, took, .. }| writeln!(out, "{:>7.0} s  {name}", took.as_secs_f64()))?;
        let notes = || ran.iter().flat_map(|ran| ran.notes.iter().map(move |note| (&ran.name, note)));
        if notes().next().is_some() {
            writeln!(out, "\nleft out, as {} allows:", skip::ALLOW)?;
            notes().try_for_each(|(name, note)| writeln!(out, "    {name}: {note}"))?;
        }
        if !self.has_failed() {
            return write!(
                out,
                "\nall tests passed{}",
                if notes().next().is_some() { " but what was left out" } else { "" }
            );
        }
        write!(out, "\nFAILED:")?;
        let failed = ran.iter().filter_map(|ran| ran.failed.as_ref().map(|why| (&ran.name, why)));
        failed.into_iter().try_for_each(|(name, why)| write!(out, "\n    {name}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const SAID: &str = "running 2 tests\ntest one ... FAILED\ntest two ... ok\n\nfailures:\n\n---- one stdout ----\n\nfailures:\n    one\n\n\
                        test result: FAILED. 1 passed; 1 failed\n";

    fn ran(name: &str, code: i32, seconds: u64, said: &str) -> Ran {
        Ran::of(name, ExitStatus::from_raw(code << 8), Duration::from_secs(seconds), said)
    }

    #[test]
    fn the_end_names_times_what_was_left_out_and_each_failed_test() {
        let mut summary = Summary::default();
        summary.add(ran("api", 0, 3, "test x ... NOT TESTED: cgroup2: none here\n"));
        summary.add(ran("flood", 101, 60, SAID));
        summary.add(Ran::not_at_all("lab", "cannot start it".to_owned()));
        assert!(summary.has_failed());
        assert_eq!(
            summary.to_string(),
            "what took how long:
     60 s  flood
      3 s  api

left out, as SCANGUARD_ALLOW_SKIP allows:
    api: cgroup2: none here

FAILED:
    flood: exit code 101: one
    lab: cannot start it"
        );
    }

    #[test]
    fn what_passes_says_so() {
        let mut summary = Summary::default();
        summary.add(ran("api", 0, 3, "test failures: ok\n"));
        assert!(!summary.has_failed());
        assert!(summary.to_string().ends_with("\n\nall tests passed"), "{summary}");
        summary.add(Ran::left_out("tests that need root", "there is no root"));
        assert!(!summary.has_failed() && summary.to_string().ends_with("all tests passed but what was left out"));
    }

    #[test]
    fn what_a_signal_ended_failed() {
        let ended = Ran::of("chaos", ExitStatus::from_raw(9), Duration::from_secs(1), "running 1 test\n");
        assert!(ended.failed.is_some_and(|why| why.contains("signal")));
    }
}
