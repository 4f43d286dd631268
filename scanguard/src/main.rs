//! The program `scanguard`. Everything is in the library; see its map of the modules.

use std::process::ExitCode;

fn main() -> ExitCode {
    scanguard::cli::main()
}
