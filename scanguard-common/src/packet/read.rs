//! Numbers out of a header that was bounds-checked as a whole.

/// A header of `N` bytes. Offsets are constants, checked when the program is compiled.
#[derive(Clone, Copy)]
pub(super) struct Header<'a, const N: usize>(pub(super) &'a [u8; N]);

impl<const N: usize> Header<'_, N> {
    /// The byte at an offset.
    #[inline(always)]
    pub(super) fn u8<const AT: usize>(self) -> u8 {
        const { assert!(AT < N) }
        self.0[AT]
    }

    /// The big-endian number at an offset.
    #[inline(always)]
    pub(super) fn be16<const AT: usize>(self) -> u16 {
        u16::from_be(self.read::<u16, AT>())
    }

    /// Four bytes at an offset, as they lie in memory.
    #[inline(always)]
    pub(super) fn word32<const AT: usize>(self) -> u32 {
        self.read::<u32, AT>()
    }

    /// Eight bytes at an offset, as they lie in memory.
    #[inline(always)]
    pub(super) fn word64<const AT: usize>(self) -> u64 {
        self.read::<u64, AT>()
    }

    /// `M` bytes from an offset on.
    #[inline(always)]
    pub(super) fn tail<const AT: usize, const M: usize>(&self) -> &[u8; M] {
        const { assert!(AT + M <= N) }
        // SAFETY: within the header, and bytes have no alignment.
        unsafe { &*self.0.as_ptr().wrapping_add(AT).cast() }
    }

    #[inline(always)]
    fn read<T: Copy, const AT: usize>(self) -> T {
        const { assert!(AT + size_of::<T>() <= N) }
        let at = self.0.as_ptr().wrapping_add(AT).cast::<T>();
        #[cfg(target_arch = "bpf")]
        // SAFETY: within the header. BPF has one load instruction per width, without a demand on alignment: the verifier
        // lets programs through only where the machine can do it. Told of alignment 1, LLVM would load byte by byte.
        unsafe {
            at.read()
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: within the header.
        unsafe {
            at.read_unaligned()
        }
    }
}
