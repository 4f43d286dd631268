//! Builds the kernel part.

use std::process::ExitCode;

fn main() -> ExitCode {
    scanguard_toolchain::build_script(&["scanguard"])
}
