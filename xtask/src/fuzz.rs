//! `cargo xtask fuzz`: libFuzzer on a stable compiler.
//!
//! The instrumentation is LLVM's own pass, which every rustc has; only sanitizers take an unstable option, and safe code has little use for
//! them. With a nightly compiler `cargo fuzz run TARGET` works in the folder `fuzz` as well.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{build, step};

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// What: parser, datapath, oracle, capture, config or api; each in turn without
    target: Option<String>,
    /// Stop after so many seconds each
    #[arg(long, value_name = "N", default_value_t = 60, conflicts_with = "executions")]
    seconds: u64,
    /// Stop after so many executions each
    #[arg(long, value_name = "N")]
    executions: Option<u64>,
}

/// A target, as far as the fuzzer must know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Target {
    name: &'static str,
    /// Longest input. Short ones are fast, and what takes many steps is found step by step.
    longest: u32,
    /// Whether comparisons are traced: that finds words and magic numbers, and takes half of the speed.
    compares: bool,
    /// Whether it takes the whole program, and with it the kernel part's toolchain.
    program: bool,
}

const fn target(name: &'static str, longest: u32, compares: bool, program: bool) -> Target {
    Target { name, longest, compares, program }
}

const TARGETS: [Target; 6] = [
    target("parser", 256, true, false),
    target("datapath", 64, false, false),
    target("oracle", 192, false, false),
    target("capture", 1024, true, true),
    target("config", 512, true, true),
    target("api", 512, true, true),
];

/// Coverage by counters in place, and which function each is of.
const COVERAGE: [&str; 4] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
];
const COMPARES: &str = "-Cllvm-args=-sanitizer-coverage-trace-compares";

/// Fuzzes.
pub(crate) fn fuzz(root: &Path, options: &Options) -> Result<ExitCode> {
    let Options { target, seconds, executions } = options;
    let targets: Vec<Target> =
        TARGETS.into_iter().filter(|one| target.as_ref().is_none_or(|name| name == one.name)).collect();
    if targets.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        bail!("there is no target {}; there are {names}", target.as_deref().unwrap_or_default());
    }
    build::setup(root)?;
    let seeds = root.join("target/fuzz/seeds");
    let mut cargo = build::cargo(root);
    cargo.args(["run", "--quiet", "--locked", "--package", "scanguard-tests", "--bin", "seeds", "--"]).arg(&seeds);
    step::run("writing what fuzzing begins with", &mut cargo)?;
    for target in targets {
        let limit = match executions {
            Some(executions) => format!("-runs={executions}"),
            None => format!("-max_total_time={seconds}"),
        };
        if !run(root, target, &limit)? {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds and runs one; false when it found something.
fn run(root: &Path, target: Target, limit: &str) -> Result<bool> {
    let Target { name, longest, compares, program } = target;
    let folder = root.join("target/fuzz");
    let (corpus, found) = (folder.join("corpus").join(name), root.join("fuzz/regressions").join(name));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let flags: Vec<&str> = COVERAGE.into_iter().chain(compares.then_some(COMPARES)).chain(["--cfg=fuzzing"]).collect();
    let mut cargo = build::cargo(&root.join("fuzz"));
    // Its own flags apply to what it is made of alone: without a target's name build scripts would get them too.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cargo.args(["run", "--release", "--locked", "--target", &triple, "--bin", name]);
    cargo.arg("--target-dir").arg(folder.join(if compares { "traced" } else { "plain" }));
    if !program {
        cargo.arg("--no-default-features");
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cargo.arg("--").arg(&corpus).arg(folder.join("seeds").join(name)).arg(&found);
    cargo.args([limit, &format!("-max_len={longest}"), "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"]);
    cargo.args(["-reduce_inputs=0", "-shrink=0"]).arg(format!("-artifact_prefix={}/", found.display()));
    println!("==> fuzzing {name}");
    let mut child = cargo.stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = BufReader::new(child.stderr.take().context("cargo has no output")?);
    for line in output.lines() {
        let line = line.context("cannot read the fuzzer's output")?;
        if is_worth_showing(&line) {
            println!("    {line}");
        }
    }
    let passed = child.wait().context("cannot wait for the fuzzer")?.success();
    if !passed {
        println!(
            "{name}: something was found; the input is in {}, where every `cargo xtask test` replays it",
            found.display()
        );
    }
    Ok(passed)
}

/// Of the fuzzer's many lines those that tell how it ended, and what it found; and cargo's complaints.
fn is_worth_showing(line: &str) -> bool {
    let told =
        ["stat::number_of_executed_units", "stat::average_exec_per_sec", "stat::new_units_added", "Test unit written"];
    let complaints = ["error", "panicked at", "ERROR", "SUMMARY", "assertion", "  left:", " right:"];
    told.iter().chain(&complaints).any(|word| line.contains(word)) || line.contains("DONE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_progress_is_left_out_and_its_findings_are_not() {
        let lines = [
            ("#2024\tNEW    cov: 2044 ft: 7292 corp: 1673/28Kb lim: 48 exec/s: 0 rss: 29Mb", false),
            ("#2024\tDONE   cov: 2044 ft: 7292 corp: 1673/28Kb lim: 48 exec/s: 0 rss: 29Mb", true),
            ("stat::number_of_executed_units: 200000", true),
            ("thread '<unnamed>' panicked at targets/src/datapath.rs:1:1:", true),
            ("error[E0432]: unresolved import", true),
            ("   Compiling scanguard-fuzz v0.0.0", false),
        ];
        for (line, expected) in lines {
            assert_eq!(is_worth_showing(line), expected, "{line}");
        }
    }
}
