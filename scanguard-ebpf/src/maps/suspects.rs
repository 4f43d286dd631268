//! SUSPECTS and PROVEN_SUSPECTS: what is kept of suspects, where a flood of other sources cannot wash it out.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::capacity;
use scanguard_common::record::Backup;
use scanguard_common::source::SourceKey;

use crate::maps::state;

#[btf_map]
static SUSPECTS: LruHashMap<SourceKey, Backup, { capacity::SUSPECTS as usize }> = LruHashMap::new();

/// Suspects that are really at their addresses: forged ones do not get in.
#[btf_map]
static PROVEN_SUSPECTS: LruHashMap<SourceKey, Backup, { capacity::PROVEN_SUSPECTS as usize }> = LruHashMap::new();

/// Keeps a suspect.
#[inline(always)]
pub(crate) fn keep(source: &SourceKey, backup: &Backup, proven: bool) {
    // LRU tables take every entry, but for a moment when another CPU holds all free nodes; the next packet tries again.
    let _ = if proven { PROVEN_SUSPECTS.insert(source, backup, 0) } else { SUSPECTS.insert(source, backup, 0) };
}

/// What is kept of a source.
#[inline(always)]
pub(crate) fn get(source: &SourceKey) -> Option<&'static Backup> {
    // SAFETY: the nodes stay valid for the run of the program; recycled, one is another suspect's, which costs that source's
    // next packet a look at ALLOW and nothing else.
    unsafe {
        // Most hosts have none: then each new source is looked up once.
        if state::get().is_some_and(|state| state.has_proven())
            && let Some(backup) = PROVEN_SUSPECTS.get(source)
        {
            return Some(backup);
        }
        SUSPECTS.get(source)
    }
}

/// Forgets a suspect.
#[inline(always)]
pub(crate) fn forget(source: &SourceKey) {
    let _ = SUSPECTS.remove(source);
    let _ = PROVEN_SUSPECTS.remove(source);
}
