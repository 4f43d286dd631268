//! The egress program on its interfaces: by TCX (Linux 6.6), where several programs stand in an order, or as a filter of the queueing
//! discipline `clsact`.
//!
//! Where it is missing, less is known of what left, and no answer is kept from suspects as it leaves: `status` says so.

use std::collections::HashMap;

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use nix::net::if_::if_indextoname;
use tracing::warn;

use super::error::{KernelError, chain};
use super::pins::{self, LinkName, Pins};
use super::tcx::{self, Direction};

const PROGRAM: &str = "scanguard_egress";
/// Before the filters of others: one that lets a packet go without asking the next would hide it from us.
const FIRST: u16 = 1;

/// How the egress program hangs on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EgressHook {
    /// By TCX, first in order.
    Tcx,
    /// As a filter of `clsact`.
    Clsact,
}

impl EgressHook {
    /// The name in JSON and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// The egress program on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EgressAttachment {
    /// How it hangs there.
    pub hook: EgressHook,
    /// Its id, by which it is told from another one.
    pub program_id: u32,
    /// Whether it took the place of an earlier process' program, which had seen all that left until then.
    pub goes_on: bool,
}

impl EgressAttachment {
    /// Whether it still is on the interface of this index, as far as the kernel tells: of filters of `clsact` it is not
    /// asked.
    #[must_use]
    pub fn is_there(&self, index: u32) -> bool {
        self.hook == EgressHook::Clsact
            || tcx::programs(index, Direction::Egress).is_ok_and(|programs| programs.contains(&self.program_id))
    }
}

/// What keeps the program on an interface.
enum Hold {
    /// Until it is dropped.
    Link(#[expect(dead_code, reason = "it is the link that holds the program there")] SchedClassifierLink),
    /// A descriptor, and a pin beside it for as long as there are pins.
    Pinned(#[expect(dead_code, reason = "it is the descriptor that holds the program there")] FdLink),
}

/// The links of the egress program, by interface.
#[derive(Default)]
pub(super) struct Egress {
    links: HashMap<u32, Hold>,
}

impl Egress {
    /// Attaches to an interface, by TCX if `wanted` does not say otherwise and the kernel can.
    pub(super) fn attach(
        &mut self,
        object: &mut Ebpf,
        pins: Option<&Pins>,
        interface: &str,
        index: u32,
        wanted: EgressHook,
    ) -> Result<EgressAttachment, KernelError> {
        let refused = |error: &dyn std::error::Error| KernelError::Egress {
            interface: interface.to_owned(),
            reason: chain(error),
        };
        let program = program(object)?;
        let program_id = program.info().map_err(program_error)?.id();
        let attached = |hook, goes_on| EgressAttachment { hook, program_id, goes_on };
        if let Some(hold) = pins.map(|pins| take_over(program, pins, index)).transpose()?.flatten() {
            self.links.insert(index, hold);
            return Ok(attached(EgressHook::Tcx, true));
        }
        // What a process left that was killed.
        remove_filters(index);
        if wanted == EgressHook::Tcx {
            let order = TcAttachOptions::TcxOrder(LinkOrder::first());
            match program.attach_with_options(interface, TcAttachType::Egress, order) {
                Ok(id) => {
                    let link = program.take_link(id).map_err(|error| refused(&error))?;
                    let hold = match pins {
                        None => Hold::Link(link),
                        Some(pins) => {
                            let link = FdLink::try_from(link).map_err(|error| refused(&error))?;
                            Hold::Pinned(
                                link.pin(pins.link(LinkName::Egress(index))).map_err(|error| refused(&error))?.into(),
                            )
                        }
                    };
                    self.links.insert(index, hold);
                    return Ok(attached(EgressHook::Tcx, false));
                }
                Err(error) => warn!(interface, error = chain(&error), "no TCX here, falling back to clsact"),
            }
        }
        match qdisc_add_clsact(interface) {
            Err(error) if !is_there_already(&error) => return Err(refused(&error)),
            _ => {}
        }
        let options = || NlOptions { priority: FIRST, ..NlOptions::default() };
        let attach = |options| TcAttachOptions::Netlink(options);
        let id = program
            .attach_with_options(interface, TcAttachType::Egress, attach(options()))
            // Somebody else has that place, with another kind of filter.
            .or_else(|_| program.attach_with_options(interface, TcAttachType::Egress, attach(NlOptions::default())))
            .map_err(|error| refused(&error))?;
        self.links.insert(index, Hold::Link(program.take_link(id).map_err(|error| refused(&error))?));
        Ok(attached(EgressHook::Clsact, false))
    }

    /// Lets go of an interface.
    pub(super) fn detach(&mut self, index: u32) {
        self.links.remove(&index);
    }

    /// Leaves filters of `clsact` where they are when this ends: they cannot be pinned.
    pub(super) fn leave(&mut self) {
        for (_, hold) in self.links.drain() {
            std::mem::forget(hold);
        }
    }
}

/// Puts this program in the place of the one that a pinned link holds on an interface.
fn take_over(program: &mut SchedClassifier, pins: &Pins, index: u32) -> Result<Option<Hold>, KernelError> {
    let name = LinkName::Egress(index);
    let Some(path) = pins.pinned_link(name) else { return Ok(None) };
    let link = PinnedLink::from_pin(&path).map_err(|error| chain(&error)).and_then(|link| {
        let link = SchedClassifierLink::try_from(FdLink::from(link)).map_err(|error| chain(&error))?;
        let id = program.attach_to_link(link).map_err(|error| chain(&error))?;
        let link = program.take_link(id).map_err(|error| chain(&error))?;
        FdLink::try_from(link).map_err(|error| chain(&error))
    });
    match link {
        Ok(link) => Ok(Some(Hold::Pinned(pins::keep_pinned(link, &path, pins.link(name))?))),
        Err(error) => {
            // The interface that it held is gone, and another one has its index.
            warn!(index, error, "a pinned egress link is dead: making a new one");
            pins.forget_link(name)?;
            Ok(None)
        }
    }
}

/// The names of the programs that see what leaves by an interface, by TCX.
///
/// # Errors
/// When there is no such interface, or the kernel has no TCX.
pub fn running(interface: &str) -> Result<Vec<String>, KernelError> {
    let refused =
        |error: &dyn std::error::Error| KernelError::Egress { interface: interface.to_owned(), reason: chain(error) };
    let (_, programs) = SchedClassifier::query_tcx(interface, TcAttachType::Egress).map_err(|error| refused(&error))?;
    Ok(programs.iter().filter_map(|program| program.name_as_str().map(str::to_owned)).collect())
}

/// Removes filters of this program from an interface's `clsact`. They outlive their process.
pub(super) fn remove_filters(index: u32) {
    let Ok(interface) = if_indextoname(index) else { return };
    // There is none, nearly always; what else fails is tried again at the next start.
    let _ = qdisc_detach_program(&interface.to_string_lossy(), TcAttachType::Egress, PROGRAM);
}

fn is_there_already(error: &TcError) -> bool {
    match error {
        TcError::AlreadyAttached => true,
        TcError::NetlinkError(error) => error.raw_os_error() == Some(nix::libc::EEXIST),
        _ => false,
    }
}

pub(super) fn program(object: &mut Ebpf) -> Result<&mut SchedClassifier, KernelError> {
    let program = object.program_mut(PROGRAM).ok_or(KernelError::NoSuchPart("program scanguard_egress"))?;
    program.try_into().map_err(program_error)
}

pub(super) fn program_error(source: aya::programs::ProgramError) -> KernelError {
    KernelError::Program { program: PROGRAM, source }
}
