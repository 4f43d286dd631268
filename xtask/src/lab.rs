//! The laboratory and the demo: built as the calling user, run as root.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::rights::Rights;
use crate::tools;

/// Exit code for "cannot run here".
const CANNOT_RUN: u8 = 77;

/// The demo.
pub(crate) fn demo(root: &Path) -> Result<ExitCode> {
    let rights = Rights::find();
    build::build(root, Profile::Release)?;
    if rights == Rights::None {
        println!(
            "The lab needs root (the kernel, network namespaces). Without it, this is what scanguard would have done to a capture of the \
             lab, in which nmap scans a server that has a customer:\n"
        );
        let mut replay = Command::new(Profile::Release.folder(root).join("scanguard"));
        replay.args(["replay", "--protect", "198.51.100.1/32"]).arg(root.join("tests/captures/scan.pcap"));
        let status = replay.status().context("cannot start scanguard")?;
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    play(root, rights, &[], |lab| lab.arg("demo"))
}

/// One scenario.
pub(crate) fn scenario(
    root: &Path,
    name: &str,
    defender: &str,
    json: Option<&Path>,
    tables: Option<&str>,
) -> Result<ExitCode> {
    let rights = Rights::find();
    build::build(root, Profile::Release)?;
    if name == "balancer" && rights != Rights::None {
        tools::unpack(tools::HAPROXY, root, rights)?;
    }
    play(root, rights, tools::of_scenario(name), |lab| {
        match name {
            "list" => lab.arg("list"),
            name => lab.args(["scenario", name, "--defender", defender]),
        };
        if let Some(file) = json {
            lab.arg("--json").arg(file);
        }
        if let Some(share) = tables {
            lab.args(["--tables", share]);
        }
        lab
    })
}

/// The daemon killed again and again.
pub(crate) fn chaos(root: &Path, kills: u32, seed: u64, json: Option<&Path>) -> Result<ExitCode> {
    let rights = Rights::find();
    build::build(root, Profile::Release)?;
    play(root, rights, &[], |lab| {
        lab.args(["chaos", "--kills", &kills.to_string(), "--seed", &seed.to_string()]);
        if let Some(file) = json {
            lab.arg("--json").arg(file);
        }
        lab
    })
}

/// One measurement.
pub(crate) fn bench(root: &Path, name: &str, json: Option<&Path>) -> Result<ExitCode> {
    // Captures are replayed without the kernel.
    let rights = if name == "replay" { Rights::Root } else { Rights::find() };
    build::build(root, Profile::Release)?;
    if rights != Rights::None
        && matches!(name, "datapath" | "wire" | "tcp")
        && let Err(error) = tools::install(tools::BENCH, rights)
    {
        eprintln!("without what it is compared with: {error:#}");
    }
    run(root, rights, "bench", |bench| {
        bench.arg(name);
        if let Some(file) = json {
            bench.arg("--json").arg(file);
        }
        bench
    })
}

/// Scores on labelled captures.
pub(crate) fn eval(root: &Path, labels: Option<PathBuf>, json: Option<&Path>) -> Result<ExitCode> {
    let Some(labels) = labels.or_else(|| Some(PathBuf::from(env::var_os("SCANGUARD_TRACES")?).join("labels.toml")))
    else {
        eprintln!("there are no labelled captures: name them with --labels, or their folder with SCANGUARD_TRACES");
        return Ok(ExitCode::from(CANNOT_RUN));
    };
    build::build(root, Profile::Release)?;
    run(root, Rights::Root, "eval", |eval| {
        eval.arg("--labels").arg(labels);
        if let Some(file) = json {
            eval.arg("--json").arg(file);
        }
        eval
    })
}

/// Days of traffic in seconds.
pub(crate) fn simulate(root: &Path, seed: u64, how: Option<&str>, json: Option<&Path>) -> Result<ExitCode> {
    build::build(root, Profile::Release)?;
    run(root, Rights::Root, "simulate", |simulate| {
        simulate.args(["--seed", &seed.to_string()]);
        simulate.args(how);
        if let Some(file) = json {
            simulate.arg("--json").arg(file);
        }
        simulate
    })
}

fn play(
    root: &Path,
    rights: Rights,
    more: &[tools::Tool],
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<ExitCode> {
    if rights != Rights::None {
        tools::install(&[tools::LAB, more].concat(), rights)?;
    }
    run(root, rights, "lab", arguments)
}

/// Runs a program of the tests as root.
fn run(
    root: &Path,
    rights: Rights,
    name: &str,
    arguments: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<ExitCode> {
    if rights == Rights::None {
        eprintln!(
            "`{name}` loads programs into the kernel and makes network namespaces, which needs root: run this as root or \
             where sudo works"
        );
        return Ok(ExitCode::from(CANNOT_RUN));
    }
    let program = Profile::Release.folder(root).join(name);
    let mut command = rights.command(&program);
    let status = arguments(&mut command).status().with_context(|| format!("cannot start {}", program.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
