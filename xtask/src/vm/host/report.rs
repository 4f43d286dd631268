//! What became of each step: as lines, and as JSON.

use std::fmt;

use serde::Serialize;

/// A step that was taken, or could not be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Taken {
    /// Its name.
    pub(super) name: &'static str,
    /// Whether all that it asserts is so.
    pub(super) ok: bool,
    /// What it took.
    pub(super) seconds: f64,
    /// What was seen, or why it failed.
    pub(super) detail: String,
}

impl fmt::Display for Taken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, ok, seconds, detail } = self;
        write!(out, "{} {name} ({seconds:.0} s): {detail}", if *ok { "passed" } else { "FAILED" })
    }
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Report {
    schema_version: u32,
    /// `uname -r` of the machine.
    kernel: String,
    steps: Vec<Taken>,
}

impl Report {
    /// Of these steps on this kernel.
    pub(super) const fn of(kernel: String, steps: Vec<Taken>) -> Self {
        Self { schema_version: 1, kernel, steps }
    }

    /// Whether a step failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.steps.iter().any(|step| !step.ok)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schema_version: _, kernel, steps } = self;
        writeln!(out, "a whole host on Linux {kernel}:")?;
        for step in steps {
            // All of it was told when it was taken.
            let line = step.to_string();
            writeln!(out, "  {}", line.lines().next().unwrap_or_default())?;
        }
        let passed = steps.iter().filter(|step| step.ok).count();
        let seconds: f64 = steps.iter().map(|step| step.seconds).sum();
        write!(out, "{passed} of {} steps passed in {seconds:.0} s", steps.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_counts_what_passed_and_its_json_has_every_step() {
        let step = |name, ok, detail: &str| Taken { name, ok, seconds: 2.0, detail: detail.to_owned() };
        let steps = vec![step("boot", true, "systemd runs"), step("install", false, "dpkg said no\nand why")];
        let report = Report::of("6.1.0-57-cloud-amd64".to_owned(), steps);
        assert!(report.has_failed());
        assert_eq!(
            report.to_string(),
            "a whole host on Linux 6.1.0-57-cloud-amd64:
  passed boot (2 s): systemd runs
  FAILED install (2 s): dpkg said no
1 of 2 steps passed in 4 s"
        );
        let json = serde_json::to_value(report).expect("JSON");
        assert_eq!((&json["schema_version"], &json["kernel"]), (&1.into(), &"6.1.0-57-cloud-amd64".into()));
        assert_eq!((&json["steps"][1]["name"], &json["steps"][1]["ok"]), (&"install".into(), &false.into()));
    }
}
