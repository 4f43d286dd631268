//! Builds the test rig's kernel programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    scanguard_toolchain::build_script(&["rig"])
}
