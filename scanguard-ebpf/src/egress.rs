//! Sees each frame that leaves by an interface; decides nothing.

use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use scanguard_common::datapath::leave;
use scanguard_common::packet::{Plain, plain_segment};

use crate::frame::{self, NearFrame};
use crate::maps::case::{self, Way};
use crate::tables::KernelTables;

/// `TCX_NEXT` of `include/uapi/linux/bpf.h`, which is `TC_ACT_UNSPEC` for filters of clsact: whoever comes next decides.
const NEXT: i32 = -1;

/// Learns from each frame that leaves which ports are open, and what will be an answer.
#[classifier]
fn scanguard_egress(context: TcContext) -> i32 {
    // Nearly all there is: segments of connections.
    if plain_segment(&NearFrame::new(&context)).is_some_and(Plain::is_ack) {
        return NEXT;
    }
    if let Some(case) = case::get(Way::Out) {
        let answer = frame::read_leaving(&context, &mut case.parsed);
        leave(case, answer, &KernelTables::new(&context));
    }
    NEXT
}
