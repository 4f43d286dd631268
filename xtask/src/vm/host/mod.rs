//! `cargo xtask vm-test --host`: a whole host with systemd, in which the package is installed and lived with.
//!
//! - `disk`: Debian 12 on a disk, made once
//! - `wire`: a namespace, whose addresses are everybody on the internet
//! - `machine`: qemu
//! - `guest`: commands in the machine
//! - `outside`: what others do to it
//! - `run`: commands with a limit, conditions that are waited for
//! - `steps`: what is done and asserted, in order
//! - `report`: what became of each
//!
//! All that is made goes at the end, whatever becomes of the steps: each part removes its own when it is dropped.

mod disk;
mod guest;
mod machine;
mod outside;
mod report;
mod run;
mod steps;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::guest::Guest;
use self::machine::Machine;
use self::outside::Outside;
pub(crate) use self::report::Report;
use self::report::Taken;
pub(super) use self::steps::names;
use self::steps::{Host, Needs, Step};
use self::wire::{Scratch, Wire};
use super::initrd;
use super::kernels::Unpacked;
use crate::rights::Rights;

/// How much of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// Twenty guessers.
    Short,
    /// A hundred guessers, and what takes long.
    Full,
}

impl Form {
    const fn guessers(self) -> u8 {
        match self {
            Self::Short => 20,
            Self::Full => 100,
        }
    }

    /// What the machine may take in all.
    const fn limit(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(20 * 60),
            Self::Full => Duration::from_secs(45 * 60),
        }
    }
}

/// What is tried, and where.
pub(super) struct Trial<'t> {
    /// `target/vm`.
    pub(super) folder: &'t Path,
    pub(super) busybox: &'t Path,
    pub(super) kernel: &'t Unpacked,
    pub(super) package: &'t Path,
    pub(super) form: Form,
    /// Only these steps and what they need; all without.
    pub(super) only: &'t [String],
    pub(super) rights: Rights,
}

impl Trial<'_> {
    /// Makes the machine and takes every step.
    ///
    /// # Errors
    /// When no machine can be made.
    pub(super) fn run(&self) -> Result<Report> {
        let Self { folder, busybox, kernel, package, form, only, rights } = *self;
        let folder = folder.join("host");
        let disk = disk::image(&folder, kernel, rights)?;
        let scratch = Scratch::make().context("cannot make a folder for keys and sockets")?;
        let wire = Wire::make(form.guessers(), rights)?;
        let (key, line) = guest::make_key(&scratch)?;
        let archive = scratch.file("host.cpio");
        fs::write(&archive, initrd::to_disk(kernel, busybox, &line)?).context("cannot write the first file system")?;
        let console = folder.join(format!("{}.log", kernel.release));
        let machine = Machine::start(kernel, &disk, &archive, (&wire, &scratch, rights), console, form.limit())?;
        let mut host = Host {
            machine,
            guest: Guest::new(&wire, &scratch, &key),
            outside: Outside::new(&wire, &scratch, key.clone()),
            package: package.to_path_buf(),
            form,
            interface: String::new(),
        };
        let steps = take_all(&mut host, &steps::chosen(form, only));
        Ok(Report::of(kernel.release.clone(), steps))
    }
}

/// Takes every step whose needs are met.
fn take_all(host: &mut Host<'_>, steps: &[&Step]) -> Vec<Taken> {
    let mut taken: Vec<Taken> = Vec::new();
    for step in steps {
        let begun = Instant::now();
        let missing = match step.needs {
            Needs::Nothing => None,
            Needs::Step(name) => taken.iter().find(|taken| taken.name == name && !taken.ok),
        };
        let outcome = match missing {
            Some(missing) => Err(anyhow::anyhow!("not taken, because `{}` failed", missing.name)),
            None => (step.take)(host),
        };
        let is_taken = missing.is_none();
        let (ok, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(error) => (false, format!("{error:#}")),
        };
        let step = Taken { name: step.name, ok, seconds: begun.elapsed().as_secs_f64(), detail };
        println!("  {step}");
        if is_taken && !ok {
            println!("{}", host.what_it_says());
        }
        taken.push(step);
    }
    taken
}

/// Where the package is, if an earlier build of it is to serve.
pub(super) fn existing(package: &Path) -> Result<PathBuf> {
    fs::canonicalize(package).with_context(|| format!("there is no package {}", package.display()))
}
