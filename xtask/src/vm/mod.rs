//! `cargo xtask vm-test`: the tests that need the kernel, on other kernels.
//!
//! - `kernels`: Debian's, unpacked below `target/vm`
//! - `initrd`: the first file system of a machine
//! - `machine`: qemu, and the server of this machine's files
//! - `suite`: which tests, and the programs that hold them
//! - `guest`: the script inside, and how its console is read
//! - `report`: the table and the JSON
//! - `host`: something else: a whole host with systemd, in which the package is installed

mod guest;
mod host;
mod initrd;
mod kernels;
mod machine;
mod report;
mod suite;

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;

use self::kernels::{KERNELS, Kernel};
use self::machine::{Engine, Machine};
use self::report::{Outcome, Place, Report, Row, Trial};
use self::suite::{Runnable, SUITES};
use crate::build::{self, Profile};
use crate::rights::Rights;
use crate::{skip, tools};

/// What to call the kernel that runs here.
const HOST: &str = "host";
/// What an older kernel may be without; the table says what was left out.
const LEFT_OUT: &str = "split-frames";
/// Exit code for "cannot run here".
const CANNOT_RUN: u8 = 77;

/// Which kernels, which tests, and where to write what became of them.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only this kernel: host, 6.1 or 6.12 (repeatable)
    #[arg(long = "kernel", value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Only this suite, as the table calls it (repeatable)
    #[arg(long = "suite", value_name = "NAME")]
    suites: Vec<String>,
    /// Instead: a whole host with systemd (Debian 12, by default on 6.1) in which the package is installed and lived with
    #[arg(long, conflicts_with = "suites")]
    host: bool,
    /// With --host: twenty guessers of passwords, and not a hundred
    #[arg(long, requires = "host")]
    short: bool,
    /// With --host: this package, and not one that is built first
    #[arg(long, requires = "host", value_name = "FILE")]
    package: Option<PathBuf>,
    /// With --host: only this step and what it needs (repeatable)
    #[arg(long = "step", requires = "host", value_name = "NAME")]
    steps: Vec<String>,
    /// Write the table as JSON here (`-` for standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs them.
pub(crate) fn test(root: &Path, options: &Options) -> Result<ExitCode> {
    if options.host {
        return whole_host(root, options);
    }
    let Options { kernels, suites, json, host: _, short: _, package: _, steps: _ } = options;
    let series: Vec<&str> = KERNELS.iter().map(|kernel| kernel.series).collect();
    let wants = |name: &str| kernels.is_empty() || kernels.iter().any(|wanted| wanted == name);
    known("kernel", kernels, [&[HOST], &series[..]].concat())?;
    known("suite", suites, SUITES.iter().map(|suite| suite.name).collect())?;
    let rights = Rights::find();
    if rights == Rights::None {
        eprintln!("`vm-test` loads programs into kernels, which needs root: run this as root or where sudo works");
        return Ok(ExitCode::from(CANNOT_RUN));
    }
    tools::install(tools::LAB, rights)?;
    build::build(root, Profile::Dev)?;
    let mut runnables = suite::build(root)?;
    runnables.retain(|runnable| suites.is_empty() || suites.iter().any(|wanted| wanted == runnable.suite.name));

    let mut rows = Vec::new();
    if wants(HOST) {
        rows.push(on_this_machine(root, &runnables, rights));
    }
    let others: Vec<Kernel> = KERNELS.into_iter().filter(|kernel| wants(kernel.series)).collect();
    if !others.is_empty() {
        rows.extend(in_machines(root, &others, &runnables, rights));
    }
    let report = Report::of(rows);
    println!("\n{report}");
    write_json(json.as_deref(), &report)?;
    Ok(match (report.has_failed(), report.has_passed()) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(CANNOT_RUN),
    })
}

fn write_json(file: Option<&Path>, report: &impl Serialize) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(report).context("cannot put the table into JSON")?;
    let mut out: Box<dyn Write> = match file {
        file if file == Path::new("-") => Box::new(io::stdout()),
        file => Box::new(File::create(file).with_context(|| format!("cannot create {}", file.display()))?),
    };
    writeln!(out, "{text}").context("cannot write the table")
}

/// A whole host on one kernel.
fn whole_host(root: &Path, options: &Options) -> Result<ExitCode> {
    let Options { kernels, suites: _, host: _, short, package, steps, json } = options;
    let series: Vec<&str> = KERNELS.iter().map(|kernel| kernel.series).collect();
    known("kernel", kernels, series)?;
    known("step", steps, host::names())?;
    let wanted = match kernels.as_slice() {
        [] => KERNELS[0].series,
        [one] => one,
        _ => bail!("`--host` takes one kernel at a time"),
    };
    let rights = Rights::find();
    if rights == Rights::None {
        eprintln!(
            "`vm-test --host` makes namespaces and disks, which needs root: run this as root or where sudo works"
        );
        return Ok(ExitCode::from(CANNOT_RUN));
    }
    tools::install(tools::HOST, rights)?;
    let folder = root.join("target/vm");
    let busybox = busybox(&folder, rights)?;
    let kernel = KERNELS.iter().find(|kernel| kernel.series == wanted).context("a kernel that was asked for")?;
    let kernel = &kernel.get(&folder, &busybox, rights)?;
    let built = match package {
        Some(package) => host::existing(package)?,
        None => crate::package::package(root)?,
    };
    let form = if *short { host::Form::Short } else { host::Form::Full };
    println!("==> a whole host on Linux {} in a machine of qemu's, emulated", kernel.release);
    let trial = host::Trial { folder: &folder, busybox: &busybox, kernel, package: &built, form, only: steps, rights };
    let report = trial.run()?;
    println!("\n{report}");
    write_json(json.as_deref(), &report)?;
    Ok(if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn known(what: &str, asked: &[String], all: Vec<&str>) -> Result<()> {
    match asked.iter().find(|one| !all.contains(&one.as_str())) {
        Some(one) => bail!("there is no {what} `{one}`; there are: {}", all.join(", ")),
        None => Ok(()),
    }
}

fn on_this_machine(root: &Path, suites: &[Runnable], rights: Rights) -> Row {
    println!("==> on this machine's own kernel");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).ok();
    let tests = suites.iter().map(|runnable| here(root, runnable, rights)).collect();
    Row { kernel: HOST.to_owned(), release, place: Place::Host, tests }
}

fn here(root: &Path, runnable: &Runnable, rights: Rights) -> Trial {
    let name = runnable.suite.name.to_owned();
    let begun = Instant::now();
    let mut command = rights.command(&runnable.program);
    command.args(runnable.arguments()).current_dir(root.join("tests"));
    if env::var_os(skip::ALLOW).is_none() {
        command.env(skip::ALLOW, LEFT_OUT);
    }
    let output = command.output();
    let (outcome, notes) = match &output {
        Err(error) => (Outcome::NotPossible(error.to_string()), Vec::new()),
        Ok(output) => {
            let outcome = Outcome::of(output.status.code());
            if outcome != Outcome::Passed {
                eprint!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            }
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (outcome, text.lines().filter_map(skip::note).map(str::to_owned).collect())
        }
    };
    let trial = Trial { name, outcome, seconds: begun.elapsed().as_secs_f64(), notes };
    println!("    {} ({:.0} s): {}", trial.name, trial.seconds, trial.outcome);
    trial
}

/// Every kernel in a machine of its own, one after the other.
fn in_machines(root: &Path, kernels: &[Kernel], suites: &[Runnable], rights: Rights) -> Vec<Row> {
    let row = |kernel: &Kernel, release, place, tests| Row { kernel: kernel.series.to_owned(), release, place, tests };
    let impossible = |error: &anyhow::Error| {
        let trial = |runnable: &Runnable| Trial {
            name: runnable.suite.name.to_owned(),
            outcome: Outcome::NotPossible(format!("{error:#}")),
            seconds: 0.0,
            notes: Vec::new(),
        };
        suites.iter().map(trial).collect::<Vec<_>>()
    };
    let folder = root.join("target/vm");
    let busybox = match busybox(&folder, rights) {
        Ok(busybox) => busybox,
        Err(error) => {
            return kernels.iter().map(|kernel| row(kernel, None, Place::Nowhere, impossible(&error))).collect();
        }
    };
    let mut engine = None;
    let mut in_machine = |kernel: &Kernel| {
        let unpacked = match kernel.get(&folder, &busybox, rights) {
            Ok(unpacked) => unpacked,
            Err(error) => return row(kernel, None, Place::Nowhere, impossible(&error)),
        };
        let release = Some(unpacked.release.clone());
        let engine = match engine.map_or_else(|| Engine::find(&unpacked, &busybox, &folder, rights), Ok) {
            Ok(found) => *engine.insert(found),
            Err(error) => return row(kernel, release, Place::Nowhere, impossible(&error)),
        };
        println!("==> on Linux {} in a machine of qemu's ({engine:?})", unpacked.release);
        let machine = Machine { root, folder: &folder, busybox: &busybox, engine, rights };
        match machine.run(&unpacked, suites) {
            Ok(trials) => row(kernel, release, engine.place(), trials),
            Err(error) => row(kernel, release, Place::Nowhere, impossible(&error)),
        }
    };
    kernels.iter().map(&mut in_machine).collect()
}

/// Gets qemu, and the busybox of the machines.
fn busybox(folder: &Path, rights: Rights) -> Result<PathBuf> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("machines are made on x86-64 only, so far");
    }
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        bail!("kernels are taken from Debian's packages, and there is no dpkg-deb here");
    }
    tools::install(tools::MACHINES, rights)?;
    let place = folder.join("busybox");
    tools::unpack_into(&["busybox-static"], &place, "busybox (1 MB)", rights)?;
    let program =
        ["bin/busybox", "usr/bin/busybox"].map(|file| place.join(file)).into_iter().find(|file| file.is_file());
    program.context("the package busybox-static has no busybox")
}
