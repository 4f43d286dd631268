//! The sessions program on a control group: it sees the TCP sockets of the processes in it and below it, whatever their network namespace.

use std::fs::File;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{CgroupAttachMode, SockOps};

use super::error::{KernelError, chain};
use super::pins::{LinkName, Pins};

const PROGRAM: &str = "scanguard_sessions";

/// The link of the sessions program. Dropping it detaches it, unless it is pinned.
#[derive(Default)]
pub(super) struct Sessions {
    link: Option<FdLink>,
}

impl Sessions {
    /// Attaches to a control group, in place of what an earlier process left pinned: both see what happens for a moment, and count it once.
    pub(super) fn attach(&mut self, object: &mut Ebpf, pins: Option<&Pins>, cgroup: &Path) -> Result<(), KernelError> {
        let refused =
            |error: &dyn std::error::Error| KernelError::Sessions { cgroup: cgroup.to_owned(), reason: chain(error) };
        let folder = File::open(cgroup).map_err(|error| refused(&error))?;
        let program = program(object)?;
        // "Single" by its name alone: links stand beside each other, whoever made them.
        let id = program.attach(folder, CgroupAttachMode::Single).map_err(|error| refused(&error))?;
        let link = FdLink::try_from(program.take_link(id).map_err(|error| refused(&error))?);
        let link = link.map_err(|error| refused(&error))?;
        self.link = Some(match pins {
            None => link,
            Some(pins) => {
                pins.forget_link(LinkName::Sessions)?;
                link.pin(pins.link(LinkName::Sessions)).map_err(|error| refused(&error))?.into()
            }
        });
        Ok(())
    }

    /// Lets go of it.
    pub(super) fn detach(&mut self) {
        self.link = None;
    }
}

pub(super) fn program(object: &mut Ebpf) -> Result<&mut SockOps, KernelError> {
    let program = object.program_mut(PROGRAM).ok_or(KernelError::NoSuchPart("program scanguard_sessions"))?;
    program.try_into().map_err(program_error)
}

pub(super) fn program_error(source: aya::programs::ProgramError) -> KernelError {
    KernelError::Program { program: PROGRAM, source }
}

/// The root of the hierarchy of control groups of version 2, if it is mounted.
#[must_use]
pub fn cgroup_root() -> Option<PathBuf> {
    mounted(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The first mount of type `cgroup2` in a text like `/proc/self/mountinfo` (proc(5)).
fn mounted(mountinfo: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find(|line| {
        line.split_once(" - ").is_some_and(|(_, filesystem)| filesystem.split(' ').next() == Some("cgroup2"))
    })?;
    Some(line.split(' ').nth(4)?.replace("\\040", " ").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_where_it_is_mounted() {
        let hybrid = "32 24 0:28 / /sys/fs/cgroup rw shared:8 - tmpfs tmpfs rw\n\
                      33 32 0:29 / /sys/fs/cgroup/uni\\040fied rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounted(hybrid), Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        assert_eq!(mounted("24 1 0:22 / /sys rw shared:2 - sysfs cgroup2 rw\n"), None);
    }
}
