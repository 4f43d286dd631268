//! Whether and how something can be run as root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How to become root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Rights {
    /// We are.
    Root,
    /// By sudo, which may ask for a password.
    Sudo,
    /// Not at all.
    None,
}

impl Rights {
    /// Finds out; asks for sudo's password where a person is there to give it.
    pub(crate) fn find() -> Self {
        if fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            return Self::Root;
        }
        let sudo = Command::new("sudo").arg("-v").stderr(Stdio::null()).status();
        if sudo.is_ok_and(|status| status.success()) { Self::Sudo } else { Self::None }
    }

    /// A command line for `program` with these rights.
    pub(crate) fn command(self, program: impl AsRef<Path>) -> Command {
        let program = program.as_ref();
        match self {
            Self::Root | Self::None => Command::new(program),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.arg("--preserve-env").arg("--").arg(program);
                command
            }
        }
    }
}
