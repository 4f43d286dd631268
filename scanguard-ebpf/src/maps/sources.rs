//! SOURCES, NEWCOMERS and PREFIXES: what is remembered of each source and of each network, least recently used out first.

use core::cell::UnsafeCell;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use scanguard_common::capacity;
use scanguard_common::newcomers::{NewcomerRules, Newcomers};
use scanguard_common::record::{SourceCell, SourceRecord};
use scanguard_common::source::SourceKey;

/// Entries; the loader may set another number.
/// Networks remembered.

#[btf_map]
static SOURCES: LruHashMap<SourceKey, SourceRecord, { capacity::SOURCES as usize }> = LruHashMap::new();

#[btf_map]
static PREFIXES: LruHashMap<SourceKey, SourceRecord, { capacity::PREFIXES as usize }> = LruHashMap::new();

#[btf_map]
static NEWCOMERS: PerCpuArray<Newcomers, 1> = PerCpuArray::new();

#[btf_map]
static FRESH: PerCpuArray<SourceRecord, 1> = PerCpuArray::new();

/// The record of a source.
#[inline(always)]
pub(crate) fn source(key: &SourceKey) -> Option<SourceCell<'static>> {
    SOURCES.get_ptr_mut(key).map(cell)
}

/// A record for a source that has none; nothing when the table took no new entry.
#[inline(always)]
pub(crate) fn new_source(key: &SourceKey, now_ns: u64) -> Option<SourceCell<'static>> {
    insert_source(key, now_ns);
    source(key)
}

/// Whether a source that has no record, and asks for nothing that is held against it, gets one.
#[inline(always)]
pub(crate) fn admits(rules: &NewcomerRules, now_ns: u64) -> bool {
    // SAFETY: the entry is this CPU's own, and XDP programs do not interrupt each other on a CPU.
    NEWCOMERS.get_ptr_mut(0).is_none_or(|newcomers| unsafe { (*newcomers).admits(rules, now_ns) })
}

/// The record of a network.
#[inline(always)]
pub(crate) fn network(key: &SourceKey) -> Option<SourceCell<'static>> {
    PREFIXES.get_ptr_mut(key).map(cell)
}

/// A record for a network that has none; nothing when the table took no new entry.
#[inline(always)]
pub(crate) fn new_network(key: &SourceKey, now_ns: u64) -> Option<SourceCell<'static>> {
    insert_network(key, now_ns);
    network(key)
}

#[inline(always)]
fn insert_source(key: &SourceKey, now_ns: u64) {
    if let Some(record) = fresh(key, now_ns) {
        // When another CPU was faster this fails, and its record is found afterwards.
        let _ = SOURCES.insert(key, record, u64::from(BPF_NOEXIST));
    }
}

#[inline(always)]
fn insert_network(key: &SourceKey, now_ns: u64) {
    if let Some(record) = fresh(key, now_ns) {
        let _ = PREFIXES.insert(key, record, u64::from(BPF_NOEXIST));
    }
}

/// A record with nothing counted, as [`SourceRecord::new`] makes it, in this CPU's scratch memory: all else in it stays
/// zero. There is no room for it on the stack.
#[inline(always)]
fn fresh(source: &SourceKey, now_ns: u64) -> Option<&'static SourceRecord> {
    let record = FRESH.get_ptr_mut(0)?;
    // SAFETY: the entry is this CPU's own, and XDP programs do not interrupt each other on a CPU.
    let record = unsafe { &mut *record };
    record.source = *source;
    record.first_seen_ns = now_ns;
    record.last_seen_ns = now_ns;
    record.decayed_ns = now_ns;
    Some(record)
}

#[inline(always)]
fn cell(record: *mut SourceRecord) -> SourceCell<'static> {
    // SAFETY: the kernel keeps the node's memory valid for the run of the program (it may be recycled for another
    // source, which the key in the value tells), and all access goes through the cell.
    SourceCell::new(unsafe { &*record.cast::<UnsafeCell<SourceRecord>>() })
}
