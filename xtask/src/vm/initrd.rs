//! The first file system of a machine: busybox, the modules that reach this machine's files, and a script that goes there.
//!
//! A `cpio` archive of the kind "newc" (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::kernels::{Unpacked, in_order, module_name};

/// What the files of this machine are reached by: its bus, its file system, and one in memory above it.
const MODULES: [&str; 4] = ["virtio_pci", "fuse", "virtiofs", "overlay"];

/// Makes an archive that starts `script`, a path of this machine, in the machine's own view of this machine's files.
///
/// # Errors
/// When busybox or a module cannot be read.
pub(super) fn make(kernel: &Unpacked, busybox: &Path, script: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "modules", "proc", "sys", "dev", "below", "above", "root"] {
        archive.add(folder, FOLDER, &[]);
    }
    let program = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.add("bin/busybox", PROGRAM, &program);
    let mut load = String::new();
    for (number, file) in in_order(&kernel.modules, &MODULES)?.iter().enumerate() {
        let name = format!("modules/{number:02}-{}.ko", module_name(&file.to_string_lossy()));
        archive.add(&name, PROGRAM, &module(file, busybox)?);
        load += &format!("$b insmod /{name}\n");
    }
    let shell = |path: &Path| path.display().to_string().replace('\'', r"'\''");
    let init = INIT
        .replace("@LOAD@", &load)
        .replace("@MODULES@", &shell(&kernel.modules))
        .replace("@RELEASE@", &kernel.release)
        .replace("@SCRIPT@", &shell(script));
    archive.add("init", PROGRAM, init.as_bytes());
    Ok(archive.finish())
}

/// Makes an archive that goes to the first disk and lets the owner of an ssh key log in there as root.
///
/// # Errors
/// When busybox or a module cannot be read.
pub(super) fn to_disk(kernel: &Unpacked, busybox: &Path, key: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "modules", "proc", "sys", "dev", "root"] {
        archive.add(folder, FOLDER, &[]);
    }
    let program = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.add("bin/busybox", PROGRAM, &program);
    archive.add("key", PRIVATE, key.as_bytes());
    let mut load = String::new();
    for (number, file) in in_order(&kernel.modules, &DISK_MODULES)?.iter().enumerate() {
        let name = format!("modules/{number:02}-{}.ko", module_name(&file.to_string_lossy()));
        archive.add(&name, PROGRAM, &module(file, busybox)?);
        load += &format!("$b insmod /{name}\n");
    }
    archive.add("init", PROGRAM, DISK_INIT.replace("@LOAD@", &load).as_bytes());
    Ok(archive.finish())
}

/// What a disk is reached by.
const DISK_MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];

/// The first process of a machine with a disk. The card's driver is not here: udev loads it later, as on most hosts.
const DISK_INIT: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
@LOAD@
i=0
until $b test -b /dev/vda || $b test $i = 100; do $b sleep 0.1; i=$((i+1)); done
$b mount -t ext4 /dev/vda /root
$b mkdir -p -m 700 /root/root/.ssh
$b cp /key /root/root/.ssh/authorized_keys
$b chmod 600 /root/root/.ssh/authorized_keys
for d in proc sys dev; do $b mount --move /$d /root/$d; done
exec $b switch_root /root /sbin/init
";

/// Makes an archive that says `word` and ends.
///
/// # Errors
/// When busybox cannot be read.
pub(super) fn alive(busybox: &Path, word: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc"] {
        archive.add(folder, FOLDER, &[]);
    }
    let program = fs::read(busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    archive.add("bin/busybox", PROGRAM, &program);
    let init = format!(
        "#!/bin/busybox sh\nb=/bin/busybox\n$b mount -t devtmpfs dev /dev\n$b mount -t proc proc /proc\n\
         echo {word} > /dev/console\necho o > /proc/sysrq-trigger\n$b sleep 60\n"
    );
    archive.add("init", PROGRAM, init.as_bytes());
    Ok(archive.finish())
}

/// The first process. `/` becomes this machine's, read only, under a file system in memory that takes what is written. The kernel
/// itself asks for further modules (veth, nf_tables, …), by the busybox that is bound there.
const INIT: &str = "#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
@LOAD@
$b mount -t virtiofs -o ro root /below
$b mount -t tmpfs above /above
$b mkdir /above/files /above/work
$b mount -t overlay -o lowerdir=/below,upperdir=/above/files,workdir=/above/work root /root
for d in proc sys dev; do $b mkdir -p /root/$d; $b mount --move /$d /root/$d; done
$b mkdir -p /root/lib/modules/@RELEASE@ /root/vm
$b mount -t tmpfs vm /root/vm
$b mount --bind '/below@MODULES@' /root/lib/modules/@RELEASE@
$b cp /bin/busybox /root/vm/modprobe
echo /vm/modprobe > /root/proc/sys/kernel/modprobe
exec $b switch_root /root /bin/sh '@SCRIPT@'
";

/// The bytes of a module. Busybox takes none that is compressed.
fn module(file: &Path, busybox: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "xz") {
        let unpacked = Command::new(busybox).args(["xz", "-dc"]).arg(file).output().context("cannot start busybox")?;
        ensure!(unpacked.status.success(), "cannot unpack {}", file.display());
        return Ok(unpacked.stdout);
    }
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const PRIVATE: u32 = 0o100_600;

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode == FOLDER { 2 } else { 1 };
        let length = |bytes: usize| u32::try_from(bytes).expect("a file of less than 4 GiB");
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
        let fields = [self.entries, mode, 0, 0, links, 0, length(content.len()), 0, 0, 0, 0, length(name.len()) + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_contents_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.add("bin", FOLDER, &[]);
        archive.add("init", PROGRAM, b"hello");
        let bytes = archive.finish();
        let first = b"070701\
            00000001000041ED00000000000000000000000200000000000000000000000000000000000000000000000000000004\
            00000000bin\0";
        assert_eq!(&bytes[..first.len()], first);
        let second = first.len().next_multiple_of(4);
        assert_eq!(&bytes[second..second + 6], b"070701");
        assert_eq!(&bytes[second + 110..second + 115], b"init\0");
        assert_eq!(&bytes[second + 116..second + 124], b"hello\0\0\0");
        assert_eq!(&bytes[second + 124..second + 130], b"070701");
        assert_eq!(bytes.len() % 4, 0);
    }
}
