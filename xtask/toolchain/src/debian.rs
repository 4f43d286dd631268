//! Debian's and Ubuntu's packages: which there are, fetched and unpacked without installing them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::detect::{find_in_path, output};

/// A set of packages that makes a compiler with its library, its source and its LLVM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CompilerPackages {
    /// `package=version`, as apt-get takes it.
    pub(crate) names: Vec<String>,
    /// Version of the compiler's packages.
    pub(crate) version: String,
    /// Major version of LLVM.
    pub(crate) llvm: u32,
}

/// Whether apt is here to ask.
pub(crate) fn is_here() -> bool {
    ["apt-get", "apt-cache", "dpkg-deb"].iter().all(|program| find_in_path(program).is_some())
}

/// The newest compiler that apt knows with all that belongs to it; nothing when there is none.
pub(crate) fn newest_compiler() -> Option<CompilerPackages> {
    let text = output(Command::new("apt-cache").args(["show", "--no-all-versions", "rustc-web"]))?;
    let version = field(&text, "Version")?.to_owned();
    // The standard library's package is named after the compiler's minor version: 1.96.0+dfsg1-1 -> 1.96.
    let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let library = format!("libstd-rust-web-{minor}");
    let library_text =
        output(Command::new("apt-cache").args(["show", "--no-all-versions", &format!("{library}={version}")]))?;
    let llvm = field(&library_text, "Depends")?.split([',', '|']).find_map(|one| {
        let name = one.trim().split([' ', '(']).next()?;
        name.strip_prefix("libllvm")?.parse().ok()
    })?;
    let of_version = |name: &str| format!("{name}={version}");
    let names = vec![
        of_version("rustc-web"),
        of_version(&library),
        of_version("libstd-rust-web-dev"),
        of_version("rust-web-src"),
        format!("libllvm{llvm}"),
    ];
    Some(CompilerPackages { names, version, llvm })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Refreshes apt's lists, which needs root or sudo.
pub(crate) fn update_lists(as_root: &mut Command) -> Result<()> {
    let status = as_root.args(["apt-get", "update", "-q"]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("cannot refresh apt's package lists: run `sudo apt-get update`, then this again"),
    }
}

/// Fetches packages (`name` or `name=version`) and unpacks them below `into`; `packages` is a scratch folder.
pub(crate) fn unpack(names: &[String], packages: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(packages).with_context(|| format!("cannot make {}", packages.display()))?;
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let status = Command::new("apt-get")
        // Root would have the files fetched by a user who may not write here, and warn of it.
        .args(["-o", "APT::Sandbox::User=root", "-q", "download"])
        .args(names)
        .current_dir(packages)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get could not download {}: the messages above say why", names.join(" "));
    }
    for entry in fs::read_dir(packages).with_context(|| format!("cannot list {}", packages.display()))? {
        let package = entry?.path();
        let status = Command::new("dpkg-deb").arg("-x").arg(&package).arg(into).status();
        if !status.is_ok_and(|status| status.success()) {
            bail!("cannot unpack {}: is the disk full?", package.display());
        }
    }
    Ok(())
}
