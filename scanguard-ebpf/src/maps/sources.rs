//! SOURCES: what is remembered of each source, least recently used out first.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

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
    let _ = SOURCES.insert(source, fresh(source, now_ns), u64::from(BPF_NOEXIST));
    get(source)
}

/// A record with nothing counted, as [`SourceRecord::new`] makes it. Written word by word: LLVM makes a call of `memset`, a
/// loop of single bytes, of any array of zeros.
#[inline(always)]
fn fresh(source: &SourceKey, now_ns: u64) -> SourceRecord {
    const WORDS: usize = size_of::<SourceRecord>() / size_of::<u64>();
    let mut record = MaybeUninit::<SourceRecord>::uninit();
    let words = record.as_mut_ptr().cast::<u64>();
    for at in 0..WORDS {
        // SAFETY: within the record, which is as aligned as its words.
        unsafe { words.add(at).write_volatile(0) };
    }
    // SAFETY: all of it is zeros, which is a record.
    let mut record = unsafe { record.assume_init() };
    record.source = *source;
    record.first_seen_ns = now_ns;
    record.last_seen_ns = now_ns;
    record
}

#[inline(always)]
fn get(source: &SourceKey) -> Option<SourceCell<'static>> {
    let record = SOURCES.get_ptr_mut(source)?;
    // SAFETY: the kernel keeps the node's memory valid for the run of the program (it may be recycled for another
    // source, which the key in the value tells), and all access goes through the cell.
    Some(SourceCell::new(unsafe { &*record.cast::<UnsafeCell<SourceRecord>>() }))
}
