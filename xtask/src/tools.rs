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
    tool("sqlite3", "sqlite3"),
    tool("nft", "nftables"),
    tool("dropbear", "dropbear-bin"),
];

/// A browser, which pages steer.
const BROWSER: &[Tool] = &[tool("chromium", "chromium")];

/// What the tests run besides: a browser, which looks at reports too; a program that reads what was answered; settings of links.
pub(crate) const TESTS: &[Tool] =
    &[BROWSER[0], tool("tshark", "tshark"), tool("ethtool", "ethtool"), tool("python3", "python3")];

/// What a scenario of the lab runs besides [`LAB`].
pub(crate) fn of_scenario(name: &str) -> &'static [Tool] {
    match name {
        "browser-steering" => BROWSER,
        _ => &[],
    }
}

/// What benches stand beside: without it they say that it is missing.
pub(crate) const BENCH: &[Tool] = &[
    tool("xdp-filter", "xdp-tools"),
    tool("ip", "iproute2"),
    tool("nft", "nftables"),
    tool("ipset", "ipset"),
    tool("iptables", "iptables"),
    tool("ethtool", "ethtool"),
    tool("iperf3", "iperf3"),
];

/// What other kernels are tried in.
pub(crate) const MACHINES: &[Tool] = &[tool("qemu-system-x86_64", "qemu-system-x86")];

/// What a whole host in a machine takes: making its disk, and being everybody outside.
pub(crate) const HOST: &[Tool] = &[
    tool("mmdebstrap", "mmdebstrap"),
    tool("mkfs.ext4", "e2fsprogs"),
    tool("setpriv", "util-linux"),
    tool("ip", "iproute2"),
    tool("ssh", "openssh-client"),
    tool("ping", "iputils-ping"),
    tool("curl", "curl"),
    tool("nmap", "nmap"),
    tool("hping3", "hping3"),
];

/// Programs whose package would start a service: they are unpacked below `target/` and not installed, with what they need and a machine may lack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked {
    /// A program of it by which it is found.
    program: &'static str,
    /// Its folder in the package.
    folder: &'static str,
    packages: &'static [&'static str],
}

/// Reads the metrics, in the tests.
pub(crate) const PROMETHEUS: Unpacked = Unpacked { program: "promtool", folder: "usr/bin", packages: &["prometheus"] };

/// A load balancer of the lab.
pub(crate) const HAPROXY: Unpacked = Unpacked {
    program: "haproxy",
    folder: "usr/sbin",
    packages: &["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"],
};

/// Reads logs, in the tests; python3 runs it.
pub(crate) const FAIL2BAN: Unpacked =
    Unpacked { program: "fail2ban-server", folder: "usr/bin", packages: &["fail2ban"] };

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

/// Unpacks it below `target/tools` unless it is there or installed; returns the folder of its programs.
pub(crate) fn unpack(tool: Unpacked, root: &Path, rights: Rights) -> Result<PathBuf> {
    let Unpacked { program, folder, packages } = tool;
    if let Some(folder) = find(program).and_then(|file| file.parent().map(Path::to_path_buf)) {
        return Ok(folder);
    }
    let tools = root.join("target/tools");
    let programs = tools.join(folder);
    if programs.join(program).is_file() {
        return Ok(programs);
    }
    unpack_into(packages, &tools, &packages.join(", "), rights)?;
    Ok(programs)
}

/// Unpacks Debian packages into a folder, without installing them, unless that was done before.
pub(crate) fn unpack_into(packages: &[&str], folder: &Path, what: &str, rights: Rights) -> Result<()> {
    let done = folder.join(format!(".{}.unpacked", packages.join("+")));
    if done.is_file() {
        return Ok(());
    }
    println!("==> unpacking {what} below {}", folder.display());
    let fetched = folder.join(".packages");
    fs::create_dir_all(&fetched).context("cannot make a folder for packages")?;
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["-o", "APT::Sandbox::User=root", "-q", "download"]).args(packages).current_dir(&fetched);
        apt.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !download() {
        refresh_lists(rights)?;
        if !download() {
            bail!("cannot get {what}: install {} with your package manager", packages[0]);
        }
    }
    for entry in fs::read_dir(&fetched).context("cannot list the packages")? {
        step::run("unpacking", Command::new("dpkg-deb").arg("-x").arg(entry?.path()).arg(folder))?;
    }
    fs::remove_dir_all(&fetched).context("cannot remove the packages")?;
    fs::write(&done, "").context("cannot note that it is unpacked")
}

/// Refreshes apt's lists of packages.
pub(crate) fn refresh_lists(rights: Rights) -> Result<()> {
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
