//! The parts of the datapath as global functions: the verifier checks each once and by itself.
//!
//! Such a function takes the context and numbers, and must stand whatever its callers left in the maps. The case they are
//! about is this CPU's.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use scanguard_common::datapath::Part;

use crate::maps::case;
use crate::tables::KernelTables;

/// Runs a part in its own function.
#[inline(always)]
pub(crate) fn run(part: Part, context: &XdpContext) -> u32 {
    let context = context.ctx;
    match part {
        Part::Judge => scanguard_judge(context),
        Part::Closed => scanguard_closed(context),
        Part::Contact => scanguard_contact(context),
        Part::Network => scanguard_network(context),
        Part::Hide => scanguard_hide(context),
        Part::SuspectNetwork => scanguard_suspect_network(context),
        Part::Prefix => scanguard_prefix(context),
    }
}

macro_rules! parts {
    ($($name:ident = $part:ident),+ $(,)?) => {
        $(
            #[doc = concat!("[`Part::", stringify!($part), "`].")]
            #[unsafe(no_mangle)]
            #[inline(never)]
            pub(crate) extern "C" fn $name(context: *mut xdp_md) -> u32 {
                needed(context);
                let context = XdpContext::new(context);
                // An array has all its entries: only the verifier needs telling.
                case::get().map_or(0, |case| Part::$part.run(case, &KernelTables::new(&context)))
            }
        )+
    };
}

/// Says to LLVM that the context is used, also where it is not: a caller would leave anything in an argument that is not, and the
/// verifier demands the context.
#[inline(always)]
fn needed(context: *mut xdp_md) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a move of a register to itself. Not `pure`, so that it stays.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) context => _, options(nomem, nostack, preserves_flags))
    };
    #[cfg(not(target_arch = "bpf"))]
    let _ = context;
}

parts! {
    scanguard_judge = Judge,
    scanguard_closed = Closed,
    scanguard_contact = Contact,
    scanguard_network = Network,
    scanguard_hide = Hide,
    scanguard_suspect_network = SuspectNetwork,
    scanguard_prefix = Prefix,
}
