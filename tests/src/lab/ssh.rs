//! A real server of ssh on the edge and a real client of it: Dropbear.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::mount_bind;
use rustix::process::Signal;

use super::Lab;
use super::netns::Netns;
use super::process::{Finished, Running};
use super::tools::Tool;

/// Private to the laboratory, like all of `/run`.
const FOLDER: &str = "/run/ssh";
const HOST_KEY: &str = "/run/ssh/host";
const CLIENT_KEY: &str = "/run/ssh/client";
const HOME: &str = "/run/ssh/home";
const LIMIT: Duration = Duration::from_secs(20);
const PORT: u16 = 22;

/// The server. Dropping it ends it.
#[derive(Debug)]
pub struct SshServer {
    running: Running,
}

impl SshServer {
    /// Starts it on port 22 of the edge. Who has the key of [`login`] may log in as root.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(lab: &Lab) -> Result<Self> {
        fs::create_dir_all(FOLDER).context("cannot make a folder for keys")?;
        let make = |file: &str| -> Result<Finished> {
            // Of an earlier run in the same sandbox.
            if Path::new(file).exists() {
                fs::remove_file(file).context("cannot remove an old key")?;
            }
            Tool::Dropbearkey.run(&lab.edge, ["-t", "ed25519", "-f", file], LIMIT)?.success("dropbearkey")
        };
        make(HOST_KEY)?;
        let made = make(CLIENT_KEY)?;
        let public = made.stdout.lines().find(|line| line.starts_with("ssh-ed25519 ")).context("no public key")?;
        let keys = Path::new(HOME).join(".ssh");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&keys).context("cannot make a home")?;
        let authorized = keys.join("authorized_keys");
        fs::write(&authorized, format!("{public}\n")).context("cannot write the list of keys")?;
        fs::set_permissions(&authorized, fs::Permissions::from_mode(0o600))
            .context("cannot protect the list of keys")?;
        // It looks for the list in the account's home; in this sandbox that is another one.
        let accounts = "/run/ssh/passwd";
        fs::write(accounts, format!("root:x:0:0:root:{HOME}:/bin/sh\n")).context("cannot write a list of accounts")?;
        mount_bind(accounts, "/etc/passwd").context("cannot put another list of accounts over this one's")?;
        let mut server = Tool::Dropbear.command(&lab.edge)?;
        // In the foreground, to stderr, no passwords, no file of its number.
        server.args(["-F", "-E", "-s", "-r", HOST_KEY, "-P", "/run/ssh/pid", "-p", &PORT.to_string()]);
        let running = Running::start(server)?;
        running.wait_for_stderr("Not backgrounding", LIMIT)?;
        Ok(Self { running })
    }

    /// What it has said so far, as it would stand in a log.
    #[must_use]
    pub fn said(&self) -> String {
        self.running.stderr()
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self) -> Result<()> {
        self.running.stop(Signal::TERM, LIMIT).map(drop)
    }
}

/// A command of the client, from an address of `host` to a server, as this user.
fn client(host: &Netns, from: IpAddr, to: SocketAddr, user: &str) -> Result<Command> {
    let mut client = Tool::Dbclient.command(host)?;
    // Whatever key the server has; no terminal.
    client.args(["-y", "-y", "-T", "-i", CLIENT_KEY, "-b", &from.to_string(), "-p", &to.port().to_string()]);
    client.arg(format!("{user}@{}", to.ip()));
    Ok(client)
}

/// Tries to log in as somebody, and says whether that was possible.
///
/// # Errors
/// When the client cannot be run.
pub fn try_login(host: &Netns, from: IpAddr, to: SocketAddr, user: &str) -> Result<bool> {
    let mut command = client(host, from, to, user)?;
    command.arg("true");
    Ok(Running::start(command)?.wait(LIMIT)?.status.success())
}

/// Logs in, runs a command there, and sees what it says.
///
/// # Errors
/// When that is not possible.
pub fn login(host: &Netns, from: IpAddr, to: SocketAddr) -> Result<()> {
    const WORD: &str = "worked-here";
    let mut command = client(host, from, to, "root")?;
    command.arg(format!("echo {WORD}"));
    let finished = Running::start(command)?.wait(LIMIT)?.success("dbclient")?;
    ensure!(finished.stdout.trim() == WORD, "the server says {:?}", finished.stdout);
    Ok(())
}

/// A login that goes on.
#[derive(Debug)]
pub(super) struct LoggedIn {
    running: Running,
}

impl LoggedIn {
    /// Logs in and says a word a tenth of a second there, without end.
    pub(super) fn start(host: &Netns, from: IpAddr, to: SocketAddr) -> Result<Self> {
        let mut command = client(host, from, to, "root")?;
        command.arg("while sleep 0.1; do echo alive >&2; done");
        let running = Running::start(command)?;
        running.wait_for_stderr("alive", LIMIT)?;
        Ok(Self { running })
    }

    /// The number of a process that lives as long as the login.
    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Ends it; whether it was still alive.
    pub(super) fn stop(mut self) -> Result<bool> {
        let said = || self.running.stderr().matches("alive").count();
        let before = said();
        let heard = super::wait::wait_until("a word over a login", LIMIT, || Ok(said() > before)).is_ok();
        let alive = heard && self.running.exited()?.is_none();
        self.running.stop(Signal::KILL, LIMIT)?;
        Ok(alive)
    }
}
