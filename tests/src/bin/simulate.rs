//! `simulate`: days of traffic in seconds. Run by `cargo xtask simulate`.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use scanguard::config::AutoLevel;
use scanguard_tests::simulation::{Options, Size, YearReport, YearSize, simulate, simulate_year};
use serde::Serialize;

/// Two days of 10,000 customers and 300 scanners through the kernel part's own code and the policy.
#[derive(Debug, Parser)]
struct Cli {
    /// The same seed gives the same days.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let it block from public ports without a person.
    #[arg(long)]
    block_all: bool,
    /// A year of 10,000 guessers, 300 people and programs that work here, and 50 offices: who comes to be known.
    #[arg(long, conflicts_with_all = ["block_all", "small"])]
    year: bool,
    /// Six hours of 1,000 customers and 60 scanners.
    #[arg(long)]
    small: bool,
    /// Write the report as JSON here, `-` for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if cli.year {
        let report = simulate_year(&YearSize::FULL, cli.seed)?;
        write(cli, &report)?;
        let YearReport { by_right, known, known_by_guessing, restricted_failed, public_failed, .. } = report;
        ensure!(known == by_right && known_by_guessing == 0, "known are others than those who work here");
        ensure!(restricted_failed + public_failed == 0, "work or customers failed");
        return Ok(());
    }
    let max_auto_level = if cli.block_all { AutoLevel::BlockAll } else { AutoLevel::default() };
    let size = if cli.small { Size::SMALL } else { Size::FULL };
    let report = simulate(&Options { size, max_auto_level, seed: cli.seed })?;
    write(cli, &report)?;
    ensure!(report.harm_to_customers() == 0, "customers were harmed");
    Ok(())
}

fn write(cli: &Cli, report: &(impl Serialize + Display)) -> Result<()> {
    let Some(file) = &cli.json else {
        print!("{report}");
        return Ok(());
    };
    let text = serde_json::to_string_pretty(report)? + "\n";
    if file.as_os_str() == "-" {
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    } else {
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}
