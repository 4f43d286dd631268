//! What became of each suite on each kernel: as a table, and as JSON.

use std::fmt;

use serde::Serialize;

/// How a suite ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "result", content = "reason", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Every test of it.
    Passed,
    /// At least one test did not, or it did not end; the reason.
    Failed(String),
    /// It could not be tried; why.
    NotPossible(String),
}

/// `timeout`(1) ended it.
const TIMED_OUT: i32 = 124;
/// "Cannot run here", as everywhere in this project.
const CANNOT_RUN: i32 = 77;

impl Outcome {
    /// By an exit code; nothing for a process that a signal ended.
    pub(super) fn of(code: Option<i32>) -> Self {
        match code {
            Some(0) => Self::Passed,
            Some(CANNOT_RUN) => Self::NotPossible("exit code 77".to_owned()),
            Some(TIMED_OUT) => Self::Failed("out of time".to_owned()),
            Some(code) => Self::Failed(format!("exit code {code}")),
            None => Self::Failed("ended by a signal".to_owned()),
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "FAILED",
            Self::NotPossible(_) => "not possible",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(reason) | Self::NotPossible(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(out, "{}: {reason}", self.label()),
            None => out.write_str(self.label()),
        }
    }
}

/// A suite that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Trial {
    /// Its name.
    pub(super) name: String,
    /// How it ended.
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    /// What it took.
    pub(super) seconds: f64,
    /// What its tests said that they left out.
    pub(super) notes: Vec<String>,
}

/// Where a kernel ran.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// On this machine, which it is the kernel of.
    Host,
    /// In a machine of qemu's by KVM.
    Kvm,
    /// In a machine of qemu's, every instruction translated.
    Emulation,
    /// Nowhere.
    Nowhere,
}

/// All of one kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// What was asked for: a series, or `host`.
    pub(super) kernel: String,
    /// `uname -r`, where it is known.
    pub(super) release: Option<String>,
    /// Where it ran.
    pub(super) place: Place,
    /// Each suite.
    pub(super) tests: Vec<Trial>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    schema_version: u32,
    kernels: Vec<Row>,
}

impl Report {
    /// Of these kernels.
    pub(super) const fn of(kernels: Vec<Row>) -> Self {
        Self { schema_version: 1, kernels }
    }

    /// Whether something failed.
    pub(super) fn has_failed(&self) -> bool {
        self.trials().any(|trial| matches!(trial.outcome, Outcome::Failed(_)))
    }

    /// Whether something passed.
    pub(super) fn has_passed(&self) -> bool {
        self.trials().any(|trial| trial.outcome == Outcome::Passed)
    }

    fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.kernels.iter().flat_map(|row| &row.tests)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schema_version: _, kernels } = self;
        let names = || kernels.first().into_iter().flat_map(|row| &row.tests).map(|trial| trial.name.as_str());
        let widest = names().map(str::len).max().unwrap_or_default();
        write!(out, "{:widest$}", "")?;
        for row in kernels {
            write!(out, "  {:>18}", row.kernel)?;
        }
        writeln!(out)?;
        for (index, name) in names().enumerate() {
            write!(out, "{name:widest$}")?;
            for Trial { outcome, seconds, .. } in kernels.iter().filter_map(|row| row.tests.get(index)) {
                let cell = match outcome {
                    Outcome::NotPossible(_) => outcome.label().to_owned(),
                    _ => format!("{} {seconds:5.0} s", outcome.label()),
                };
                write!(out, "  {cell:>18}")?;
            }
            writeln!(out)?;
        }
        writeln!(out)?;
        for Row { kernel, release, place, .. } in kernels {
            let how = match place {
                Place::Host => "this machine",
                Place::Kvm => "in qemu by KVM",
                Place::Emulation => "in qemu, emulated",
                Place::Nowhere => "did not run",
            };
            writeln!(out, "{kernel}: {}, {how}", release.as_deref().unwrap_or("no such kernel here"))?;
        }
        for Row { kernel, tests, .. } in kernels {
            let mut reasons: Vec<(&str, &Trial)> = Vec::new();
            for trial in tests {
                // What is the same for all is said once.
                if let Some(reason) = trial.outcome.reason()
                    && reasons.last().is_none_or(|(last, _)| *last != reason)
                {
                    reasons.push((reason, trial));
                }
            }
            for (reason, trial) in reasons {
                writeln!(out, "{kernel}, {}: {}: {reason}", trial.name, trial.outcome.label())?;
            }
            for (trial, note) in tests.iter().flat_map(|trial| trial.notes.iter().map(move |note| (trial, note))) {
                writeln!(out, "{kernel}, {}: not tested: {note}", trial.name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let trial = |name: &str, outcome, seconds, notes: &[&str]| Trial {
            name: name.to_owned(),
            outcome,
            seconds,
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        };
        let gone = || Outcome::NotPossible("apt offers no kernel 6.1".to_owned());
        Report::of(vec![
            Row {
                kernel: "host".to_owned(),
                release: Some("6.18.1".to_owned()),
                place: Place::Host,
                tests: vec![
                    trial("atomics", Outcome::Passed, 0.4, &[]),
                    trial("lab syn", Outcome::of(Some(101)), 12.0, &["no control groups"]),
                ],
            },
            Row {
                kernel: "6.1".to_owned(),
                release: None,
                place: Place::Nowhere,
                tests: vec![trial("atomics", gone(), 0.0, &[]), trial("lab syn", gone(), 0.0, &[])],
            },
        ])
    }

    #[test]
    fn the_table_names_each_kernel_and_says_a_reason_once() {
        assert_eq!(
            report().to_string(),
            "                       host                 6.1
atomics      passed     0 s        not possible
lab syn      FAILED    12 s        not possible

host: 6.18.1, this machine
6.1: no such kernel here, did not run
host, lab syn: FAILED: exit code 101
host, lab syn: not tested: no control groups
6.1, atomics: not possible: apt offers no kernel 6.1
"
        );
        assert!(report().has_failed() && report().has_passed());
    }

    #[test]
    fn json_has_a_result_for_each_kernel_and_test() {
        let json = serde_json::to_value(report()).expect("JSON");
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["kernels"][0]["tests"][0]["result"], "passed");
        assert_eq!(json["kernels"][0]["tests"][1]["result"], "failed");
        assert_eq!(json["kernels"][0]["tests"][1]["reason"], "exit code 101");
        assert_eq!(json["kernels"][1]["tests"][1]["result"], "not_possible");
        assert_eq!(json["kernels"][1]["place"], "nowhere");
    }

    #[test]
    fn exit_codes_mean_what_they_mean_everywhere() {
        assert_eq!(Outcome::of(Some(0)), Outcome::Passed);
        assert!(matches!(Outcome::of(Some(77)), Outcome::NotPossible(_)));
        assert_eq!(Outcome::of(Some(124)), Outcome::Failed("out of time".to_owned()));
        assert!(matches!(Outcome::of(None), Outcome::Failed(_)));
    }
}
