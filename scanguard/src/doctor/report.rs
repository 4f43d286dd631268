//! The answer of `scanguard doctor --json`.

use serde::Serialize;

use crate::exit::ExitStatus;

/// How something is; the later, the worse.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Hint,
    /// It should be seen to.
    Warn,
    /// It cannot run here like that.
    Fail,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Hint => "hint",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Check {
    /// A name for scripts.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub message: String,
    /// What that means; empty where the message says it.
    pub meaning: String,
    /// What to do; empty where there is nothing to do.
    pub hint: String,
}

/// An interface that is, or would be, guarded.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct InterfaceReport {
    /// Its name.
    pub name: String,
    /// Its driver; none for one without a device.
    pub driver: Option<String>,
    /// Queues on which it receives, where it tells.
    pub queues: Option<u32>,
    /// Whether its driver runs XDP programs: `yes`, `one-buffer`, `no` or `unknown`.
    pub native: String,
    /// How our program runs there: `native`, `generic`, `offloaded` or `none`.
    pub mode: String,
    /// Programs of others there, such as `xdp: other`, `tcx ingress: other`.
    pub others: Vec<String>,
}

/// Who asks.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct You {
    /// From where; none at the console.
    pub address: Option<String>,
    /// Whether nothing can be hidden from there.
    pub safe: bool,
    /// Why that is so, or how it was looked for.
    pub how: String,
}

/// A port that others reach, unless a firewall is in between.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Exposed {
    /// The protocol.
    pub proto: String,
    /// The port.
    pub port: u16,
    /// Its class by the configuration: `public` or `restricted`.
    pub class: String,
    /// Whose socket it is; none without the right to look (CAP_SYS_PTRACE).
    pub program: Option<String>,
    /// Where it listens.
    pub addresses: Vec<String>,
}

/// What it costs, in bytes; none where that was not measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Memory {
    /// Maps and programs.
    pub kernel_bytes: Option<u64>,
    /// The daemon's own, where one runs.
    pub daemon_bytes: Option<u64>,
}

/// Everything.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// [`crate::api::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The worst of the checks.
    pub state: State,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// The interfaces that are, or would be, guarded.
    pub interfaces: Vec<InterfaceReport>,
    /// Who asks.
    pub you: You,
    /// What others reach.
    pub exposed: Vec<Exposed>,
    /// What it costs.
    pub memory: Memory,
}

impl Report {
    /// How the program ends: hints are no reason to fail a script.
    #[must_use]
    pub const fn exit_status(&self) -> ExitStatus {
        match self.state {
            State::Ok | State::Hint => ExitStatus::Done,
            State::Warn => ExitStatus::Unhealthy,
            State::Fail => ExitStatus::CannotRun,
        }
    }
}
