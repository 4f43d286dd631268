//! Commands run as steps: announced, and an error when they fail.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Runs a command with our own output and fails when it does.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    println!("==> {what}");
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{what}: failed ({status})");
    }
    Ok(())
}
