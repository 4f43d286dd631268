//! What cannot be tested on a machine, for want of a right, a program or a kernel feature, is a failure unless the environment allows it.
//!
//! `SCANGUARD_ALLOW_SKIP` names what may be left out, separated by commas, or is `all`; docs/testing.md lists the names.
//!
//! This file is also compiled into tests of the package `scanguard` and into xtask, which cannot depend on this package.

use std::env;
use std::io::{self, Write as _};

/// The environment variable that allows it.
pub const ALLOW: &str = "SCANGUARD_ALLOW_SKIP";

/// What begins the line that tells of something left out.
pub const MARK: &str = "NOT TESTED: ";

/// Says on standard output that what `name` stands for is left out and why; past libtest, which shows no output of tests that pass.
///
/// # Errors
/// When `SCANGUARD_ALLOW_SKIP` does not name it; the message is for a person.
pub fn skip(name: &str, why: &str) -> Result<(), String> {
    if !names(&env::var(ALLOW).unwrap_or_default(), name) {
        return Err(format!("cannot test this here: {why} (set {ALLOW}={name} to leave it out)"));
    }
    // On a line of its own: libtest may just have begun one. If nobody listens, nobody is to be told.
    let _ = writeln!(io::stdout(), "\n{MARK}{name}: {why}");
    Ok(())
}

/// Whether a value of the variable names it.
fn names(allowed: &str, name: &str) -> bool {
    allowed.split(',').map(str::trim).any(|one| one == name || one == "all")
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_skip_is_allowed_by_its_name_or_by_all() {
        for (allowed, expected) in [
            ("", false),
            ("root", true),
            ("cgroup2, root", true),
            ("cgroup2,split-frames", false),
            ("roots", false),
            ("all", true),
            ("setarch,all", true),
        ] {
            assert_eq!(names(allowed, "root"), expected, "{allowed:?}");
        }
    }
}
