//! The kernel part of scanguard: the datapath of `scanguard-common` over BPF maps.
//!
//! Nothing is decided here. `frame` says where the bytes are, `maps` where the state is (one file per map or job), `tables`
//! joins them for the datapath, and the programs turn what the kernel gives into what the datapath takes:
//!
//! | program | hook | does |
//! |---|---|---|
//! | `scanguard` | XDP | judges each frame that arrives |
//! | `scanguard_egress` | TCX egress | learns from each frame that leaves, and keeps answers from suspects |
//! | `scanguard_sessions` | cgroup `sock_ops` | counts connections that were completed |
//!
//! On any target but BPF this is an empty program that type-checks everything, for clippy and editors.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

mod clock;
mod connections;
mod egress;
mod frame;
mod log;
mod maps;
mod reply;
mod stages;
mod tables;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use scanguard_common::datapath::{Action, pass_plain, process_rest};
use scanguard_common::packet::plain_segment;

use crate::frame::NearFrame;
use crate::maps::case::{self, Way};
use crate::tables::KernelTables;

/// Judges each frame that arrives on an interface.
#[xdp(frags)]
fn scanguard(context: XdpContext) -> u32 {
    let (frame, tables) = (NearFrame::new(&context), KernelTables::new(&context));
    let plain = plain_segment(&frame);
    let passed = plain.and_then(|segment| pass_plain(&frame, segment, &tables));
    let action = match passed {
        Some(action) => action,
        None => case::get(Way::In).map_or(Action::Pass, |case| {
            // An array has all its entries: only the verifier needs telling.
            process_rest(&frame, plain.is_none(), case, |case| frame::read(&context, &mut case.parsed), &tables)
        }),
    };
    log::action(&context, &frame, action);
    match action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
        Action::PassPlain => reply::scanguard_plain_syn(context.ctx),
        Action::Answer => reply::scanguard_reply(context.ctx),
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
