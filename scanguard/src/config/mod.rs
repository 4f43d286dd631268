//! The configuration: one TOML file, read as a whole.
//!
//! | module | does |
//! |---|---|
//! | [`file`](mod@file) | finds and reads the file |
//! | `section`, `value` | walk the parsed text and collect every problem with its place |
//! | `read` | the keys, and what makes a valid value |
//! | [`ports`] | lists of ports |
//! | [`shipped`] | the ports that are restricted where they are open, unless the file says otherwise |
//! | [`judgement`] | when a source is suspected, and what follows |
//! | [`operation`] | what keeps an operator from locking himself out, and how far blocks go without one |
//! | [`feeds`] | lists of addresses that others make |
//! | `cannot` | what a configuration makes impossible |
//! | [`changes`] | what is different between two configurations |
//! | [`document`] | a configuration as a file, with comments or without |
//! | [`kernel`] | a configuration as what the kernel part is told |

mod cannot;
pub mod changes;
pub mod document;
pub mod feeds;
pub mod file;
pub mod judgement;
pub mod kernel;
pub mod operation;
pub mod ports;
mod problem;
mod read;
mod section;
pub mod shipped;
mod value;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use scanguard_common::challenge::{ChallengeMode, DecoyReply};
use scanguard_common::reason::Mode;

use crate::kernel::{AttachMode, TableSizes};
use crate::store::Limits;
pub use feeds::{Feed, FeedLevel};
pub use judgement::{Conceal, Score, Storm};
pub use operation::{AutoLevel, Blocks, Safety, SignalLimits};
pub use ports::{PortList, PortRange, Ports};
pub use problem::{Place, Problem};

/// Where the daemon listens for the command line unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/scanguard/control.sock";

/// Where the daemon keeps what outlives it unless told otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/scanguard/state.db";

/// Where maps and links are pinned unless told otherwise.
pub const DEFAULT_PINS: &str = crate::kernel::pins::DEFAULT_FOLDER;

/// Whose TCP sessions are counted: those of the processes of a control group, and below it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Cgroup {
    /// Of all processes: the root of the hierarchy of version 2, where it is mounted.
    #[default]
    Auto,
    /// Nobody's.
    Off,
    /// Of this one, by its folder.
    Folder(PathBuf),
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Interfaces to guard; the name `auto` stands for all with a default route.
    pub interfaces: Vec<String>,
    /// Where in the receive path the program is wanted.
    pub attach: AttachMode,
    /// Whether verdicts are carried out.
    pub mode: Mode,
    /// The file that outlives the daemon.
    pub state: PathBuf,
    /// For how long the audit and the lives of verdicts are kept.
    pub retention: Limits,
    /// Whether the kernel part goes on when the daemon ends.
    pub keep: bool,
    /// Where maps and links are pinned.
    pub pins: PathBuf,
    /// Addresses that are never acted on.
    pub allow: Vec<IpNetwork>,
    /// Lists of addresses that others make, each with how far it may go.
    pub feeds: Vec<Feed>,
    /// Whose TCP sessions are counted.
    pub cgroup: Cgroup,
    /// Where the command line finds the daemon.
    pub control_socket: PathBuf,
    /// Whose members may ask besides root: the group of that socket; the daemon's own if none is named.
    pub control_group: Option<String>,
    /// Where metrics are served, if they are.
    pub metrics_listen: Option<SocketAddr>,
    /// Classes of ports.
    pub ports: Ports,
    /// How senders become sources, and how many are remembered.
    pub sources: Sources,
    /// When a source is suspected.
    pub score: Score,
    /// How long suspects are kept from hidden ports.
    pub conceal: Conceal,
    /// When suspects arise so fast that somebody must be forging them.
    pub storm: Storm,
    /// What keeps an operator from locking himself out.
    pub safety: Safety,
    /// Which hidden ports are challenged.
    pub challenge: ChallengeMode,
    /// What whoever completes a decoy is answered.
    pub decoy_reply: DecoyReply,
    /// Automatic blocks.
    pub blocks: Blocks,
    /// How many signals are heard.
    pub signals: SignalLimits,
    /// Size of the ring buffer of events in KiB.
    pub events_ring_kib: u32,
    /// What is logged, and how.
    pub log: Log,
}

/// How senders become sources, and how many are remembered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sources {
    /// Bits of an IPv6 address that make a source.
    pub ipv6_prefix: u8,
    /// The /96 prefixes of translators that embed the client's IPv4 address.
    pub translators: Vec<Ipv6Addr>,
    /// Whether private ranges are never judged.
    pub ignore_private: bool,
    /// Networks of which many people share each address.
    pub shared: Vec<IpNetwork>,
    /// How many are remembered, and how large the other tables are.
    pub sizes: TableSizes,
    /// New ones that each CPU records in a second, whatever they ask for.
    pub new_per_second: u32,
}

/// What is logged, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// The least that is logged.
    pub level: LogLevel,
    /// Whether the kernel part tells of each frame, which costs microseconds a frame.
    pub frames: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The least that is logged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what a person should look at.
    Warn,
    /// And what the daemon does.
    #[default]
    Info,
    /// And each first contact.
    Debug,
    /// And what libraries say.
    Trace,
}

impl LogFormat {
    /// The name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl LogLevel {
    /// The name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The name of an attach mode in the configuration.
#[must_use]
pub const fn attach_label(mode: AttachMode) -> &'static str {
    match mode {
        AttachMode::Auto => "auto",
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            attach: AttachMode::Auto,
            mode: Mode::Observe,
            state: DEFAULT_STATE.into(),
            retention: Limits::default(),
            control_group: None,
            keep: false,
            pins: DEFAULT_PINS.into(),
            allow: Vec::new(),
            feeds: Vec::new(),
            cgroup: Cgroup::Auto,
            control_socket: DEFAULT_SOCKET.into(),
            metrics_listen: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9477)),
            ports: Ports::default(),
            sources: Sources {
                ipv6_prefix: 64,
                translators: Vec::new(),
                ignore_private: false,
                shared: Vec::new(),
                sizes: TableSizes::default(),
                new_per_second: 20_000,
            },
            score: Score::default(),
            conceal: Conceal::default(),
            storm: Storm::default(),
            safety: Safety::default(),
            challenge: ChallengeMode::Canary,
            decoy_reply: DecoyReply::Reset,
            blocks: Blocks::default(),
            signals: SignalLimits::default(),
            events_ring_kib: 1024,
            log: Log { format: LogFormat::Text, level: LogLevel::Info, frames: false },
        }
    }
}

impl Config {
    /// Reads a configuration. Text that is no valid one yields everything that is wrong with it, in the order of the text.
    ///
    /// # Errors
    /// The problems, at least one.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<Problem>> {
        read::config(text)
    }
}
