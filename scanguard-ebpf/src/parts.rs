//! The parts of the datapath as global functions: the verifier checks each once and by itself.
//!
//! Such a function takes the context and numbers, and must stand whatever its callers left in the maps. The case they are
//! about is this CPU's.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::programs::{SockOpsContext, TcContext, XdpContext};
use scanguard_common::class::Protocol;
use scanguard_common::datapath::{Case, Part};
use scanguard_common::packet::Parsed;
use scanguard_common::tables::Socket;

use crate::maps::case::{self, Way};
use crate::maps::sockets;
use crate::tables::{Hook, KernelTables};

impl Hook for XdpContext {
    #[inline(always)]
    fn socket(&self, packet: &Parsed, protocol: Protocol) -> Socket {
        sockets::find(self, packet, protocol)
    }

    #[inline(always)]
    fn part(&self, part: Part) -> u32 {
        let context = self.ctx;
        match part {
            Part::Judge => scanguard_judge(context),
            Part::Closed => scanguard_closed(context),
            Part::Contact => scanguard_contact(context),
            Part::Network => scanguard_network(context),
            Part::Hide => scanguard_hide(context),
            Part::SuspectNetwork => scanguard_suspect_network(context),
            Part::Prefix => scanguard_prefix(context),
            Part::Answer => 0, // Nothing arrives that leaves.
        }
    }
}

impl Hook for TcContext {
    #[inline(always)]
    fn socket(&self, _packet: &Parsed, _protocol: Protocol) -> Socket {
        Socket::None // Not asked of what leaves.
    }

    #[inline(always)]
    fn part(&self, part: Part) -> u32 {
        let context = self.skb.skb;
        match part {
            Part::Answer => scanguard_answer(context),
            Part::Contact => scanguard_answer_contact(context),
            Part::Network => scanguard_answer_network(context),
            _ => 0, // Nothing is judged that leaves.
        }
    }
}

impl Hook for SockOpsContext {
    #[inline(always)]
    fn socket(&self, _packet: &Parsed, _protocol: Protocol) -> Socket {
        Socket::None // It is one.
    }

    #[inline(always)]
    fn part(&self, _part: Part) -> u32 {
        0 // There is no packet.
    }
}

macro_rules! parts {
    ($way:ident, $context:ident, $raw:ty, $($name:ident = $part:ident),+ $(,)?) => {
        $(
            #[doc = concat!("[`Part::", stringify!($part), "`].")]
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub(crate) extern "C" fn $name(context: *mut $raw) -> u32 {
                needed(context);
                let context = $context::new(context);
                // An array has all its entries: only the verifier needs telling.
                case::get(Way::$way).map_or(0, |case| Part::$part.run(case, &KernelTables::new(&context)))
            }
        )+
    };
}

/// Says to LLVM that the context is used, also where it is not: a caller would leave anything in an argument that is not, and the
/// verifier demands the context.
#[inline(always)]
fn needed<C>(context: *mut C) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a move of a register to itself. Not `pure`, so that it stays.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) context => _, options(nomem, nostack, preserves_flags))
    };
    #[cfg(not(target_arch = "bpf"))]
    let _ = context;
}

/// Says to LLVM that somebody else may have written to the case, or is about to read it.
#[inline(always)]
pub(crate) fn shared(case: &mut Case) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a move of a register to itself; without `nomem`, so that memory counts as changed.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) core::ptr::from_mut(case) => _, options(nostack, preserves_flags))
    };
    #[cfg(not(target_arch = "bpf"))]
    let _ = case;
}

parts! {
    In, XdpContext, xdp_md,
    scanguard_judge = Judge,
    scanguard_closed = Closed,
    scanguard_contact = Contact,
    scanguard_network = Network,
    scanguard_hide = Hide,
    scanguard_suspect_network = SuspectNetwork,
    scanguard_prefix = Prefix,
}

parts! {
    Out, TcContext, __sk_buff,
    scanguard_answer = Answer,
    scanguard_answer_contact = Contact,
    scanguard_answer_network = Network,
}
