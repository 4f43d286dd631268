//! `cargo xtask`: sets up, builds, tests and shows scanguard.
//!
//! Builds run as the calling user; only what needs the kernel or a namespace is run as root, by sudo. This package builds
//! without the BPF toolchain, because it is what gets it.

mod build;
mod fuzz;
mod lab;
mod package;
mod programs;
mod rights;
mod skip;
mod step;
mod test;
mod tools;
mod vm;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Sets up, builds, tests and shows scanguard.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const HELP: &str = "On a fresh machine:
  cargo xtask demo    builds everything and shows scanguard at work on a real scan
  cargo xtask test    runs every test (--quick: those that need no root)

Nothing is left running, attached or pinned; all traffic stays in network namespaces made for it.";

#[derive(Subcommand)]
enum Verb {
    /// Get what builds the kernel part (140 MB download, 1 GB below target/, once)
    Setup,
    /// Build scanguard and the lab
    Build {
        /// Optimised, as for use on a server
        #[arg(long)]
        release: bool,
    },
    /// Build the Debian package: target/package/scanguard.deb (optimised: some minutes)
    Package,
    /// Run the tests: those of the code, then those that need root, the kernel and real scanners
    #[command(after_help = "\
Examples:
  cargo xtask test --quick                             without root, in two minutes once it is built
  SCANGUARD_ALLOW_SKIP=root cargo xtask test           where there is no root: otherwise what cannot be tested fails
  SCANGUARD_TRACES=../traces cargo xtask test --full   everything at full length, with captures of others

docs/testing.md tells more.")]
    Test {
        /// Only what needs no root
        #[arg(long, conflicts_with = "full")]
        quick: bool,
        /// The long ones too, which takes hours
        #[arg(long)]
        full: bool,
    },
    /// Show the main job: a real scan of a server with real customers, seen by the real daemon
    Demo,
    /// Measure what the kernel part costs, beside programs that do nothing
    #[command(
        after_help = "Examples:\n  cargo xtask bench datapath\n  cargo xtask bench wire\n  cargo xtask bench egress\n  cargo xtask bench generator\n  cargo xtask bench policy\n  cargo xtask bench replay --json out.json"
    )]
    Bench {
        /// What to measure: datapath, wire, tcp, egress, generator, policy, replay (which needs no root)
        name: String,
        /// Write the figures as JSON here (`-` for standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Play two days of customers, scanners and forgers through the kernel part's own code and the policy, in seconds; needs no root
    #[command(
        after_help = "Examples:\n  cargo xtask simulate\n  cargo xtask simulate --seed 7 --block-all --json out.json\n  cargo xtask simulate --year"
    )]
    Simulate {
        /// The same seed gives the same days
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Let it block from public ports without a person
        #[arg(long)]
        block_all: bool,
        /// A year of guessers, and of people and programs that work here: who comes to be known
        #[arg(long, conflicts_with = "block_all")]
        year: bool,
        /// Write the report as JSON here (`-` for standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Score it on labelled captures, beside the published thresholds of others; needs no root
    Eval {
        /// The labels, with the captures beside them [default: labels.toml in the folder that SCANGUARD_TRACES names]
        #[arg(long, value_name = "FILE")]
        labels: Option<PathBuf>,
        /// Write the table as JSON here (`-` for standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Feed the parser, the datapath, captures, configurations and requests what nobody would think of (libFuzzer)
    #[command(after_help = "Examples:\n  cargo xtask fuzz\n  cargo xtask fuzz datapath --executions 100000000")]
    Fuzz(fuzz::Options),
    /// Run what needs the kernel on Debian's 6.1 and 6.12 in qemu, and on this machine's own (long: emulated where KVM is not)
    #[command(
        after_help = "Examples:\n  cargo xtask vm-test --json out.json\n  cargo xtask vm-test --kernel 6.1 --suite 'lab syn'"
    )]
    VmTest(vm::Options),
    /// Kill the daemon (-9) again and again at random moments under load, and check that nothing is lost
    #[command(after_help = "Examples:\n  cargo xtask chaos\n  cargo xtask chaos --kills 20 --seed 7 --json out.json")]
    Chaos {
        /// How often
        #[arg(long, default_value_t = 200)]
        kills: u32,
        /// What decides when, and what an operator asks for meanwhile
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Write the report as JSON here (`-` for standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Play one scenario of the laboratory and report what passed the wire
    #[command(after_help = "Examples:\n  cargo xtask lab syn\n  cargo xtask lab syn --defender none --json out.json")]
    Lab {
        /// Name of the scenario; `list` shows them
        scenario: String,
        /// What protects the server: scanguard, none or nft-meter
        #[arg(long, default_value = "scanguard")]
        defender: String,
        /// Write the report as JSON here (`-` for standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// How large the daemon's tables are, as `tables` of section sources of its configuration: eighth is a host of 1 GiB
        #[arg(long, value_name = "SHARE")]
        tables: Option<String>,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let here = env::current_dir().context("cannot tell the current folder")?;
    let Arguments { verb } = Arguments::parse();
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| here.into_os_string()));
    let root = scanguard_toolchain::workspace_root(&manifest).context("run this in a checkout of scanguard")?;
    match verb {
        Verb::Setup => build::setup(&root).map(|()| ExitCode::SUCCESS),
        Verb::Build { release } => {
            build::build(&root, if release { build::Profile::Release } else { build::Profile::Dev })?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Package => package::package(&root).map(|_| ExitCode::SUCCESS),
        Verb::Test { quick, full } => test::test(
            &root,
            match (quick, full) {
                (true, _) => test::Tier::Quick,
                (_, true) => test::Tier::Full,
                _ => test::Tier::Usual,
            },
        ),
        Verb::Demo => lab::demo(&root),
        Verb::Bench { name, json } => lab::bench(&root, &name, json.as_deref()),
        Verb::Simulate { seed, block_all, year, json } => {
            let how = if year { Some("--year") } else { block_all.then_some("--block-all") };
            lab::simulate(&root, seed, how, json.as_deref())
        }
        Verb::Eval { labels, json } => lab::eval(&root, labels, json.as_deref()),
        Verb::Fuzz(options) => fuzz::fuzz(&root, &options),
        Verb::VmTest(options) => vm::test(&root, &options),
        Verb::Chaos { kills, seed, json } => lab::chaos(&root, kills, seed, json.as_deref()),
        Verb::Lab { scenario, defender, json, tables } => {
            lab::scenario(&root, &scenario, &defender, json.as_deref(), tables.as_deref())
        }
    }
}
