//! The system call bpf, for what aya does not ask.

use std::io;

use nix::libc;

/// A command of `enum bpf_cmd` with its part of `union bpf_attr` (`include/uapi/linux/bpf.h`).
///
/// # Safety
/// `Attr` is laid out as the kernel's part of `union bpf_attr` for this command, and every pointer and length in it is
/// of memory that is valid for as long as the call takes.
pub(super) unsafe fn bpf<Attr>(command: u32, attr: &mut Attr) -> io::Result<i32> {
    // SAFETY: `attr` is as long as is said and outlives the call; the rest is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<Attr>()) };
    i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(io::Error::last_os_error)
}
