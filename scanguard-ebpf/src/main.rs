//! The kernel part of scanguard: the datapath of `scanguard-common` over BPF maps.
//!
//! Nothing is decided here. `frame` says where the bytes are, `maps` where the state is (one file per map or job), `tables`
//! joins them for the datapath, and the program turns the datapath's action into an XDP action.
//!
//! On any target but BPF this is an empty program that type-checks everything, for clippy and editors.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

mod clock;
mod frame;
mod log;
mod maps;
mod tables;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use scanguard_common::datapath::{Action, pass_established, process};
use scanguard_common::packet::{Packet as _, is_plainly_established};

use crate::frame::NearFrame;
use crate::tables::KernelTables;

/// Judges each frame that arrives on an interface.
#[xdp(frags)]
fn scanguard(context: XdpContext) -> u32 {
    let (frame, tables) = (NearFrame::new(&context), KernelTables::new(&context));
    let length = frame.len();
    let action = if is_plainly_established(&frame) {
        pass_established(length as u64, &tables)
    } else {
        process(&frame.read(&context), length as u64, &tables)
    };
    log::action(&context, length, action);
    match action {
        Action::Pass => xdp_action::XDP_PASS,
    }
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
