//! `simulate`: days of traffic in seconds. Run by `cargo xtask simulate`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use scanguard::config::AutoLevel;
use scanguard_tests::simulation::{Options, Size, simulate};

/// Two days of 10,000 customers and 300 scanners through the kernel part's own code and the policy.
#[derive(Debug, Parser)]
struct Cli {
    /// The same seed gives the same days.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let it block from public ports without a person.
    #[arg(long)]
    block_all: bool,
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
    let max_auto_level = if cli.block_all { AutoLevel::BlockAll } else { AutoLevel::default() };
    let size = if cli.small { Size::SMALL } else { Size::FULL };
    let report = simulate(&Options { size, max_auto_level, seed: cli.seed })?;
    match &cli.json {
        None => print!("{report}"),
        Some(file) => {
            let text = serde_json::to_string_pretty(&report)? + "\n";
            if file.as_os_str() == "-" {
                std::io::stdout().write_all(text.as_bytes())?;
            } else {
                std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
    }
    ensure!(report.harm_to_customers() == 0, "customers were harmed");
    Ok(())
}
