//! A machine of qemu's that runs a kernel over this machine's files.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::guest::{self, Console, Effort};
use super::initrd;
use super::kernels::Unpacked;
use super::report::{Place, Trial};
use super::suite::Runnable;
use crate::rights::Rights;

const QEMU: &str = "qemu-system-x86_64";
/// Where Debian has the server of this machine's files: part of qemu up to 7.2, a package of its own later.
const FILE_SERVERS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];
/// MiB of a machine.
const MEMORY_MIB: u32 = 4096;
/// Processors of a machine.
const PROCESSORS: u32 = 2;
/// What a machine that works is given to start, and to say so. By KVM it takes a second.
const START: Duration = Duration::from_secs(15);
/// What a machine says that starts.
const ALIVE: &str = "@@alive";

/// How a machine's instructions are run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Engine {
    /// By the processor.
    Kvm,
    /// Translated, some twenty times slower.
    Emulation,
}

impl Engine {
    /// KVM if `/dev/kvm` opens and a machine starts by it: some hosts' runs only guests made for it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn find(kernel: &Unpacked, busybox: &Path, folder: &Path, rights: Rights) -> Result<Self> {
        if !Path::new("/dev/kvm").exists() {
            println!("==> no KVM here: machines are emulated");
            return Ok(Self::Emulation);
        }
        let archive = folder.join("alive.cpio");
        fs::write(&archive, initrd::alive(busybox, ALIVE)?).context("cannot write the first file system")?;
        let output = qemu(Self::Kvm, kernel, &archive, rights, START)
            .stderr(Stdio::null())
            .output()
            .context("cannot start qemu")?;
        if String::from_utf8_lossy(&output.stdout).contains(ALIVE) {
            return Ok(Self::Kvm);
        }
        println!("==> this machine's KVM does not start Linux {}: machines are emulated", kernel.release);
        Ok(Self::Emulation)
    }

    /// As the report says it.
    pub(super) const fn place(self) -> Place {
        match self {
            Self::Kvm => Place::Kvm,
            Self::Emulation => Place::Emulation,
        }
    }

    /// What can be asked of a machine.
    pub(super) const fn effort(self) -> Effort {
        match self {
            Self::Kvm => Effort { limit_s: 300, frames: 300_000, patience: 2 },
            Self::Emulation => Effort { limit_s: 900, frames: 30_000, patience: 8 },
        }
    }

    const fn arguments(self) -> [&'static str; 4] {
        match self {
            // Within a virtual machine that register cannot always be set.
            Self::Kvm => ["-accel", "kvm", "-cpu", "host,arch-capabilities=off"],
            Self::Emulation => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

/// What a machine is made of.
pub(super) struct Machine<'a> {
    pub(super) root: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) busybox: &'a Path,
    pub(super) engine: Engine,
    pub(super) rights: Rights,
}

impl Machine<'_> {
    /// Runs the suites on a kernel. What it says goes to `RELEASE.log` in the folder.
    ///
    /// # Errors
    /// When no machine can be made, which is nothing that the kernel did.
    pub(super) fn run(&self, kernel: &Unpacked, suites: &[Runnable]) -> Result<Vec<Trial>> {
        let Self { root, folder, busybox, engine, rights } = self;
        let file = |ending: &str| folder.join(format!("{}.{ending}", kernel.release));
        let (script, archive, socket, log) = (file("sh"), file("cpio"), file("socket"), file("log"));
        let effort = engine.effort();
        fs::write(&script, guest::script(root, suites, effort)).context("cannot write the machine's script")?;
        fs::write(&archive, initrd::make(kernel, busybox, &script)?).context("cannot write the first file system")?;
        let limit = Duration::from_secs(60 + effort.limit_s * suites.len() as u64);

        let mut server = serve_files(&socket, *rights, limit)?;
        let mut command = qemu(*engine, kernel, &archive, *rights, limit);
        command.args(["-object", &format!("memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on")]);
        command.args(["-numa", "node,memdev=memory"]);
        command.args(["-chardev", &format!("socket,id=files,path={}", socket.display())]);
        command.args(["-device", "vhost-user-fs-pci,chardev=files,tag=root"]);
        let (begun, mut console) = (Instant::now(), Console::default());
        let mut machine = command.stdout(Stdio::piped()).spawn().context("cannot start qemu")?;
        let read = read_console(&mut machine, &log, |line| {
            if let Some(trial) = console.line(line, begun.elapsed().as_secs_f64()) {
                println!("    {} ({:.0} s): {}", trial.name, trial.seconds, trial.outcome);
            }
        });
        // The server ends with the connection.
        let (status, _) = (machine.wait().context("cannot wait for qemu")?, server.wait());
        read?;
        let why = format!("the machine stopped ({status}); see {}", log.display());
        Ok(console.finish(suites, begun.elapsed().as_secs_f64(), &why))
    }
}

/// Hands each line of a console on, and writes it to a file.
fn read_console(machine: &mut Child, log: &Path, mut line: impl FnMut(&str)) -> Result<()> {
    let console = BufReader::new(machine.stdout.take().context("qemu has no output")?);
    let mut log = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    for bytes in console.split(b'\n') {
        let bytes = bytes.context("cannot read the console")?;
        log.write_all(&bytes).and_then(|()| log.write_all(b"\n")).context("cannot write the log")?;
        line(&String::from_utf8_lossy(&bytes));
    }
    Ok(())
}

/// Serves `/` at a socket, for one machine.
fn serve_files(socket: &Path, rights: Rights, limit: Duration) -> Result<Child> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let Some(program) = FILE_SERVERS.iter().find(|file| Path::new(file).is_file()) else {
        bail!("there is no virtiofsd ({}): install your package of it", FILE_SERVERS.join(", "));
    };
    let _ = fs::remove_file(socket);
    let mut server = limited(program, rights, limit);
    server.arg(format!("--socket-path={}", socket.display()));
    // The machine mounts it read only, and nobody else writes there while tests run.
    server.args(["-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always", "--rlimit-nofile=0"]);
    let mut server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start virtiofsd")?;
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        if let Some(status) = server.try_wait().context("cannot ask for virtiofsd")? {
            bail!("virtiofsd ended ({status})");
        }
        if Instant::now() > deadline {
            bail!("virtiofsd made no socket within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

fn qemu(engine: Engine, kernel: &Unpacked, archive: &Path, rights: Rights, limit: Duration) -> Command {
    let mut command = limited(QEMU, rights, limit);
    command.args(engine.arguments());
    command.args(["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio"]);
    command.args(["-m", &format!("{MEMORY_MIB}M"), "-smp", &PROCESSORS.to_string()]);
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(archive);
    command.args(["-append", "console=ttyS0 quiet panic=-1"]).stdin(Stdio::null());
    command
}

/// A command that ends after a while, whoever it runs as.
fn limited(program: &str, rights: Rights, limit: Duration) -> Command {
    let mut command = rights.command(PathBuf::from("timeout"));
    command.args(["--kill-after=5", &limit.as_secs().to_string(), program]);
    command
}
