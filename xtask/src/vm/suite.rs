//! What is tried on each kernel: tests of the crate `tests`, by the programs that cargo makes of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::build;

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
pub(super) const SUITES: [Suite; 10] = [
    Suite { name: "atomics", target: "atomics", only: &[] },
    Suite { name: "packet table", target: "packets", only: &[] },
    Suite { name: "challenges", target: "challenge", only: &[] },
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

/// What cargo says of a thing it made, as far as it matters here.
#[derive(Deserialize)]
struct Made {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the tests and finds the programs.
///
/// # Errors
/// When they do not build.
pub(super) fn build(root: &Path) -> Result<Vec<Runnable>> {
    println!("==> building the tests");
    let mut cargo = build::cargo(root);
    cargo.args(["test", "--locked", "--package", "scanguard-tests", "--no-run", "--message-format", "json"]);
    let built = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(built.status.success(), "the tests do not build");
    let text = String::from_utf8_lossy(&built.stdout);
    SUITES.iter().map(|suite| find(&text, *suite)).collect()
}

fn find(messages: &str, suite: Suite) -> Result<Runnable> {
    let made = messages.lines().filter_map(|line| serde_json::from_str::<Made>(line).ok());
    let program = made
        .filter(|made| made.reason == "compiler-artifact")
        .filter_map(|made| made.target.zip(made.executable))
        .find(|(target, _)| target.name == suite.target && target.kind == ["test"])
        .map(|(_, program)| program);
    Ok(Runnable { suite, program: program.with_context(|| format!("cargo made no test {}", suite.target))? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_a_test_is_found_among_what_cargo_says() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"packets"},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"packets"},"executable":"/target/packets"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"packets"},"executable":"/target/deps/packets-1"}
{"reason":"build-finished","success":true}"#;
        let suite = SUITES.into_iter().find(|suite| suite.target == "packets").expect("the suite");
        assert_eq!(find(messages, suite).expect("the program").program, Path::new("/target/deps/packets-1"));
        let other = SUITES.into_iter().find(|suite| suite.target == "proof").expect("the suite");
        assert!(find(messages, other).is_err());
    }
}
