//! The maps of the kernel part, typed, with the layouts of `scanguard-common`.
//!
//! aya wants values it knows to be plain data; the shared structs are plain data by zerocopy's proof, so they travel as
//! byte arrays of their size.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};
use scanguard_common::address::Address;
use scanguard_common::config::KernelConfig;
use scanguard_common::counter::Counter;
use scanguard_common::event::Event;
use scanguard_common::opened::Endpoint;
use scanguard_common::record::{Backup, SourceRecord};
use scanguard_common::storm::State;
use scanguard_common::tables::Flow;
use scanguard_common::verdict::{Allowance, Known, Verdict};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::error::KernelError;

pub(super) type AddressBytes = [u8; size_of::<Address>()];
pub(super) type ConfigBytes = [u8; size_of::<KernelConfig>()];
pub(super) type RecordBytes = [u8; size_of::<SourceRecord>()];
pub(super) type CounterBytes = [u8; size_of::<Counter>()];
pub(super) type EventBytes = [u8; size_of::<Event>()];
pub(super) type FlowBytes = [u8; size_of::<Flow>()];
pub(super) type VerdictBytes = [u8; size_of::<Verdict>()];
pub(super) type KnownBytes = [u8; size_of::<Known>()];
pub(super) type AllowanceBytes = [u8; size_of::<Allowance>()];
pub(super) type StateBytes = [u8; size_of::<State>()];

/// What can be read whole, entry by entry.
pub(super) mod whole {
    use super::{Backup, Endpoint, SourceRecord};
    use scanguard_common::source::SourceKey;

    /// An entry of SOURCES or PREFIXES.
    pub(in super::super) type Record = (SourceKey, SourceRecord);
    /// An entry of SUSPECTS.
    pub(in super::super) type Suspect = (SourceKey, Backup);
    /// An entry of OPENED.
    pub(in super::super) type Opened = (Endpoint, u64);
}

/// Entries of the map OWN, as `scanguard-ebpf/src/maps/own.rs` says.
pub(super) const MAX_OWN_ADDRESSES: usize = 4096;

/// What this process writes.
pub(super) struct Written {
    pub(super) config: Array<MapData, ConfigBytes>,
    pub(super) ports: Array<MapData, u8>,
    pub(super) own: HashMap<MapData, AddressBytes, u32>,
    pub(super) verdicts: HashMap<MapData, AddressBytes, VerdictBytes>,
    pub(super) known: HashMap<MapData, AddressBytes, KnownBytes>,
    pub(super) allow: LpmTrie<MapData, AddressBytes, AllowanceBytes>,
    pub(super) virtual_sockets: HashMap<MapData, FlowBytes, u32>,
}

/// What the kernel part writes and this process reads.
pub(super) struct Counted {
    /// Maps that are read whole.
    pub(super) sources_map: Whole,
    pub(super) prefixes_map: Whole,
    pub(super) suspects_map: Whole,
    pub(super) opened_map: Whole,
    pub(super) own_size: MapSize,
    pub(super) verdicts_size: MapSize,
    pub(super) sources: HashMap<MapData, AddressBytes, RecordBytes>,
    pub(super) counters: PerCpuArray<MapData, CounterBytes>,
    pub(super) state: Array<MapData, StateBytes>,
}

/// A map that is read whole.
pub(super) struct Whole {
    pub(super) name: &'static str,
    pub(super) descriptor: OwnedFd,
    pub(super) size: MapSize,
}

/// Takes the maps out of an object. Its programs must be loaded already: a map that is dropped before takes its
/// descriptor with it.
pub(super) fn take(object: &mut Ebpf) -> Result<(Written, Counted, RingBuf<MapData>), KernelError> {
    let [sources_map, prefixes_map, suspects_map, opened_map] = [
        describe(object, "SOURCES")?,
        describe(object, "PREFIXES")?,
        describe(object, "SUSPECTS")?,
        describe(object, "OPENED")?,
    ];
    let [own_size, verdicts_size] = [describe(object, "OWN")?.size, describe(object, "VERDICTS")?.size];
    let written = Written {
        config: one(object, "CONFIG")?,
        ports: one(object, "PORTS")?,
        own: one(object, "OWN")?,
        verdicts: one(object, "VERDICTS")?,
        known: one(object, "KNOWN")?,
        allow: one(object, "ALLOW")?,
        virtual_sockets: one(object, "VIRTUAL_SOCKETS")?,
    };
    let counted = Counted {
        sources_map,
        prefixes_map,
        suspects_map,
        opened_map,
        own_size,
        verdicts_size,
        sources: one(object, "SOURCES")?,
        counters: one(object, "COUNTERS")?,
        state: one(object, "STATE")?,
    };
    Ok((written, counted, one(object, "EVENTS")?))
}

fn one<M>(object: &mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = object.take_map(name).ok_or(KernelError::NoSuchPart(name))?;
    M::try_from(map).map_err(map_error(name))
}

/// The outcome of deleting an entry, where it is no error that there was none.
pub(super) fn deleted(map: &'static str, result: Result<(), MapError>) -> Result<(), KernelError> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        // What aya 0.14 says instead.
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(map_error(map)(error)),
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

/// A descriptor of a hash map, and its size as the kernel accounts for it.
fn describe(object: &Ebpf, name: &'static str) -> Result<Whole, KernelError> {
    let Some(Map::HashMap(map) | Map::LruHashMap(map)) = object.map(name) else {
        return Err(KernelError::NoSuchPart(name));
    };
    // `max_entries` and `memlock` in the descriptor's fdinfo (bpf_map_show_fdinfo in kernel/bpf/syscall.c).
    let io_error = |what| move |source| KernelError::Io { what, source };
    let descriptor = map.fd().as_fd().try_clone_to_owned().map_err(io_error("copy a map's descriptor"))?;
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let text = fs::read_to_string(path).map_err(io_error("read a map's fdinfo"))?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Ok(Whole { name, descriptor, size: MapSize { capacity: field("max_entries"), bytes: field("memlock") } })
}

/// A shared struct as the bytes that aya carries; `B` is the byte array of its size.
pub(super) fn to_bytes<T: IntoBytes + Immutable, B: Pod + FromBytes>(value: &T) -> B {
    B::read_from_bytes(value.as_bytes()).expect("a byte array of the struct's own size")
}

/// The shared struct in bytes that aya carried.
pub(super) fn from_bytes<T: FromBytes>(bytes: &[u8]) -> T {
    T::read_from_bytes(bytes).expect("a byte array of the struct's own size")
}
