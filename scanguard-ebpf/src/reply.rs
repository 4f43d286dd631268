//! Turns a frame into the answer to it.

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::{bpf_xdp_adjust_tail, bpf_xdp_store_bytes};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use scanguard_common::packet::Packet as _;
use scanguard_common::packet::reply::{REPLY_BYTES, compose, compose_plain_syn};

use crate::frame::{NearFrame, opaque};
use crate::maps::case::{self, Way};

/// The answer, while it is being written.
#[btf_map]
static REPLY: PerCpuArray<[u8; REPLY_BYTES], 1> = PerCpuArray::new();

/// Answers the frame that this CPU's case is about, and says what is to become of it: sent back, or, where that cannot be, dropped.
///
/// A global function: the verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn scanguard_reply(context: *mut aya_ebpf::bindings::xdp_md) -> u32 {
    let context = XdpContext::new(context);
    let frame = NearFrame::new(&context);
    let (Some(case), Some(reply)) = (case::get(Way::In), REPLY.get_ptr_mut(0)) else {
        return xdp_action::XDP_DROP;
    };
    // SAFETY: the entry is this CPU's own, and written here alone.
    let reply = unsafe { &mut *reply };
    *reply = [0; REPLY_BYTES];
    let length = compose(&frame, &case.parsed, &case.reply, reply);
    if length == 0 || length > REPLY_BYTES {
        return xdp_action::XDP_DROP;
    }
    let delta = length as i32 - frame.len() as i32;
    // SAFETY: the context is the one the kernel gave; `reply` has as many bytes (Linux 5.18).
    unsafe {
        if bpf_xdp_adjust_tail(context.ctx, delta) != 0
            || bpf_xdp_store_bytes(context.ctx, 0, reply.as_mut_ptr().cast(), length as u32) != 0
        {
            return xdp_action::XDP_DROP;
        }
    }
    xdp_action::XDP_TX
}

/// Makes the SYN that this CPU's case is about plain, and passes it; where that cannot be it is dropped, as if it was not let through.
///
/// A global function: the verifier checks it by itself.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn scanguard_plain_syn(context: *mut aya_ebpf::bindings::xdp_md) -> u32 {
    /// Of a TCP header: without options, and with as many as it has room for.
    const SHORTEST: usize = 20;
    const LONGEST: usize = 60;
    let context = XdpContext::new(context);
    let frame = NearFrame::new(&context);
    let (Some(case), Some(header)) = (case::get(Way::In), REPLY.get_ptr_mut(0)) else {
        return xdp_action::XDP_DROP;
    };
    // SAFETY: the entry is this CPU's own, and written here alone.
    let header = unsafe { &mut *header };
    let length = compose_plain_syn(&frame, &case.parsed, &case.reply, header);
    // The verifier must see that it is no empty read. It learns nothing from `length != 0` before Linux 6.8, nor from
    // `length - 20 > 40` before 6.11, and LLVM would make one of these of two comparisons with the same number.
    let length = opaque(length);
    if length < SHORTEST {
        return xdp_action::XDP_DROP;
    }
    let length = opaque(length);
    if length > LONGEST {
        return xdp_action::XDP_DROP;
    }
    let at = u32::from(case.parsed.transport_offset);
    // SAFETY: the context is the one the kernel gave; `header` has as many bytes (Linux 5.18).
    if unsafe { bpf_xdp_store_bytes(context.ctx, at, header.as_mut_ptr().cast(), length as u32) } != 0 {
        return xdp_action::XDP_DROP;
    }
    xdp_action::XDP_PASS
}
