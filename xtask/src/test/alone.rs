//! Which files below `tests/tests` run beside another one. **A file that is not named here runs alone**: nothing has to be done for a new
//! test to be safe.
//!
//! A file belongs here when all of this is true of its tests:
//!
//! - they measure no time and no rate, and load the machine no more than a scan and a few customers do;
//! - they look at nothing of the machine that another laboratory changes: what is in the namespaces of a [`Lab`], in the private `/run`,
//!   `/var/lib` and `/sys/fs/bpf` of its sandbox and in its control group is its own; files of theirs in the folder for temporary ones have the
//!   process' number in their names;
//! - what they wait for they wait for by a condition with a generous limit.
//!
//! Within a file tests always run one after the other.
//!
//! [`Lab`]: ../../../tests/src/lab/topology.rs

/// Files of tests that run two at a time, those that take longest first.
pub(super) const SIDE_BY_SIDE: &[&str] = &[
    "differential",
    "stacks",
    "signals",
    "operator",
    "outcomes",
    "state",
    "replay",
    "fail2ban",
    "feeds",
    "people",
    "reconcile",
    "ports",
    "prometheus",
    "api",
    "daemon",
    "vlan",
    "challenge",
    "simulation",
    "packets",
    "sockets",
    "atomics",
];

/// Whether the file of tests of this name runs beside another one.
pub(super) fn is_side_by_side(name: &str) -> bool {
    SIDE_BY_SIDE.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_name_is_that_of_a_file_of_tests_and_stands_once() {
        for (position, name) in SIDE_BY_SIDE.iter().enumerate() {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/tests/{name}.rs"));
            assert!(file.is_file(), "there is no {}", file.display());
            assert!(!SIDE_BY_SIDE[..position].contains(name), "{name} stands twice");
        }
    }

    #[test]
    fn what_measures_time_or_looks_at_the_machine_runs_alone() {
        for name in ["flood", "lab", "takeover", "chaos", "scanguard_tests", "something_new"] {
            assert!(!is_side_by_side(name), "{name}");
        }
    }
}
