//! The test rig: what stands beside the datapath in tests and benches.
//!
//! | program | does |
//! |---|---|
//! | `rig_pass`, `rig_drop` | nothing: the floor of every measurement |
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
use aya_ebpf::btf_maps::{Array, PerCpuArray};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{btf_map, classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use scanguard_common::atomic;
use scanguard_common::packet::{PARSED_WORDS, Parsed};

/// `TCX_NEXT` of `include/uapi/linux/bpf.h`.
const NEXT: i32 = -1;

/// Interface that generated frames leave by.
#[unsafe(no_mangle)]
static RIG_INTERFACE: Global<u32> = Global::new(0);

/// How many source addresses `rig_generate` goes through.
#[unsafe(no_mangle)]
static RIG_SOURCES: Global<u32> = Global::new(1);

/// Frames generated on each CPU.
#[btf_map]
static RIG_GENERATED: PerCpuArray<u64, 1> = PerCpuArray::new();

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

/// Writes the next source address into an IPv4 frame (10.0.0.0/8, checksum left alone: nobody on the way looks) and
/// sends it out.
#[xdp]
fn rig_generate(context: XdpContext) -> u32 {
    const SOURCE_AT: usize = 14 + 12;
    let start = context.data() + SOURCE_AT;
    if start + 4 > context.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    let Some(generated) = RIG_GENERATED.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the entry is this CPU's own; the packet's bounds were checked.
    unsafe {
        let number = *generated;
        *generated = number + 1;
        let sources = RIG_SOURCES.load();
        let source = 0x0a00_0000 | (number as u32 % if sources == 0 { 1 } else { sources });
        (start as *mut [u8; 4]).write_unaligned(source.to_be_bytes());
        bpf_redirect(RIG_INTERFACE.load(), 0) as u32
    }
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
