//! Hosts: network namespaces that have no name and so cannot be left behind.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::sandbox::CannotRun;

/// A network namespace. It exists as long as a clone of this, or a program or socket inside it, does.
#[derive(Clone, Debug)]
pub struct Netns {
    name: &'static str,
    handle: Arc<OwnedFd>,
}

impl Netns {
    /// A new, empty namespace; `name` is for messages only.
    ///
    /// # Errors
    /// [`CannotRun::Forbidden`] when the kernel refuses.
    pub fn new(name: &'static str) -> Result<Self> {
        let handle = scratch_thread(|| {
            // SAFETY: NEWNET leaves the table of file descriptors shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
        })
        .map_err(|source| CannotRun::Forbidden { what: "make a network namespace", source })?;
        Ok(Self { name, handle: Arc::new(handle) })
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// A path by which other programs (`ip link … netns PATH`) can name it while this process lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()).into()
    }

    /// Runs `work` inside, on a thread of its own. Sockets opened there belong to this namespace for good.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        scratch_thread(|| {
            self.enter().with_context(|| format!("cannot enter the namespace of {}", self.name))?;
            Ok(work())
        })
    }

    /// A program that will run inside and is killed when *the thread that starts it* ends: start long-lived programs
    /// from a thread that lives as long.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let namespace = self.clone();
        let parent = getpid();
        // SAFETY: between fork and exec only system calls are made; nothing allocates or takes locks.
        unsafe { command.pre_exec(move || namespace.enter().and_then(|()| die_with(parent))) };
        command
    }

    /// Sets `/proc/sys/net/…` inside, as `("ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// When the kernel has no such setting or refuses the value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            settings.iter().try_for_each(|(key, value)| {
                fs::write(Path::new("/proc/sys/net").join(key), value)
                    .with_context(|| format!("cannot set net/{key} to {value} for {}", self.name))
            })
        })?
    }

    /// Processes other than this one that are inside.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn inhabitants(&self) -> Result<Vec<u32>> {
        let here = fs::metadata(self.path()).with_context(|| format!("cannot look at {}", self.name))?.ino();
        let processes = fs::read_dir("/proc").context("cannot list /proc")?;
        Ok(processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != std::process::id())
            .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|theirs| theirs.ino() == here))
            .collect())
    }

    fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))?)
    }
}

/// Has the kernel kill this process when the thread that forked it ends.
fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before the line above took effect.
    if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
}

fn scratch_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
