//! Every test.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::build::{self, Profile};
use crate::rights::Rights;
use crate::{step, tools};

/// Random cases of each property in the long run; 256 otherwise.
const CASES: &str = "20000";

/// Runs them: first those that need no rights, then those that need root, the kernel and real programs.
pub(crate) fn test(root: &Path, full: bool) -> Result<ExitCode> {
    let rights = Rights::find();
    build::setup(root)?;
    let mut cargo = build::cargo(root);
    cargo.args(["test", "--locked"]);
    if full {
        // Each property of the policy over millions of steps.
        cargo.env("PROPTEST_CASES", CASES);
    }
    step::run("tests of the code", &mut cargo)?;
    if rights == Rights::None {
        println!(
            "\nLEFT OUT: the tests that need root (the XDP program in the kernel, network namespaces, the daemon, real \
             scanners). Run this as root or where sudo works."
        );
        return Ok(ExitCode::SUCCESS);
    }
    tools::install(tools::LAB, rights)?;
    tools::install(tools::TESTS, rights)?;
    let prometheus = tools::unpack(tools::PROMETHEUS, root, rights)?;
    tools::unpack(tools::HAPROXY, root, rights)?;
    tools::unpack(tools::FAIL2BAN, root, rights)?;
    // The programs that those tests drive, in the same profile.
    build::build(root, Profile::Dev)?;
    let mut cargo = build::cargo(root);
    // One at a time: they measure and load the machine, and two cores are all there may be.
    cargo.args(["test", "--locked", "--package", "scanguard-tests", "--", "--test-threads", "1", "--nocapture"]);
    cargo.env("SCANGUARD_PROMETHEUS", prometheus);
    if full {
        cargo.env("SCANGUARD_FULL", "1");
    }
    if rights == Rights::Sudo {
        let triple = format!("{}_UNKNOWN_LINUX_GNU", env::consts::ARCH.to_uppercase());
        cargo.env(format!("CARGO_TARGET_{triple}_RUNNER"), "sudo --preserve-env");
    }
    step::run("tests that need root, the kernel and real scanners", &mut cargo)?;
    println!("\nall tests passed");
    Ok(ExitCode::SUCCESS)
}
