//! What can go wrong between this process and the kernel.

use std::io;
use std::path::PathBuf;

use scanguard_common::layout::LAYOUT;

use super::link::Removal;

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
        "another XDP program, {program} (id {program_id}), already runs on {interface}, and an interface takes one: stop whatever \
         loaded it (`bpftool prog show id {program_id}` tells more), or take it away yourself: {removal}"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The other program's name.
        program: String,
        /// The other program's id.
        program_id: u32,
        /// The command that takes it away.
        removal: Removal,
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
    /// A map could not be emptied.
    #[error("cannot empty the map {map}: {source}")]
    Wipe {
        /// Which one.
        map: String,
        /// Why.
        source: io::Error,
    },
    /// What is pinned is of another version.
    #[error(
        "what is pinned in {} was left by another version of scanguard (this one has layout {LAYOUT}) and cannot be taken over. \
         `scanguard detach` takes it away (nothing is filtered from then on), or run the version that left it", folder.display()
    )]
    StalePins {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process uses what is pinned.
    #[error(
        "another scanguard uses what is pinned in {}: stop it first, or give this one a folder of its own with `pins` in the \
         configuration", folder.display()
    )]
    PinsInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// No BPF file system.
    #[error(
        "{} is on no BPF file system, so nothing can be kept there: `mount -t bpf bpf /sys/fs/bpf`, or set `pins` in the \
         configuration", folder.display()
    )]
    NoBpfFs {
        /// The folder.
        folder: PathBuf,
    },
    /// A pin could not be made or removed.
    #[error("cannot {what} the pin {}: {source}", path.display())]
    Pins {
        /// What was tried.
        what: &'static str,
        /// Which one.
        path: PathBuf,
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
    /// More prefixes that are local by route than the kernel part follows.
    #[error(
        "this host has {count} prefixes that are local by route (`ip route show table local`), more than the {limit} that are followed"
    )]
    TooManyLocal {
        /// How many there are.
        count: usize,
        /// How many are followed.
        limit: usize,
    },
    /// More networks than can be protected.
    #[error("`protect` names {count} networks, more than the {limit} there is room for: name larger ones")]
    TooManyNetworks {
        /// How many are named.
        count: usize,
        /// How many there is room for.
        limit: usize,
    },
    /// More entries than the allowlist takes.
    #[error(
        "the allowlist would have {count} entries, more than the {limit} there is room for. Take out entries that are \
         not needed (`scanguard allow list` shows all), or name a shorter prefix instead of many"
    )]
    AllowlistFull {
        /// How many there would be.
        count: usize,
        /// How many there is room for.
        limit: usize,
    },
    /// The egress program did not get on an interface.
    #[error("cannot see what leaves by {interface}: {reason}")]
    Egress {
        /// The interface.
        interface: String,
        /// What the kernel said.
        reason: String,
    },
    /// The sessions program did not get on a control group.
    #[error("cannot see the sessions of the control group {}: {reason}", cgroup.display())]
    Sessions {
        /// The control group's folder.
        cgroup: std::path::PathBuf,
        /// What the kernel said.
        reason: String,
    },
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::DriverMode;
    use crate::kernel::link::HeldBy;

    #[test]
    fn another_xdp_program_is_told_with_the_ways_to_detach_it() {
        for (held, expected) in [
            (
                HeldBy::Unknown,
                "`bpftool link detach id N` where `bpftool link show` lists a link N of prog 77, \
                 else `ip link set dev eth0 xdpgeneric off`",
            ),
            (HeldBy::Netlink, "take it away yourself: `ip link set dev eth0 xdpgeneric off`"),
            (HeldBy::Link(5), "take it away yourself: `bpftool link detach id 5`"),
        ] {
            let removal = Removal { interface: "eth0".into(), mode: DriverMode::Generic, program_id: 77, held };
            let (interface, program) = ("eth0".to_owned(), "other".to_owned());
            let told = KernelError::Occupied { interface, program, program_id: 77, removal }.to_string();
            assert!(told.ends_with(expected), "{told}");
        }
    }
}
