//! Arrays that are mapped into this process (`BPF_F_MMAPABLE`, Linux 5.5): reading one whole takes no system call an
//! entry. The ports alone are 131,072 entries, which a batch copies in 30 ms.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::libc::c_void;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes from one entry to the next: the kernel rounds values up to eight bytes (`array_map_alloc`,
/// `kernel/bpf/arraymap.c`). No value here is longer.
const STRIDE: usize = 8;

/// An array in memory, to be read.
pub(super) struct Mapped {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
    entries: usize,
}

// SAFETY: it is memory of this process for as long as this lives, from which is only read.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps an array of so many entries.
    ///
    /// # Errors
    /// When it was not made to be mapped, or has fewer entries.
    pub(super) fn new(array: impl AsFd, entries: u32) -> io::Result<Self> {
        let entries = entries as usize;
        let bytes = NonZeroUsize::new(entries * STRIDE).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe { mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, array, 0) }?;
        Ok(Self { start, bytes, entries })
    }

    /// All entries, of which others may write some meanwhile: each is as it was or as it is.
    pub(super) fn read<V: FromBytes + IntoBytes + Copy>(&self) -> Vec<V> {
        const { assert!(size_of::<V>() <= STRIDE && STRIDE.is_multiple_of(align_of::<V>())) };
        let at = |index: usize| {
            // SAFETY: it is within what was mapped, aligned, and any bytes are a value of this type. Volatile, because others
            // write there.
            unsafe { self.start.byte_add(index * STRIDE).cast::<V>().read_volatile() }
        };
        (0..self.entries).map(at).collect()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has a reference into it.
        if let Err(error) = unsafe { munmap(self.start, self.bytes.get()) } {
            tracing::warn!(%error, "an array stays mapped");
        }
    }
}
