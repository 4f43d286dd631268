//! What this machine has to build the kernel part with.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A way to build the kernel part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Toolchain {
    /// rustup's nightly with `rust-src`, and a `bpf-linker` in `PATH`.
    Rustup {
        /// The linker.
        linker: PathBuf,
    },
    /// A compiler and a linker under `target/toolchain`.
    Unpacked {
        /// The compiler (a wrapper that finds its libraries).
        rustc: PathBuf,
        /// The linker.
        linker: PathBuf,
    },
}

/// Nothing here builds the kernel part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "this machine cannot build scanguard's kernel part yet: run `cargo xtask setup` once, which gets what is missing",
        )
    }
}

impl std::error::Error for Missing {}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup { linker } => write!(formatter, "rustup's nightly and {}", linker.display()),
            Self::Unpacked { rustc, .. } => write!(formatter, "the compiler unpacked at {}", rustc.display()),
        }
    }
}

impl Toolchain {
    /// Finds the user's own toolchain, else the unpacked one.
    ///
    /// # Errors
    /// [`Missing`] when there is neither.
    pub fn detect(root: &Path) -> Result<Self, Missing> {
        Self::rustup().or_else(|| Self::unpacked(root)).ok_or(Missing)
    }

    fn rustup() -> Option<Self> {
        let linker = find_in_path("bpf-linker")?;
        succeeds(Command::new(&linker).arg("--version")).then_some(())?;
        let sysroot = output(rustup_nightly("rustc").args(["--print", "sysroot"]))?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/src/lib.rs");
        source.is_file().then_some(Self::Rustup { linker })
    }

    fn unpacked(root: &Path) -> Option<Self> {
        let place = Place::new(root);
        // The stamp is written last, so that an interrupted setup does not count.
        let (rustc, linker) = (place.rustc(), place.linker());
        (place.stamp().is_file() && rustc.is_file() && linker.is_file()).then_some(Self::Unpacked { rustc, linker })
    }

    /// `cargo` set up to compile with this toolchain.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match self {
            Self::Rustup { .. } => rustup_nightly("cargo"),
            Self::Unpacked { .. } => Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))),
        };
        // What a build script, clippy or the user's environment says is meant for the host's compiler.
        for variable in
            ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_MAKEFLAGS", "CARGO_BUILD_TARGET"]
        {
            cargo.env_remove(variable);
        }
        if let Self::Unpacked { rustc, .. } = self {
            cargo.env("RUSTC", rustc);
        }
        cargo.env("RUSTC_BOOTSTRAP", "1");
        cargo
    }

    pub(crate) fn linker(&self) -> &Path {
        match self {
            Self::Rustup { linker } | Self::Unpacked { linker, .. } => linker,
        }
    }
}

/// Where the unpacked toolchain is.
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    pub(crate) fn new(root: &Path) -> Self {
        Self { folder: root.join("target/toolchain") }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the packages are unpacked.
    pub(crate) fn system(&self) -> PathBuf {
        self.folder.join("system")
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.folder.join("rustc")
    }

    pub(crate) fn linker(&self) -> PathBuf {
        self.folder.join("bin/bpf-linker")
    }

    /// Says that everything is in place, and which versions.
    pub(crate) fn stamp(&self) -> PathBuf {
        self.folder.join("ready")
    }
}

/// The workspace's folder: the nearest one upwards from `start` whose Cargo.toml has a `[workspace]`.
#[must_use]
pub fn workspace_root(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .find(|folder| fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("[workspace]\n")))
        .map(Path::to_path_buf)
}

fn rustup_nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    // Set by the toolchain that runs this build script; rustup would obey it.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    command
}

pub(crate) fn find_in_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program.as_ref())).find(|file| file.is_file())
}

/// Whether a program runs and exits with 0; what it prints is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a program that exits with 0 prints.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
