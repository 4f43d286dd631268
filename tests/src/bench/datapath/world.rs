//! The datapath with its tables filled, and the sources that it has met.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, ensure};
use ipnetwork::IpNetwork;
use scanguard::kernel::rig::{Place, Rig, Vary};
use scanguard::kernel::{Datapath, EventStream, LoadOptions, NEVER_NS, clock};
use scanguard_common::challenge::{ChallengeMode, ChallengeRules};
use scanguard_common::class::Protocol;
use scanguard_common::config::KernelConfig;
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::opened::Endpoint;
use scanguard_common::reason::Mode;
use scanguard_common::record::SourceRecord;
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::{Origin, Scope, Verdict};

use super::rows::{Asked, PROTECTED, PUBLIC};
use crate::frames;

/// Addresses of sources that are known (10.0.0.0).
pub(super) const KNOWN_BASE: u32 = 0x0a00_0000;
/// Of those that are blocked.
pub(super) const BLOCKED_BASE: u32 = 0x0b00_0000;
/// Of those that are blocked from private ports.
pub(super) const PRIVATE_BASE: u32 = 0x0c00_0000;
/// Of suspects.
pub(super) const SUSPECT_BASE: u32 = 0x0d00_0000;
/// Of those that ask for closed ports.
pub(super) const CONTACT_BASE: u32 = 0x0e00_0000;
/// Of those that nobody has seen before.
pub(super) const FRESH_BASE: u32 = 0x1400_0000;
/// Of the allowlist.
const ALLOW_BASE: u32 = 0x5000_0000;

/// Entries of each table that is filled.
pub(super) const MANY: u32 = 100_000;
/// Sources of a row where tables are not.
const FEW: u32 = 64;
/// Suspects of [`Fill::Guarded`].
const GUARDED_SUSPECTS: u32 = 1_000;
/// Entries that xdp-filter's tables have room for, as VERDICTS has.
pub(super) const FILTER_ENTRIES: u32 = 131_072;

/// What the tables hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fill {
    /// Sources of the rows, nothing else.
    Nothing,
    /// A few verdicts.
    Few,
    /// Many verdicts, sources, and prefixes of the allowlist.
    Full,
    /// A million sources, of which the table keeps the latest.
    Flooded,
    /// The same, and new ones come faster than all of them are recorded.
    Limited,
    /// A thousand suspects, one source that is blocked from everything, a network that is protected, and challenges.
    Guarded,
}

impl Fill {
    /// As JSON has it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Nothing | Self::Few => "empty",
            Self::Full | Self::Flooded | Self::Limited => "full",
            Self::Guarded => "guarded",
        }
    }

    /// Known sources.
    pub(super) const fn sources(self) -> u32 {
        if matches!(self, Self::Full) { MANY } else { FEW }
    }

    /// Blocked sources.
    pub(super) const fn verdicts(self) -> u32 {
        match self {
            Self::Nothing | Self::Flooded | Self::Limited => 0,
            Self::Few => FEW,
            Self::Full => MANY,
            Self::Guarded => 1,
        }
    }

    /// Sources that make first contacts, each in a network of its own; nobody reads events while a row runs, so as many as there is room for in the ring of events at most.
    pub(super) const fn contacts(self) -> u32 {
        if matches!(self, Self::Full) { 8_192 } else { 4_096 }
    }
}

/// Addresses that are blocked.
pub(super) fn blocked(fill: Fill) -> impl Iterator<Item = Ipv4Addr> {
    (0..fill.verdicts()).map(|number| Ipv4Addr::from(BLOCKED_BASE | number))
}

/// The datapath in mode enforce, watched over, its tables filled.
pub(super) struct World {
    pub(super) kernel: Datapath,
    events: EventStream,
    fill: Fill,
}

impl World {
    pub(super) fn new(fill: Fill) -> Result<Self> {
        // Where tables are full all the sources of all rows have room beside each other.
        let mut kernel =
            Datapath::load(&LoadOptions::default()).context("cannot load the kernel part, which needs root")?;
        kernel.set_port_classes(frames::port_entries())?;
        kernel.set_own_addresses(&frames::own_addresses())?;
        let challenges = if fill == Fill::Guarded { ChallengeMode::On } else { ChallengeMode::Off };
        let challenge = ChallengeRules { keys: [[0; 2]; 2], mode: challenges as u32, reply: 0 };
        // Tables are filled at once.
        let newcomers = NewcomerRules::unlimited();
        let config = KernelConfig { mode: Mode::Enforce as u32, challenge, newcomers, ..KernelConfig::new([1, 2]) };
        kernel.set_config(&config)?;
        kernel.set_egress(Some(clock::monotonic_coarse_ns()))?;
        for address in blocked(fill) {
            set_verdict(&mut kernel, address, Scope::All)?;
        }
        if matches!(fill, Fill::Few | Fill::Full) {
            for number in 0..FEW {
                set_verdict(&mut kernel, Ipv4Addr::from(PRIVATE_BASE | number), Scope::Private)?;
            }
        }
        if fill == Fill::Guarded {
            kernel.set_protected(&[IpNetwork::new(PROTECTED.into(), 24).context("a network")?])?;
            // All of whom something left before.
            kernel.set_elsewhere(true, true)?;
            let port = Endpoint::new(IpAddr::from(PROTECTED).into(), PUBLIC, Protocol::Tcp);
            kernel.restore_opened([(port, clock::monotonic_coarse_ns())])?;
            for address in frames::own_addresses().into_iter().chain([IpAddr::from(PROTECTED)]) {
                kernel.set_virtual_sender(&address.into())?;
            }
        }
        if fill == Fill::Full {
            kernel.allow(&allowed().collect::<Vec<_>>())?;
        }
        let events = kernel.take_events()?;
        Ok(Self { kernel, events, fill })
    }

    /// Has the datapath meet the sources that it is to know.
    pub(super) fn settle(&mut self, rig: &mut Rig, place: Place) -> Result<()> {
        self.kernel.beat()?;
        if matches!(self.fill, Fill::Flooded | Fill::Limited) {
            let many = Asked::Fresh.vary(self.fill);
            rig.run_varied(place, &many, 0, &Asked::Fresh.frame(), many.count)?;
            if self.fill == Fill::Limited {
                let config = KernelConfig { newcomers: NewcomerRules::new(), ..*self.kernel.config() };
                self.kernel.set_config(&config)?;
            }
            return Ok(());
        }
        let suspects = if self.fill == Fill::Guarded { GUARDED_SUSPECTS } else { FEW };
        let mut meet = |frame: &[u8], vary: Vary| -> Result<()> {
            rig.run_varied(place, &vary, 0, frame, vary.count)?;
            Ok(())
        };
        for asked in [Asked::Known, Asked::Known6, Asked::KnownProtected, Asked::Datagram, Asked::Echo, Asked::Illegal]
        {
            meet(&asked.frame(), asked.vary(self.fill))?;
        }
        // First contacts are made by sources that asked for something else before.
        for asked in [Asked::FirstContact, Asked::Again] {
            meet(&Asked::Known.frame(), asked.vary(self.fill))?;
        }
        meet(&Asked::Again.frame(), Asked::Again.vary(self.fill))?;
        for port in frames::CLOSED.take(6) {
            let vary = Vary { count: suspects, ..Asked::Concealed.vary(self.fill) };
            meet(&frames::syn(Ipv4Addr::UNSPECIFIED, port), vary)?;
        }
        let found = self.kernel.readings().suspects()?.len();
        ensure!(found == suspects as usize, "{found} suspects");
        self.drain();
        Ok(())
    }

    /// Makes ready for a row.
    pub(super) fn prepare(&mut self, asked: Asked, vary: &Vary) -> Result<()> {
        self.kernel.beat()?;
        self.drain();
        if asked == Asked::FirstContact {
            // As if they had asked for a public port only.
            let now_ns = clock::monotonic_coarse_ns();
            for number in 0..vary.count {
                let address = IpAddr::from(Ipv4Addr::from(vary.word(number)));
                let record = SourceRecord { attempts: 1, ..SourceRecord::new(SourceKey(address.into()), now_ns) };
                self.kernel.set_virtual_record(&record)?;
                // A network of which it is the only source.
                let network = KeyRules::network(&record.source);
                self.kernel.set_virtual_network(&SourceRecord::new(network, now_ns))?;
            }
        }
        Ok(())
    }

    fn drain(&mut self) {
        while self.events.try_next().is_some() {}
    }
}

fn set_verdict(kernel: &mut Datapath, address: Ipv4Addr, scope: Scope) -> Result<()> {
    let source = SourceKey(IpAddr::from(address).into());
    let verdict = Verdict::block(scope, Origin::Operator, NEVER_NS);
    kernel.set_verdict(source, &verdict)?.map_err(|refusal| anyhow::anyhow!("{address}: {refusal:?}"))
}

/// Prefixes of several lengths, none of which covers a source of any row.
fn allowed() -> impl Iterator<Item = (scanguard::prefix_map::Prefix, u64)> {
    (0..MANY).map(|number| {
        let length = 26 + (number % 7) as u8;
        let network = IpNetwork::new(Ipv4Addr::from(ALLOW_BASE + number * 64).into(), length);
        (network.expect("a length of IPv4").into(), NEVER_NS)
    })
}
