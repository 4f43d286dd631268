//! The disk of the machine: Debian 12 with systemd, ssh, a web server and fail2ban, made once for each kernel and never written to.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context as _, Result, ensure};

use super::super::kernels::Unpacked;
use super::machine::{EDGE_MAC, SIDE_MAC};
use super::wire::{GATEWAY, GUEST};
use crate::rights::Rights;
use crate::step;

/// The release of Debian.
const RELEASE: &str = "bookworm";
/// What a host has beside the smallest system.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "libpam-systemd",
    "openssh-server",
    "iproute2",
    "procps",
    "adduser",
    "ca-certificates",
    "curl",
    "ethtool",
    "bpftool",
    "netbase",
    "nftables",
    "nginx-light",
    "fail2ban",
    "python3-systemd",
];
/// Size of the file system; the file has holes.
const SIZE: &str = "3G";

/// Files beside those of the packages.
fn files() -> Vec<(&'static str, String)> {
    vec![
        ("etc/hostname", "host\n".to_owned()),
        ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 host\n::1 localhost\n".to_owned()),
        // Nobody can be asked for names.
        ("etc/resolv.conf", String::new()),
        // An empty one would make it the first boot, at which systemd enables what it likes.
        ("etc/machine-id", "5ca96a4d5ca96a4d5ca96a4d5ca96a4d\n".to_owned()),
        (
            "etc/systemd/network/10-edge.network",
            format!(
                "[Match]\nMACAddress={EDGE_MAC}\n[Network]\nAddress={GUEST}/24\nGateway={GATEWAY}\nIPv6AcceptRA=no\n"
            ),
        ),
        (
            "etc/systemd/network/20-side.network",
            format!("[Match]\nMACAddress={SIDE_MAC}\n[Network]\nAddress=10.0.2.15/24\nIPv6AcceptRA=no\n"),
        ),
        // Guessers by the dozen.
        ("etc/ssh/sshd_config.d/host.conf", "UseDNS no\nMaxStartups 100\nPasswordAuthentication yes\n".to_owned()),
        ("etc/fail2ban/jail.d/defaults-debian.conf", String::new()),
        (
            "etc/fail2ban/jail.local",
            "[DEFAULT]\nbackend = systemd\nbanaction = nftables\nbanaction_allports = nftables[type=allports]\n\
             [sshd]\nenabled = true\n"
                .to_owned(),
        ),
    ]
}

/// Run in the root once it is unpacked.
const SETTLE: &str = "set -e
depmod -a @RELEASE@
systemctl enable --quiet systemd-networkd.service ssh.service nginx.service fail2ban.service
systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer
mkdir -p /var/log/journal
";

/// The disk for a kernel, made unless an earlier run made it.
///
/// # Errors
/// When the packages cannot be had, or something cannot be written.
pub(super) fn image(folder: &Path, kernel: &Unpacked, rights: Rights) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let image = folder.join(format!("{}-{:016x}.ext4", kernel.release, key()));
    if image.is_file() {
        return Ok(image);
    }
    let packed = packed(folder, rights)?;
    // Another run may make one too.
    let ours = process::id();
    let (root, unfinished) = (folder.join(format!("root-{ours}")), folder.join(format!("unfinished-{ours}.ext4")));
    let remove = |rights: Rights| {
        let mut command = rights.command("rm");
        command.args(["-rf", "--one-file-system"]).arg(&root).arg(&unfinished);
        step::run("removing what making a disk left", &mut command)
    };
    remove(rights)?;
    let made = make(&packed, &root, &unfinished, kernel, rights);
    if made.is_ok() {
        // No other run sees half of it.
        step::run("keeping the disk", rights.command("mv").arg(&unfinished).arg(&image))?;
    }
    remove(rights)?;
    made.map(|()| image)
}

fn make(packed: &Path, root: &Path, image: &Path, kernel: &Unpacked, rights: Rights) -> Result<()> {
    step::run("making a root", rights.command("mkdir").arg(root))?;
    step::run("unpacking Debian", rights.command("tar").arg("-C").arg(root).arg("-xf").arg(packed))?;
    let modules = root.join("lib/modules");
    step::run("adding the kernel's modules", rights.command("mkdir").arg("-p").arg(&modules))?;
    step::run("adding the kernel's modules", rights.command("cp").arg("-a").arg(&kernel.modules).arg(&modules))?;
    for (name, content) in files() {
        write(&root.join(name), &content, rights)?;
    }
    let script = SETTLE.replace("@RELEASE@", &kernel.release);
    let mut settle = rights.command("chroot");
    step::run("settling it", settle.arg(root).args(["/bin/sh", "-c", &script]))?;
    let mut mkfs = rights.command("mkfs.ext4");
    mkfs.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d"]).arg(root).arg(image).arg(SIZE);
    step::run("making a disk of it", &mut mkfs)
}

/// Writes a file that root owns.
fn write(file: &Path, content: &str, rights: Rights) -> Result<()> {
    let script = "mkdir -p \"$(dirname \"$1\")\" && rm -f \"$1\" && printf %s \"$2\" > \"$1\"";
    let status = rights.command("sh").args(["-c", script, "sh"]).arg(file).arg(content).status();
    ensure!(status.context("cannot start sh")?.success(), "cannot write {}", file.display());
    Ok(())
}

/// The packages, unpacked and set up, as an archive.
fn packed(folder: &Path, rights: Rights) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (RELEASE, PACKAGES).hash(&mut hasher);
    let packed = folder.join(format!("{RELEASE}-{:016x}.tar", hasher.finish()));
    if packed.is_file() {
        return Ok(packed);
    }
    let unfinished = folder.join(format!("unfinished-{}.tar", process::id()));
    let mut mmdebstrap = rights.command("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", &format!("--include={}", PACKAGES.join(",")), RELEASE]);
    step::run("getting Debian 12 (download 90 MB, disk 300 MB, two minutes)", mmdebstrap.arg(&unfinished))?;
    step::run("keeping it", rights.command("mv").arg(&unfinished).arg(&packed))?;
    Ok(packed)
}

/// Another one for whatever the disk depends on but the kernel.
fn key() -> u64 {
    let mut hasher = DefaultHasher::new();
    (RELEASE, PACKAGES, files(), SETTLE, SIZE).hash(&mut hasher);
    hasher.finish()
}
