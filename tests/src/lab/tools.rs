//! Real scanners and clients, run inside a host with a time limit.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::netns::Netns;
use super::process::{Finished, Running};
use super::sandbox::CannotRun;

/// A program of the system that the laboratory uses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tool {
    /// Reads and writes maps of the kernel, whoever made them.
    Bpftool,
    /// A browser.
    Chromium,
    /// HTTP client: the customers.
    Curl,
    /// A real client of ssh.
    Dbclient,
    /// A real server of ssh; its package starts none.
    Dropbear,
    /// Makes keys for both.
    Dropbearkey,
    /// Reads logs; its package would start a service, so it may be unpacked only.
    Fail2ban,
    /// Settings of links that `ip` does not have.
    Ethtool,
    /// A load balancer; its package would start a service, so it may be unpacked only.
    Haproxy,
    /// Packet crafter.
    Hping3,
    /// Configures links.
    Ip,
    /// Stateless scanner.
    Masscan,
    /// The usual firewall.
    Nft,
    /// The usual scanner.
    Nmap,
    /// The command line of SQLite.
    Sqlite3,
    /// Records links.
    Tcpdump,
    /// Tells what filters there are.
    Tc,
    /// Stateless scanner.
    Zmap,
}

impl Tool {
    /// The program's name and its package in Debian.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Bpftool => ("bpftool", "bpftool"),
            Self::Chromium => ("chromium", "chromium"),
            Self::Curl => ("curl", "curl"),
            Self::Sqlite3 => ("sqlite3", "sqlite3"),
            Self::Dbclient => ("dbclient", "dropbear-bin"),
            Self::Dropbear => ("dropbear", "dropbear-bin"),
            Self::Dropbearkey => ("dropbearkey", "dropbear-bin"),
            Self::Fail2ban => ("fail2ban-server", "fail2ban"),
            Self::Ethtool => ("ethtool", "ethtool"),
            Self::Haproxy => ("haproxy", "haproxy"),
            Self::Hping3 => ("hping3", "hping3"),
            Self::Ip => ("ip", "iproute2"),
            Self::Masscan => ("masscan", "masscan"),
            Self::Nft => ("nft", "nftables"),
            Self::Nmap => ("nmap", "nmap"),
            Self::Tc => ("tc", "iproute2"),
            Self::Tcpdump => ("tcpdump", "tcpdump"),
            Self::Zmap => ("zmap", "zmap"),
        }
    }

    /// Where it is installed.
    ///
    /// # Errors
    /// [`CannotRun::MissingTool`] names the package.
    pub fn path(self) -> Result<PathBuf, CannotRun> {
        let (program, package) = self.names();
        let path = env::var_os("PATH").unwrap_or_default();
        // Some of them are in sbin, which an ordinary user's PATH leaves out, or only unpacked.
        let unpacked = unpacked().map(|folder| ["usr/sbin", "usr/bin"].map(|part| folder.join(part)));
        env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .chain(unpacked.into_iter().flatten())
            .map(|folder| folder.join(program))
            .find(|file| file.is_file())
            .ok_or(CannotRun::MissingTool { program, package })
    }

    /// A command of it inside `host`.
    ///
    /// # Errors
    /// As [`Self::path`].
    pub fn command(self, host: &Netns) -> Result<Command, CannotRun> {
        let path = self.path()?;
        let mut command = host.command(&path);
        if self == Self::Fail2ban {
            // Wherever the interpreter is here, and its modules.
            command = host.command(Path::new("python3"));
            command.arg(&path);
            if let Some(folder) = unpacked() {
                command.env("PYTHONPATH", folder.join("usr/lib/python3/dist-packages"));
            }
        } else if let Some(folder) = unpacked().filter(|folder| path.starts_with(folder)) {
            command.env("LD_LIBRARY_PATH", folder.join("usr/lib").join(format!("{}-linux-gnu", env::consts::ARCH)));
        }
        Ok(command)
    }

    /// Runs it inside `host` to its end, whatever it exits with.
    ///
    /// # Errors
    /// When it is missing, or does not end within `limit`.
    pub fn run(
        self,
        host: &Netns,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        limit: Duration,
    ) -> Result<Finished> {
        let mut command = self.command(host)?;
        command.args(arguments);
        Running::start(command)?.wait(limit)
    }
}

/// Where `cargo xtask` unpacks packages that are not to be installed: below the folder that this program was built in.
fn unpacked() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    let target = program.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "target"))?;
    Some(target.join("tools"))
}
