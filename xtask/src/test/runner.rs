//! Runs the programs of tests: some of them two at a time, the others alone.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::alone::{SIDE_BY_SIDE, is_side_by_side};
use super::summary::Ran;
use crate::build::Profile;
use crate::programs::TestProgram;
use crate::rights::Rights;

/// How many run side by side: as many as the least machine that this is for has processors.
const AT_A_TIME: usize = 2;

/// Runs all of them, whatever becomes of one; `prepare` adds what they all need.
pub(super) fn run(
    root: &Path,
    programs: Vec<TestProgram>,
    rights: Rights,
    prepare: impl Fn(&mut Command) + Sync,
) -> Result<Vec<Ran>> {
    // A file for each program's output: what it leaves running cannot keep us waiting, as it could by a pipe.
    let outputs = Profile::Dev.folder(root).with_file_name("test-output");
    fs::create_dir_all(&outputs).with_context(|| format!("cannot make {}", outputs.display()))?;
    let runner = Runner { root, outputs, rights, prepare: &prepare };
    let (beside, alone) = in_order(programs);
    println!("==> {} programs of tests two at a time, then {} alone", beside.len(), alone.len());
    let (queue, ran) = (Mutex::new(VecDeque::from(beside)), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = lock(&queue).pop_front();
                    let Some(program) = next else { return };
                    let done = runner.run(&program);
                    lock(&ran).push(done);
                }
            });
        }
    });
    let mut ran = ran.into_inner().unwrap_or_else(PoisonError::into_inner);
    ran.extend(alone.iter().map(|program| runner.run(program)));
    Ok(ran)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those that run side by side, in the order of their list, and those that run alone, in that of their names.
fn in_order(programs: Vec<TestProgram>) -> (Vec<TestProgram>, Vec<TestProgram>) {
    let (mut beside, mut alone): (Vec<_>, Vec<_>) =
        programs.into_iter().partition(|program| program.is_file_of_tests && is_side_by_side(&program.name));
    beside.sort_by_key(|program| SIDE_BY_SIDE.iter().position(|name| *name == program.name));
    alone.sort_by(|one, other| one.name.cmp(&other.name));
    (beside, alone)
}

struct Runner<'r, P> {
    root: &'r Path,
    outputs: PathBuf,
    rights: Rights,
    prepare: &'r P,
}

impl<P: Fn(&mut Command)> Runner<'_, P> {
    /// Runs one to its end and prints what it said, whole.
    fn run(&self, program: &TestProgram) -> Ran {
        let name = label(program);
        let (ran, said) = self
            .try_run(program, &name)
            .unwrap_or_else(|error| (Ran::not_at_all(&name, format!("{error:#}")), String::new()));
        // Should nobody listen, the tests go on.
        let _ = write!(io::stdout().lock(), "\n==> {ran}\n{said}");
        ran
    }

    fn try_run(&self, program: &TestProgram, name: &str) -> Result<(Ran, String)> {
        let file = self.outputs.join(format!("{}.txt", name.replace(' ', "-")));
        let output = File::create(&file).with_context(|| format!("cannot create {}", file.display()))?;
        let copy = output.try_clone().context("cannot copy a descriptor")?;
        let mut command = self.rights.command(&program.path);
        // One at a time: two cores are all there may be.
        command.args(["--test-threads", "1", "--nocapture"]).current_dir(self.root.join("tests"));
        command.stdin(Stdio::null()).stdout(output).stderr(copy);
        (self.prepare)(&mut command);
        let begun = Instant::now();
        let status = command.status().with_context(|| format!("cannot start {}", program.path.display()))?;
        let took = begun.elapsed();
        let said = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok((Ran::of(name, status, took, &said), said))
    }
}

/// What it is called: the name alone for a file of tests, of which there may be a program or library of the same name.
fn label(program: &TestProgram) -> String {
    if program.is_file_of_tests { program.name.clone() } else { format!("{} (its own tests)", program.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, is_file_of_tests: bool) -> TestProgram {
        TestProgram { name: name.to_owned(), is_file_of_tests, path: format!("/{name}").into() }
    }

    #[test]
    fn longest_first_side_by_side_and_the_rest_alone() {
        let programs = [
            program("lab", true),
            program("lab", false),
            program("atomics", true),
            program("differential", true),
            program("chaos", true),
            program("something_new", true),
        ];
        let (beside, alone) = in_order(programs.into());
        let names = |programs: &[TestProgram]| programs.iter().map(label).collect::<Vec<_>>();
        assert_eq!(names(&beside), ["differential", "atomics"]);
        assert_eq!(names(&alone), ["chaos", "lab", "lab (its own tests)", "something_new"]);
    }

    #[test]
    fn one_that_fails_keeps_no_other_from_running_and_its_output_is_kept() {
        let root = std::env::temp_dir().join(format!("scanguard-runner-{}", std::process::id()));
        fs::create_dir_all(root.join("tests")).expect("a folder");
        let script = |name: &str, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = root.join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its rights");
            TestProgram { name: name.to_owned(), is_file_of_tests: true, path }
        };
        let programs = [
            script("atomics", "echo \"$@\"; echo failures:; echo '    a_test'; echo; echo test result; exit 101"),
            script("chaos", "echo \"test one ... NOT TESTED: cgroup2: none\"; echo \"$MORE\" >&2"),
            TestProgram { name: "gone".to_owned(), is_file_of_tests: true, path: root.join("gone") },
        ];
        let runner =
            Runner { root: &root, outputs: root.clone(), rights: Rights::Root, prepare: &|_: &mut Command| {} };
        let run = |number: usize| runner.try_run(&programs[number], &programs[number].name);
        let [(atomics, said), (chaos, _)] = [0, 1].map(|number| run(number).expect("a run"));
        assert!(run(2).is_err_and(|error| error.to_string().contains("cannot start")));
        assert_eq!(atomics.failed.as_deref(), Some("exit code 101: a_test"));
        assert_eq!((chaos.failed, chaos.notes), (None, vec!["cgroup2: none".to_owned()]));
        assert!(said.starts_with("--test-threads 1 --nocapture\n") && said.ends_with("test result\n"), "{said}");
        fs::remove_dir_all(root).expect("the folder can be removed");
    }
}
