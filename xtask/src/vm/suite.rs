//! What is tried on each kernel: tests of the crate `tests`, by the programs that cargo makes of them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::programs::{self, TestProgram};

/// Some tests of one file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Suite {
    /// What the table calls it.
    pub(super) name: &'static str,
    /// Its file below `tests/tests`.
    target: &'static str,
    /// Of which only those whose names contain one of these; all without.
    only: &'static [&'static str],
}

/// All, in the order in which they run: what needs the kernel alone first.
pub(super) const SUITES: [Suite; 11] = [
    Suite { name: "atomics", target: "atomics", only: &[] },
    Suite { name: "packet table", target: "packets", only: &[] },
    Suite { name: "challenges", target: "challenge", only: &[] },
    Suite { name: "lockdown", target: "lockdown", only: &[] },
    Suite { name: "kernel against host", target: "differential", only: &[] },
    Suite { name: "socket lookups", target: "sockets", only: &[] },
    Suite { name: "sessions", target: "people", only: &[] },
    Suite { name: "take-over", target: "takeover", only: &[] },
    Suite {
        name: "lab syn",
        target: "lab",
        only: &["scanguard_counts_every_source_exactly", "observing_counts_the_same"],
    },
    Suite { name: "lab return", target: "proof", only: &["who_comes_back"] },
    Suite { name: "lab shapes", target: "shapes", only: &["frames_of_every_shape"] },
];

/// A suite and the program that holds it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Runnable {
    /// What it is.
    pub(super) suite: Suite,
    /// The program.
    pub(super) program: PathBuf,
}

impl Runnable {
    /// The program's arguments.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &'static str> {
        ["--test-threads", "1", "--nocapture"].into_iter().chain(self.suite.only.iter().copied())
    }
}

/// Builds the tests and finds the programs.
///
/// # Errors
/// When they do not build.
pub(super) fn build(root: &Path) -> Result<Vec<Runnable>> {
    let programs = programs::build(root)?;
    SUITES.iter().map(|suite| find(&programs, *suite)).collect()
}

fn find(programs: &[TestProgram], suite: Suite) -> Result<Runnable> {
    let found = programs.iter().find(|program| program.is_file_of_tests && program.name == suite.target);
    let program = found.with_context(|| format!("cargo made no test {}", suite.target))?.path.clone();
    Ok(Runnable { suite, program })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_run_by_the_program_of_its_file() {
        let program = |is_file_of_tests, path: &str| TestProgram {
            name: "packets".to_owned(),
            is_file_of_tests,
            path: path.into(),
        };
        let programs = [program(false, "/target/packets"), program(true, "/target/deps/packets-1")];
        let suite = SUITES.into_iter().find(|suite| suite.target == "packets").expect("the suite");
        assert_eq!(find(&programs, suite).expect("the program").program, Path::new("/target/deps/packets-1"));
        let other = SUITES.into_iter().find(|suite| suite.target == "proof").expect("the suite");
        assert!(find(&programs, other).is_err());
    }
}
