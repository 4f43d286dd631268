//! Debug lines through aya-log, for developers: off unless the daemon was started with `--debug-kernel`, and then removed
//! by the verifier as dead code, so that they cost nothing.

use aya_ebpf::Global;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use scanguard_common::datapath::Action;
use scanguard_common::packet::Packet;

/// 1 when each frame is to be logged.
#[unsafe(no_mangle)]
static SCANGUARD_DEBUG: Global<u8> = Global::new(0);

/// Logs what was done with a frame.
#[inline(always)]
pub(crate) fn action(context: &XdpContext, frame: &impl Packet, action: Action) {
    if SCANGUARD_DEBUG.load() != 0 {
        let done = match action {
            Action::Pass | Action::PassPlain => "pass",
            Action::Drop => "drop",
            Action::Answer => "answer",
        };
        debug!(context, "frame of {} bytes on interface {}: {}", frame.len(), context.ingress_ifindex(), done);
    }
}
