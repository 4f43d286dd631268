//! Established ssh connections behind which somebody has logged in, from `/proc`.
//!
//! A server's process for a connection calls itself `sshd: ann@pts/0` (OpenSSH 9.8 on: `sshd-session: …`) once somebody has logged in; before,
//! it is `sshd: ann [preauth]`, `sshd: [accepted]` or the like. Anybody can give his process such a name, so the program's file must be one of root's
//! that nobody else can write.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{How, Login, remote_address};

const SERVERS: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];
/// `TCP_ESTABLISHED` (include/net/tcp_states.h) as `/proc/net/tcp` writes it.
const ESTABLISHED: &str = "01";
/// Bits of a file's mode that let others than its owner write it.
const WRITABLE: u32 = 0o022;

pub(super) fn logins() -> Vec<Login> {
    let mut connections: HashMap<u64, IpAddr> = HashMap::new();
    for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        connections.extend(established(&fs::read_to_string(file).unwrap_or_default()));
    }
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let processes = processes.flatten().map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
    });
    processes.flat_map(|process| of_process(&process, &connections).unwrap_or_default()).collect()
}

/// Logins over the connections that an ssh server's process holds.
fn of_process(process: &Path, connections: &HashMap<u64, IpAddr>) -> Option<Vec<Login>> {
    let title = fs::read(process.join("cmdline")).ok()?;
    let user = user_of(&String::from_utf8_lossy(&title))?;
    let program = fs::read_link(process.join("exe")).ok()?;
    // After an upgrade the file of a running server is "…/sshd (deleted)", and no longer there to ask for its owner.
    let name = program.file_name()?.to_string_lossy().into_owned();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    let file = fs::metadata(process.join("exe")).ok()?;
    if !SERVERS.contains(&name) || file.uid() != 0 || file.mode() & WRITABLE != 0 {
        return None;
    }
    let descriptors = fs::read_dir(process.join("fd")).ok()?;
    let sockets = descriptors.flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    });
    let logins = sockets.filter_map(|inode| {
        let address = remote_address(*connections.get(&inode)?)?;
        Some(Login { address, user: Some(user.clone()), how: How::Ssh })
    });
    Some(logins.collect())
}

/// Who has logged in, by the title of a server's process; nobody before he has.
fn user_of(title: &str) -> Option<String> {
    let title = title.trim_end_matches('\0');
    let rest = SERVERS.iter().find_map(|server| title.strip_prefix(server)?.strip_prefix(": "))?;
    // The monitor that keeps root's rights for a logged-in user is "sshd: ann [priv]"; it holds the connection as well.
    let (user, terminal) = rest.split_once('@').or_else(|| Some((rest.strip_suffix(" [priv]")?, "")))?;
    let terminal = terminal.split_whitespace().next().unwrap_or_default();
    let is_monitor = terminal.is_empty();
    let valid = !user.is_empty() && !user.contains(['[', ' ']);
    // A monitor is there before its user has logged in.
    (valid && !is_monitor).then(|| user.to_owned())
}

/// Established connections by inode, with the other end's address: lines of `/proc/net/tcp` (Documentation/networking/proc_net_tcp.rst).
fn established(table: &str) -> Vec<(u64, IpAddr)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (other, state, inode) = (fields.get(2)?, fields.get(3)?, fields.get(9)?);
        if *state != ESTABLISHED {
            return None;
        }
        Some((inode.parse().ok()?, address(other.split(':').next()?)?))
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Words of 32 bits in hexadecimal, each in the machine's byte order.
fn address(text: &str) -> Option<IpAddr> {
    let word = |position: usize| {
        let digits = text.get(position * 8..position * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (position, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(position)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_has_logged_in_counts() {
        for (title, user) in [
            ("sshd: ann@pts/0\0", Some("ann")),
            ("sshd-session: ann@notty", Some("ann")),
            ("sshd: ann@pts/0,pts/1", Some("ann")),
            ("sshd: ann [priv]", None),
            ("sshd: ann [preauth]", None),
            ("sshd: [accepted]", None),
            ("sshd: unknown [preauth]", None),
            ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", None),
            ("/usr/sbin/sshd\0-D", None),
            ("vim sshd: ann@pts/0", None),
        ] {
            assert_eq!(user_of(title).as_deref(), user, "{title}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn established_connections_are_read_with_the_other_end() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0A0200C0:0016 077100CB:D431 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
             1: 0A0200C0:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n";
        assert_eq!(established(table), [(4711, IpAddr::from([203, 0, 113, 7]))]);
        let text = "B80D0120000000000000000007000000";
        assert_eq!(address(text), Some("2001:db8::7".parse().expect("an address")));
    }
}
