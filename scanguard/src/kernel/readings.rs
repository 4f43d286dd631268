//! What the kernel part counted, read from its maps.

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aya::maps::MapError;
use scanguard_common::address::Address;
use scanguard_common::challenge::{ChallengeRecord, Pass};
use scanguard_common::counter::{COUNTER_ENTRIES, Counter, CounterIndex};
use scanguard_common::flow::Flow;
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_common::record::SourceRecord;
use scanguard_common::session::{LiveSession, SessionRecord};
use scanguard_common::source::SourceKey;
use scanguard_common::storm::State;
use scanguard_common::verdict::{Allowance, Scope, Verdict};
use zerocopy::{FromBytes, IntoBytes};

use super::batch;
use super::clock;
use super::decided::Decided;
use super::error::KernelError;
use super::maps::{Counted, MapSize, OURS, Whole, from_bytes, map_error, whole};
use crate::prefix_map::Prefix;

/// A handle on what was counted. Cheap to clone; calls block for as long as the system calls take, so keep them off the async
/// threads.
#[derive(Clone)]
pub struct Readings {
    shared: Arc<Shared>,
}

struct Shared {
    counted: Counted,
    own_addresses: AtomicU64,
    /// Entries of VERDICTS, PREFIX_VERDICTS, ALLOW and KNOWN.
    decided: [AtomicU64; 4],
    /// Of the first two, blocks of private ports and blocks of all.
    blocks: [AtomicU64; 2],
    heartbeat_ns: AtomicU64,
}

/// How full a table is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MapUse {
    /// The map's name.
    pub name: &'static str,
    /// Entries in it.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
    /// Bytes of kernel memory it takes.
    pub bytes: u64,
}

impl Readings {
    pub(super) fn new(counted: Counted) -> Self {
        let [own_addresses, heartbeat_ns] = Default::default();
        let (decided, blocks) = Default::default();
        Self { shared: Arc::new(Shared { counted, own_addresses, decided, blocks, heartbeat_ns }) }
    }

    pub(super) fn set_own_addresses(&self, count: usize) {
        self.shared.own_addresses.store(count as u64, Ordering::Relaxed);
    }

    pub(super) fn set_heartbeat(&self, now_ns: u64) {
        self.shared.heartbeat_ns.store(now_ns, Ordering::Relaxed);
    }

    /// How long ago the kernel part was last told that somebody watches over it.
    #[must_use]
    pub fn heartbeat_age(&self) -> Duration {
        let heartbeat_ns = self.shared.heartbeat_ns.load(Ordering::Relaxed);
        Duration::from_nanos(clock::monotonic_coarse_ns().saturating_sub(heartbeat_ns))
    }

    pub(super) fn set_verdicts(&self, decided: &Decided) {
        for (told, count) in self.shared.decided.iter().zip(decided.entries()) {
            told.store(count as u64, Ordering::Relaxed);
        }
        for (block, count) in self.shared.blocks.iter().zip(decided.blocks()) {
            block.store(count, Ordering::Relaxed);
        }
    }

    /// How many sources and prefixes are blocked with this scope, those among them whose time is over and that nobody removed yet.
    #[must_use]
    pub fn blocks(&self, scope: Scope) -> u64 {
        self.shared.blocks[scope as usize].load(Ordering::Relaxed)
    }

    /// All counters, summed over CPUs. Some 500 system calls.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counters(&self) -> Result<Counters, KernelError> {
        let mut values = Vec::with_capacity(COUNTER_ENTRIES as usize);
        for index in 0..COUNTER_ENTRIES {
            let per_cpu = self.shared.counted.counters.get(&index, 0).map_err(map_error("COUNTERS"))?;
            let mut sum = Counter::default();
            for bytes in per_cpu.iter() {
                let Counter { packets, bytes } = from_bytes(bytes);
                sum.packets += packets;
                sum.bytes += bytes;
            }
            values.push(sum);
        }
        Ok(Counters { values })
    }

    /// All records, each source once, in no order. Some 100 ms for 300,000 of them.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn sources(&self) -> Result<Vec<SourceRecord>, KernelError> {
        // SAFETY: SOURCES is a hash of such entries; its object was built from the same source.
        let entries: Vec<whole::Record> = unsafe { read(&self.shared.counted.sources_map) }?;
        Ok(entries.into_iter().map(|(_, record)| record).collect())
    }

    /// Writes the record of a network, as only the kernel part does otherwise.
    #[cfg(feature = "rig")]
    pub(super) fn write_network(&self, record: &SourceRecord) -> Result<(), KernelError> {
        super::maps::write_record(&self.shared.counted.prefixes_map, record)
    }

    /// All records of networks (/24, /48).
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn networks(&self) -> Result<Vec<SourceRecord>, KernelError> {
        // SAFETY: as for SOURCES.
        let entries: Vec<whole::Record> = unsafe { read(&self.shared.counted.prefixes_map) }?;
        Ok(entries.into_iter().map(|(_, record)| record).collect())
    }

    /// All suspects that are kept, whether or not their time is over, each once.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn suspects(&self) -> Result<Vec<whole::Suspect>, KernelError> {
        let counted = &self.shared.counted;
        // SAFETY: as for SOURCES.
        let mut suspects: Vec<whole::Suspect> = unsafe { read(&counted.proven_suspects_map) }?;
        let proven: HashSet<SourceKey> = suspects.iter().map(|(source, _)| *source).collect();
        // SAFETY: as for SOURCES.
        let others: Vec<whole::Suspect> = unsafe { read(&counted.suspects_map) }?;
        suspects.extend(others.into_iter().filter(|(source, _)| !proven.contains(source)));
        Ok(suspects)
    }

    /// All verdicts on sources that the kernel holds.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn verdicts(&self) -> Result<Vec<whole::Verdict>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.verdicts_map) }
    }

    pub(super) fn prefix_verdicts(&self) -> Result<Vec<(Prefix, Verdict)>, KernelError> {
        self.by_prefix(&self.shared.counted.prefix_verdicts_map)
    }

    /// What the kernel holds of the allowlist.
    pub(super) fn allowances(&self) -> Result<Vec<(Prefix, Allowance)>, KernelError> {
        self.by_prefix(&self.shared.counted.allow_map)
    }

    pub(super) fn local(&self) -> Result<Vec<(Prefix, u32)>, KernelError> {
        self.by_prefix(&self.shared.counted.local_map)
    }

    pub(super) fn protected(&self) -> Result<Vec<(Prefix, u32)>, KernelError> {
        self.by_prefix(&self.shared.counted.protected_map)
    }

    /// Entries of a longest-prefix match, whose values must be of this type.
    fn by_prefix<V: FromBytes + IntoBytes + Clone>(&self, map: &Whole) -> Result<Vec<(Prefix, V)>, KernelError> {
        // SAFETY: as for SOURCES; the keys of such maps are alike.
        let entries: Vec<whole::OfPrefix<V>> = unsafe { read(map) }?;
        Ok(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// What PORTS says, by index.
    pub(super) fn classes(&self) -> Vec<u8> {
        self.shared.counted.ports.read()
    }

    /// The words of SIEVE.
    pub(super) fn sieve(&self) -> Vec<u64> {
        self.shared.counted.sieve.read()
    }

    /// The addresses that the kernel part takes for this host's own, and for those of groups that it is of.
    pub(super) fn own(&self) -> Result<Vec<(Address, u32)>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.own_map) }
    }

    pub(super) fn nics(&self) -> Result<Vec<whole::Nic>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.nics_map) }
    }

    pub(super) fn known(&self) -> Result<Vec<whole::Known>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.known_map) }
    }

    /// All ports that the datapath itself saw open, and when.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn opened(&self) -> Result<Vec<whole::Opened>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.opened_map) }
    }

    /// All contacts that wait for an answer.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn asked(&self) -> Result<Vec<whole::Asked>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.asked_map) }
    }

    /// All flows of which datagrams left, and when last.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn flows(&self) -> Result<Vec<whole::Flow>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.flows_map) }
    }

    /// All sources to which datagrams of this host left, from which ports, and when last.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn sent(&self) -> Result<Vec<whole::Sent>, KernelError> {
        // SAFETY: as for SOURCES.
        unsafe { read(&self.shared.counted.sent_map) }
    }

    /// What is counted of everybody's sessions, in no order.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn sessions(&self) -> Result<Vec<SessionRecord>, KernelError> {
        // SAFETY: as for SOURCES.
        let entries: Vec<whole::Sessions> = unsafe { read(&self.shared.counted.sessions_map) }?;
        Ok(entries.into_iter().map(|(_, record)| record).collect())
    }

    /// What is counted of one source's sessions.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn sessions_of(&self, source: &SourceKey) -> Result<Option<SessionRecord>, KernelError> {
        match self.shared.counted.sessions.get(&source.0.bytes(), 0) {
            Ok(bytes) => Ok(Some(from_bytes(&bytes))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map_error("SESSIONS")(error)),
        }
    }

    /// Sessions that go on, in no order.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn live_sessions(&self) -> Result<Vec<LiveSession>, KernelError> {
        // SAFETY: LIVE is a hash from cookies to sessions.
        let entries: Vec<whole::Live> = unsafe { read(&self.shared.counted.live_map) }?;
        Ok(entries.into_iter().map(|(_, session)| session).collect())
    }

    /// The addresses that the kernel part takes for this host's own.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn own_addresses(&self) -> Result<Ours, KernelError> {
        let addresses = self.own()?.into_iter().filter(|(_, kind)| *kind == OURS).map(|(address, _)| address).collect();
        Ok(Ours { addresses, prefixes: self.local()?.into_iter().map(|(prefix, _)| prefix).collect() })
    }

    /// What is kept of sources that were answered.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn challenged(&self) -> Result<Vec<ChallengeRecord>, KernelError> {
        // SAFETY: CHALLENGED is a hash from sources to records.
        let entries: Vec<whole::Challenged> = unsafe { read(&self.shared.counted.challenged_map) }?;
        Ok(entries.into_iter().map(|(_, record)| record).collect())
    }

    /// Connections whose stacks met a challenge.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn passes(&self) -> Result<Vec<(Flow, Pass)>, KernelError> {
        // SAFETY: PASSES is a hash from flows to passes.
        let entries: Vec<whole::Pass> = unsafe { read(&self.shared.counted.passes_map) }?;
        Ok(entries)
    }

    /// What is remembered beyond sources and networks.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn state(&self) -> Result<State, KernelError> {
        self.shared.counted.state.get(&0, 0).map(|bytes| from_bytes(&bytes)).map_err(map_error("STATE"))
    }

    /// The record of one source.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn source(&self, source: &SourceKey) -> Result<Option<SourceRecord>, KernelError> {
        match self.shared.counted.sources.get(&source.0.bytes(), 0) {
            Ok(bytes) => Ok(Some(from_bytes(&bytes))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map_error("SOURCES")(error)),
        }
    }

    /// The record of one network.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn network(&self, network: &SourceKey) -> Result<Option<SourceRecord>, KernelError> {
        match self.shared.counted.networks.get(&network.0.bytes(), 0) {
            Ok(bytes) => Ok(Some(from_bytes(&bytes))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map_error("PREFIXES")(error)),
        }
    }

    /// Entries that ALLOW can hold.
    pub(super) fn allow_capacity(&self) -> u64 {
        self.shared.counted.allow_map.size.capacity
    }

    /// How full the tables are that can fill up, where SOURCES was read to hold `sources` records.
    #[must_use]
    pub fn maps(&self, sources: usize) -> Vec<MapUse> {
        let Counted { sources_map, verdicts_map, own_map, allow_map, prefix_verdicts_map, known_map, .. } =
            &self.shared.counted;
        let [verdicts, prefix_verdicts, allowed, known] =
            [0, 1, 2, 3].map(|table: usize| self.shared.decided[table].load(Ordering::Relaxed));
        let with = |name, entries, MapSize { capacity, bytes }: MapSize| MapUse { name, entries, capacity, bytes };
        vec![
            with("SOURCES", sources as u64, sources_map.size),
            with("OWN", self.shared.own_addresses.load(Ordering::Relaxed), own_map.size),
            with("VERDICTS", verdicts, verdicts_map.size),
            with("PREFIX_VERDICTS", prefix_verdicts, prefix_verdicts_map.size),
            with("ALLOW", allowed, allow_map.size),
            with("KNOWN", known, known_map.size),
        ]
    }
}

/// # Safety
/// The map is a hash from `K` to `V`.
unsafe fn read<K, V>(map: &Whole) -> Result<Vec<(K, V)>, KernelError>
where
    K: FromBytes + IntoBytes + Clone,
    V: FromBytes + IntoBytes + Clone,
{
    // SAFETY: the caller's promise.
    unsafe { batch::entries(map.descriptor.as_fd()) }.map_err(|source| KernelError::Read { map: map.name, source })
}

const ADDRESS_BITS: u8 = 128;

/// The addresses that the kernel part takes for this host's own.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ours {
    addresses: HashSet<Address>,
    /// Local by route.
    prefixes: Vec<Prefix>,
}

impl Ours {
    /// Whether an address is one of them.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        let whole = Prefix::around(address, ADDRESS_BITS);
        self.addresses.contains(address) || self.prefixes.iter().any(|prefix| prefix.covers(&whole))
    }
}

/// All counters at one moment, summed over CPUs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counters {
    values: Vec<Counter>,
}

impl Counters {
    /// What was counted at an index.
    #[must_use]
    pub fn get(&self, index: CounterIndex) -> Counter {
        self.values.get(index.get() as usize).copied().unwrap_or_default()
    }

    /// All counters, by index.
    #[must_use]
    pub fn all(&self) -> &[Counter] {
        &self.values
    }

    /// What was done with packets and why, where there was any.
    pub fn verdicts(&self) -> impl Iterator<Item = (Level, Reason, Mode, Counter)> {
        Level::ALL.into_iter().flat_map(move |level| {
            Reason::ALL.iter().flat_map(move |reason| {
                Mode::ALL.into_iter().filter_map(move |mode| {
                    let counter = self.get(CounterIndex::verdict(level, *reason, mode));
                    (counter.packets > 0).then_some((level, *reason, mode, counter))
                })
            })
        })
    }
}
