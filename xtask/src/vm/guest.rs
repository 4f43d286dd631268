//! What runs inside a machine, and how its console is read.

use std::path::Path;

use super::LEFT_OUT;
use super::report::{Outcome, Trial};
use super::suite::Runnable;
use crate::skip;

/// What begins a line that is ours. Names of tests have no line breaks.
const MARK: &str = "@@scanguard ";

/// Limits and sizes for a machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Effort {
    /// Seconds that a suite may take.
    pub(super) limit_s: u64,
    /// Frames of the comparison of kernel and host.
    pub(super) frames: u64,
    /// How many times longer the lab waits than on a machine of its own.
    pub(super) patience: u32,
}

/// A script that runs the suites and says how they ended.
pub(super) fn script(root: &Path, suites: &[Runnable], effort: Effort) -> String {
    let Effort { limit_s, frames, patience } = effort;
    let mut text = format!(
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n\
         export SCANGUARD_FRAMES={frames} SCANGUARD_PATIENCE={patience} {}={LEFT_OUT}\n\
         mkdir -p /dev/pts /dev/shm\n\
         mount -t devpts devpts /dev/pts\n\
         mount -t tmpfs shm /dev/shm\n\
         mount -t tmpfs run /run\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         ip link set lo up\n\
         cd {}\n",
        skip::ALLOW,
        quoted(&root.join("tests"))
    );
    for runnable in suites {
        let (name, program) = (runnable.suite.name, quoted(&runnable.program));
        let arguments = runnable.arguments().collect::<Vec<_>>().join(" ");
        text += &format!(
            "echo '{MARK}begin {name}'\n\
             timeout {limit_s} {program} {arguments} 2>&1\n\
             code=$?; echo; echo \"{MARK}end $code {name}\"\n"
        );
    }
    // Powers the machine off at once; nothing in it is worth writing back.
    text + "echo o > /proc/sysrq-trigger\nsleep 60\n"
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Reads a console line by line.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// The suite that runs, and since when.
    running: Option<(String, f64)>,
    notes: Vec<String>,
    ended: Vec<Trial>,
}

impl Console {
    /// Takes a line that came at `at_s` seconds, and returns the suite that it ends, if it ends one.
    pub(super) fn line(&mut self, line: &str, at_s: f64) -> Option<&Trial> {
        let line = line.trim_end();
        if let Some(note) = skip::note(line) {
            self.notes.push(note.to_owned());
        }
        // The firmware and the kernel end no lines for us.
        let (_, said) = line.split_once(MARK)?;
        if let Some(name) = said.strip_prefix("begin ") {
            self.running = Some((name.to_owned(), at_s));
            self.notes.clear();
            return None;
        }
        let (code, name) = said.strip_prefix("end ")?.split_once(' ')?;
        let (running, since_s) = self.running.take()?;
        if running != name {
            return None;
        }
        let outcome = Outcome::of(code.parse().ok());
        let notes = std::mem::take(&mut self.notes);
        self.ended.push(Trial { name: running, outcome, seconds: at_s - since_s, notes });
        self.ended.last()
    }

    /// What became of each suite; those that did not end failed for `why`.
    pub(super) fn finish(self, suites: &[Runnable], at_s: f64, why: &str) -> Vec<Trial> {
        let Self { running, ended, .. } = self;
        let trial = |runnable: &Runnable| {
            let name = runnable.suite.name;
            if let Some(trial) = ended.iter().find(|trial| trial.name == name) {
                return trial.clone();
            }
            let seconds =
                running.as_ref().filter(|(running, _)| running == name).map_or(0.0, |(_, since)| at_s - since);
            Trial { name: name.to_owned(), outcome: Outcome::Failed(why.to_owned()), seconds, notes: Vec::new() }
        };
        suites.iter().map(trial).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::SUITES;
    use super::*;

    fn runnables() -> Vec<Runnable> {
        let program = |name: &str| format!("/it's here/{name}").into();
        SUITES[..3].iter().map(|suite| Runnable { suite: *suite, program: program(suite.name) }).collect()
    }

    #[test]
    fn paths_with_quotes_and_spaces_stay_whole() {
        let script = script(Path::new("/it's here"), &runnables(), Effort { limit_s: 5, frames: 7, patience: 2 });
        assert!(script.contains(r"cd '/it'\''s here/tests'"), "{script}");
        assert!(script.contains("SCANGUARD_ALLOW_SKIP=split-frames\n"), "{script}");
        assert!(script.contains(r"timeout 5 '/it'\''s here/atomics' --test-threads 1 --nocapture 2>&1"), "{script}");
    }

    #[test]
    fn what_the_console_says_becomes_the_outcome_of_each_suite() {
        let mut console = Console::default();
        for (at_s, line) in [
            (1.0, "[    1.0] the kernel talks"),
            (1.0, "\u{1b}c@@scanguard begin atomics\r"),
            (1.5, "NOT TESTED: split-frames: this kernel splits no frames"),
            (3.0, "@@scanguard end 0 atomics\r"),
            (3.0, "@@scanguard begin packet table"),
            (4.0, "@@scanguard end 0 something else that a test printed"),
        ] {
            console.line(line, at_s);
        }
        console.line("@@scanguard begin packet table", 5.0);
        assert_eq!(
            console.line("@@scanguard end 101 packet table", 7.5).map(|trial| trial.outcome.clone()),
            Some(Outcome::Failed("exit code 101".to_owned()))
        );
        let trials = console.finish(&runnables(), 9.0, "the machine stopped");
        let told: Vec<_> = trials.iter().map(|trial| (trial.name.as_str(), trial.seconds)).collect();
        assert_eq!(told, [("atomics", 2.0), ("packet table", 2.5), ("challenges", 0.0)]);
        assert_eq!(trials[0].outcome, Outcome::Passed);
        assert_eq!(trials[0].notes, ["split-frames: this kernel splits no frames"]);
        assert_eq!(trials[2].outcome, Outcome::Failed("the machine stopped".to_owned()));
    }

    #[test]
    fn the_suite_that_ran_when_a_machine_stopped_failed() {
        let mut console = Console::default();
        console.line("@@scanguard begin atomics", 2.0);
        let trials = console.finish(&runnables(), 10.0, "stopped");
        assert_eq!((trials[0].seconds, &trials[0].outcome), (8.0, &Outcome::Failed("stopped".to_owned())));
    }
}
