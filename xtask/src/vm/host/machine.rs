//! qemu with a disk that forgets and two network cards: the edge, and one on the side by which the test talks to the machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::super::kernels::Unpacked;
use super::run::{Said, wait_for};
use super::wire::{QUEUES, Scratch, TAP, Wire};
use crate::rights::Rights;

/// The card at the edge.
pub(super) const EDGE_MAC: &str = "52:54:00:5c:a9:01";
/// The card on the side. Another driver, so that the one of the edge can be taken away, and one that cloud kernels have.
pub(super) const SIDE_MAC: &str = "52:54:00:5c:a9:02";
/// Where the machine's ssh is in the namespace, by the card on the side.
pub(super) const SIDE_PORT: u16 = 2222;
/// MiB of the machine.
const MEMORY_MIB: u32 = 1024;
/// Its processors.
const PROCESSORS: u32 = 2;

/// A machine that runs, and ends with it.
pub(super) struct Machine {
    qemu: Child,
    process: PathBuf,
    console: PathBuf,
    rights: Rights,
}

impl Machine {
    /// Starts it. What its console says is in the file `console`.
    pub(super) fn start(
        kernel: &Unpacked,
        disk: &Path,
        archive: &Path,
        (wire, scratch, rights): (&Wire, &Scratch, Rights),
        console: PathBuf,
        limit: Duration,
    ) -> Result<Self> {
        let process = scratch.file("qemu.pid");
        let mut qemu = wire.command("qemu-system-x86_64", limit);
        // What is written to the disk is in a file of its own there, which goes with the machine.
        qemu.env("TMPDIR", scratch.file("."));
        // Emulated always: nested KVM does not start Debian's kernels everywhere, and this is not about speed.
        qemu.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]);
        qemu.args(["-m", &MEMORY_MIB.to_string(), "-smp", &PROCESSORS.to_string()]);
        qemu.args(["-nodefaults", "-display", "none", "-serial", "stdio", "-pidfile"]).arg(&process);
        qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(archive);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 systemd.show_status=0"]);
        qemu.args(["-drive", &format!("file={},format=raw,if=virtio,snapshot=on", disk.display())]);
        let tap = format!("tap,id=edge,ifname={TAP},script=no,downscript=no,queues={QUEUES},vhost=off");
        let vectors = 2 * QUEUES + 2;
        let card = format!("virtio-net-pci,netdev=edge,mac={EDGE_MAC},mq=on,vectors={vectors}");
        qemu.args(["-netdev", &tap, "-device", &card]);
        let side = format!("user,id=side,restrict=on,hostfwd=tcp:127.0.0.1:{SIDE_PORT}-10.0.2.15:22");
        qemu.args(["-netdev", &side, "-device", &format!("vmxnet3,netdev=side,mac={SIDE_MAC}")]);
        qemu.args(["-device", "virtio-rng-pci"]);
        let output = File::create(&console).with_context(|| format!("cannot create {}", console.display()))?;
        let errors = output.try_clone().context("cannot copy a descriptor")?;
        qemu.stdin(Stdio::null()).stdout(output).stderr(errors);
        let qemu = qemu.spawn().context("cannot start qemu")?;
        Ok(Self { qemu, process, console, rights })
    }

    /// An error with what the console said last, when it runs no more.
    pub(super) fn alive(&mut self) -> Result<()> {
        match self.qemu.try_wait().context("cannot ask for qemu")? {
            None => Ok(()),
            Some(status) => bail!("qemu ended ({status}):\n{}", self.console_end()),
        }
    }

    /// The last lines of the console.
    pub(super) fn console_end(&self) -> String {
        const LINES: usize = 30;
        let text =
            fs::read(&self.console).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn stop(&mut self) -> Result<()> {
        const LIMIT: Duration = Duration::from_secs(10);
        if self.qemu.try_wait().context("cannot ask for qemu")?.is_some() {
            return Ok(());
        }
        // It may be root's, and then it is another process than the one that was started here.
        let process = fs::read_to_string(&self.process).context("qemu told no process number")?;
        Said::of(self.rights.command("kill").arg(process.trim()))?.success("ending qemu")?;
        wait_for("the end of qemu", LIMIT, || {
            self.qemu.try_wait().context("cannot ask for qemu")?.map(drop).context("it still runs")
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("qemu is still there, and ends when its time is over: {error:#}");
        }
    }
}
