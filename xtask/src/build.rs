//! Setting up and building.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::step;

/// With or without optimisation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// With checks, as for tests.
    Dev,
    /// As for use.
    Release,
}

impl Profile {
    /// Where cargo puts the programs.
    pub(crate) fn folder(self, root: &Path) -> PathBuf {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
        target.join(match self {
            Self::Dev => "debug",
            Self::Release => "release",
        })
    }
}

/// `cargo`, in the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    cargo
}

/// Makes sure that the kernel part can be built.
pub(crate) fn setup(root: &Path) -> Result<()> {
    let toolchain = scanguard_toolchain::setup(root)?;
    println!("==> the kernel part is built with {toolchain}");
    Ok(())
}

/// Builds the daemon and the lab.
pub(crate) fn build(root: &Path, profile: Profile) -> Result<()> {
    setup(root)?;
    let mut cargo = cargo(root);
    cargo.args(["build", "--locked", "--package", "scanguard", "--package", "scanguard-tests", "--bins"]);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    step::run("building (the first time takes two to four minutes and 2 GB below target/)", &mut cargo)
}
