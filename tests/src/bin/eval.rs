//! `eval`: scores scanguard and what others published on labelled captures. Run by `cargo xtask eval`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use scanguard_tests::eval::evaluate;

/// How good it is on traffic that nobody here made.
#[derive(Debug, Parser)]
struct Cli {
    /// A file of labels; the captures lie beside it.
    #[arg(long, value_name = "FILE")]
    labels: PathBuf,
    /// Write the table as JSON to this file, `-` for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("eval: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let evaluation = evaluate(&cli.labels)?;
    let Some(file) = &cli.json else {
        print!("{evaluation}");
        return Ok(());
    };
    let text = serde_json::to_string_pretty(&evaluation)? + "\n";
    if file.as_os_str() == "-" {
        print!("{text}");
        return Ok(());
    }
    print!("{evaluation}");
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
