//! `bench`: measures. Run by `cargo xtask bench`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use scanguard_tests::bench::plot::Bars;
use scanguard_tests::bench::{datapath, egress, generator, policy, replay, tcp, wire};
use serde::Serialize;

/// What the kernel part costs, beside programs that do nothing.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Write the figures as JSON to this file, `-` for standard output; without it a table is printed.
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// Draw the figures into this file as well, as SVG: of `datapath` and `wire`.
    #[arg(long, value_name = "FILE", global = true)]
    svg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The program that judges what arrives, beside an empty one and xdp-filter.
    Datapath,
    /// The program that sees what leaves, beside an empty one.
    Egress,
    /// Frames a second that a generator on every CPU makes, with an empty program at the other end.
    Generator,
    /// Packets a second over a link, beside empty programs and other filters.
    Wire,
    /// A bulk TCP transfer, without scanguard and with it.
    Tcp,
    /// Decisions: the policy, the chain from a packet to a verdict, restarts, memory.
    Policy,
    /// Captures, without a kernel.
    Replay,
}

fn main() -> ExitCode {
    let Cli { verb, json, svg } = Cli::parse();
    let (json, svg) = (json.as_deref(), svg.as_deref());
    let shown = match verb {
        Verb::Datapath => datapath::measure().and_then(|figures| draw(&figures.bars(), svg).and(show(&figures, json))),
        Verb::Egress => egress::measure().and_then(|figures| show(&figures, json)),
        Verb::Generator => generator::measure().and_then(|figures| show(&figures, json)),
        Verb::Wire => wire::measure().and_then(|figures| draw(&figures.bars(), svg).and(show(&figures, json))),
        Verb::Tcp => tcp::measure().and_then(|figures| show(&figures, json)),
        Verb::Policy => policy::measure().and_then(|figures| show(&figures, json)),
        Verb::Replay => replay::measure().and_then(|figures| show(&figures, json)),
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn draw(bars: &Bars, svg: Option<&Path>) -> Result<()> {
    svg.map_or(Ok(()), |file| bars.draw(file))
}

fn show(figures: &(impl Serialize + std::fmt::Display), json: Option<&Path>) -> Result<()> {
    let Some(file) = json else {
        print!("{figures}");
        return Ok(());
    };
    let text = serde_json::to_string_pretty(figures).context("cannot put the figures into JSON")? + "\n";
    if file == Path::new("-") {
        return io::stdout().write_all(text.as_bytes()).context("cannot write the figures");
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
