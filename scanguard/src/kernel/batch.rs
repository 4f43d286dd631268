//! Reading a whole map in few system calls, which aya does not offer: `BPF_MAP_LOOKUP_BATCH` (Linux 5.6; arrays and tries 5.13).
//!
//! A walk from key to key takes two calls an entry and starts over when somebody else removes the entry it stands on; this
//! one goes from bucket to bucket, several thousand entries a call.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::libc;
use zerocopy::{FromBytes, IntoBytes};

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const LOOKUP_BATCH: libc::c_long = 24;
/// Entries asked for at a time. A bucket is returned whole or not at all, and has one or two entries as a rule.
const CHUNK: u32 = 4096;

/// The `batch` part of `union bpf_attr`.
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where the kernel is: the number of a bucket in a hash map, the last key in an array or a trie (`generic_map_lookup_batch` in
/// `kernel/bpf/syscall.c`). Large enough for any key of ours.
type Position = [u32; 16];

/// All entries. Entries that come or go meanwhile may be seen or not; each that stays is seen once.
///
/// # Safety
/// `map` is a hash map (also LRU), an array or a trie, not per CPU, with keys of type `K` and values of type `V`.
pub(super) unsafe fn entries<K, V>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>>
where
    K: FromBytes + IntoBytes + Clone,
    V: FromBytes + IntoBytes + Clone,
{
    let mut all: Vec<(K, V)> = Vec::new();
    let mut chunk = CHUNK;
    let mut keys = vec![K::new_zeroed(); chunk as usize];
    let mut values = vec![V::new_zeroed(); chunk as usize];
    const { assert!(size_of::<K>() <= size_of::<Position>(), "the position may be a key") };
    let mut position: Option<Position> = None;
    loop {
        let mut next = Position::default();
        let mut attr = BatchAttr {
            in_batch: position.as_ref().map_or(0, |position| (&raw const *position) as u64),
            out_batch: (&raw mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: chunk,
            map_fd: map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the buffers have room for `count` keys and values of the map's sizes, by the caller's promise, and live
        // until the call returns; the position is read and written as four bytes or as a key, for which it has room.
        let result = unsafe { libc::syscall(libc::SYS_bpf, LOOKUP_BATCH, &raw mut attr, size_of::<BatchAttr>()) };
        let error = io::Error::last_os_error();
        let ended = match (result, error.raw_os_error()) {
            (0, _) => false,
            (_, Some(libc::ENOENT)) => true,
            // One bucket has more entries than fit: somebody aims at it, or the map is tiny and we are unlucky.
            (_, Some(libc::ENOSPC)) => {
                chunk = chunk.saturating_mul(2);
                keys.resize(chunk as usize, K::new_zeroed());
                values.resize(chunk as usize, V::new_zeroed());
                continue;
            }
            (_, Some(libc::EINTR)) => continue,
            _ => return Err(error),
        };
        all.extend(keys.iter().cloned().zip(values.iter().cloned()).take(attr.count as usize));
        if ended {
            return Ok(all);
        }
        position = Some(next);
    }
}
