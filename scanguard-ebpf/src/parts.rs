//! The parts of the datapath as global functions: the verifier checks each once and by itself.
//!
//! Such a function takes the context and numbers, and must stand whatever its callers left in the maps. The case they are
//! about is this CPU's.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::programs::{SockOpsContext, TcContext, XdpContext};
use scanguard_common::class::Protocol;
use scanguard_common::datapath::{Case, Part};
use scanguard_common::packet::Parsed;
use scanguard_common::packet::reply::examine;
use scanguard_common::tables::Socket;

use crate::frame::NearFrame;
use crate::maps::case::{self, Way};
use crate::maps::{challenged, sockets};
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
            Part::Meet => scanguard_meet(context),
            Part::First => scanguard_first(context),
            Part::Closed => scanguard_closed(context),
            Part::Contact => scanguard_contact(context),
            Part::Network => scanguard_network(context),
            Part::Hide => scanguard_hide(context),
            Part::SuspectNetwork => scanguard_suspect_network(context),
            Part::Prefix => scanguard_prefix(context),
            Part::Answer => 0, // Nothing arrives that leaves.
            Part::Challenge => scanguard_challenge(context),
            Part::Complete => scanguard_complete(context),
            Part::Retry => scanguard_retry(context),
        }
    }

    #[inline(always)]
    fn examine(&self, case: &mut Case) -> bool {
        shared(case);
        let answerable = scanguard_examine(self.ctx) != 0;
        shared(case);
        answerable
    }
}

impl Hook for TcContext {
    #[inline(always)]
    fn socket(&self, _packet: &Parsed, _protocol: Protocol) -> Socket {
        Socket::None // Not asked of what leaves.
    }

    #[inline(always)]
    fn examine(&self, _case: &mut Case) -> bool {
        false // Nothing is answered here.
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
    fn examine(&self, _case: &mut Case) -> bool {
        false // Nothing is answered here.
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
    scanguard_meet = Meet,
    scanguard_first = First,
    scanguard_closed = Closed,
    scanguard_contact = Contact,
    scanguard_network = Network,
    scanguard_hide = Hide,
    scanguard_suspect_network = SuspectNetwork,
    scanguard_prefix = Prefix,
    scanguard_challenge = Challenge,
    scanguard_complete = Complete,
    scanguard_retry = Retry,
}

/// [`scanguard_common::packet::reply::examine`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn scanguard_examine(context: *mut xdp_md) -> u32 {
    needed(context);
    let context = XdpContext::new(context);
    let (Some(nic), Some(case)) = (challenged::nic(context.ingress_ifindex() as u32), case::get(Way::In)) else {
        return 0;
    };
    examine(&NearFrame::new(&context), &case.parsed, nic, &mut case.reply).into()
}

parts! {
    Out, TcContext, __sk_buff,
    scanguard_answer = Answer,
    scanguard_answer_contact = Contact,
    scanguard_answer_network = Network,
}
