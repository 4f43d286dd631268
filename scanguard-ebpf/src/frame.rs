//! The bytes of a frame in the driver's buffers: the one place that casts a packet pointer.

use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use scanguard_common::event::Answer;
use scanguard_common::packet::{Packet, Parsed, parse_into, parse_leaving};

use crate::maps::headers::{self, HEADER_BYTES};

/// Where a program's frame lies.
pub(crate) trait Buffers {
    /// First byte of the first buffer.
    fn start(&self) -> usize;
    /// The byte after its last.
    fn end(&self) -> usize;
    /// Bytes of all buffers.
    fn length(&self) -> usize;

    /// Copies the first bytes of all buffers; false when it cannot.
    ///
    /// # Safety
    /// There must be room for as many bytes.
    unsafe fn copy(&self, to: *mut u8, bytes: u32) -> bool;
}

impl Buffers for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        // SAFETY: the context is the one the kernel gave (Linux 5.18).
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    #[inline(always)]
    unsafe fn copy(&self, to: *mut u8, bytes: u32) -> bool {
        // SAFETY: the caller's word (Linux 5.18).
        unsafe { bpf_xdp_load_bytes(self.ctx, 0, to.cast(), bytes) == 0 }
    }
}

impl Buffers for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        self.len() as usize
    }

    #[inline(always)]
    unsafe fn copy(&self, to: *mut u8, bytes: u32) -> bool {
        // SAFETY: the caller's word.
        unsafe { bpf_skb_load_bytes(self.skb.skb.cast(), 0, to.cast(), bytes) == 0 }
    }
}

/// Reads a frame that leaves, see [`parse_leaving`]. A function of its own, for its stack.
#[inline(never)]
pub(crate) fn read_leaving(context: &TcContext, parsed: &mut Parsed) -> Answer {
    let near = NearFrame::new(context);
    if near.holds_headers() { parse_leaving(&near, parsed) } else { read_leaving_far(context, parsed) }
}

/// As [`read_far`].
#[inline(never)]
fn read_leaving_far(context: &TcContext, parsed: &mut Parsed) -> Answer {
    FarFrame::gather(context).map_or(Answer::None, |far| parse_leaving(&far, parsed))
}

/// Reads the frame of a context. A function of its own, for its stack.
#[inline(never)]
pub(crate) fn read(context: &XdpContext, parsed: &mut Parsed) {
    let near = NearFrame::new(context);
    if near.holds_headers() {
        parse_into(&near, parsed);
    } else {
        read_far(context, parsed);
    }
}

/// Reads a frame whose headers may not all be in its first buffer. A function of its own, for its stack.
#[inline(never)]
fn read_far(context: &XdpContext, parsed: &mut Parsed) {
    match FarFrame::gather(context) {
        Some(far) => parse_into(&far, parsed),
        None => *parsed = Parsed::default(),
    }
}

/// The first buffer of a frame, read directly. The headers are there but for very long extension chains and drivers
/// that split headers.
pub(crate) struct NearFrame<'a, C> {
    context: &'a C,
    start: usize,
    end: usize,
}

impl<'a, C: Buffers> NearFrame<'a, C> {
    /// The frame of this context.
    #[inline(always)]
    pub(crate) fn new(context: &'a C) -> Self {
        Self { context, start: opaque(context.start()), end: opaque(context.end()) }
    }

    /// Whether the first buffer is the whole frame, or long enough for any sane chain of headers.
    #[inline(always)]
    fn holds_headers(&self) -> bool {
        const ENOUGH: usize = 256;
        let near = self.end - self.start;
        near >= ENOUGH || near >= self.len()
    }
}

impl<C: Buffers> Packet for NearFrame<'_, C> {
    #[inline(always)]
    fn view<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        let start = self.start + offset;
        if start + N > self.end {
            return None;
        }
        // SAFETY: the bounds were checked against the buffer's end, and bytes have no alignment.
        Some(unsafe { &*(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.context.length()
    }

    /// Of XDP it is a call of the kernel's, which costs as much as the rest of a glance. A frame in several buffers has more in the others than fits
    /// in the first; should it have nothing there that its headers claim, that is not counted.
    #[inline(always)]
    fn len_of(&self, claimed: usize) -> usize {
        let near = self.end - self.start;
        if near >= claimed { near } else { self.len() }
    }
}

/// The first bytes of a frame, gathered from all its buffers.
struct FarFrame<'a> {
    headers: &'a [u8; HEADER_BYTES],
    gathered: usize,
    length: usize,
}

impl FarFrame<'_> {
    /// Gathers the frame of this context into this CPU's scratch memory.
    #[inline(always)]
    fn gather(context: &impl Buffers) -> Option<Self> {
        let length = context.length();
        // From 1 to `HEADER_BYTES`, in a way that every verifier follows: before Linux 6.8 it learns nothing from `length != 0`
        // (d028f87517d6), and an empty read is refused. There is no empty frame; the helper would refuse to read it.
        let gathered = opaque(length.wrapping_sub(1)).min(HEADER_BYTES - 1) + 1;
        let scratch = headers::scratch()?;
        // SAFETY: the scratch memory has `HEADER_BYTES` bytes and is this CPU's own.
        let copied = unsafe { context.copy(scratch.cast(), gathered as u32) };
        // SAFETY: as above; nobody else writes to it while this program runs.
        copied.then(|| Self { headers: unsafe { &*scratch }, gathered, length })
    }
}

impl Packet for FarFrame<'_> {
    #[inline(always)]
    fn view<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        if offset + N > self.gathered {
            return None;
        }
        // A number of its own to LLVM, which would compare with the lesser of the two bounds otherwise, or compare a sum. From
        // the former the verifier learns nothing before Linux 6.8, from the latter nothing before 6.11 (98d7ca374ba4).
        let offset = opaque(offset);
        if offset > HEADER_BYTES - N {
            return None;
        }
        // SAFETY: the bounds were checked just above, once against the memory and once against the frame.
        Some(unsafe { &*self.headers.as_ptr().add(offset).cast() })
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }
}

/// The same number, of which LLVM knows nothing. It is for pointers most of all: the context's fields are 32 bits wide in the source and the verifier puts
/// 64-bit pointers in their place; LLVM, knowing only the source, would keep the lower half when it runs out of registers.
#[inline(always)]
pub(crate) fn opaque(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: a move of a register to itself. (An empty block would leave two lines of source for one instruction, which
        // the kernel refuses.)
        unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags)) };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}
