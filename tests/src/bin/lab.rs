//! `lab`: plays a scenario or tells the story of one. Run by `cargo xtask lab` and `cargo xtask demo`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use scanguard_common::reason::Mode;
use scanguard_tests::lab::chaos::{self, Plan};
use scanguard_tests::lab::defender::{Defender, default_binary, use_tables};
use scanguard_tests::lab::report::Report;
use scanguard_tests::lab::scenario::{ALL, Scenario};
use scanguard_tests::lab::{Setup, demo, exit_code, sandbox};

/// A small internet in namespaces: real scanners, real customers, counts taken on the wire.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Play a scenario and report what was measured.
    Scenario {
        /// Which one; `lab list` says what they are.
        #[arg(value_parser = PossibleValuesParser::new(ALL.iter().map(|scenario| scenario.name)))]
        name: String,
        /// What protects the edge.
        #[arg(long, value_enum, default_value_t)]
        defender: Defender,
        /// Write the report as JSON to this file, `-` for standard output; without it a table is printed.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Keep the recordings of both links in this folder.
        #[arg(long, value_name = "DIR")]
        captures: Option<PathBuf>,
        /// How large the daemon's tables are, as `tables` of section sources of its configuration.
        #[arg(long, value_name = "SHARE")]
        tables: Option<String>,
        #[command(flatten)]
        programs: Programs,
    },
    /// Kill the daemon again and again under load, and compare what it said with what is left.
    Chaos {
        /// How often.
        #[arg(long, default_value_t = 200)]
        kills: u32,
        /// What decides when, and what is asked for meanwhile.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the report as JSON to this file, `-` for standard output; without it, too, it is printed.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        #[command(flatten)]
        programs: Programs,
    },
    /// Show a scan, its customers and scanguard to a person.
    Demo {
        #[command(flatten)]
        programs: Programs,
    },
    /// Print what the rows of `adversary` or `shapes` claim, of a report that was written with --json, as a table in Markdown.
    Table {
        /// The report.
        file: PathBuf,
    },
    /// List the scenarios.
    List,
}

#[derive(Args, Debug)]
struct Programs {
    /// The daemon's program; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    scanguard: Option<PathBuf>,
}

impl Programs {
    fn scanguard(self) -> Result<PathBuf> {
        self.scanguard.map_or_else(default_binary, |path| {
            path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
        })
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::List => {
            for Scenario { name, about, .. } in ALL {
                println!("{name:<16}{about}");
            }
            Ok(())
        }
        Verb::Table { file } => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let report: Report = serde_json::from_str(&text).context("that is no report of a scenario")?;
            print!("{}", report.table());
            Ok(())
        }
        Verb::Demo { programs } => {
            let scanguard = programs.scanguard()?;
            sandbox::enter()?;
            demo::tell(&scanguard)
        }
        Verb::Chaos { kills, seed, json, programs } => {
            let plan = Plan { kills, seed, scanguard: programs.scanguard()? };
            let json = json.as_deref().map(create).transpose()?;
            let outage = chaos::play(&plan)?;
            writeln!(json.unwrap_or_else(|| Box::new(io::stdout())), "{outage}").context("cannot write the report")?;
            ensure!(outage.is_clean(), "something was lost, stuck or adrift, or a customer noticed: see the report");
            Ok(())
        }
        Verb::Scenario { name, defender, json, captures, tables, programs } => {
            tables.map_or(Ok(()), use_tables)?;
            let Some(scenario) = Scenario::named(&name) else {
                bail!("there is no scenario {name}; `lab list` shows them all");
            };
            let setup = Setup { defender, scanguard: programs.scanguard()?, mode: Mode::Enforce, captures, full: true };
            // Opened before `/run` becomes private.
            let json = json.as_deref().map(create).transpose()?;
            sandbox::enter()?;
            write(&scenario.play(&setup)?, json)
        }
    }
}

fn create(file: &Path) -> Result<Box<dyn Write>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(File::create(file).with_context(|| format!("cannot create {}", file.display()))?))
}

fn write(report: &Report, json: Option<Box<dyn Write>>) -> Result<()> {
    let Some(mut json) = json else {
        print!("{report}");
        return Ok(());
    };
    let text = serde_json::to_string_pretty(report).context("cannot put the report into JSON")?;
    writeln!(json, "{text}").context("cannot write the report")
}
