//! The stages of the datapath as global functions: the verifier checks each once and by itself.
//!
//! Such a function takes the context and numbers, and must stand whatever its callers left in the maps. The case they are
//! about is this CPU's.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::programs::{SockOpsContext, TcContext, XdpContext};
use scanguard_common::class::Protocol;
use scanguard_common::datapath::Stage;
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
    fn stage(&self, stage: Stage) -> u32 {
        let context = self.ctx;
        match stage {
            Stage::Judge => scanguard_judge(context),
            Stage::Meet => scanguard_meet(context),
            Stage::First => scanguard_first(context),
            Stage::Closed => scanguard_closed(context),
            Stage::Contact => scanguard_contact(context),
            Stage::Accuse => scanguard_accuse(context),
            Stage::Settle => scanguard_settle(context),
            Stage::Refuse => scanguard_refuse(context),
            Stage::Malformed => scanguard_malformed(context),
            Stage::Network => scanguard_network(context),
            Stage::Hide => scanguard_hide(context),
            Stage::SuspectNetwork => scanguard_suspect_network(context),
            Stage::Prefix => scanguard_prefix(context),
            Stage::Answer | Stage::Withhold => 0, // Of frames that leave.
            Stage::Challenge => scanguard_challenge(context),
            Stage::Complete => scanguard_complete(context),
            Stage::Retry => scanguard_retry(context),
        }
    }

    #[inline(always)]
    fn examine(&self) -> bool {
        scanguard_examine(self.ctx) != 0
    }
}

impl Hook for TcContext {
    #[inline(always)]
    fn socket(&self, _packet: &Parsed, _protocol: Protocol) -> Socket {
        Socket::None // Not asked of what leaves.
    }

    #[inline(always)]
    fn examine(&self) -> bool {
        false // Nothing is answered here.
    }

    #[inline(always)]
    fn stage(&self, stage: Stage) -> u32 {
        let context = self.skb.skb;
        match stage {
            Stage::Withhold => scanguard_withhold(context),
            Stage::Prefix => scanguard_withhold_prefix(context),
            Stage::Answer => scanguard_answer(context),
            Stage::Contact => scanguard_answer_contact(context),
            Stage::Accuse => scanguard_answer_accuse(context),
            Stage::Network => scanguard_answer_network(context),
            Stage::Hide => scanguard_answer_hide(context),
            // Of frames that arrive.
            Stage::Judge
            | Stage::Meet
            | Stage::First
            | Stage::Closed
            | Stage::SuspectNetwork
            | Stage::Settle
            | Stage::Refuse
            | Stage::Malformed
            | Stage::Challenge
            | Stage::Complete
            | Stage::Retry => 0,
        }
    }

    #[inline(always)]
    fn sender_cookie(&self) -> u64 {
        // SAFETY: the context is the one the kernel gave.
        unsafe { bpf_get_socket_cookie(self.skb.skb.cast()) }
    }
}

impl Hook for SockOpsContext {
    #[inline(always)]
    fn socket(&self, _packet: &Parsed, _protocol: Protocol) -> Socket {
        Socket::None // It is one.
    }

    #[inline(always)]
    fn examine(&self) -> bool {
        false // Nothing is answered here.
    }

    #[inline(always)]
    fn stage(&self, _stage: Stage) -> u32 {
        0 // There is no packet.
    }
}

macro_rules! stages {
    ($way:ident, $context:ident, $raw:ty, $($name:ident = $stage:ident),+ $(,)?) => {
        $(
            #[doc = concat!("[`Stage::", stringify!($stage), "`].")]
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub(crate) extern "C" fn $name(context: *mut $raw) -> u32 {
                needed(context);
                let context = $context::new(context);
                // An array has all its entries: only the verifier needs telling.
                case::get(Way::$way).map_or(0, |mut case| Stage::$stage.run(&mut case, &KernelTables::new(&context)))
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

stages! {
    In, XdpContext, xdp_md,
    scanguard_judge = Judge,
    scanguard_meet = Meet,
    scanguard_first = First,
    scanguard_closed = Closed,
    scanguard_contact = Contact,
    scanguard_accuse = Accuse,
    scanguard_settle = Settle,
    scanguard_refuse = Refuse,
    scanguard_malformed = Malformed,
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
    let (Some(nic), Some(mut case)) = (challenged::nic(context.ingress_ifindex() as u32), case::get(Way::In)) else {
        return 0;
    };
    let case = &mut *case;
    examine(&NearFrame::new(&context), &case.parsed, nic, &mut case.reply).into()
}

stages! {
    Out, TcContext, __sk_buff,
    scanguard_withhold = Withhold,
    scanguard_withhold_prefix = Prefix,
    scanguard_answer = Answer,
    scanguard_answer_contact = Contact,
    scanguard_answer_accuse = Accuse,
    scanguard_answer_network = Network,
    scanguard_answer_hide = Hide,
}
