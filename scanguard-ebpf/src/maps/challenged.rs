//! CHALLENGED, PASSES, REFUSED, NICS and PROOFS: what answering suspects takes.

use core::cell::UnsafeCell;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{HashMap, LruHashMap, RingBuf};
use aya_ebpf::macros::btf_map;
use scanguard_common::address::Address;
use scanguard_common::challenge::{ChallengeCell, ChallengeRecord, Nic, Pass};
use scanguard_common::event::Event;
use scanguard_common::flow::Flow;
use scanguard_common::source::SourceKey;

use crate::clock;

#[btf_map]
static CHALLENGED: LruHashMap<SourceKey, ChallengeRecord, 16_384> = LruHashMap::new();

#[btf_map]
static PASSES: LruHashMap<Flow, Pass, 16_384> = LruHashMap::new();

#[btf_map]
static REFUSED: LruHashMap<Address, u64, 4_096> = LruHashMap::new();

/// Interfaces by their index.
#[btf_map]
static NICS: HashMap<u32, Nic, 256> = HashMap::new();

/// Bytes of the ring of proofs: 819 of them.
const PROOFS_BYTES: usize = 1 << 16;

#[btf_map]
static PROOFS: RingBuf<Event, PROOFS_BYTES> = RingBuf::new();

/// What is kept of a source that was answered.
#[inline(always)]
pub(crate) fn get(source: &SourceKey) -> Option<ChallengeCell<'static>> {
    let record = CHALLENGED.get_ptr_mut(source)?;
    // SAFETY: the kernel keeps the node's memory valid for the run of the program, and all access goes through the cell.
    Some(ChallengeCell::new(unsafe { &*record.cast::<UnsafeCell<ChallengeRecord>>() }))
}

/// The same for a source of which nothing is; nothing when the table took no new entry.
#[inline(never)]
pub(crate) fn new(source: &SourceKey) -> Option<ChallengeCell<'static>> {
    let record = ChallengeRecord {
        source: *source,
        retries_ns: 0,
        decoys_ns: 0,
        resets_ns: 0,
        proofs_ns: 0,
        until_ns: 0,
        wrong: 0,
        opened_to_ns: 0,
        opened_to: [0; 2],
    };
    // When another CPU was faster this fails, and its record is found afterwards.
    let _ = CHALLENGED.insert(source, record, u64::from(BPF_NOEXIST));
    get(source)
}

/// The pass of a connection.
#[inline(always)]
pub(crate) fn pass(flow: &Flow) -> Pass {
    // SAFETY: should the node be recycled meanwhile, it is another connection's of the same time: at worst one that would pass is hidden.
    unsafe { PASSES.get(flow) }.copied().unwrap_or_default()
}

/// Gives a connection a pass.
#[inline(always)]
pub(crate) fn set_pass(flow: &Flow, pass: &Pass) {
    let _ = PASSES.insert(flow, pass, 0);
}

/// When an address of ours was last seen refusing something.
#[inline(always)]
pub(crate) fn refused(address: &Address) -> u64 {
    // SAFETY: one word, read whole.
    unsafe { REFUSED.get(address) }.copied().unwrap_or_default()
}

/// An address of ours was seen refusing something.
#[inline(always)]
pub(crate) fn refuse(address: &Address, now_ns: u64) {
    let _ = REFUSED.insert(address, now_ns, 0);
}

/// What is known of an interface.
#[inline(always)]
pub(crate) fn nic(index: u32) -> Option<&'static Nic> {
    // SAFETY: userspace replaces entries whole, and interfaces do not change while they are there.
    unsafe { NICS.get(index) }
}

/// Tells userspace of a proof; false when the ring is full.
#[inline(always)]
pub(crate) fn prove(event: impl FnOnce() -> Event) -> bool {
    let Some(mut place) = PROOFS.reserve(0) else { return false };
    let told = place.write(event());
    // How long the decision takes is measured from here.
    told.time_ns = clock::precise_ns();
    place.submit(0);
    true
}

/// Tells userspace of what is as urgent as a proof, with a time of the fine clock; false when the ring is full.
#[inline(always)]
pub(crate) fn emit(event: impl FnOnce() -> Event) -> bool {
    let Some(mut place) = PROOFS.reserve(0) else { return false };
    place.write(event());
    place.submit(0);
    true
}
