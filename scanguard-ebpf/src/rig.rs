//! The test rig: what stands beside the datapath in tests and benches.
//!
//! | program | does |
//! |---|---|
//! | `rig_pass`, `rig_drop` | nothing: the floor of every measurement |
//! | `rig_pass_single` | the same as `rig_pass`, for frames in one buffer only, as older programs take them |
//! | `rig_vary`, `rig_vary_single` | give the frame the next source address and run the program under measurement on it |
//! | `rig_generate` | run on live frames, a packet generator: gives each frame a source address and sends it out |
//! | `rig_parse` | keeps what the parser read, to be compared with the host's |
//! | `rig_leave` | nothing, to frames that leave: the floor of those measurements |
//! | `rig_parse_leaving` | keeps what was read of a frame that leaves |
//! | `rig_atomics` | keeps what the atomics of `scanguard-common` return, to be checked |
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

mod frame;
mod maps {
    pub(crate) mod headers;
}

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{btf_map, classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use scanguard_common::atomic;
use scanguard_common::packet::{PARSED_WORDS, Parsed};

/// Programs that [`vary`] may run.
const PLACES: usize = 8;
/// Words of [`RIG_PLAN`]: what [`vary`] runs, where in the frame it writes, what it adds the number to, how many numbers there are, the
/// number's step (without a common divisor with their count, so that each comes once before any comes again), the bits that it is
/// shifted by, and how many frames there were.
const PLAN_WORDS: usize = 7;

/// `TCX_NEXT` of `include/uapi/linux/bpf.h`.
const NEXT: i32 = -1;

/// What `rig_vary` and `rig_generate` write into frames.
#[btf_map]
static RIG_PLAN: PerCpuArray<[u64; PLAN_WORDS], 1> = PerCpuArray::new();

/// What `rig_vary` may run.
#[btf_map]
static RIG_NEXT: ProgramArray<PLACES> = ProgramArray::new();

/// What `rig_vary_single` may run.
#[btf_map]
static RIG_NEXT_SINGLE: ProgramArray<PLACES> = ProgramArray::new();

/// Interface that generated frames leave by.
#[unsafe(no_mangle)]
static RIG_INTERFACE: Global<u32> = Global::new(0);

/// Input and results of `rig_atomics`: two words to work on, then the values returned.
#[btf_map]
static RIG_ATOMICS: Array<[u64; 8], 1> = Array::new();

/// What `rig_parse` read last.
#[btf_map]
static RIG_PARSED: Array<[u64; PARSED_WORDS], 1> = Array::new();

/// Passes everything.
#[xdp(frags)]
fn rig_pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Drops everything.
#[xdp(frags)]
fn rig_drop(_context: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Passes everything that lies in one buffer.
#[xdp]
fn rig_pass_single(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Writes the next number of this CPU's plan into the frame, as four bytes of its source address; returns the place of the program to
/// run. Checksums are left alone: nobody on the way looks.
#[inline(always)]
fn vary(context: &XdpContext) -> Option<u32> {
    /// The last place where four bytes may be written: those of an IPv6 source's prefix are before it.
    const LAST_PLACE: usize = 63;
    let plan = RIG_PLAN.get_ptr_mut(0)?;
    // SAFETY: the entry is this CPU's own.
    let [place, at, base, count, step, shift, frames] = unsafe { *plan };
    // SAFETY: as above.
    unsafe { (*plan)[PLAN_WORDS - 1] = frames + 1 };
    let number = if count == 0 { 0 } else { frames.wrapping_mul(step) % count };
    let start = context.data() + (at as usize & LAST_PLACE);
    if start + 4 > context.data_end() {
        return None;
    }
    let source = base as u32 | ((number as u32) << (shift as u32 & 31));
    // SAFETY: the packet's bounds were checked.
    unsafe { (start as *mut [u8; 4]).write_unaligned(source.to_be_bytes()) };
    Some(place as u32)
}

/// Gives the frame the next source and runs the program under measurement on it.
#[xdp(frags)]
fn rig_vary(context: XdpContext) -> u32 {
    if let Some(place) = vary(&context) {
        // SAFETY: it does not return where there is a program, and leaves nothing behind.
        unsafe { RIG_NEXT.tail_call(&context, place) };
    }
    xdp_action::XDP_ABORTED
}

/// The same for a program that takes frames in one buffer only: the kernel lets no program of one kind go on to one of the other.
#[xdp]
fn rig_vary_single(context: XdpContext) -> u32 {
    if let Some(place) = vary(&context) {
        // SAFETY: as above.
        unsafe { RIG_NEXT_SINGLE.tail_call(&context, place) };
    }
    xdp_action::XDP_ABORTED
}

/// Gives the frame the next source address and sends it out.
#[xdp]
fn rig_generate(context: XdpContext) -> u32 {
    // SAFETY: the helper takes numbers only.
    vary(&context).map_or(xdp_action::XDP_ABORTED, |_place| unsafe { bpf_redirect(RIG_INTERFACE.load(), 0) as u32 })
}

/// Keeps what the parser reads.
#[xdp(frags)]
fn rig_parse(context: XdpContext) -> u32 {
    let mut parsed = Parsed::default();
    frame::read(&context, &mut parsed);
    if let Some(kept) = RIG_PARSED.get_ptr_mut(0) {
        // SAFETY: tests run one frame at a time.
        unsafe { *kept = parsed.words() };
    }
    xdp_action::XDP_PASS
}

/// Does nothing to what leaves.
#[classifier]
fn rig_leave(_context: TcContext) -> i32 {
    NEXT
}

/// Keeps what is read of a frame that leaves, and what it answers in place of the last word's spare bytes.
#[classifier]
fn rig_parse_leaving(context: TcContext) -> i32 {
    let mut parsed = Parsed::default();
    let answer = frame::read_leaving(&context, &mut parsed);
    if let Some(kept) = RIG_PARSED.get_ptr_mut(0) {
        let mut words = parsed.words();
        words[PARSED_WORDS - 1] |= (answer as u64) << 56;
        // SAFETY: tests run one frame at a time.
        unsafe { *kept = words };
    }
    NEXT
}

/// Runs each atomic once and keeps what it returned.
#[xdp]
fn rig_atomics(_context: XdpContext) -> u32 {
    let Some(words) = RIG_ATOMICS.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    let word = words.cast::<u64>();
    // SAFETY: the array has eight words, the first as a 64-bit and the second as a 32-bit operand.
    unsafe {
        let added = atomic::fetch_add_u64(word, 5);
        let or_ed = atomic::fetch_or_u64(word, 0x100);
        let narrow = atomic::fetch_add_u32(word.add(1).cast(), 7);
        word.add(2).write_volatile(added);
        word.add(3).write_volatile(or_ed);
        word.add(4).write_volatile(u64::from(narrow));
        word.add(6).write_volatile(atomic::compare_exchange_u64(word.add(5), 30, 31));
        word.add(7).write_volatile(atomic::compare_exchange_u64(word.add(5), 99, 32));
    }
    xdp_action::XDP_PASS
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}
