//! Which link holds an XDP program on an interface: aya lists links without the interface.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::libc;

use super::bpf_call::bpf;

/// `BPF_LINK_GET_FD_BY_ID` and `BPF_LINK_GET_NEXT_ID` of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const FD_BY_ID: u32 = 30;
const NEXT_ID: u32 = 31;

/// The part of `union bpf_attr` that these commands use; the kernel takes what is missing for zeros.
#[repr(C)]
struct IdAttr {
    /// The id to begin after, or the id of the link.
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The id of the link that holds this program on this interface; none where none does, because it was attached over
/// netlink.
///
/// # Errors
/// When links may not be listed (CAP_SYS_ADMIN).
pub(super) fn holding(program_id: u32, interface: u32) -> io::Result<Option<u32>> {
    let mut id = 0;
    while let Some(next) = next(id)? {
        id = next;
        // Those that went meanwhile are none.
        let Ok(link) = open(id) else { continue };
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", link.as_raw_fd()))?;
        if holds(&text, program_id, interface) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Whether a link's text of fdinfo (`bpf_link_show_fdinfo`, `bpf_xdp_link_show_fdinfo`) is of this program on this
/// interface. One that was detached is of interface 0.
fn holds(text: &str, program_id: u32, interface: u32) -> bool {
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    value("link_type:") == Some("xdp")
        && value("prog_id:") == Some(&program_id.to_string())
        && value("ifindex:") == Some(&interface.to_string())
}

fn next(after: u32) -> io::Result<Option<u32>> {
    let mut attr = IdAttr { id: after, next_id: 0, open_flags: 0 };
    // SAFETY: `IdAttr` is the kernel's part for this command, and holds no address.
    match unsafe { bpf(NEXT_ID, &mut attr) } {
        Ok(_) => Ok(Some(attr.next_id)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: `IdAttr` is the kernel's part for this command, and holds no address.
    let descriptor = unsafe { bpf(FD_BY_ID, &mut IdAttr { id, next_id: 0, open_flags: 0 })? };
    // SAFETY: the kernel made this descriptor for us just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_told_from_others_by_its_kind_its_program_and_its_interface() {
        let text = "pos:\t0\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\t3b185187f1855c4c\nprog_id:\t12\nifindex:\t3\n";
        assert!(holds(text, 12, 3));
        assert!(!holds(text, 1, 3) && !holds(text, 12, 4));
        assert!(!holds(&text.replace("ifindex:\t3", "ifindex:\t0"), 12, 3), "detached, and still open somewhere");
        assert!(!holds(&text.replace("xdp", "tcx"), 12, 3));
    }
}
