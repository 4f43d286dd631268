//! The kernel part: loaded, set up, attached, and gone when dropped.

use std::ops::{Deref, DerefMut};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aya::maps::{HashMap, MapData, RingBuf};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use tracing::warn;

use super::egress;
use super::error::KernelError;
use super::events::EventStream;
use super::maps::{FlowBytes, Maps as _, map_error, one};
use super::pins::{KEPT, Kept, Pins};
use super::program::{AttachMode, Attachment, Program, program, program_error};
use super::sessions;
use super::sizes::TableSizes;
use super::tables::Tables;
use super::wipe::wipe;

/// The kernel part as built by this package's build script.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/scanguard"));

/// How to load the kernel part.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// How large the tables are.
    pub sizes: TableSizes,
    /// Bytes of the ring of events, rounded up to a power of two of at least a page.
    pub events_bytes: u32,
    /// Log every frame through aya-log at level `debug`. For developers: it costs microseconds a frame.
    pub debug_log: bool,
    /// Take the clock from CONFIG and sockets from a table, for tests and replay. Never for a host.
    pub virtual_world: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { sizes: TableSizes::default(), events_bytes: 1 << 20, debug_log: false, virtual_world: false }
    }
}

/// The loaded kernel part, whole. Dropping it detaches it from every interface, but for links that are pinned.
pub struct Datapath {
    program: Program,
    tables: Tables,
    events: Option<EventStream>,
    proofs: Option<EventStream>,
    pub(super) virtual_sockets: HashMap<MapData, FlowBytes, u32>,
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
        let Loading { tables, events, proofs, virtual_sockets, verifying } = Self::begin(options, pins)?;
        let program = verifying.finish()?;
        Ok(Self { program, tables, events: Some(events), proofs: Some(proofs), virtual_sockets })
    }

    /// The same, but returns when the maps are there, which can be filled while the kernel verifies the programs.
    ///
    /// # Errors
    /// When what is pinned is of another layout, or the kernel refuses the maps.
    pub fn begin(options: &LoadOptions, pins: Option<Pins>) -> Result<Loading, KernelError> {
        let LoadOptions { sizes, events_bytes, debug_log, virtual_world } = options;
        let max_sources = sizes.sources();
        let (debug_log, virtual_world) = (u8::from(*debug_log), u8::from(*virtual_world));
        let events_bytes = events_bytes.next_power_of_two().max(4096);
        let mut loader = EbpfLoader::new();
        if virtual_world == 1 {
            // The model that it is compared with never forgets.
            const UNFORGETTING: [&str; 11] = [
                "PREFIXES",
                "SUSPECTS",
                "PROVEN_SUSPECTS",
                "OPENED",
                "ASKED",
                "UFLOWS",
                "SENT",
                "SESSIONS",
                "SYN_ACKS",
                "CHALLENGED",
                "PASSES",
            ];
            for map in UNFORGETTING {
                loader.map_max_entries(map, max_sources);
            }
        } else {
            // Nothing is written into it outside tests and replay, and a hash map has all its entries allocated when it
            // is made: 65,536 would take megabytes.
            loader.map_max_entries("VIRTUAL_SOCKETS", 1);
            for (map, entries) in sizes.scaled() {
                loader.map_max_entries(map, entries);
            }
        }
        let is_taken_over = pins.as_ref().is_some_and(Pins::hold_state);
        if let Some(pins) = &pins {
            pins.check_layout()?;
            // As many sources as memory allows are as many as there are: what it knows is worth more than a few more places.
            pins.make_room(|name| if name == "EVENTS" { Some(events_bytes) } else { sizes.sources })?;
            for Kept { name, .. } in &KEPT {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let mut object = loader
            .map_max_entries("SOURCES", max_sources)
            .map_max_entries("EVENTS", events_bytes)
            .override_global("SCANGUARD_DEBUG", &debug_log, true)
            .override_global("SCANGUARD_VIRTUAL", &virtual_world, true)
            .load(OBJECT)?;
        if debug_log == 1 {
            forward_debug_log(&mut object);
        }
        let tables = if is_taken_over { Tables::adopted(&mut object)? } else { Tables::fresh(&mut object)? };
        let events = RingBuf::try_from(object.take("EVENTS")?).map_err(map_error("EVENTS"))?;
        let virtual_sockets = one(&mut object, "VIRTUAL_SOCKETS")?;
        let proofs = RingBuf::try_from(object.take("PROOFS")?).map_err(map_error("PROOFS"))?;
        let (events, proofs) = (EventStream::new(events), EventStream::new(proofs));
        Ok(Loading { tables, events, proofs, virtual_sockets, verifying: Verifying::begin(object, pins)? })
    }

    /// Makes the maps as they were when they were made, so that what is loaded serves again. For what runs trials alone: nothing else may
    /// use the maps meanwhile. Whoever took the events empties that stream itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn wipe(&mut self) -> Result<(), KernelError> {
        let object = self.program.object();
        // What the compiler made of constants, `.rodata`, says how the programs were loaded.
        for (name, map) in object.maps().filter(|(name, _)| !name.starts_with('.')) {
            wipe(name, map)?;
        }
        self.tables = Tables::fresh(object)?;
        for stream in self.events.iter_mut().chain(&mut self.proofs) {
            while stream.try_next().is_some() {}
        }
        Ok(())
    }

    /// Its parts: the program, which goes where interfaces go; the maps, which userspace writes; the events, once; the proofs, once.
    #[must_use]
    pub fn into_parts(self) -> (Program, Tables, Option<EventStream>, Option<EventStream>) {
        (self.program, self.tables, self.events, self.proofs)
    }

    /// See [`Program::attach`].
    ///
    /// # Errors
    /// As there.
    pub async fn attach(&mut self, interface: &str, mode: AttachMode) -> Result<Attachment, KernelError> {
        self.program.attach(interface, mode).await
    }

    /// The events, once.
    ///
    /// # Errors
    /// When they were taken before.
    pub fn take_events(&mut self) -> Result<EventStream, KernelError> {
        self.events.take().ok_or(KernelError::NoSuchPart("second stream of events"))
    }

    /// The proofs, once: events of kind [`scanguard_common::event::EventKind::Completed`].
    ///
    /// # Errors
    /// When they were taken before.
    pub fn take_proofs(&mut self) -> Result<EventStream, KernelError> {
        self.proofs.take().ok_or(KernelError::NoSuchPart("second stream of proofs"))
    }

    /// The programs as the kernel sees them: name and information.
    #[cfg(feature = "rig")]
    pub(super) fn infos(&mut self) -> Result<[(&'static str, aya::programs::ProgramInfo); 3], KernelError> {
        Ok([
            ("scanguard", self.program.xdp()?.info().map_err(program_error)?),
            ("scanguard_egress", self.program.egress()?.info().map_err(egress::program_error)?),
            ("scanguard_sessions", self.program.sessions()?.info().map_err(sessions::program_error)?),
        ])
    }

    /// The egress program itself, for trial runs.
    pub(super) fn egress(&mut self) -> Result<&mut SchedClassifier, KernelError> {
        self.program.egress()
    }

    /// The program itself, for trial runs.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, KernelError> {
        self.program.xdp()
    }
}

/// The kernel part while its programs are verified. Its maps are there.
pub struct Loading {
    /// The maps.
    pub tables: Tables,
    /// The events.
    pub events: EventStream,
    /// The proofs.
    pub proofs: EventStream,
    virtual_sockets: HashMap<MapData, FlowBytes, u32>,
    /// The programs.
    pub verifying: Verifying,
}

/// The programs while the kernel verifies them, on a thread: that is half of all that a start takes. Dropping it waits for the end of that.
pub struct Verifying {
    /// None once it is over.
    thread: Option<JoinHandle<Result<Ebpf, KernelError>>>,
    verified: Option<Ebpf>,
    pins: Option<Pins>,
}

impl Verifying {
    fn begin(mut object: Ebpf, pins: Option<Pins>) -> Result<Self, KernelError> {
        let verify = move || {
            program(&mut object)?.load().map_err(program_error)?;
            egress::program(&mut object)?.load().map_err(egress::program_error)?;
            sessions::program(&mut object)?.load().map_err(sessions::program_error)?;
            Ok(object)
        };
        let thread = thread::Builder::new().name("verify".to_owned()).spawn(verify);
        let thread = thread.map_err(|source| KernelError::Io { what: "start a thread that loads programs", source })?;
        Ok(Self { thread: Some(thread), verified: None, pins })
    }

    /// Waits until it is over. Blocks for up to a second or two.
    ///
    /// # Errors
    /// When the kernel refuses a program; [`super::preflight::check`] usually knows why.
    pub fn wait(&mut self) -> Result<(), KernelError> {
        if let Some(thread) = self.thread.take() {
            self.verified = Some(thread.join().map_err(|_| KernelError::NoSuchPart("thread that loads programs"))??);
        }
        Ok(())
    }

    /// The same, and has the programs.
    ///
    /// # Errors
    /// As there.
    pub fn finish(mut self) -> Result<Program, KernelError> {
        self.wait()?;
        let object = self.verified.take().ok_or(KernelError::NoSuchPart("verified program"))?;
        Ok(Program::new(object, self.pins.take()))
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        let _ = self.wait(); // Whoever drops it wants no program.
    }
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
