//! The session that a process was started from.

use std::fs;

use super::{How, Login, remote_address};

/// Ancestors looked at, at most.
const GENERATIONS: usize = 32;

/// From where a process, or one of those it was started by, is logged in: sshd tells its children in `SSH_CONNECTION`. sudo takes that away, so its
/// parents are asked as well.
#[must_use]
pub fn of_caller(pid: u32) -> Vec<Login> {
    let mut logins: Vec<Login> = Vec::new();
    let mut pid = pid;
    for _ in 0..GENERATIONS {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if let Some(login) = in_environment(&environment)
            && !logins.contains(&login)
        {
            logins.push(login);
        }
        match fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|status| parent(&status)) {
            Some(parent) if parent > 0 => pid = parent,
            _ => break,
        }
    }
    logins
}

fn in_environment(environment: &[u8]) -> Option<Login> {
    let text = String::from_utf8_lossy(environment);
    let value = |name: &str| text.split('\0').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
    let connection = value("SSH_CONNECTION").or_else(|| value("SSH_CLIENT"))?;
    // An address of a link carries its interface: fe80::1%eth0.
    let address = connection.split_whitespace().next()?.split('%').next()?;
    let address = remote_address(address.parse().ok()?)?;
    Some(Login { address, user: value("USER").map(str::to_owned), how: How::Environment })
}

fn parent(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|pid| pid.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::IpAddr;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_environment_tells_from_where() {
        let login = |text: &str| in_environment(text.as_bytes()).map(|login| (login.address.to_string(), login.user));
        let ann = Some("ann".to_owned());
        assert_eq!(
            login("PATH=/bin\0SSH_CONNECTION=203.0.113.7 5022 192.0.2.10 22\0USER=ann\0"),
            Some(("203.0.113.7".into(), ann))
        );
        assert_eq!(login("SSH_CLIENT=fe80::7%eth0 5022 22"), Some(("fe80::7".into(), None)));
        for nothing in
            ["", "PATH=/bin", "SSH_CONNECTION=", "SSH_CONNECTION=127.0.0.1 1 127.0.0.1 22", "XSSH_CLIENT=1.2.3.4"]
        {
            assert_eq!(login(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_process_and_those_that_started_it_are_asked() {
        // The shell has the variable, and its child, as under sudo, has not.
        let mut shell = Command::new("sh")
            .args(["-c", "env -u SSH_CONNECTION cat; exit"])
            .env("SSH_CONNECTION", "203.0.113.77 5022 192.0.2.10 22")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        // Once cat says what it is told, the child is no shell any more that still has the variable.
        let (mut input, mut output) = (shell.stdin.take().expect("a pipe"), shell.stdout.take().expect("a pipe"));
        input.write_all(b"x").expect("somebody who listens");
        output.read_exact(&mut [0]).expect("its echo");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", shell.id())).expect("children");
        let child = children.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("cat");
        let found = of_caller(child);
        drop(input);
        shell.wait().expect("an end");
        assert!(found.iter().any(|login| login.address == IpAddr::from([203, 0, 113, 77])), "{found:?}");
    }
}
