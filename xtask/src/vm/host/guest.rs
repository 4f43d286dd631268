//! Commands in the machine, by ssh through the card on the side: they work whatever becomes of the edge.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::machine::SIDE_PORT;
use super::run::{Said, wait_for};
use super::wire::{Scratch, Wire};

/// What a command is given, where nothing else is said.
pub(super) const USUAL: Duration = Duration::from_secs(60);

/// What every ssh is told: this run's key, and nobody's own settings.
pub(super) fn options(key: &Path) -> Vec<String> {
    let mut options = vec!["-F".to_owned(), "/dev/null".to_owned(), "-i".to_owned(), key.display().to_string()];
    for option in [
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
        "ConnectTimeout=20",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
    ] {
        options.extend(["-o".to_owned(), option.to_owned()]);
    }
    options
}

/// Makes a key for this run; returns its file and the line that lets it in.
pub(super) fn make_key(scratch: &Scratch) -> Result<(PathBuf, String)> {
    let file = scratch.file("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "scanguard-vm-test", "-f"]).arg(&file);
    Said::of(&mut keygen)?.success("making an ssh key")?;
    let line = fs::read_to_string(file.with_extension("pub")).context("cannot read the key")?;
    Ok((file, line))
}

/// The machine, as root in it.
pub(super) struct Guest<'w> {
    wire: &'w Wire,
    key: PathBuf,
    socket: PathBuf,
    /// The connection that the others share.
    master: Option<Child>,
}

impl<'w> Guest<'w> {
    /// Nothing is connected yet.
    pub(super) fn new(wire: &'w Wire, scratch: &Scratch, key: &Path) -> Self {
        Self { wire, key: key.to_owned(), socket: scratch.file("ssh"), master: None }
    }

    fn ssh(&self, limit: Duration) -> Command {
        let mut command = self.wire.command("ssh", limit);
        command
            .args(options(&self.key))
            .args(["-o", "BatchMode=yes", "-p", &SIDE_PORT.to_string(), "-S"])
            .arg(&self.socket);
        command
    }

    /// Waits until somebody can log in; `alive` says whether the machine runs.
    pub(super) fn connect(&mut self, limit: Duration, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
        /// No run is as long.
        const EVER: Duration = Duration::from_secs(24 * 3600);
        wait_for("a login by ssh on the side", limit, || {
            alive()?;
            self.disconnect()?;
            let mut master = self.ssh(EVER);
            master
                .args(["-M", "-N", "root@127.0.0.1"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let master = self.master.insert(master.spawn().context("cannot start ssh")?);
            wait_for("ssh", Duration::from_secs(30), || {
                if master.try_wait().context("cannot ask for ssh")?.is_some() {
                    return Ok(());
                }
                // Whatever answers, it is not the connection of before.
                ensure!(self.socket.exists(), "no connection yet");
                Ok(())
            })?;
            self.sh_within("true", Duration::from_secs(20)).map(drop)
        })
    }

    fn disconnect(&mut self) -> Result<()> {
        if let Some(mut master) = self.master.take() {
            self.wire.end(&mut master, "TERM")?;
        }
        match fs::remove_file(&self.socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot remove the socket of ssh"),
            _ => Ok(()),
        }
    }

    /// Runs a script to its end.
    pub(super) fn said_within(&self, script: &str, limit: Duration) -> Result<Said> {
        let mut ssh = self.ssh(limit);
        Said::of(ssh.args(["root@127.0.0.1", "--", script]))
    }

    /// Runs a script to its end.
    pub(super) fn said(&self, script: &str) -> Result<Said> {
        self.said_within(script, USUAL)
    }

    /// What a script says, which must end well.
    pub(super) fn sh_within(&self, script: &str, limit: Duration) -> Result<String> {
        self.said_within(script, limit)?.success(&format!("`{script}` in the machine"))
    }

    /// What a script says, which must end well.
    pub(super) fn sh(&self, script: &str) -> Result<String> {
        self.sh_within(script, USUAL)
    }

    /// The JSON of a verb of scanguard's, whatever its exit code.
    pub(super) fn json(&self, verb: &str) -> Result<Value> {
        let Said { code, out, err } = self.said(&format!("scanguard {verb} --json"))?;
        serde_json::from_str(&out).with_context(|| format!("scanguard {verb}: exit code {code:?}: {out} {err}"))
    }

    /// Waits until a script ends well.
    pub(super) fn wait(&self, what: &str, limit: Duration, script: &str) -> Result<String> {
        wait_for(what, limit, || self.sh(script))
    }

    /// A property of scanguard's unit.
    pub(super) fn property(&self, name: &str) -> Result<String> {
        self.sh(&format!("systemctl show --value --property={name} scanguard.service"))
    }

    /// Copies a file there.
    pub(super) fn copy(&self, file: &Path, to: &str) -> Result<()> {
        let mut scp = self.wire.command("scp", Duration::from_secs(120));
        scp.args(options(&self.key)).args(["-q", "-P", &SIDE_PORT.to_string()]);
        scp.args(["-o", &format!("ControlPath={}", self.socket.display())]).arg(file);
        Said::of(scp.arg(format!("root@127.0.0.1:{to}")))?.success("copying a file to the machine").map(drop)
    }

    /// Has it start anew, and waits until it did.
    pub(super) fn reboot(&mut self, limit: Duration, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
        const BOOT: &str = "cat /proc/sys/kernel/random/boot_id";
        let before = self.sh(BOOT)?;
        // The connection may end before the answer comes.
        self.said("systemctl reboot")?;
        wait_for("another boot", limit, || {
            self.connect(limit, &mut alive)?;
            if self.sh(BOOT)? == before {
                bail!("it has not gone down yet");
            }
            Ok(())
        })
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.disconnect() {
            eprintln!("cannot end ssh: {error:#}");
        }
    }
}
