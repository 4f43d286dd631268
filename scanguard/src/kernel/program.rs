//! The program on its interfaces: attached, taken over from an earlier process, detached.

use std::collections::HashMap;
use std::path::Path;

use aya::Ebpf;
#[cfg(feature = "rig")]
use aya::programs::SockOps;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, SchedClassifier, Xdp, XdpMode};
use scanguard_common::challenge::Nic;
use tracing::{info, warn};

use super::egress::{self, Egress, EgressAttachment, EgressHook};
use super::error::{KernelError, chain};
use super::link::{self, DriverMode, Removal};
use super::pins::{self, LinkName, Pins};
use super::sessions::Sessions;

const PROGRAM: &str = "scanguard";

/// Where in the receive path the program is wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AttachMode {
    /// Native where the driver can, else generic; generic on veth, where native halves TCP throughput.
    #[default]
    Auto,
    /// Native or an error.
    Native,
    /// Generic.
    Generic,
}

impl AttachMode {
    const fn label(self) -> &'static str {
        match self {
            Self::Auto => "automatic",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// A program on an interface, as read back from the kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// Where the program really runs.
    pub driver_mode: DriverMode,
    /// Id of our program, by which it is told from another one that came later.
    pub program_id: u32,
    /// What an answer needs to know of it, if it can be answered by it.
    pub nic: Option<Nic>,
    /// The egress program there, if it is.
    pub egress: Option<EgressAttachment>,
}

/// What keeps the program on an interface.
enum Hold {
    /// The loaded program, until it is dropped.
    Program(XdpLinkId),
    /// A descriptor, and a pin beside it for as long as there are pins.
    Link(#[expect(dead_code, reason = "it is the descriptor that holds the program there")] FdLink),
}

/// The loaded program. Dropping it detaches it from every interface, but for links that are pinned.
pub struct Program {
    object: Ebpf,
    links: HashMap<u32, Hold>,
    egress: Egress,
    egress_hook: EgressHook,
    sessions: Sessions,
    pins: Option<Pins>,
}

impl Program {
    pub(super) fn new(object: Ebpf, pins: Option<Pins>) -> Self {
        Self {
            object,
            links: HashMap::new(),
            egress: Egress::default(),
            egress_hook: EgressHook::Tcx,
            sessions: Sessions::default(),
            pins,
        }
    }

    /// What was loaded: maps and programs.
    pub(super) const fn object(&mut self) -> &mut Ebpf {
        &mut self.object
    }

    /// Hangs the egress program on interfaces this way from now on, if it can.
    pub const fn prefer_egress(&mut self, hook: EgressHook) {
        self.egress_hook = hook;
    }

    /// Counts the TCP sessions of the processes of a control group, and of those below it.
    ///
    /// # Errors
    /// When there is no such control group of version 2, or the kernel refuses.
    pub fn watch_sessions(&mut self, cgroup: &Path) -> Result<(), KernelError> {
        self.sessions.attach(&mut self.object, self.pins.as_ref(), cgroup)
    }

    /// Counts no sessions any more.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn forget_sessions(&mut self) -> Result<(), KernelError> {
        self.sessions.detach();
        self.pins.as_ref().map_or(Ok(()), |pins| pins.forget_link(LinkName::Sessions))
    }

    /// The egress program itself, for trial runs.
    pub(super) fn egress(&mut self) -> Result<&mut SchedClassifier, KernelError> {
        egress::program(&mut self.object)
    }

    /// The sessions program itself.
    #[cfg(feature = "rig")]
    pub(super) fn sessions(&mut self) -> Result<&mut SockOps, KernelError> {
        super::sessions::program(&mut self.object)
    }

    /// The program itself, for trial runs.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, KernelError> {
        program(&mut self.object)
    }

    /// The pins, if its maps and links are pinned.
    #[must_use]
    pub fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }

    /// Attaches to an interface and reads back what the kernel made of it. Where an earlier process left its program there by a pin, that one
    /// is replaced in one step, so that no packet passes unseen.
    ///
    /// # Errors
    /// When there is no such interface, another XDP program runs there, or the driver refuses the mode.
    pub async fn attach(&mut self, interface: &str, mode: AttachMode) -> Result<Attachment, KernelError> {
        let before = link::describe(interface).await?;
        if self.take_over(before.index)? {
            return self.attached(interface, mode, "taken over").await;
        }
        if let Some((mode, program_id)) = before.xdp {
            let program = link::program_name(program_id);
            let removal = Removal::of(interface, before.index, mode, program_id);
            return Err(KernelError::Occupied { interface: interface.to_owned(), program, program_id, removal });
        }
        match mode {
            AttachMode::Native => self.attach_as(interface, before.index, XdpMode::Driver, mode)?,
            AttachMode::Generic => self.attach_as(interface, before.index, XdpMode::Skb, mode)?,
            AttachMode::Auto if before.is_veth => self.attach_as(interface, before.index, XdpMode::Skb, mode)?,
            AttachMode::Auto => {
                if let Err(error) = self.attach_as(interface, before.index, XdpMode::Default, mode) {
                    warn!(interface, %error, "the driver refuses the native mode, falling back to generic");
                    self.attach_as(interface, before.index, XdpMode::Skb, mode)?;
                }
            }
        }
        self.attached(interface, mode, "attached").await
    }

    async fn attached(&mut self, interface: &str, mode: AttachMode, how: &str) -> Result<Attachment, KernelError> {
        let after = link::describe(interface).await?;
        let Some((driver_mode, program_id)) = after.xdp else {
            return Err(KernelError::Attach {
                interface: interface.to_owned(),
                mode: mode.label(),
                reason: "the kernel took the program but shows none on the interface".to_owned(),
            });
        };
        let egress = self.watch_leaving(interface, after.index);
        let egress_hook = egress.map_or("none", |egress| egress.hook.label());
        info!(interface, driver_mode = driver_mode.label(), egress = egress_hook, program_id, "{how}");
        let nic = after.mac.map(|mac| Nic {
            mac,
            generic: u8::from(driver_mode == DriverMode::Generic),
            tagged_only: u8::from(after.has_tagged),
        });
        Ok(Attachment { interface: interface.to_owned(), index: after.index, driver_mode, program_id, nic, egress })
    }

    /// Hangs the egress program on an interface. One that does not take it is complained of: it is guarded without.
    pub fn watch_leaving(&mut self, interface: &str, index: u32) -> Option<EgressAttachment> {
        let (object, pins) = (&mut self.object, self.pins.as_ref());
        match self.egress.attach(object, pins, interface, index, self.egress_hook) {
            Ok(attachment) => Some(attachment),
            Err(error) => {
                warn!(interface, %error, "what leaves is not seen: late answers may look like questions");
                None
            }
        }
    }

    /// Puts this program in the place of the one that a pinned link holds on an interface; false when there is no such link.
    fn take_over(&mut self, index: u32) -> Result<bool, KernelError> {
        let Some(pins) = &self.pins else { return Ok(false) };
        let name = LinkName::Xdp(index);
        let Some(path) = pins.pinned_link(name) else { return Ok(false) };
        let pinned = |error: &dyn std::error::Error| KernelError::Pins {
            what: "use",
            path: path.clone(),
            source: std::io::Error::other(chain(error)),
        };
        let link = PinnedLink::from_pin(&path).map_err(|error| pinned(&error))?;
        let link = XdpLink::try_from(FdLink::from(link)).map_err(|error| pinned(&error))?;
        let program = program(&mut self.object)?;
        let id = match program.attach_to_link(link) {
            Ok(id) => id,
            Err(error) => {
                // The interface that it held is gone, and another one has its index.
                warn!(index, error = chain(&error), "a pinned link is dead: making a new one");
                pins.forget_links(index)?;
                return Ok(false);
            }
        };
        // The link is what it was, its pin included; only its program is another one.
        let link = program.take_link(id).map_err(|error| pinned(&error))?;
        let link = FdLink::try_from(link).map_err(|error| pinned(&error))?;
        self.links.insert(index, Hold::Link(pins::keep_pinned(link, &path, pins.link(name))?));
        Ok(true)
    }

    /// Takes links away that an earlier process left on interfaces other than these.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn forget_other_links(&self, guarded: &[Attachment]) -> Result<Vec<u32>, KernelError> {
        let Some(pins) = &self.pins else { return Ok(Vec::new()) };
        let others: Vec<u32> =
            pins.links().into_iter().filter(|index| guarded.iter().all(|kept| kept.index != *index)).collect();
        for index in &others {
            pins.forget_links(*index)?;
            egress::remove_filters(*index);
        }
        Ok(others)
    }

    /// Detaches from an interface. One that is gone took the program with it.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(&mut self, index: u32) -> Result<(), KernelError> {
        self.egress.detach(index);
        match self.links.remove(&index) {
            Some(Hold::Program(id)) => {
                // Of a link whose interface is gone there is nothing left to detach.
                let _ = program(&mut self.object)?.detach(id);
                Ok(())
            }
            Some(Hold::Link(_)) | None => self.pins.as_ref().map_or(Ok(()), |pins| pins.forget_links(index)),
        }
    }

    /// Lets go of what is pinned: everything ends with this process from now on.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn unpin(&mut self) -> Result<(), KernelError> {
        let Some(pins) = self.pins.take() else { return Ok(()) };
        pins.remove()
    }

    /// Gives up a start that failed: what this process pinned goes. What one of another layout pinned stays, and so does
    /// this one's program where it took a link over from that one.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn give_up(&mut self) -> Result<(), KernelError> {
        match self.pins.take() {
            None => Ok(()),
            Some(pins) if !pins.have_former() => pins.remove(),
            Some(_) if !self.links.is_empty() => Ok(()),
            Some(pins) => pins.remove_own(),
        }
    }

    /// Takes away what a version of another layout left: all its links are taken over, or of interfaces that are not guarded.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn forget_former(&mut self) -> Result<(), KernelError> {
        self.pins.as_mut().map_or(Ok(()), Pins::forget_former)
    }

    /// Ends without taking away what stays at work by its pins.
    pub fn leave(mut self) {
        if self.pins.is_some() {
            self.egress.leave();
        }
    }

    fn attach_as(
        &mut self,
        interface: &str,
        index: u32,
        xdp_mode: XdpMode,
        mode: AttachMode,
    ) -> Result<(), KernelError> {
        let refused = |error: &dyn std::error::Error| KernelError::Attach {
            interface: interface.to_owned(),
            mode: mode.label(),
            reason: chain(error),
        };
        let program = program(&mut self.object)?;
        let id = program.attach_to_if_index(index, xdp_mode).map_err(|error| refused(&error))?;
        let hold = match &self.pins {
            None => Hold::Program(id),
            Some(pins) => {
                let link = program.take_link(id).map_err(|error| refused(&error))?;
                let link = FdLink::try_from(link).map_err(|error| refused(&error))?;
                Hold::Link(link.pin(pins.link(LinkName::Xdp(index))).map_err(|error| refused(&error))?.into())
            }
        };
        self.links.insert(index, hold);
        Ok(())
    }
}

pub(super) fn program(object: &mut Ebpf) -> Result<&mut Xdp, KernelError> {
    let program = object.program_mut(PROGRAM).ok_or(KernelError::NoSuchPart("program scanguard"))?;
    program.try_into().map_err(program_error)
}

pub(super) fn program_error(source: ProgramError) -> KernelError {
    KernelError::Program { program: PROGRAM, source }
}
