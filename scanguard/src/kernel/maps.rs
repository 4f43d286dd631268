//! The maps of the kernel part, typed, with the layouts of `scanguard-common`.
//!
//! aya wants values it knows to be plain data; the shared structs are plain data by zerocopy's proof, so they travel as
//! byte arrays of their size.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use aya::{Ebpf, Pod};
use scanguard_common::address::Address;
use scanguard_common::challenge::{ChallengeRecord, Nic, Pass};
use scanguard_common::class::PORT_ENTRIES;
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::Counter;
use scanguard_common::event::Event;
use scanguard_common::flow::{Flow, SentKey};
use scanguard_common::opened::{Asked, Endpoint, Question};
use scanguard_common::record::{Backup, SourceRecord};
use scanguard_common::session::{LiveSession, SessionRecord, SynAck, SynAckLeft};
use scanguard_common::sieve::SIEVE_WORDS;
use scanguard_common::storm::State;
use scanguard_common::verdict::{Allowance, Known, Verdict};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::KernelError;
use super::mapped::Mapped;
use crate::prefix_map::Prefix;

pub(super) type AddressBytes = [u8; size_of::<Address>()];
pub(super) type ConfigBytes = [u8; size_of::<KernelConfig>()];
pub(super) type RecordBytes = [u8; size_of::<SourceRecord>()];
pub(super) type CounterBytes = [u8; size_of::<Counter>()];
pub(super) type EventBytes = [u8; size_of::<Event>()];
pub(super) type FlowBytes = [u8; size_of::<Flow>()];
pub(super) type SynAckBytes = [u8; size_of::<SynAck>()];
pub(super) type SynAckLeftBytes = [u8; size_of::<SynAckLeft>()];
pub(super) type SentBytes = [u8; size_of::<SentKey>()];
pub(super) type VerdictBytes = [u8; size_of::<Verdict>()];
pub(super) type KnownBytes = [u8; size_of::<Known>()];
pub(super) type AllowanceBytes = [u8; size_of::<Allowance>()];
pub(super) type BackupBytes = [u8; size_of::<Backup>()];
pub(super) type EndpointBytes = [u8; size_of::<Endpoint>()];
pub(super) type StateBytes = [u8; size_of::<State>()];
pub(super) type QuestionBytes = [u8; size_of::<Question>()];
pub(super) type AskedBytes = [u8; size_of::<Asked>()];
pub(super) type SessionBytes = [u8; size_of::<SessionRecord>()];
pub(super) type LiveBytes = [u8; size_of::<LiveSession>()];
pub(super) type ChallengeBytes = [u8; size_of::<ChallengeRecord>()];
pub(super) type PassBytes = [u8; size_of::<Pass>()];
pub(super) type NicBytes = [u8; size_of::<Nic>()];

/// A key of a longest-prefix match (`struct bpf_lpm_trie_key_u8`, `include/uapi/linux/bpf.h`).
#[derive(Clone, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub(super) struct LpmKey {
    bits: u32,
    address: AddressBytes,
}

impl From<LpmKey> for Prefix {
    fn from(LpmKey { bits, address }: LpmKey) -> Self {
        Self { address, bits: bits as u8 }
    }
}

/// What can be read whole, entry by entry.
pub(super) mod whole {
    use scanguard_common::source::SourceKey;

    use super::{Backup, Endpoint, SourceRecord};

    /// An entry of ASKED.
    pub(in super::super) type Asked = (super::Question, super::Asked);
    /// An entry of UFLOWS.
    pub(in super::super) type Flow = (super::Flow, u64);
    /// An entry of SENT.
    pub(in super::super) type Sent = (super::SentKey, u64);
    /// An entry of SESSIONS.
    pub(in super::super) type Sessions = (SourceKey, super::SessionRecord);
    /// An entry of LIVE.
    pub(in super::super) type Live = (u64, super::LiveSession);
    /// An entry of SOURCES or PREFIXES.
    pub(in super::super) type Record = (SourceKey, SourceRecord);
    /// An entry of SUSPECTS.
    pub(in super::super) type Suspect = (SourceKey, Backup);
    /// An entry of VERDICTS.
    pub(in super::super) type Verdict = (SourceKey, super::Verdict);
    /// An entry of KNOWN.
    pub(in super::super) type Known = (SourceKey, super::Known);
    /// An entry of CHALLENGED.
    pub(in super::super) type Challenged = (SourceKey, super::ChallengeRecord);
    /// An entry of PASSES.
    pub(in super::super) type Pass = (super::Flow, super::Pass);
    /// An entry of a longest-prefix match.
    pub(in super::super) type OfPrefix<V> = (super::LpmKey, V);
    /// An entry of NICS.
    pub(in super::super) type Nic = (u32, super::NicBytes);
    /// An entry of OPENED.
    pub(in super::super) type Opened = (Endpoint, u64);
}

/// Own addresses, and as many of groups, for which the map OWN has room, as `scanguard-ebpf/src/maps/own.rs` says.
pub(super) const MAX_OWN_ADDRESSES: usize = 4096;

/// Entries of the map LOCAL, as `scanguard-ebpf/src/maps/own.rs` says.
pub(super) const MAX_LOCAL: usize = 256;

/// Entries of the map PROTECTED, as `scanguard-ebpf/src/maps/own.rs` says.
pub(super) const MAX_PROTECTED: usize = 1024;

/// What OWN, LOCAL and PROTECTED say of what is in them.
pub(super) const OURS: u32 = 1;
/// What OWN says of an address of many hosts, this one among them.
pub(super) const GROUP: u32 = 2;

/// What this process writes.
pub(super) struct Written {
    pub(super) config: Array<MapData, ConfigBytes>,
    pub(super) ports: Array<MapData, u8>,
    pub(super) own: HashMap<MapData, AddressBytes, u32>,
    pub(super) local: LpmTrie<MapData, AddressBytes, u32>,
    pub(super) protected: LpmTrie<MapData, AddressBytes, u32>,
    pub(super) senders: Array<MapData, u64>,
    pub(super) opened: HashMap<MapData, EndpointBytes, u64>,
    pub(super) verdicts: HashMap<MapData, AddressBytes, VerdictBytes>,
    pub(super) sieve: Array<MapData, u64>,
    pub(super) prefix_verdicts: LpmTrie<MapData, AddressBytes, VerdictBytes>,
    pub(super) known: HashMap<MapData, AddressBytes, KnownBytes>,
    pub(super) allow: LpmTrie<MapData, AddressBytes, AllowanceBytes>,
    pub(super) sources: HashMap<MapData, AddressBytes, RecordBytes>,
    pub(super) suspects: HashMap<MapData, AddressBytes, BackupBytes>,
    pub(super) proven_suspects: HashMap<MapData, AddressBytes, BackupBytes>,
    pub(super) refused: HashMap<MapData, AddressBytes, u64>,
    pub(super) sessions: HashMap<MapData, AddressBytes, SessionBytes>,
    pub(super) nics: HashMap<MapData, u32, NicBytes>,
}

/// What the kernel part writes and this process reads.
pub(super) struct Counted {
    /// Maps that are read whole.
    pub(super) sources_map: Whole,
    pub(super) prefixes_map: Whole,
    pub(super) suspects_map: Whole,
    pub(super) proven_suspects_map: Whole,
    pub(super) opened_map: Whole,
    pub(super) verdicts_map: Whole,
    pub(super) known_map: Whole,
    pub(super) asked_map: Whole,
    pub(super) flows_map: Whole,
    pub(super) sent_map: Whole,
    pub(super) sessions_map: Whole,
    pub(super) live_map: Whole,
    pub(super) own_map: Whole,
    pub(super) challenged_map: Whole,
    pub(super) passes_map: Whole,
    pub(super) allow_map: Whole,
    pub(super) prefix_verdicts_map: Whole,
    pub(super) local_map: Whole,
    pub(super) protected_map: Whole,
    /// Arrays that are read whole, in memory.
    pub(super) ports: Mapped,
    pub(super) sieve: Mapped,
    pub(super) nics_map: Whole,
    pub(super) sources: HashMap<MapData, AddressBytes, RecordBytes>,
    pub(super) networks: HashMap<MapData, AddressBytes, RecordBytes>,
    pub(super) counters: PerCpuArray<MapData, CounterBytes>,
    pub(super) state: Array<MapData, StateBytes>,
    pub(super) sessions: HashMap<MapData, AddressBytes, SessionBytes>,
}

/// A map that is read whole.
pub(super) struct Whole {
    pub(super) name: &'static str,
    pub(super) descriptor: OwnedFd,
    pub(super) size: MapSize,
}

/// Where maps come from: a loaded object, or pins.
pub(super) trait Maps {
    /// A handle on the map of this name.
    fn take(&mut self, name: &'static str) -> Result<Map, KernelError>;
}

/// Handles of their own: programs that are not loaded yet name maps by the descriptors that the object has.
impl Maps for Ebpf {
    fn take(&mut self, name: &'static str) -> Result<Map, KernelError> {
        let map = self.map(name).ok_or(KernelError::NoSuchPart(name))?;
        let descriptor = descriptor(map)?.try_clone_to_owned().map_err(copying)?;
        MapData::from_fd(descriptor).and_then(Map::from_map_data).map_err(map_error(name))
    }
}

/// All maps but the ring of events.
pub(super) fn take(maps: &mut impl Maps) -> Result<(Written, Counted), KernelError> {
    let (sources, sources_map) = whole_map(maps, "SOURCES")?;
    let (suspects, suspects_map) = whole_map(maps, "SUSPECTS")?;
    let (proven_suspects, proven_suspects_map) = whole_map(maps, "PROVEN_SUSPECTS")?;
    let (networks, prefixes_map) = whole_map(maps, "PREFIXES")?;
    let (opened, opened_map) = whole_map(maps, "OPENED")?;
    // These are only read whole.
    let (_, asked_map) = whole_map::<QuestionBytes, AskedBytes>(maps, "ASKED")?;
    let (_, flows_map) = whole_map::<FlowBytes, u64>(maps, "UFLOWS")?;
    let (_, sent_map) = whole_map::<SentBytes, u64>(maps, "SENT")?;
    let (sessions, sessions_map) = whole_map(maps, "SESSIONS")?;
    let (_, live_map) = whole_map::<u64, LiveBytes>(maps, "LIVE")?;
    let (_, challenged_map) = whole_map::<AddressBytes, ChallengeBytes>(maps, "CHALLENGED")?;
    let (_, passes_map) = whole_map::<FlowBytes, PassBytes>(maps, "PASSES")?;
    let refused = one(maps, "REFUSED")?;
    let (verdicts, verdicts_map) = whole_map(maps, "VERDICTS")?;
    let (sieve, sieve_mapped) = mapped(maps, "SIEVE", SIEVE_WORDS)?;
    let (own, own_map) = whole_map(maps, "OWN")?;
    let (known, known_map) = whole_map(maps, "KNOWN")?;
    let (allow, allow_map) = typed(maps, "ALLOW")?;
    let (prefix_verdicts, prefix_verdicts_map) = typed(maps, "PREFIX_VERDICTS")?;
    let (local, local_map) = typed(maps, "LOCAL")?;
    let (protected, protected_map) = typed(maps, "PROTECTED")?;
    let (ports, ports_mapped) = mapped(maps, "PORTS", PORT_ENTRIES)?;
    let (nics, nics_map) = whole_map(maps, "NICS")?;
    let sources_again = HashMap::try_from(copy(&sources_map)?).map_err(map_error("SOURCES"))?;
    let sessions_again = HashMap::try_from(copy(&sessions_map)?).map_err(map_error("SESSIONS"))?;
    let written = Written {
        config: one(maps, "CONFIG")?,
        ports,
        own,
        local,
        protected,
        senders: one(maps, "SENDERS")?,
        opened,
        verdicts,
        sieve,
        prefix_verdicts,
        known,
        allow,
        sources,
        suspects,
        proven_suspects,
        refused,
        sessions,
        nics,
    };
    let counted = Counted {
        sources_map,
        prefixes_map,
        suspects_map,
        proven_suspects_map,
        opened_map,
        verdicts_map,
        known_map,
        asked_map,
        flows_map,
        sent_map,
        sessions_map,
        live_map,
        own_map,
        challenged_map,
        passes_map,
        allow_map,
        prefix_verdicts_map,
        local_map,
        protected_map,
        ports: ports_mapped,
        sieve: sieve_mapped,
        nics_map,
        sources: sources_again,
        networks,
        counters: one(maps, "COUNTERS")?,
        state: one(maps, "STATE")?,
        sessions: sessions_again,
    };
    Ok((written, counted))
}

/// A map as its type.
pub(super) fn one<M>(maps: &mut impl Maps, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = MapError>,
{
    M::try_from(maps.take(name)?).map_err(map_error(name))
}

/// A hash map, and what it takes to read it whole.
fn whole_map<K: Pod, V: Pod>(
    maps: &mut impl Maps,
    name: &'static str,
) -> Result<(HashMap<MapData, K, V>, Whole), KernelError> {
    typed(maps, name)
}

/// An array as its type, and its memory.
fn mapped<V: Pod>(
    maps: &mut impl Maps,
    name: &'static str,
    entries: u32,
) -> Result<(Array<MapData, V>, Mapped), KernelError> {
    let map = maps.take(name)?;
    let mapped = Mapped::new(descriptor(&map)?, entries);
    let mapped = mapped.map_err(|source| KernelError::Io { what: "map an array into memory", source })?;
    Ok((Array::try_from(map).map_err(map_error(name))?, mapped))
}

/// A map as its type, and what it takes to read it whole.
fn typed<M>(maps: &mut impl Maps, name: &'static str) -> Result<(M, Whole), KernelError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = maps.take(name)?;
    let size = size_of_map(&map)?;
    let descriptor = descriptor(&map)?.try_clone_to_owned().map_err(copying)?;
    Ok((M::try_from(map).map_err(map_error(name))?, Whole { name, descriptor, size }))
}

/// Writes a record into a map of them, by a handle of its own.
#[cfg(feature = "rig")]
pub(super) fn write_record(map: &Whole, record: &SourceRecord) -> Result<(), KernelError> {
    let mut records = HashMap::<_, AddressBytes, RecordBytes>::try_from(copy(map)?).map_err(map_error(map.name))?;
    records.insert(record.source.0.bytes(), to_bytes::<_, RecordBytes>(record), 0).map_err(map_error(map.name))
}

/// A second handle on a map.
fn copy(map: &Whole) -> Result<Map, KernelError> {
    let descriptor = map.descriptor.try_clone().map_err(copying)?;
    MapData::from_fd(descriptor).and_then(Map::from_map_data).map_err(map_error(map.name))
}

fn copying(source: std::io::Error) -> KernelError {
    KernelError::Io { what: "copy a map's descriptor", source }
}

fn descriptor(map: &Map) -> Result<BorrowedFd<'_>, KernelError> {
    match map {
        Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::LpmTrie(data)
        | Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => Ok(data.fd().as_fd()),
        _ => Err(KernelError::NoSuchPart("map of a known type")),
    }
}

/// A map's size as the kernel accounts for it: `max_entries` and `memlock` in the descriptor's fdinfo (bpf_map_show_fdinfo in
/// kernel/bpf/syscall.c).
fn size_of_map(map: &Map) -> Result<MapSize, KernelError> {
    let path = format!("/proc/self/fdinfo/{}", descriptor(map)?.as_raw_fd());
    let text = fs::read_to_string(path).map_err(|source| KernelError::Io { what: "read a map's fdinfo", source })?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Ok(MapSize { capacity: field("max_entries"), bytes: field("memlock") })
}

/// Whether it fails because there is such an entry.
pub(super) fn is_there(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.kind() == std::io::ErrorKind::AlreadyExists)
}

/// Whether an error says that there is no such entry.
pub(super) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        // What aya 0.14 says instead where it deletes and updates.
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The outcome of deleting an entry, where it is no error that there was none.
pub(super) fn deleted(map: &'static str, result: Result<(), MapError>) -> Result<(), KernelError> {
    match result {
        Err(error) if !is_missing(&error) => Err(map_error(map)(error)),
        _ => Ok(()),
    }
}

/// Turns an error of aya into ours.
pub(super) fn map_error(map: &'static str) -> impl Fn(MapError) -> KernelError {
    move |source| KernelError::Map { map, source }
}

/// What a map can hold.
#[derive(Clone, Copy)]
pub(super) struct MapSize {
    /// Entries it can hold.
    pub(super) capacity: u64,
    /// Bytes of kernel memory it takes, all of it allocated when it was made.
    pub(super) bytes: u64,
}

/// A shared struct as the bytes that aya carries; `B` is the byte array of its size.
pub(super) fn to_bytes<T: IntoBytes + Immutable, B: Pod + FromBytes>(value: &T) -> B {
    B::read_from_bytes(value.as_bytes()).expect("a byte array of the struct's own size")
}

/// The shared struct in bytes that aya carried.
pub(super) fn from_bytes<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).expect("a byte array of the struct's own size")
}
