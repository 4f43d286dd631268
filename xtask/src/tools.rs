//! The programs of others that the lab and the tests run: found, or installed from Debian's packages.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::rights::Rights;
use crate::step;

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What the demo and the lab run.
pub(crate) const LAB: &[Tool] = &[
    tool("bpftool", "bpftool"),
    tool("ip", "iproute2"),
    tool("tcpdump", "tcpdump"),
    tool("nmap", "nmap"),
    tool("masscan", "masscan"),
    tool("zmap", "zmap"),
    tool("hping3", "hping3"),
    tool("curl", "curl"),
    tool("nft", "nftables"),
    tool("dropbear", "dropbear-bin"),
];

/// A browser, which pages steer.
const BROWSER: &[Tool] = &[tool("chromium", "chromium")];

/// What the tests run besides: a browser, which looks at reports too.
pub(crate) const TESTS: &[Tool] = BROWSER;

/// What a scenario of the lab runs besides [`LAB`].
pub(crate) fn of_scenario(name: &str) -> &'static [Tool] {
    match name {
        "browser-steering" => BROWSER,
        _ => &[],
    }
}

/// What benches stand beside: without it they say that it is missing.
pub(crate) const BENCH: &[Tool] = &[tool("xdp-filter", "xdp-tools")];

/// What the tests run besides. Prometheus is unpacked below `target/` and not installed: its package would start a service.
const UNPACKED: Tool = tool("prometheus", "prometheus");

/// Where programs are that `PATH` of an ordinary user leaves out.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Installs what is missing, where that is allowed; otherwise an error with the exact command.
pub(crate) fn install(tools: &[Tool], rights: Rights) -> Result<()> {
    let missing: Vec<&str> =
        tools.iter().filter(|tool| find(tool.program).is_none()).map(|tool| tool.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand =
        format!("install {} with your package manager (Debian: `sudo apt-get install {0}`)", missing.join(" "));
    if rights == Rights::None || find("apt-get").is_none() {
        bail!("missing programs: {by_hand}");
    }
    println!("==> installing {0} (remove them again with `apt-get remove {0}`)", missing.join(" "));
    let install = || {
        let mut apt = rights.command("apt-get");
        apt.args(["install", "-y", "-q", "--no-install-recommends"]).args(&missing);
        apt.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
        apt
    };
    if install().status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    refresh_lists(rights)?;
    step::run("installing again", &mut install()).with_context(|| by_hand)
}

/// Unpacks Prometheus below `target/tools` unless it is there or installed; returns the folder of its programs.
pub(crate) fn prometheus(root: &Path, rights: Rights) -> Result<PathBuf> {
    if let Some(folder) = find("promtool").and_then(|file| file.parent().map(Path::to_path_buf)) {
        return Ok(folder);
    }
    let folder = root.join("target/tools");
    let programs = folder.join("usr/bin");
    if programs.join("promtool").is_file() {
        return Ok(programs);
    }
    println!("==> unpacking Prometheus below {} (download 30 MB, disk 150 MB)", folder.display());
    let fetched = root.join("target/tools.packages");
    fs::create_dir_all(&fetched).context("cannot make a folder for packages")?;
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-o", "APT::Sandbox::User=root", "-q", "download", UNPACKED.package]).current_dir(&fetched);
        apt.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !download() {
        refresh_lists(rights)?;
        if !download() {
            bail!("cannot get Prometheus: install `prometheus` and `promtool` with your package manager");
        }
    }
    for entry in fs::read_dir(&fetched).context("cannot list the packages")? {
        step::run("unpacking", Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(&folder))?;
    }
    fs::remove_dir_all(&fetched).context("cannot remove the packages")?;
    Ok(programs)
}

fn refresh_lists(rights: Rights) -> Result<()> {
    let mut update = rights.command("apt-get");
    step::run("refreshing apt's lists", update.args(["update", "-q"]).stdin(Stdio::null()).stdout(Stdio::null()))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
