//! The real XDP and egress programs beside the replay: driven packet by packet through `BPF_PROG_TEST_RUN` with the capture's clock, and
//! compared.

use std::collections::HashSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use ipnetwork::IpNetwork;
use scanguard_common::address::Address;
use scanguard_common::class::{PortEntry, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::Counter;
use scanguard_common::datapath::Action;
use scanguard_common::event::Event;
use scanguard_common::flow::Flow;
use scanguard_common::opened::Endpoint;
use scanguard_common::packet::{Parsed, Shape};
use scanguard_common::record::SourceRecord;
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::tables::{Socket, Tables as _};
use scanguard_common::verdict::{Known, Verdict};

use super::tables::ReplayTables;
use crate::kernel::trial::{XDP_DROP, XDP_PASS, XDP_TX};
use crate::kernel::{Datapath, EventStream, LoadOptions, TableSizes};

/// Entries of the table of sources: so many that none is washed out by the captures this is for.
const SOURCES: u32 = 1 << 18;
/// The kernel takes no trial frame of the egress program that ends within its IP header.
const HEADERS: usize = 14 + 40;
/// The kernel takes every trial frame up to this length; longer ones where it has room.
const LONGEST: usize = 3_000;

/// The kernel part, loaded once for any number of captures, one after the other.
pub struct Kernel {
    datapath: Datapath,
    events: EventStream,
    config: KernelConfig,
    own: Option<Address>,
    behind: Option<Address>,
    socket: Option<Flow>,
    told: HashSet<Endpoint>,
    senders: HashSet<Address>,
    /// What the kernel said of the packet at hand.
    last: Option<u32>,
    skipped: u64,
    compared: u64,
    /// Whether a capture left its traces in it.
    is_used: bool,
}

impl Kernel {
    /// Loads it.
    ///
    /// # Errors
    /// [`crate::kernel::KernelError`] without the rights, or on a kernel that lacks something.
    pub fn load() -> Result<Self> {
        let options = LoadOptions {
            sizes: TableSizes::full(SOURCES),
            virtual_world: true,
            events_bytes: 1 << 16,
            ..LoadOptions::default()
        };
        let mut datapath = Datapath::load(&options)?;
        let events = datapath.take_events()?;
        Ok(Self {
            datapath,
            events,
            config: KernelConfig::new([0; 2]),
            own: None,
            behind: None,
            socket: None,
            told: HashSet::new(),
            senders: HashSet::new(),
            last: None,
            skipped: 0,
            compared: 0,
            is_used: false,
        })
    }

    /// Forgets the capture before.
    fn renew(&mut self) -> Result<()> {
        let Self { datapath, events, config, own, behind, socket, told, senders, last, skipped, compared, is_used: _ } =
            self;
        datapath.wipe()?;
        while events.try_next().is_some() {}
        *config = KernelConfig::new([0; 2]);
        (*own, *behind, *socket, *last) = (None, None, None, None);
        told.clear();
        senders.clear();
        (*skipped, *compared) = (0, 0);
        Ok(())
    }

    /// Frames that were compared, and those that the kernel takes no trial of.
    pub(super) const fn tally(&self) -> (u64, u64) {
        (self.compared, self.skipped)
    }

    /// Begins a capture.
    pub(super) fn start(
        &mut self,
        config: &KernelConfig,
        entries: Vec<(Protocol, u16, PortEntry)>,
        allow: &[IpNetwork],
    ) -> Result<()> {
        if std::mem::replace(&mut self.is_used, true) {
            self.renew()?;
        }
        self.config = *config;
        self.datapath.set_port_classes(entries)?;
        if !allow.is_empty() {
            let entries: Vec<(IpNetwork, u64)> = allow.iter().map(|network| (*network, u64::MAX)).collect();
            self.datapath.set_allowed(&entries)?;
        }
        self.datapath.set_config(&self.config)?;
        Ok(())
    }

    pub(super) const fn set_egress_since(&mut self, now_ns: u64) {
        self.config.egress_since_ns = now_ns;
    }

    pub(super) fn set_verdict(&mut self, source: SourceKey, verdict: Option<Verdict>) -> Result<()> {
        match verdict {
            Some(verdict) => {
                let _ = self.datapath.set_verdict(source, &verdict)?;
            }
            None => {
                self.datapath.remove_verdict(source)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_known(&mut self, source: SourceKey, known: &Known) -> Result<()> {
        Ok(self.datapath.set_known(source, known)?)
    }

    /// What sockets did to a record, which no trial run shows.
    pub(super) fn set_record(&mut self, record: &SourceRecord) -> Result<()> {
        Ok(self.datapath.set_virtual_record(record)?)
    }

    /// Gives the kernel the same world as the host has for this packet: the clock, whose address is asked, and its sockets.
    fn set_scene(&mut self, tables: &ReplayTables, parsed: &Parsed, arrives: bool) -> Result<()> {
        let (own, behind) = (tables.own(), tables.behind());
        if own != self.own {
            let addresses: Vec<IpAddr> = own.iter().map(|address| IpAddr::from(*address)).collect();
            self.datapath.set_own_addresses(&addresses)?;
            self.own = own;
        }
        if behind != self.behind {
            let networks: Vec<IpNetwork> =
                behind.iter().map(|address| IpNetwork::from(IpAddr::from(*address))).collect();
            self.datapath.set_protected(&networks)?;
            self.behind = behind;
        }
        if self.config.virtual_now_ns != tables.now_ns()
            || self.config.egress_since_ns != self.datapath.config().egress_since_ns
        {
            self.config.virtual_now_ns = tables.now_ns();
            self.datapath.set_config(&self.config)?;
        }
        let endpoint = Endpoint::new(parsed.destination, parsed.destination_port, Protocol::Tcp);
        if parsed.shape == Shape::Tcp
            && let Some(since_ns) = tables.witnessed(&endpoint)
            && self.told.insert(endpoint)
            && tables.memory.opened(&endpoint).is_none()
        {
            self.datapath.restore_opened([(endpoint, since_ns)])?;
        }
        for address in [parsed.destination, KeyRules::network(&SourceKey(parsed.destination)).0] {
            if tables.has_sent(&address) && self.senders.insert(address) {
                self.datapath.set_virtual_sender(&address)?;
            }
        }
        if !arrives {
            return Ok(());
        }
        let protocol = match parsed.shape {
            Shape::Udp => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        if let Some(flow) = self.socket.take() {
            self.datapath.set_virtual_socket(&flow, Socket::None)?;
        }
        let has_port = matches!(parsed.shape, Shape::Tcp | Shape::Udp | Shape::TinyFragment);
        let socket = if has_port { tables.socket(parsed, protocol) } else { Socket::None };
        if socket != Socket::None {
            let flow = Flow::of(parsed, protocol);
            self.datapath.set_virtual_socket(&flow, socket)?;
            self.socket = Some(flow);
        }
        Ok(())
    }

    /// Prepares a frame that arrives and runs it. False when the kernel takes no trial of such a frame.
    pub(super) fn arrive(&mut self, tables: &ReplayTables, parsed: &Parsed, frame: &[u8]) -> Result<bool> {
        if frame.len() < crate::kernel::trial::SHORTEST_FRAME {
            self.skipped += 1;
            return Ok(false);
        }
        self.set_scene(tables, parsed, true)?;
        match self.datapath.trial(frame, 1) {
            Err(_) if frame.len() > LONGEST => {
                self.skipped += 1;
                return Ok(false);
            }
            trial => self.last = Some(trial?.action),
        }
        Ok(true)
    }

    /// The same for a frame that leaves.
    pub(super) fn depart(&mut self, tables: &ReplayTables, parsed: &Parsed, frame: &[u8]) -> Result<bool> {
        self.set_scene(tables, parsed, false)?;
        match self.datapath.trial_leaving(frame, 1) {
            Err(_) if frame.len() < HEADERS || frame.len() > LONGEST => {
                self.skipped += 1;
                Ok(false)
            }
            result => {
                result?;
                Ok(true)
            }
        }
    }

    /// Compares what the kernel did with what the host did.
    pub(super) fn compare(&mut self, action: Action, events: &[Event]) -> Result<()> {
        let expected = match action {
            Action::Pass | Action::PassPlain => XDP_PASS,
            Action::Drop => XDP_DROP,
            Action::Answer => XDP_TX,
        };
        let found = self.last.take().context("a trial run")?;
        ensure!(found == expected, "the kernel says {found}, the replay {expected} (1 drop, 2 pass)");
        self.compare_events(events)
    }

    pub(super) fn compare_events(&mut self, events: &[Event]) -> Result<()> {
        self.compared += 1;
        for event in events {
            let found = self.events.try_next();
            ensure!(found == Some(*event), "the kernel tells {found:?}, the replay {event:?}");
        }
        if let Some(event) = self.events.try_next() {
            bail!("the kernel tells {event:?}, the replay nothing");
        }
        Ok(())
    }

    /// Compares what both counted in all.
    pub(super) fn compare_counters(&mut self, expected: &[Counter]) -> Result<()> {
        let counters = self.datapath.readings().counters()?;
        for (index, (kernel, host)) in counters.all().iter().zip(expected).enumerate() {
            ensure!(kernel == host, "counter {index}: the kernel has {kernel:?}, the replay {host:?}");
        }
        Ok(())
    }
}
