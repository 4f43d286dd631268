//! Memory, as the kernel tells it in files of `/proc` (proc(5)).

use std::fs;

use nix::libc;

/// Bytes of memory of this host.
#[must_use]
pub fn total() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Bytes of memory that can be had without swapping.
#[must_use]
pub fn available() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Bytes of memory that a process has in use.
#[must_use]
pub fn resident(pid: &str) -> Option<u64> {
    kibibytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Gives freed memory back to the host. Loading the kernel part takes megabytes that are not needed again.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and may be called at any time (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_are_in_kibibytes() {
        let text = "MemTotal:       1000 kB\nMemAvailable:     12 kB\n";
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(12 * 1024));
        assert_eq!(kibibytes(text, "VmRSS:"), None);
        assert!(total() > available() && resident("self").is_some_and(|bytes| bytes > 1 << 20));
    }
}
