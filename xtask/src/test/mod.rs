//! Every test: those of the code, which need no rights, and those that need root, the kernel and real programs.
//!
//! - `alone`: which of the latter run side by side
//! - `runner`: runs their programs
//! - `summary`: what is told at the end

mod alone;
mod runner;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use self::summary::{Ran, Summary};
use crate::build::{self, Profile};
use crate::rights::Rights;
use crate::{programs, skip, tools};

/// Random cases of each property in the long run; 256 otherwise.
const CASES: &str = "20000";

/// How much is tested.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tier {
    /// What needs no root.
    Quick,
    /// Everything but the long variants.
    Usual,
    /// The long variants too.
    Full,
}

/// Runs them. One stage that fails keeps no other from running.
pub(crate) fn test(root: &Path, tier: Tier) -> Result<ExitCode> {
    // First, because sudo may ask for a password.
    let rights = if tier == Tier::Quick { Rights::None } else { Rights::find() };
    build::setup(root)?;
    let mut summary = Summary::default();
    summary.add(tests_of_the_code(root, tier)?);
    if tier != Tier::Quick {
        match with_root(root, tier, rights) {
            Ok(ran) => ran.into_iter().for_each(|ran| summary.add(ran)),
            Err(error) => summary.add(Ran::not_at_all("tests that need root", format!("{error:#}"))),
        }
    }
    println!("\n{summary}");
    if tier == Tier::Quick {
        println!(
            "(the quick tests only: `cargo xtask test` has those that need root, the kernel and real scanners too)"
        );
    }
    Ok(if summary.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tests_of_the_code(root: &Path, tier: Tier) -> Result<Ran> {
    let what = "tests of the code";
    println!("==> {what}");
    let mut cargo = build::cargo(root);
    cargo.args(["test", "--locked", "--no-fail-fast"]);
    if tier == Tier::Full {
        // Each property of the policy over millions of steps.
        cargo.env("PROPTEST_CASES", CASES);
    }
    let begun = Instant::now();
    let status = cargo.status()?;
    Ok(Ran::of(what, status, begun.elapsed(), ""))
}

fn with_root(root: &Path, tier: Tier, rights: Rights) -> Result<Vec<Ran>> {
    println!("\n==> tests that need root, the kernel and real scanners");
    if rights == Rights::None {
        let why = "there is no root here and no sudo that works, so nothing that needs the kernel, network namespaces, \
                   the daemon or real scanners is tested";
        skip::skip("root", why).map_err(anyhow::Error::msg)?;
        return Ok(vec![Ran::left_out("tests that need root", why)]);
    }
    tools::install(tools::LAB, rights)?;
    tools::install(tools::TESTS, rights)?;
    let prometheus = tools::unpack(tools::PROMETHEUS, root, rights)?;
    tools::unpack(tools::HAPROXY, root, rights)?;
    tools::unpack(tools::FAIL2BAN, root, rights)?;
    // The programs that those tests drive, in the same profile.
    build::build(root, Profile::Dev)?;
    let programs = programs::build(root)?;
    runner::run(root, programs, rights, |command| {
        command.env("SCANGUARD_PROMETHEUS", &prometheus);
        if tier == Tier::Full {
            command.env("SCANGUARD_FULL", "1");
        }
    })
}
