//! Sees each frame that leaves by an interface, and keeps answers from those from whom the port is hidden.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use scanguard_common::datapath::{Action, leave};
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
        return NEXT;
    }
    let Some(mut case) = case::get(Way::Out) else { return NEXT };
    let answer = frame::read_leaving(&context, &mut case.parsed);
    match leave(case, answer, frame.len() as u64, &KernelTables::new(&context)) {
        Action::Pass | Action::Answer => NEXT,
        Action::Drop => DROP,
    }
}
