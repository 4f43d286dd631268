//! SOURCES: what is remembered of each source, least recently used out first.

use core::cell::UnsafeCell;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::record::{SourceCell, SourceRecord};
use scanguard_common::source::SourceKey;

/// Entries; the loader may set another number.
const DEFAULT_ENTRIES: usize = 262_144;

#[btf_map]
static SOURCES: LruHashMap<SourceKey, SourceRecord, DEFAULT_ENTRIES> = LruHashMap::new();

/// The record of a source, made when there is none; nothing when the table took no new entry.
#[inline(always)]
pub(crate) fn get_or_insert(source: &SourceKey, now_ns: u64) -> Option<SourceCell<'static>> {
    if let Some(cell) = get(source) {
        return Some(cell);
    }
    // When another CPU was faster this fails and its record is found below.
    let _ = SOURCES.insert(source, SourceRecord::new(*source, now_ns), u64::from(BPF_NOEXIST));
    get(source)
}

#[inline(always)]
fn get(source: &SourceKey) -> Option<SourceCell<'static>> {
    let record = SOURCES.get_ptr_mut(source)?;
    // SAFETY: the kernel keeps the node's memory valid for the run of the program (it may be recycled for another
    // source, which the key in the value tells), and all access goes through the cell.
    Some(SourceCell::new(unsafe { &*record.cast::<UnsafeCell<SourceRecord>>() }))
}
