//! What was found on this host, as plain data.

use std::net::IpAddr;
use std::path::PathBuf;

use scanguard_common::class::Protocol;

use crate::config::Ports;
use crate::kernel::link::Removal;
use crate::kernel::preflight::Missing;
use crate::kernel::probe::Loaded;
use crate::kernel::{AttachMode, DriverMode};
use crate::logins::How;
use crate::net::{Nic, TableName};

/// Everything that was looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Release of the kernel.
    pub kernel: String,
    /// What the kernel lacks that is needed.
    pub kernel_lacks: Vec<Missing>,
    /// Rights that are missing.
    pub rights_lack: Vec<Missing>,
    /// Whether the kernel takes the programs.
    pub loading: Loading,
    /// Whether it has TCX; none where that could not be asked.
    pub tcx: Option<bool>,
    /// The hierarchy of control groups of version 2.
    pub cgroup: Option<PathBuf>,
    /// Where maps and links would be pinned, and whether a BPF file system is mounted there; none without `keep`.
    pub pins: Option<(PathBuf, bool)>,
    /// The daemon that runs, if one does.
    pub daemon: Option<Daemon>,
    /// The interfaces that are, or would be, guarded.
    pub interfaces: Vec<Interface>,
    /// Why there are none.
    pub no_interface: Option<String>,
    /// How the program is to be attached.
    pub attach: AttachMode,
    /// CPUs that are online.
    pub cpus: u32,
    /// Programs beside it.
    pub beside: Beside,
    /// Who asks.
    pub caller: Option<Caller>,
    /// Sockets that others reach.
    pub open: Vec<Open>,
    /// What the configuration says of ports.
    pub ports: Ports,
    /// Whether somebody keeps the clock right, if the kernel tells.
    pub clock: Option<bool>,
    /// Bytes that the daemon takes, where one runs.
    pub daemon_bytes: Option<u64>,
    /// Bytes of memory that are free to use.
    pub available_bytes: Option<u64>,
}

/// Whether the kernel takes the programs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Loading {
    /// They were loaded and let go of again.
    Done(Loaded),
    /// It refused them.
    Refused(String),
    /// The daemon has them loaded; this many bytes of kernel memory, if that can be read.
    Running(Option<u64>),
    /// It was not tried, for this reason.
    NotTried(&'static str),
}

/// A daemon that answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Daemon {
    /// Its mode.
    pub mode: String,
    /// Whether it does its work and keeps what it decides.
    pub well: bool,
    /// Messages of its warnings.
    pub warnings: Vec<String>,
    /// Interfaces that it guards.
    pub guards: Vec<String>,
}

/// An interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is an end of a veth pair.
    pub is_veth: bool,
    /// What it can do.
    pub nic: Nic,
    /// The XDP program on it.
    pub xdp: Option<Xdp>,
    /// Programs of others that hang on it behind XDP, such as `tcx ingress: other`.
    pub others: Vec<String>,
}

/// An XDP program.
#[derive(Clone, Debug)]
pub struct Xdp {
    /// Its name.
    pub name: String,
    /// How it runs.
    pub mode: DriverMode,
    /// Whether it is ours.
    pub is_ours: bool,
    /// What takes it away.
    pub removal: Removal,
}

/// Programs that filter beside it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Beside {
    /// Tables of nf_tables, where they may be listed.
    pub nft: Vec<TableName>,
    /// Tables of the older iptables.
    pub legacy: Vec<String>,
    /// Names of programs that run, of those that matter here.
    pub running: Vec<String>,
}

/// Who asks, where that is from elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// From where.
    pub address: IpAddr,
    /// How that is known.
    pub how: How,
    /// What keeps anything from being hidden from there.
    pub safety: Option<String>,
}

/// A socket that answers others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Open {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Where it listens.
    pub address: IpAddr,
    /// Whose it is.
    pub program: Option<String>,
}
