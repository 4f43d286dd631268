//! The kernel part: loaded, set up, attached, and gone when dropped.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use aya::maps::{HashMap as MapOfAya, MapData, RingBuf};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use tracing::{info, warn};

use super::error::KernelError;
use super::events::EventStream;
use super::link::{self, DriverMode};
use super::maps::{FlowBytes, Maps as _, map_error, one};
use super::pins::{KEPT, Kept, Pins};
use super::tables::Tables;

/// The kernel part as built by this package's build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/scanguard"));

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

/// How to load the kernel part.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Entries of the table of sources; about 200 bytes each, allocated at once.
    pub max_sources: u32,
    /// Bytes of the ring of events, rounded up to a power of two of at least a page.
    pub events_bytes: u32,
    /// Log every frame through aya-log at level `debug`. For developers: it costs microseconds a frame.
    pub debug_log: bool,
    /// Take the clock from CONFIG and sockets from a table, for tests and replay. Never for a host.
    pub virtual_world: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { max_sources: 262_144, events_bytes: 1 << 20, debug_log: false, virtual_world: false }
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

/// The loaded kernel part. Dropping it detaches it from every interface, but for links that are pinned.
pub struct Datapath {
    object: Ebpf,
    tables: Tables,
    events: Option<EventStream>,
    links: HashMap<u32, Hold>,
    pins: Option<Pins>,
    pub(super) virtual_sockets: MapOfAya<MapData, FlowBytes, u32>,
}

/// What keeps the program on an interface.
enum Hold {
    /// The loaded program, until it is dropped.
    Program(XdpLinkId),
    /// A descriptor, and a pin beside it for as long as there are pins.
    Link(#[expect(dead_code, reason = "it is the descriptor that holds the program there")] FdLink),
}

impl Deref for Datapath {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl DerefMut for Datapath {
    fn deref_mut(&mut self) -> &mut Tables {
        &mut self.tables
    }
}

impl Datapath {
    /// Loads programs and maps; nothing is attached yet.
    ///
    /// # Errors
    /// When the kernel refuses them; [`super::preflight::check`] usually knows why.
    pub fn load(options: &LoadOptions) -> Result<Self, KernelError> {
        Self::load_with(options, None)
    }

    /// The same over pinned maps: those that an earlier process left are used again, with all that is in them; those that are missing are
    /// made and pinned. What still runs over them goes on until [`Self::attach`] replaces it.
    ///
    /// # Errors
    /// When what is pinned is of another layout, or the kernel refuses.
    pub fn load_with(options: &LoadOptions, pins: Option<Pins>) -> Result<Self, KernelError> {
        let LoadOptions { max_sources, events_bytes, debug_log, virtual_world } = options;
        let (debug_log, virtual_world) = (u8::from(*debug_log), u8::from(*virtual_world));
        let events_bytes = events_bytes.next_power_of_two().max(4096);
        let mut loader = EbpfLoader::new();
        if virtual_world == 1 {
            // The model that it is compared with never forgets.
            for map in ["PREFIXES", "SUSPECTS", "OPENED"] {
                loader.map_max_entries(map, *max_sources);
            }
        }
        let is_taken_over = pins.as_ref().is_some_and(Pins::hold_state);
        if let Some(pins) = &pins {
            pins.check(|name| if name == "EVENTS" { events_bytes } else { *max_sources })?;
            for Kept { name, .. } in &KEPT {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut object = loader
            .map_max_entries("SOURCES", *max_sources)
            .map_max_entries("EVENTS", events_bytes)
            .override_global("SCANGUARD_DEBUG", &debug_log, true)
            .override_global("SCANGUARD_VIRTUAL", &virtual_world, true)
            .load(OBJECT)?;
        program(&mut object)?.load().map_err(program_error)?;
        if debug_log == 1 {
            forward_debug_log(&mut object);
        }
        let tables = if is_taken_over { Tables::adopted(&mut object)? } else { Tables::fresh(&mut object)? };
        let events = RingBuf::try_from(object.take("EVENTS")?).map_err(map_error("EVENTS"))?;
        let virtual_sockets = one(&mut object, "VIRTUAL_SOCKETS")?;
        let (events, links) = (Some(EventStream::new(events)), HashMap::new());
        Ok(Self { object, tables, events, links, pins, virtual_sockets })
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

    /// Detaches from every interface and unloads. What dropping does, made visible.
    pub fn detach_all(self) {
        drop(self);
    }

    /// The events, once.
    ///
    /// # Errors
    /// When they were taken before.
    pub fn take_events(&mut self) -> Result<EventStream, KernelError> {
        self.events.take().ok_or(KernelError::NoSuchPart("second stream of events"))
    }

    /// The program itself, for trial runs.
    pub(super) fn program(&mut self) -> Result<&mut Xdp, KernelError> {
        program(&mut self.object)
    }
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp, KernelError> {
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

/// Sends the kernel part's debug lines to this process' log. Failing to is no reason to stop.
fn forward_debug_log(object: &mut Ebpf) {
    let mut logger = match aya_log::EbpfLogger::init(object) {
        Ok(logger) => logger,
        Err(error) => return warn!(%error, "cannot open the kernel part's debug log"),
    };
    tokio::spawn(async move {
        // For developers, who can wait a moment for a line; the ring is emptied whole each time.
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            logger.flush();
        }
    });
}
