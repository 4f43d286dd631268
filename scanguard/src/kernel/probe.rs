//! Looks that change nothing: whether the kernel takes the programs, what they cost, and whose other programs are
//! there.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::datapath::{Datapath, LoadOptions};
use super::error::KernelError;
use super::link;
use super::tcx::{self, Direction};

/// The index of the loopback interface, in every network namespace (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
const LOOPBACK: u32 = 1;

/// What loading showed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Loaded {
    /// How long the verifier and the maps took.
    pub took: Duration,
    /// Bytes of kernel memory that maps and programs took.
    pub bytes: u64,
}

/// Loads all maps and programs as the daemon does, attaches nothing, and lets go of them.
///
/// # Errors
/// When the kernel refuses.
pub fn load(options: &LoadOptions) -> Result<Loaded, KernelError> {
    let (started, before) = (Instant::now(), memory_of("self"));
    let loaded = Datapath::load(options)?;
    let bytes = memory_of("self").saturating_sub(before);
    drop(loaded);
    Ok(Loaded { took: started.elapsed(), bytes })
}

/// Bytes of kernel memory of the maps and programs that a process holds, each once, as its descriptors tell (`memlock`
/// in `/proc/PID/fdinfo`). Of another user's process it takes CAP_SYS_PTRACE; what cannot be read is 0.
#[must_use]
pub fn memory_of(pid: &str) -> u64 {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let mut found = HashMap::new();
    for file in files {
        found.extend(memory_in(&std::fs::read_to_string(file.path()).unwrap_or_default()));
    }
    found.values().sum()
}

/// What a text of fdinfo is of, and how many bytes it takes; none where it is no map and no program.
fn memory_in(text: &str) -> Option<(String, u64)> {
    let line = |name: &str| text.lines().find(|line| line.starts_with(name));
    let what = line("map_id:").or_else(|| line("prog_id:"))?;
    let bytes = line("memlock:")?.split_once(':')?.1.trim().parse().ok()?;
    Some((what.to_owned(), bytes))
}

/// Whether the kernel has TCX; none where it may not be asked (CAP_NET_ADMIN). Asked of the loopback interface, which
/// every host has.
#[must_use]
pub fn has_tcx() -> Option<bool> {
    match tcx::programs(LOOPBACK, Direction::Egress) {
        Ok(_) => Some(true),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(_) => Some(false),
    }
}

/// The programs that hang on the interface of this index by TCX, each with its direction.
///
/// # Errors
/// When the kernel has no TCX (before Linux 6.6), or may not be asked (CAP_NET_ADMIN).
pub fn tcx_programs(interface: u32) -> io::Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for direction in Direction::ALL {
        let programs = tcx::programs(interface, direction)?;
        found.extend(programs.into_iter().map(|id| (direction.label(), link::program_name(id))));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_the_kernel_says_of_a_descriptor() {
        let map = "pos:\t0\nflags:\t02000002\nmap_type:\t1\nmemlock:\t4096\nmap_id:\t12\nfrozen:\t0\n";
        assert_eq!(memory_in(map), Some(("map_id:\t12".to_owned(), 4096)));
        let program = "pos:\t0\nprog_type:\t6\nmemlock:\t8192\nprog_id:\t12\n";
        assert_eq!(memory_in(program), Some(("prog_id:\t12".to_owned(), 8192)));
        assert_eq!(memory_in("pos:\t0\nflags:\t0\n"), None);
    }
}
