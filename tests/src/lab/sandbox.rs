//! The rights the laboratory needs, and the part of the file system it keeps to itself.

use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Why the laboratory cannot run on this machine (exit code 77).
#[derive(Debug, thiserror::Error)]
pub enum CannotRun {
    /// Not root.
    #[error("the laboratory makes network namespaces and loads kernel programs: run it as root (sudo does)")]
    NotRoot,
    /// Root, but a container or a security module forbids it.
    #[error("cannot {what}: {source}; the laboratory needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW")]
    Forbidden {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program is not installed.
    #[error("`{program}` is not installed: apt-get install {package} (or your distribution's package of it)")]
    MissingTool {
        /// The program's name.
        program: &'static str,
        /// Its package in Debian.
        package: &'static str,
    },
}

/// Gives the calling thread a mount namespace of its own with an empty `/run`, `/var/lib` and `/sys/fs/bpf`.
///
/// Threads and programs started from this thread inherit it. The daemon can so use its usual paths, two laboratories
/// do not meet, and sockets, pins, state and configuration vanish with the last process that sees them.
///
/// # Errors
/// [`CannotRun`] without root or when the kernel refuses.
pub fn enter() -> Result<(), CannotRun> {
    if !rustix::process::geteuid().is_root() {
        return Err(CannotRun::NotRoot);
    }
    let forbidden = |what| move |error: rustix::io::Errno| CannotRun::Forbidden { what, source: error.into() };
    // SAFETY: NEWNS unshares mounts (and this thread's working directory), not the table of file descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(forbidden("make a mount namespace"))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(forbidden("make the mounts private"))?;
    for (folder, what) in [("/run", "mount a private /run"), ("/var/lib", "mount a private /var/lib")] {
        mount("lab", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))
            .map_err(forbidden(what))?;
    }
    mount("lab", "/sys/fs/bpf", "bpf", MountFlags::empty(), Some(c"mode=0700"))
        .map_err(forbidden("mount a private /sys/fs/bpf"))
}
