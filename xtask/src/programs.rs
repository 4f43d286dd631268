//! The programs that cargo makes of the tests of the package `scanguard-tests`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::build;

/// A program that runs tests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TestProgram {
    /// The name of its file below `tests/tests`, or of the library or program whose own tests it has.
    pub(crate) name: String,
    /// Whether it is a file below `tests/tests`.
    pub(crate) is_file_of_tests: bool,
    /// The program.
    pub(crate) path: PathBuf,
}

/// What cargo says of a thing it made, as far as it matters here.
#[derive(Deserialize)]
struct Made {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Builds all of them, in the profile `dev`.
///
/// # Errors
/// When they do not build.
pub(crate) fn build(root: &Path) -> Result<Vec<TestProgram>> {
    println!("==> building the tests");
    let mut cargo = build::cargo(root);
    cargo.args(["test", "--locked", "--package", "scanguard-tests", "--no-run", "--message-format", "json"]);
    // Without this a test that does not build says so in JSON only.
    cargo.env("CARGO_TERM_QUIET", "false");
    let built = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    let text = String::from_utf8_lossy(&built.stdout);
    if !built.status.success() {
        errors(&text).for_each(|error| eprint!("{error}"));
    }
    ensure!(built.status.success(), "the tests do not build");
    let programs = find(&text);
    ensure!(!programs.is_empty(), "cargo made no tests");
    Ok(programs)
}

/// What the compiler said to a person.
fn errors(messages: &str) -> impl Iterator<Item = String> {
    messages.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["message"]["rendered"].as_str().map(str::to_owned)
    })
}

fn find(messages: &str) -> Vec<TestProgram> {
    let made = messages.lines().filter_map(|line| serde_json::from_str::<Made>(line).ok());
    made.filter(|made| made.reason == "compiler-artifact" && made.profile.as_ref().is_some_and(|profile| profile.test))
        .filter_map(|Made { target, executable, .. }| target.zip(executable))
        .map(|(Target { name, kind }, path)| TestProgram { name, is_file_of_tests: kind == ["test"], path })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"scanguard_tests"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"lab"},"profile":{"test":false},"executable":"/target/lab"}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"scanguard_tests"},"profile":{"test":true},"executable":"/target/deps/scanguard_tests-2"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"lab"},"profile":{"test":true},"executable":"/target/deps/lab-1"}
{"reason":"compiler-message","message":{"rendered":"error: it does not compile\n"}}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn test_programs_are_found_among_what_cargo_says() {
        let program = |name: &str, is_file_of_tests, path: &str| TestProgram {
            name: name.to_owned(),
            is_file_of_tests,
            path: path.into(),
        };
        assert_eq!(
            find(MESSAGES),
            [
                program("scanguard_tests", false, "/target/deps/scanguard_tests-2"),
                program("lab", true, "/target/deps/lab-1")
            ]
        );
    }

    #[test]
    fn what_the_compiler_says_is_shown() {
        assert_eq!(errors(MESSAGES).collect::<Vec<_>>(), ["error: it does not compile\n"]);
    }
}
