//! The program on its interfaces: attached, taken over from an earlier process, detached.

use std::collections::HashMap;

use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use tracing::{info, warn};

use super::error::KernelError;
use super::link::{self, DriverMode};
use super::pins::Pins;

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
    pins: Option<Pins>,
}

impl Program {
    pub(super) fn new(object: Ebpf, pins: Option<Pins>) -> Self {
        Self { object, links: HashMap::new(), pins }
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
        if let Some((_, program_id)) = before.xdp {
            let program = link::program_name(program_id);
            return Err(KernelError::Occupied { interface: interface.to_owned(), program, program_id });
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

    async fn attached(&self, interface: &str, mode: AttachMode, how: &str) -> Result<Attachment, KernelError> {
        let after = link::describe(interface).await?;
        let Some((driver_mode, program_id)) = after.xdp else {
            return Err(KernelError::Attach {
                interface: interface.to_owned(),
                mode: mode.label(),
                reason: "the kernel took the program but shows none on the interface".to_owned(),
            });
        };
        info!(interface, driver_mode = driver_mode.label(), program_id, "{how}");
        Ok(Attachment { interface: interface.to_owned(), index: after.index, driver_mode, program_id })
    }

    /// Puts this program in the place of the one that a pinned link holds on an interface; false when there is no such link.
    fn take_over(&mut self, index: u32) -> Result<bool, KernelError> {
        let Some(pins) = &self.pins else { return Ok(false) };
        let path = pins.link(index);
        if !path.exists() {
            return Ok(false);
        }
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
                pins.forget_link(index)?;
                return Ok(false);
            }
        };
        // The link is what it was, its pin included; only its program is another one.
        let link = program.take_link(id).map_err(|error| pinned(&error))?;
        self.links.insert(index, Hold::Link(FdLink::try_from(link).map_err(|error| pinned(&error))?));
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
            pins.forget_link(*index)?;
        }
        Ok(others)
    }

    /// Detaches from an interface. One that is gone took the program with it.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn detach(&mut self, index: u32) -> Result<(), KernelError> {
        match self.links.remove(&index) {
            Some(Hold::Program(id)) => {
                // Of a link whose interface is gone there is nothing left to detach.
                let _ = program(&mut self.object)?.detach(id);
                Ok(())
            }
            Some(Hold::Link(_)) | None => self.pins.as_ref().map_or(Ok(()), |pins| pins.forget_link(index)),
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
                Hold::Link(link.pin(pins.link(index)).map_err(|error| refused(&error))?.into())
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

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
