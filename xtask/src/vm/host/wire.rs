//! The network of the machine: a namespace with a tap of several queues, whose other end is everybody on the internet.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{self, Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::run::{Said, limited, wait_for};
use crate::rights::Rights;

/// The tap.
pub(super) const TAP: &str = "tap0";
/// Queues: with native XDP virtio-net wants one for each processor beside those it receives by.
pub(super) const QUEUES: u32 = 4;
/// The machine's.
pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The machine's gateway.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// An administrator, whom the allowlist names once there is one.
pub(super) const ADMIN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// Somebody who works there too, whom no list names.
pub(super) const COLLEAGUE: Ipv4Addr = Ipv4Addr::new(198, 18, 20, 20);
/// Who scans while it observes.
pub(super) const SCANNER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
/// Who scans while it enforces.
pub(super) const LATER_SCANNER: Ipv4Addr = Ipv4Addr::new(198, 18, 66, 66);
/// Whom the operator blocks.
pub(super) const BLOCKED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

/// Who guesses passwords, by number from 0.
pub(super) fn guesser(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, 1 + number)
}

/// What every namespace of ours begins with; the process' number follows.
const PREFIX: &str = "scanguard-host-";
const LIMIT: Duration = Duration::from_secs(20);

/// A namespace that goes with it, and all that is in it.
#[derive(Debug)]
pub(super) struct Wire {
    name: String,
    rights: Rights,
}

impl Wire {
    /// Makes it, with an address for everybody. What runs that were killed left is removed first.
    pub(super) fn make(guessers: u8, rights: Rights) -> Result<Self> {
        remove_left_over(rights)?;
        let wire = Self { name: format!("{PREFIX}{}", process::id()), rights };
        ip(rights, &["netns", "add", &wire.name])?;
        let mut batch = String::from("link set lo up\n");
        batch += &format!("tuntap add dev {TAP} mode tap multi_queue vnet_hdr\n");
        batch += &format!("address add {GATEWAY}/24 dev {TAP}\n");
        let everybody = [ADMIN, COLLEAGUE, SCANNER, LATER_SCANNER, BLOCKED].into_iter();
        for address in everybody.chain((0..guessers).map(guesser)) {
            batch += &format!("address add {address}/32 dev {TAP}\n");
        }
        batch += &format!("link set {TAP} up\n");
        wire.said("sh", &["-c", &format!("printf '%s' '{batch}' | ip -batch -")], LIMIT)?
            .success("making a network")?;
        Ok(wire)
    }

    /// A command line for a program in it, that ends after a while.
    pub(super) fn command(&self, program: &str, limit: Duration) -> Command {
        let mut command = self.rights.command("setpriv");
        // Whatever ends this process ends it.
        command.args(["--pdeathsig", "TERM", "ip", "netns", "exec", &self.name]).args(limited(limit)).arg(program);
        command
    }

    /// Runs a program in it to its end.
    pub(super) fn said(&self, program: &str, arguments: &[&str], limit: Duration) -> Result<Said> {
        Said::of(self.command(program, limit).args(arguments))
    }

    /// Ends what was started in it by a signal, and waits for that.
    pub(super) fn end(&self, child: &mut Child, signal: &str) -> Result<()> {
        let ended = |child: &mut Child| child.try_wait().context("cannot ask for a process");
        if ended(child)?.is_some() {
            return Ok(());
        }
        // Not by us: it may be root's. `timeout` hands the signal on.
        let process = child.id().to_string();
        Said::of(self.rights.command("kill").args(["-s", signal, "--", &process]))?.success("ending a process")?;
        wait_for("the end of a process", LIMIT, || ended(child)?.map(drop).context("it still runs"))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Err(error) = ip(self.rights, &["netns", "delete", &self.name]) {
            eprintln!("the namespace {} is left behind: {error:#}", self.name);
        }
    }
}

fn ip(rights: Rights, arguments: &[&str]) -> Result<String> {
    Said::of(rights.command("ip").args(arguments))?.success(&format!("ip {}", arguments.join(" ")))
}

/// Removes namespaces of runs that are no more.
fn remove_left_over(rights: Rights) -> Result<()> {
    for name in left_over(&ip(rights, &["netns", "list"])?, lives) {
        println!("==> removing the namespace {name}, which a run that was killed left");
        ip(rights, &["netns", "delete", name])?;
    }
    Ok(())
}

fn lives(process: &str) -> bool {
    Path::new("/proc").join(process).exists()
}

fn left_over(list: &str, lives: impl Fn(&str) -> bool) -> Vec<&str> {
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let is_left_over = |process: &str| process.parse::<u32>().is_ok() && !lives(process);
    names.filter(|name| name.strip_prefix(PREFIX).is_some_and(is_left_over)).collect()
}

/// A folder for keys and sockets, which goes with it.
#[derive(Debug)]
pub(super) struct Scratch(std::path::PathBuf);

impl Scratch {
    /// Makes it, for its owner alone. What runs that were killed left is removed first.
    pub(super) fn make() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        // Short: the path of a socket has 107 characters at most.
        let all = std::env::temp_dir();
        let names: Vec<String> =
            fs::read_dir(&all)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        for name in left_over(&names.join("\n"), lives) {
            fs::remove_dir_all(all.join(name))?;
        }
        let folder = all.join(format!("{PREFIX}{}", process::id()));
        fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_of_living_runs_and_of_others_stay() {
        let list = "stranger (id: 0)\nscanguard-host-12 (id: 3)\nscanguard-host-34\nscanguard-host-x\n";
        assert_eq!(left_over(list, |process| process == "12"), ["scanguard-host-34"]);
    }

    #[test]
    fn nobody_has_an_address_of_another() {
        let mut all = vec![GUEST, GATEWAY, ADMIN, COLLEAGUE, SCANNER, LATER_SCANNER, BLOCKED];
        all.extend((0..100).map(guesser));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
