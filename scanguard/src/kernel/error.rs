//! What can go wrong between this process and the kernel.

use std::io;

/// An error of the kernel module. Messages say what was tried, on what, why it failed and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The kernel refused the programs or maps.
    #[error("cannot load the kernel part: {0}")]
    Load(#[from] aya::EbpfError),
    /// The object has no such map or program: it was built from other sources.
    #[error("the kernel part has no {0}: build it again with `cargo xtask build`")]
    NoSuchPart(&'static str),
    /// A map has another type or layout than this program expects.
    #[error("cannot use map {map}: {source}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// Why.
        source: aya::maps::MapError,
    },
    /// A program could not be loaded or run.
    #[error("cannot load or run program {program}: {source}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// Why.
        source: aya::programs::ProgramError,
    },
    /// There is no such interface.
    #[error("there is no interface {interface}; `ip link` lists them")]
    NoInterface {
        /// The name asked for.
        interface: String,
    },
    /// Another XDP program runs there.
    #[error(
        "another XDP program (id {program_id}) already runs on {interface}: `bpftool prog show id {program_id}` tells \
         whose it is; stop that program, or detach it with `ip link set dev {interface} xdp off`"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The other program's id.
        program_id: u32,
    },
    /// The program could not be attached.
    #[error("cannot attach to {interface} in {mode} mode: {reason}")]
    Attach {
        /// The interface.
        interface: String,
        /// `native`, `generic` or `automatic`.
        mode: &'static str,
        /// Why.
        reason: String,
    },
    /// The kernel's network configuration could not be read.
    #[error("cannot read {what} over netlink: {source}")]
    Netlink {
        /// What was asked for.
        what: String,
        /// Why.
        source: rtnetlink::Error,
    },
    /// A file descriptor could not be used.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A map could not be read whole.
    #[error("cannot read the map {map}: {source}")]
    Read {
        /// Which one.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
    /// More addresses than the kernel part follows.
    #[error("this host has {count} addresses, more than the {limit} that are followed")]
    TooManyAddresses {
        /// How many there are.
        count: usize,
        /// How many are followed.
        limit: usize,
    },
}
