//! Debian's kernels: which ones, got and unpacked below `target/vm` without installing them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::rights::Rights;
use crate::{step, tools};

/// A kernel to try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Kernel {
    /// Its series.
    pub(super) series: &'static str,
    /// Packages that depend on the newest one of a series; which series is Debian's choice.
    newest: &'static [&'static str],
}

/// Every kernel to try, but for the one that runs here.
pub(super) const KERNELS: [Kernel; 2] = [
    Kernel { series: "6.1", newest: &["linux-image-cloud-amd64"] },
    Kernel { series: "6.12", newest: &["linux-image-6.12-cloud-amd64", "linux-image-cloud-amd64"] },
];

/// A kernel that was unpacked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Unpacked {
    /// Its release, as `uname -r` says it.
    pub(super) release: String,
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// The folder `lib/modules/RELEASE`, with `modules.dep`.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// Gets it, unless it is there.
    ///
    /// # Errors
    /// When apt offers none of this series, or it cannot be downloaded or unpacked.
    pub(super) fn get(self, folder: &Path, busybox: &Path, rights: Rights) -> Result<Unpacked> {
        let package = self
            .package()
            .or_else(|| {
                tools::refresh_lists(rights).ok()?;
                self.package()
            })
            .with_context(|| format!("apt offers no kernel {} ({})", self.series, self.newest.join(", ")))?;
        let place = folder.join(&package);
        tools::unpack_into(
            &[&package],
            &place,
            &format!("Linux {} (download 35 MB, disk 130 MB)", self.series),
            rights,
        )?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let modules = place.join("lib/modules").join(&release);
        if !modules.join("modules.dep").is_file() {
            let mut depmod = Command::new(busybox);
            depmod.arg("depmod").arg("-b").arg(&place).arg(&release);
            step::run("listing its modules", &mut depmod)?;
        }
        let image = place.join(format!("boot/vmlinuz-{release}"));
        ensure!(image.is_file(), "the package {package} has no {}", image.display());
        Ok(Unpacked { release, image, modules })
    }

    /// The package of the newest kernel of this series, if apt knows one.
    fn package(self) -> Option<String> {
        self.newest.iter().find_map(|newest| {
            let asked = Command::new("apt-cache").args(["depends", newest]).stderr(Stdio::null()).output().ok()?;
            depends_on(&String::from_utf8_lossy(&asked.stdout), self.series)
        })
    }
}

/// The image of a series among what `apt-cache depends` prints.
fn depends_on(text: &str, series: &str) -> Option<String> {
    let packages = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let of_series = |package: &&str| {
        let release = package.strip_prefix("linux-image-").and_then(|release| release.strip_prefix(series));
        release.is_some_and(|rest| rest.starts_with(['.', '-', '+']))
    };
    packages.map(str::trim).find(of_series).map(str::to_owned)
}

/// The modules to load for `wanted`, each after those it needs, by `modules.dep`. What is not there is built in, or missing, which shows
/// when it is used.
pub(super) fn in_order(modules: &Path, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let list = modules.join("modules.dep");
    let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let files = ordered(&text, wanted);
    if files.is_empty() && text.trim().is_empty() {
        bail!("{} is empty: remove the folder and run this again", list.display());
    }
    Ok(files.into_iter().map(|file| modules.join(file)).collect())
}

fn ordered<'a>(dependencies: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let lines: Vec<(&str, &str)> = dependencies.lines().filter_map(|line| line.split_once(':')).collect();
    let mut found = Vec::new();
    for name in wanted {
        let Some((file, _)) = lines.iter().find(|(file, _)| module_name(file) == *name) else { continue };
        load(&lines, file, &mut found);
    }
    found
}

/// Adds a module after those it needs.
fn load<'a>(lines: &[(&'a str, &'a str)], file: &'a str, found: &mut Vec<&'a str>) {
    if found.contains(&file) {
        return;
    }
    if let Some((_, needs)) = lines.iter().find(|(one, _)| *one == file) {
        needs.split_whitespace().for_each(|needed| load(lines, needed, found));
    }
    found.push(file);
}

/// `kernel/fs/fuse/virtiofs.ko.xz` is called `virtiofs`.
pub(super) fn module_name(file: &str) -> &str {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split_once(".ko").map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDS: &str =
        "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n  Suggests: linux-doc\n";

    #[test]
    fn the_series_is_told_from_those_that_begin_alike() {
        assert_eq!(depends_on(DEPENDS, "6.1").as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(depends_on(DEPENDS, "6.12"), None);
        assert_eq!(depends_on("  Depends: linux-image-6.12.117+deb12-cloud-amd64\n", "6.1"), None);
    }

    #[test]
    fn modules_come_after_what_they_need_and_once() {
        let dependencies = "kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko kernel/virtio_ring.ko kernel/virtio.ko\n\
            kernel/virtio_ring.ko:\nkernel/fs/fuse/fuse.ko:\nkernel/virtio.ko: kernel/virtio_ring.ko\n\
            kernel/net/veth.ko.xz:\n";
        let wanted = ["virtiofs", "virtio", "built_in", "veth"];
        assert_eq!(
            ordered(dependencies, &wanted),
            [
                "kernel/fs/fuse/fuse.ko",
                "kernel/virtio_ring.ko",
                "kernel/virtio.ko",
                "kernel/fs/fuse/virtiofs.ko",
                "kernel/net/veth.ko.xz"
            ]
        );
    }
}
