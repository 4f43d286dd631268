//! Everybody on the internet: who pings, who scans, who logs in, who guesses.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::guest;
use super::run::Said;
use super::wire::{GUEST, Scratch, TAP, Wire};

/// What nmap found, by state of port.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Scan {
    /// Ports that looked open.
    pub(super) open: Vec<u16>,
    /// How many answered that they are closed.
    pub(super) closed: usize,
    /// How many said nothing.
    pub(super) filtered: usize,
}

impl Scan {
    /// Reads what `nmap -oG -` prints with every state listed.
    fn parse(text: &str) -> Self {
        let mut scan = Self::default();
        let hosts = text.lines().filter(|line| line.starts_with("Host: "));
        let ports = hosts.filter_map(|line| line.split_once("Ports: ")).map(|(_, ports)| ports);
        for port in ports.flat_map(|ports| ports.split('\t').next().unwrap_or(ports).split(", ")) {
            let mut fields = port.trim().split('/');
            let (number, state) = (fields.next().and_then(|number| number.parse().ok()), fields.next());
            match (number, state) {
                (Some(number), Some("open")) => scan.open.push(number),
                (Some(_), Some("closed")) => scan.closed += 1,
                (Some(_), Some("filtered")) => scan.filtered += 1,
                _ => {}
            }
        }
        scan
    }
}

/// What came of pings or other questions sent at a steady pace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answered {
    /// Questions.
    pub(super) sent: u32,
    /// Answers.
    pub(super) received: u32,
}

impl Answered {
    /// Reads the last line of ping's or hping3's.
    fn parse(text: &str) -> Option<Self> {
        let line =
            text.lines().find(|line| line.contains("packets transmitted") || line.contains("packets tramitted"))?;
        let mut numbers = line.split(|char: char| !char.is_ascii_digit()).filter_map(|number| number.parse().ok());
        Some(Self { sent: numbers.next()?, received: numbers.next()? })
    }

    /// Questions without an answer.
    pub(super) const fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.received)
    }
}

/// Something that asks at a steady pace until it is stopped.
pub(super) struct Asking<'w> {
    wire: &'w Wire,
    child: Child,
    output: PathBuf,
}

impl Asking<'_> {
    /// Stops it, and says what came of it.
    pub(super) fn stop(mut self) -> Result<Answered> {
        self.wire.end(&mut self.child, "INT")?;
        let text =
            fs::read_to_string(&self.output).with_context(|| format!("cannot read {}", self.output.display()))?;
        Answered::parse(&text).with_context(|| format!("it told no figures: {text}"))
    }
}

/// Everybody but the machine.
pub(super) struct Outside<'w> {
    wire: &'w Wire,
    scratch: &'w Scratch,
    key: PathBuf,
}

impl<'w> Outside<'w> {
    /// With the key of those who work there.
    pub(super) fn new(wire: &'w Wire, scratch: &'w Scratch, key: PathBuf) -> Self {
        Self { wire, scratch, key }
    }

    fn asking(&self, name: &str, program: &str, arguments: &[&str]) -> Result<Asking<'w>> {
        /// No step takes as long.
        const LONGEST: Duration = Duration::from_secs(900);
        let output = self.scratch.file(name);
        let file = File::create(&output).with_context(|| format!("cannot create {}", output.display()))?;
        let errors = file.try_clone().context("cannot copy a descriptor")?;
        let mut command = self.wire.command(program, LONGEST);
        let child = command.args(arguments).stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        Ok(Asking { wire: self.wire, child: child.with_context(|| format!("cannot start {program}"))?, output })
    }

    /// Pings the machine ten times a second.
    pub(super) fn ping(&self, from: Ipv4Addr) -> Result<Asking<'w>> {
        self.asking("ping", "ping", &["-n", "-q", "-i", "0.1", "-I", &from.to_string(), &GUEST.to_string()])
    }

    /// Asks for the web server by a SYN twenty times a second.
    pub(super) fn knock(&self, from: Ipv4Addr) -> Result<Asking<'w>> {
        let (from, to) = (from.to_string(), GUEST.to_string());
        self.asking("knock", "hping3", &["-n", "-q", "-S", "-p", "80", "-I", TAP, "-a", &from, "-i", "u50000", &to])
    }

    /// Scans nmap's thousand ports in the order of their numbers.
    pub(super) fn scan(&self, from: Ipv4Addr) -> Result<Scan> {
        const LIMIT: Duration = Duration::from_secs(240);
        let (from, to) = (from.to_string(), GUEST.to_string());
        let mut arguments = vec!["-n", "-Pn", "-r", "-T4", "-sS", "--max-retries", "2", "-dd", "-oG", "-"];
        arguments.extend(["-S", &from, "-e", TAP, &to]);
        Ok(Scan::parse(&self.wire.said("nmap", &arguments, LIMIT)?.success("nmap")?))
    }

    /// Asks the web server for a page; whether it was given.
    pub(super) fn browses(&self, from: Ipv4Addr) -> Result<bool> {
        let (from, url) = (from.to_string(), format!("http://{GUEST}/"));
        let arguments = ["-s", "-o", "/dev/null", "--max-time", "8", "--interface", &from, &url];
        Ok(self.wire.said("curl", &arguments, Duration::from_secs(20))?.code == Some(0))
    }

    /// Logs in at the edge with the key and runs a script there.
    pub(super) fn login(&self, from: Ipv4Addr, script: &str) -> Result<String> {
        const LIMIT: Duration = Duration::from_secs(60);
        let mut ssh = self.wire.command("ssh", LIMIT);
        ssh.args(guest::options(&self.key)).args(["-o", "BatchMode=yes", "-b", &from.to_string()]);
        let said = Said::of(ssh.arg(format!("root@{GUEST}")).arg("--").arg(script))?;
        said.success(&format!("a login by key from {from}"))
    }

    /// Guesses passwords from each of the addresses, `at_a_time` of them side by side; returns how many guesses were refused by the ssh server.
    pub(super) fn guess(&self, from: &[Ipv4Addr], at_a_time: usize) -> Result<()> {
        let asked = self.scratch.file("password");
        fs::write(&asked, "#!/bin/sh\necho 123456\n").context("cannot write a script")?;
        make_executable(&asked)?;
        let queue = Mutex::new(from.iter().copied());
        thread::scope(|scope| {
            let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(|| self.guesser(&queue, &asked))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a guesser does not panic"))
        })
    }

    fn guesser(&self, queue: &Mutex<impl Iterator<Item = Ipv4Addr>>, password: &PathBuf) -> Result<()> {
        /// Six guesses: one more than fail2ban lets pass.
        const CONNECTIONS: u32 = 2;
        const LIMIT: Duration = Duration::from_secs(60);
        loop {
            let next = queue.lock().expect("nobody panics with the queue").next();
            let Some(from) = next else { return Ok(()) };
            for _ in 0..CONNECTIONS {
                let mut ssh = self.wire.command("ssh", LIMIT);
                ssh.env("SSH_ASKPASS", password).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":0");
                ssh.args(guest::options(&self.key)).args(["-b", &from.to_string()]);
                for option in
                    ["PubkeyAuthentication=no", "PreferredAuthentications=password", "NumberOfPasswordPrompts=3"]
                {
                    ssh.args(["-o", option]);
                }
                let said = Said::of(ssh.arg(format!("root@{GUEST}")).args(["--", "true"]))?;
                ensure!(said.code != Some(0), "{from} guessed the password");
            }
        }
    }
}

fn make_executable(file: &PathBuf) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).context("cannot make a script executable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_nmap_are_counted_by_state() {
        let text = "# Nmap 7.93\nHost: 198.51.100.2 ()\tStatus: Up\n\
            Host: 198.51.100.2 ()\tPorts: 1/closed/tcp//tcpmux///, 22/open/tcp//ssh///, 23/filtered/tcp//telnet///, \
            80/open/tcp//http///\tIgnored State: closed (0)\n";
        assert_eq!(Scan::parse(text), Scan { open: vec![22, 80], closed: 1, filtered: 1 });
        assert_eq!(Scan::parse("# Nmap done\n"), Scan::default());
    }

    #[test]
    fn the_figures_of_ping_and_hping3_are_read() {
        let ping = "--- 198.51.100.2 ping statistics ---\n120 packets transmitted, 118 received, +2 errors, 1.6% packet loss\n";
        let answered = Answered::parse(ping).expect("figures");
        assert_eq!((answered, answered.lost()), (Answered { sent: 120, received: 118 }, 2));
        let hping3 =
            "--- 198.51.100.2 hping statistic ---\n44 packets transmitted, 0 packets received, 100% packet loss\n";
        assert_eq!(Answered::parse(hping3), Some(Answered { sent: 44, received: 0 }));
        assert_eq!(Answered::parse("no route to host"), None);
    }
}
