//! Which programs run, and whose sockets are whose, by `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Programs that matter beside a packet filter, by the names of their processes.
const BESIDE: [&str; 6] = ["dockerd", "podman", "firewalld", "fail2ban-server", "crowdsec", "ufw"];

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
    })
}

fn name(process: &Path) -> Option<String> {
    Some(fs::read_to_string(process.join("comm")).ok()?.trim_end().to_owned())
}

/// Those of [`BESIDE`] that run, each once.
pub(super) fn beside() -> Vec<String> {
    let running: HashSet<String> = processes().filter_map(|process| name(&process)).collect();
    BESIDE.iter().filter(|name| running.contains(**name)).map(|name| (*name).to_owned()).collect()
}

/// The process of a running `scanguard run`, if its name and arguments say so.
pub(super) fn daemon() -> Option<String> {
    let is_daemon = |process: &PathBuf| {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.next().is_some_and(|program| program.ends_with(b"scanguard")) && arguments.any(|word| word == b"run")
    };
    let found = processes().find(|process| name(process).as_deref() == Some("scanguard") && is_daemon(process))?;
    Some(found.file_name()?.to_string_lossy().into_owned())
}

/// The names of the processes that hold these sockets. What may not be read is left out.
pub(super) fn owners(sockets: &HashSet<u32>) -> HashMap<u32, String> {
    let mut owners = HashMap::new();
    for process in processes() {
        let Ok(descriptors) = fs::read_dir(process.join("fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode =
                target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| sockets.contains(inode))
                && let Some(name) = name(&process)
            {
                // A server's first process, whose number is the least, comes first or last: either has its name.
                owners.entry(inode).or_insert(name);
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_socket_is_found_with_the_program_that_has_it() {
        use std::os::fd::AsRawFd as _;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
        let file = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("its file");
        let inode = u32::try_from(file.ino()).expect("a number of 32 bits");
        let own = fs::read_to_string("/proc/self/comm").expect("a name");
        assert_eq!(owners(&HashSet::from([inode])).get(&inode).map(String::as_str), Some(own.trim_end()));
    }
}
