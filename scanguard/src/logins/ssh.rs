//! Established ssh connections behind which somebody has logged in, from `/proc`.
//!
//! A server's process for a connection calls itself `sshd: ann@pts/0` (OpenSSH 9.8 on: `sshd-session: …`) once somebody has logged in; before,
//! it is `sshd: ann [net]`, `sshd: ann [priv]` or the like (setproctitle in OpenSSH's auth2.c, monitor.c and session.c). Those come before any
//! password is checked, and a name may have an `@` in it (`ann@corp.example`, as sssd and winbind have them), so what counts is the terminal behind
//! the last one: else whoever knows such a name, and nothing more, would be taken for logged in. Anybody can give his process such a title, so the
//! program's file must be one of root's that nobody else can write.
//!
//! Such a process also holds what is forwarded through it (`ssh -L`, `-R`, `-D`): connections to hosts that never logged in, and from strangers
//! who asked a forwarded port. The one that was logged in on was accepted by root, at a port that another process listens on.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{How, Login, remote_address};

/// Programs that hold connections of those who have logged in; `sshd-auth` (OpenSSH 10 on) is there before that only.
const SERVERS: [&str; 2] = ["sshd", "sshd-session"];
/// `TCP_ESTABLISHED` and `TCP_LISTEN` (include/net/tcp_states.h) as `/proc/net/tcp` writes them.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";
const ROOT: u32 = 0;
/// Bits of a file's mode that let others than its owner write it.
const WRITABLE: u32 = 0o022;

/// A process that serves somebody who has logged in.
struct Session {
    user: String,
    /// Inodes of its sockets, of whatever kind.
    sockets: HashSet<u64>,
}

/// A TCP socket.
#[derive(Debug, Eq, PartialEq)]
struct Socket {
    /// The port at this end.
    port: u16,
    /// Who is at the other end; nobody where it listens.
    other: Option<IpAddr>,
    /// Who made or accepted it.
    uid: u32,
}

pub(super) fn logins() -> Vec<Login> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let processes = processes.flatten().map(|entry| entry.path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
    });
    let sessions: Vec<Session> = processes.filter_map(|process| session(&process)).collect();
    if sessions.is_empty() {
        return Vec::new(); // The tables of a busy server are long.
    }
    let mut sockets = HashMap::new();
    for file in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        sockets.extend(parse(&fs::read_to_string(file).unwrap_or_default()));
    }
    sessions.iter().flat_map(|session| of_session(session, &sockets)).collect()
}

fn session(process: &Path) -> Option<Session> {
    let title = fs::read(process.join("cmdline")).ok()?;
    let user = user_of(&String::from_utf8_lossy(&title))?;
    let program = fs::read_link(process.join("exe")).ok()?;
    // After an upgrade the file of a running server is "…/sshd (deleted)"; the link still leads to it.
    let name = program.file_name()?.to_string_lossy().into_owned();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    let file = fs::metadata(process.join("exe")).ok()?;
    if !SERVERS.contains(&name) || file.uid() != ROOT || file.mode() & WRITABLE != 0 {
        return None;
    }
    let descriptors = fs::read_dir(process.join("fd")).ok()?;
    let sockets = descriptors.flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    });
    Some(Session { user, sockets: sockets.collect() })
}

/// From where a session's user is logged in: not what is forwarded through it.
fn of_session(session: &Session, sockets: &HashMap<u64, Socket>) -> Vec<Login> {
    let by_others = |port| {
        let mut all = sockets.iter();
        all.any(|(inode, socket)| socket.other.is_none() && socket.port == port && !session.sockets.contains(inode))
    };
    let held = session.sockets.iter().filter_map(|inode| sockets.get(inode));
    let logins = held.filter_map(|socket| {
        let address = remote_address(socket.other?)?;
        let is_login = socket.uid == ROOT && by_others(socket.port);
        is_login.then(|| Login { address, user: Some(session.user.clone()), how: How::Ssh })
    });
    logins.collect()
}

/// Who has logged in, by the title of a server's process; nobody before he has.
fn user_of(title: &str) -> Option<String> {
    let title = title.trim_end_matches('\0');
    // A server that names itself writes over all its arguments; with some left it was started under this name.
    if title.contains('\0') {
        return None;
    }
    let rest = SERVERS.iter().find_map(|server| title.strip_prefix(server)?.strip_prefix(": "))?;
    let (user, terminals) = rest.rsplit_once('@')?;
    (!user.is_empty() && terminals.split(',').all(is_terminal)).then(|| user.to_owned())
}

/// Whether it is what OpenSSH's `session_tty_list` writes: a terminal without its `/dev/`, or that there is none.
fn is_terminal(text: &str) -> bool {
    let number = text.strip_prefix("pts/").or_else(|| text.strip_prefix("tty"));
    text == "notty"
        || number.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Listening sockets and established connections by inode: lines of `/proc/net/tcp` (Documentation/networking/proc_net_tcp.rst).
fn parse(table: &str) -> Vec<(u64, Socket)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let field = |position: usize| fields.get(position).copied();
        let other = match field(3)? {
            LISTEN => None,
            ESTABLISHED => Some(address(field(2)?.split(':').next()?)?),
            _ => return None,
        };
        let port = u16::from_str_radix(field(1)?.split(':').nth(1)?, 16).ok()?;
        Some((field(9)?.parse().ok()?, Socket { port, other, uid: field(7)?.parse().ok()? }))
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
            ("sshd: ann@corp.example@pts/0\0\0\0", Some("ann@corp.example")),
            ("sshd-session: CORP\\ann lee@pts/12", Some("CORP\\ann lee")),
            // Nobody has proven anything yet.
            ("sshd: ann@corp.example [net]", None),
            ("sshd: ann@corp.example [priv]", None),
            ("sshd: ann@pts/0 [priv]", None),
            ("sshd-session: ann@corp.example [priv]", None),
            ("sshd-auth: ann@corp.example [net]", None),
            ("sshd-auth: ann@notty", None),
            ("sshd: ann@corp.example", None),
            ("sshd: ann", None),
            ("sshd: @pts/0", None),
            ("sshd: ann@", None),
            ("sshd: ann@pts/", None),
            ("sshd: ann@pts/0\0-D\0-p\0ssh\0", None),
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
    fn connections_are_read_with_the_other_end_and_listeners_without() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0A0200C0:0016 077100CB:D431 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n   \
             1: 0A0200C0:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0\n   \
             2: 0A0200C0:0016 077100CB:D432 06 00000000:00000000 00:00000000 00000000     0        0 0 1 0\n";
        let other = Some(IpAddr::from([203, 0, 113, 7]));
        let expected =
            [(4711, Socket { port: 22, other, uid: 0 }), (4712, Socket { port: 22, other: None, uid: 1000 })];
        assert_eq!(parse(table), expected);
        let text = "B80D0120000000000000000007000000";
        assert_eq!(address(text), Some("2001:db8::7".parse().expect("an address")));
    }

    #[test]
    fn what_is_forwarded_through_a_session_is_no_login() {
        let other = |last: u8| Some(IpAddr::from([203, 0, 113, last]));
        let loopback = Some(IpAddr::from([127, 0, 0, 1]));
        let sockets = HashMap::from([
            (1, Socket { port: 22, other: None, uid: 0 }),
            (2, Socket { port: 22, other: other(7), uid: 0 }),
            // Somebody else's session, and one from here.
            (3, Socket { port: 22, other: other(8), uid: 0 }),
            (4, Socket { port: 22, other: loopback, uid: 0 }),
            // -R: a port of the session, and a stranger who asked it.
            (5, Socket { port: 8080, other: None, uid: 0 }),
            (6, Socket { port: 8080, other: other(66), uid: 0 }),
            // -L and -D: from a port of clients to some host.
            (7, Socket { port: 40_000, other: other(80), uid: 0 }),
            // Made by the user, whatever the port.
            (8, Socket { port: 22, other: other(67), uid: 1000 }),
        ]);
        let of = |sockets_held: &[u64]| {
            let session = Session { user: "ann".to_owned(), sockets: sockets_held.iter().copied().collect() };
            let found = of_session(&session, &sockets).into_iter().map(|login| login.address);
            found.collect::<Vec<_>>()
        };
        assert_eq!(of(&[2, 4, 5, 6, 7, 8, 99]), [IpAddr::from([203, 0, 113, 7])]);
        assert!(of(&[5, 6, 7]).is_empty());
    }
}
