//! Sees each frame that leaves by an interface, and keeps answers from those from whom the port is hidden.

use aya_ebpf::helpers::bpf_skb_store_bytes;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use scanguard_common::datapath::{Action, leave, see_plain_sender};
use scanguard_common::packet::{Packet as _, Plain, plain_segment};

use crate::frame::{self, NearFrame};
use crate::maps::case::{self, Way};
use crate::tables::KernelTables;

/// `TCX_NEXT` of `include/uapi/linux/bpf.h`, which is `TC_ACT_UNSPEC` for filters of clsact: whoever comes next decides.
const NEXT: i32 = -1;

/// `TC_ACT_SHOT` of `include/uapi/linux/pkt_cls.h`, which is `TCX_DROP`.
const DROP: i32 = 2;

/// Learns from each frame that leaves which ports are open, and what will be an answer.
#[classifier]
fn scanguard_egress(context: TcContext) -> i32 {
    let frame = NearFrame::new(&context);
    // Nearly all there is: segments of connections.
    if plain_segment(&frame).is_some_and(Plain::is_ack) {
        see_plain_sender(&frame, &KernelTables::new(&context));
        return NEXT;
    }
    let Some(mut case) = case::get(Way::Out) else { return NEXT };
    let answer = frame::read_leaving(&context, &mut case.parsed);
    match leave(case, answer, frame.len() as u64, &KernelTables::new(&context)) {
        Action::Pass | Action::Answer => {}
        Action::PassPlain => clear_flow_label(&context),
        Action::Drop => return DROP,
    }
    NEXT
}

/// Clears the flow label of an IPv6 frame without tags: a decoy has none.
#[inline(always)]
fn clear_flow_label(context: &TcContext) {
    const IP: u32 = 14;
    const ETHER_TYPE: usize = 12;
    let is_ip6 = NearFrame::new(context).view::<2>(ETHER_TYPE).is_some_and(|bytes| *bytes == [0x86, 0xdd]);
    if is_ip6 {
        let plain = [0x60_u8, 0, 0, 0];
        // SAFETY: the context is the one the kernel gave, and `plain` has as many bytes. No checksum covers them.
        let _ = unsafe { bpf_skb_store_bytes(context.skb.skb.cast(), IP, plain.as_ptr().cast(), 4, 0) };
    }
}
