//! The kernel part: loaded, set up, attached, and gone when dropped.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use scanguard_common::address::Address;
use scanguard_common::class::{PORT_ENTRIES, PortClass, Protocol, port_index};
use scanguard_common::config::KernelConfig;
use tracing::{info, warn};

use super::clock;
use super::decisions::Decided;
use super::error::KernelError;
use super::events::EventStream;
use super::link::{self, DriverMode};
use super::maps::{self, ConfigBytes, MAX_OWN_ADDRESSES, Written, deleted, map_error, to_bytes};
use super::readings::Readings;

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

/// The loaded kernel part. Dropping it detaches it from every interface.
pub struct Datapath {
    object: Ebpf,
    pub(super) written: Written,
    pub(super) config: KernelConfig,
    pub(super) readings: Readings,
    events: Option<EventStream>,
    /// What PORTS holds: this is its only writer, and asking takes a system call a port.
    classes: Vec<u8>,
    pub(super) decided: Decided,
}

impl Datapath {
    /// Loads programs and maps; nothing is attached yet.
    ///
    /// # Errors
    /// When the kernel refuses them; [`super::preflight::check`] usually knows why.
    pub fn load(options: &LoadOptions) -> Result<Self, KernelError> {
        let LoadOptions { max_sources, events_bytes, debug_log, virtual_world } = options;
        let (debug_log, virtual_world) = (u8::from(*debug_log), u8::from(*virtual_world));
        let mut loader = EbpfLoader::new();
        if virtual_world == 1 {
            // The model that it is compared with never forgets.
            for map in ["PREFIXES", "SUSPECTS", "OPENED"] {
                loader.map_max_entries(map, *max_sources);
            }
        }
        let mut object = loader
            .map_max_entries("SOURCES", *max_sources)
            .map_max_entries("EVENTS", events_bytes.next_power_of_two().max(4096))
            .override_global("SCANGUARD_DEBUG", &debug_log, true)
            .override_global("SCANGUARD_VIRTUAL", &virtual_world, true)
            .load(OBJECT)?;
        program(&mut object)?.load().map_err(program_error)?;
        if debug_log == 1 {
            forward_debug_log(&mut object);
        }
        let (written, counted, events) = maps::take(&mut object)?;
        let readings = Readings::new(counted);
        let config = KernelConfig::new([0; 2]);
        let classes = vec![PortClass::Unknown as u8; PORT_ENTRIES as usize];
        let (events, decided) = (Some(EventStream::new(events)), Decided::default());
        Ok(Self { object, written, config, readings, events, classes, decided })
    }

    /// Replaces the settings; in force with the next packet. The filter of own addresses and the census of maps are kept true
    /// here and not taken from `config`.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_config(&mut self, config: &KernelConfig) -> Result<(), KernelError> {
        let KernelConfig { own_filter, census, .. } = self.config;
        self.config = KernelConfig { own_filter, census, ..*config };
        self.write_config()
    }

    /// Tells the kernel part that somebody watches over it. Without it nothing new is held against anyone after
    /// [`scanguard_common::config::HEARTBEAT_LIMIT_NS`].
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn beat(&mut self) -> Result<(), KernelError> {
        self.config.heartbeat_ns = clock::monotonic_coarse_ns();
        self.write_config()?;
        self.readings.set_heartbeat(self.config.heartbeat_ns);
        Ok(())
    }

    /// Sets the ports that this host's own connections leave from, first and last.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_ephemeral(&mut self, (first, last): (u16, u16)) -> Result<(), KernelError> {
        (self.config.ephemeral_first, self.config.ephemeral_last) = (first, last);
        self.write_config()
    }

    pub(super) fn write_config(&mut self) -> Result<(), KernelError> {
        self.written.config.set(0, to_bytes::<_, ConfigBytes>(&self.config), 0).map_err(map_error("CONFIG"))
    }

    /// Replaces the class of every port; a port not named is `unknown`.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_port_classes(
        &mut self,
        classes: impl IntoIterator<Item = (Protocol, u16, PortClass)>,
    ) -> Result<(), KernelError> {
        let mut wanted = vec![PortClass::Unknown as u8; PORT_ENTRIES as usize];
        for (protocol, port, class) in classes {
            wanted[port_index(protocol, port) as usize] = class as u8;
        }
        let ports = &mut self.written.ports;
        for ((index, class), told) in (0..).zip(wanted).zip(&mut self.classes) {
            // Written only where it differs, so that no packet sees a port without its class.
            if *told != class {
                ports.set(index, class, 0).map_err(map_error("PORTS"))?;
                *told = class;
            }
        }
        Ok(())
    }

    /// Replaces the addresses that are this host's own.
    ///
    /// # Errors
    /// When there are more than the map takes, or it cannot be written.
    pub fn set_own_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), KernelError> {
        if addresses.len() > MAX_OWN_ADDRESSES {
            return Err(KernelError::TooManyAddresses { count: addresses.len(), limit: MAX_OWN_ADDRESSES });
        }
        let filter = |addresses: &[IpAddr]| {
            addresses.iter().fold(0, |filter, address| filter | Address::from(*address).filter_bit())
        };
        let wanted: HashSet<[u8; 16]> = addresses.iter().map(|address| Address::from(*address).bytes()).collect();
        // The filter lets old and new addresses through while the table changes.
        self.config.own_filter |= filter(addresses);
        self.write_config()?;
        let own = &mut self.written.own;
        let present: Vec<[u8; 16]> = own.keys().filter_map(Result::ok).collect();
        for address in &wanted {
            own.insert(address, 1, 0).map_err(map_error("OWN"))?;
        }
        for gone in present.iter().filter(|address| !wanted.contains(*address)) {
            deleted("OWN", own.remove(gone))?;
        }
        self.readings.set_own_addresses(wanted.len());
        self.config.own_filter = filter(addresses);
        self.write_config()
    }

    /// Attaches to an interface and reads back what the kernel made of it.
    ///
    /// # Errors
    /// When there is no such interface, another XDP program runs there, or the driver refuses the mode.
    pub async fn attach(&mut self, interface: &str, mode: AttachMode) -> Result<Attachment, KernelError> {
        let before = link::describe(interface).await?;
        if let Some((_, program_id)) = before.xdp {
            return Err(KernelError::Occupied { interface: interface.to_owned(), program_id });
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
        let after = link::describe(interface).await?;
        let Some((driver_mode, program_id)) = after.xdp else {
            return Err(KernelError::Attach {
                interface: interface.to_owned(),
                mode: mode.label(),
                reason: "the kernel took the program but shows none on the interface".to_owned(),
            });
        };
        info!(interface, driver_mode = driver_mode.label(), program_id, "attached");
        Ok(Attachment { interface: interface.to_owned(), index: after.index, driver_mode, program_id })
    }

    fn attach_as(
        &mut self,
        interface: &str,
        index: u32,
        xdp_mode: XdpMode,
        mode: AttachMode,
    ) -> Result<(), KernelError> {
        program(&mut self.object)?.attach_to_if_index(index, xdp_mode).map(|_link| ()).map_err(|error| {
            KernelError::Attach { interface: interface.to_owned(), mode: mode.label(), reason: chain(&error) }
        })
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

    /// A handle for reading what was counted; cheap to clone, usable from other threads.
    #[must_use]
    pub fn readings(&self) -> Readings {
        self.readings.clone()
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
