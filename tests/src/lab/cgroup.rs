//! A control group of a laboratory's own, so that its daemon counts the sessions of its services and of nobody else.
//!
//! Services are threads of this process, and several laboratories may be in one process. So the process has a group, and each laboratory a
//! *threaded* one below it (Documentation/admin-guide/cgroup-v2.rst, "Threads"), which its thread enters, and with it what that thread
//! starts. Sockets belong to the group of the thread that made them, accepted ones to that of their listener.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::thread::gettid;
use scanguard::kernel::sessions::cgroup_root;

/// How long threads that ended may take to leave a group.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the names of groups begin with; the number of the process follows.
const PREFIX: &str = "scanguard-lab-";

/// The group of one laboratory. Dropping it leads the thread back to where it was.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    thread: i32,
}

/// The group of this process, for as long as there are laboratories in it.
#[derive(Debug)]
struct Process {
    folder: PathBuf,
    /// Where the process was before.
    before: PathBuf,
    laboratories: usize,
}

static PROCESS: Mutex<Option<Process>> = Mutex::new(None);
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Cgroup {
    /// Makes one and leads the calling thread into it; none where control groups of version 2 are not mounted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter() -> Result<Option<Self>> {
        let Some(root) = cgroup_root() else { return Ok(None) };
        let mut process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        let process = match &mut *process {
            Some(process) => process,
            none => none.insert(Process::enter(&root)?),
        };
        let folder = process.folder.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        let thread = gettid().as_raw_nonzero().get();
        fs::create_dir(&folder)
            .and_then(|()| fs::write(folder.join("cgroup.type"), "threaded"))
            .and_then(|()| fs::write(folder.join("cgroup.threads"), thread.to_string()))
            .with_context(|| format!("cannot use the control group {}", folder.display()))?;
        process.laboratories += 1;
        Ok(Some(Self { folder, thread }))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut shared = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(process) = &mut *shared else { return };
        // What cannot be cleaned up now is empty folders, which the next laboratory removes.
        let _ = fs::write(process.folder.join("cgroup.threads"), self.thread.to_string());
        let _ = remove(&self.folder);
        process.laboratories -= 1;
        if process.laboratories == 0 {
            let _ = fs::write(process.before.join("cgroup.procs"), std::process::id().to_string());
            let _ = remove(&process.folder);
            *shared = None;
        }
    }
}

impl Process {
    fn enter(root: &Path) -> Result<Self> {
        remove_stale(root);
        let before = root.join(of("/proc/self/cgroup")?.trim_start_matches('/'));
        let folder = root.join(format!("{PREFIX}{}", std::process::id()));
        // One that could not be removed a moment ago is as good.
        let made = fs::create_dir(&folder).or_else(|error| if folder.is_dir() { Ok(()) } else { Err(error) });
        made.and_then(|()| fs::write(folder.join("cgroup.procs"), std::process::id().to_string()))
            .with_context(|| format!("cannot use the control group {}", folder.display()))?;
        Ok(Self { folder, before, laboratories: 0 })
    }
}

/// The folder of the laboratory's group in which the calling thread is, if it is in one.
pub fn of_this_thread() -> Option<PathBuf> {
    let group = of("/proc/thread-self/cgroup").ok()?;
    group.contains(PREFIX).then(|| cgroup_root().map(|root| root.join(group.trim_start_matches('/'))))?
}

/// The path of a group of version 2 below the root of the hierarchy (cgroups(7)).
fn of(file: &str) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    Ok(line.with_context(|| format!("{file} tells of no group of version 2"))?.to_owned())
}

/// Removes what laboratories left that were killed.
fn remove_stale(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            for group in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(group.path());
            }
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn remove(folder: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::skip;

    /// Needs root, like all of the laboratory.
    #[test]
    fn every_laboratory_has_its_own_and_leaves_none() {
        let here = of("/proc/thread-self/cgroup").expect("a group");
        let Some(first) = Cgroup::enter().expect("a group, which needs root: run `cargo xtask test`") else {
            return skip("cgroup2", "control groups of version 2 are not mounted")
                .unwrap_or_else(|why| panic!("{why}"));
        };
        assert_eq!(of_this_thread().as_ref(), Some(&first.folder));
        let other = std::thread::spawn(|| {
            let second = Cgroup::enter().expect("a group").expect("a hierarchy");
            assert_eq!(of_this_thread().as_ref(), Some(&second.folder));
            second.folder.clone()
        });
        let second = other.join().expect("a laboratory");
        let child = std::process::Command::new("cat").arg("/proc/self/cgroup").output().expect("cat");
        assert!(String::from_utf8_lossy(&child.stdout).contains("scanguard-lab-"), "what it starts is in it");
        let folders = [first.folder.clone(), second];
        drop(first);
        assert!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
        // Other tests may have laboratories in this process, whose group it then is still in.
        assert!(
            of_this_thread().is_none_or(|group| group.ends_with(format!("{PREFIX}{}", std::process::id()))),
            "{here}"
        );
    }
}
