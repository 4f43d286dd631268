//! xdp-filter, which wants its tables pinned: in a BPF file system that nobody else sees.

use std::path::PathBuf;
use std::{env, fs, process, thread};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use scanguard::kernel::filter::Filter;

/// Loads it with tables for so many entries; none when it is not installed. Nothing stays pinned.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn load(entries: u32) -> Result<Option<Filter>> {
    let folder: PathBuf = env::temp_dir().join(format!("scanguard-bench-pins-{}", process::id()));
    fs::create_dir_all(&folder).context("cannot make a folder for a BPF file system")?;
    let loaded = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: the thread ends here, and the namespace with it; file descriptors stay shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot make a mount namespace")?;
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            mount("bpf", &folder, "bpf", MountFlags::empty(), None).context("cannot mount a BPF file system")?;
            Ok(Filter::load(entries, &folder)?)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    fs::remove_dir(&folder).context("cannot remove the folder of a BPF file system")?;
    loaded
}
