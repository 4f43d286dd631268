//! Makes a map as it was when it was made: hash maps and tries empty, arrays of zeros.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use aya::maps::Map;
use nix::libc;

use super::error::KernelError;

/// Commands of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;
const NEXT_KEY: libc::c_long = 4;

/// The part of `union bpf_attr` for one element.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    /// The union's alignment.
    unused: u32,
    key: u64,
    /// Of the value, or of the next key.
    value: u64,
    flags: u64,
}

/// Wipes a map that nobody writes meanwhile. Rings are left alone: who reads them empties them.
///
/// # Errors
/// When the kernel refuses, or the map is of a type that the kernel part does not use.
pub(super) fn wipe(name: &str, map: &Map) -> Result<(), KernelError> {
    let refused = |source| KernelError::Wipe { map: name.to_owned(), source };
    match map {
        Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data) => empty(data.fd().as_fd()).map_err(refused),
        Map::Array(data) => zero(data.fd().as_fd(), false).map_err(refused),
        Map::PerCpuArray(data) => zero(data.fd().as_fd(), true).map_err(refused),
        Map::RingBuf(_) => Ok(()),
        _ => Err(KernelError::NoSuchPart("map of a known type")),
    }
}

/// Deletes all entries.
fn empty(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut next = vec![0_u8; Sizes::of(map)?.key];
    // Each after the next one is known: a walk that stands on a key that is gone begins again.
    let mut found = next_key(map, None, &mut next)?;
    while found {
        let key = next.clone();
        found = next_key(map, Some(&key), &mut next)?;
        // SAFETY: the key has the map's size; nothing is written.
        unsafe { element(DELETE, map, key.as_ptr(), std::ptr::null_mut()) }?;
    }
    Ok(())
}

/// The key after this one, or the first; false when there is none.
fn next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    // SAFETY: both have the size of the map's keys.
    let result = unsafe { element(NEXT_KEY, map, key.map_or(std::ptr::null(), <[u8]>::as_ptr), next.as_mut_ptr()) };
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Writes zeros into all elements.
fn zero(map: BorrowedFd<'_>, is_per_cpu: bool) -> io::Result<()> {
    let Sizes { key: _, value, entries } = Sizes::of(map)?;
    let copies = if is_per_cpu { aya::util::nr_cpus().map_err(|(_, error)| error)? } else { 1 };
    // One for each CPU, each rounded up to eight bytes (`array_map_alloc` in kernel/bpf/arraymap.c).
    let mut zeros = vec![0_u8; value.next_multiple_of(8) * copies];
    for index in 0..entries {
        // SAFETY: keys of arrays are four bytes; the value has room for one of each CPU, and is only read.
        unsafe { element(UPDATE, map, (&raw const index).cast(), zeros.as_mut_ptr()) }?;
    }
    Ok(())
}

/// One call of bpf(2) on an element.
///
/// # Safety
/// `key` is null or has the size of the map's keys, and `value` that of what the command reads or writes there.
unsafe fn element(command: libc::c_long, map: BorrowedFd<'_>, key: *const u8, value: *mut u8) -> io::Result<()> {
    let map_fd = map.as_raw_fd().cast_unsigned();
    let attr = ElementAttr { map_fd, unused: 0, key: key as u64, value: value as u64, flags: 0 };
    // SAFETY: by the caller's promise; all of it lives until the call returns.
    match unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<ElementAttr>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sizes of a map, as the kernel tells them in the descriptor's fdinfo (`bpf_map_show_fdinfo` in kernel/bpf/syscall.c).
struct Sizes {
    key: usize,
    value: usize,
    entries: u32,
}

impl Sizes {
    fn of(map: BorrowedFd<'_>) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let value = value.and_then(|value| value.trim().parse::<u32>().ok());
            value.ok_or_else(|| io::Error::other(format!("the descriptor's fdinfo has no {name}")))
        };
        let (key, value) = (field("key_size")? as usize, field("value_size")? as usize);
        Ok(Self { key, value, entries: field("max_entries")? })
    }
}
