//! OPENED: ports that were seen open by the datapath. ASKED: who waits for the answer of a port of which nothing is known.

use aya_ebpf::btf_maps::LruHashMap;
use aya_ebpf::macros::btf_map;
use scanguard_common::capacity;
use scanguard_common::opened::{Asked, Endpoint, Question};

#[btf_map]
static OPENED: LruHashMap<Endpoint, u64, { capacity::OPENED as usize }> = LruHashMap::new();

/// When a port was last seen open.
#[inline(always)]
pub(crate) fn seen(endpoint: &Endpoint) -> Option<u64> {
    // SAFETY: one word, read whole.
    unsafe { OPENED.get(endpoint) }.copied()
}

/// A port was seen open.
#[inline(always)]
pub(crate) fn see(endpoint: &Endpoint, now_ns: u64) {
    // Should the table not take it, the next packet finds the socket again.
    let _ = OPENED.insert(endpoint, now_ns, 0);
}

#[btf_map]
static ASKED: LruHashMap<Question, Asked, { capacity::ASKED as usize }> = LruHashMap::new();

/// A port was asked whose answer is to be waited for.
#[inline(always)]
pub(crate) fn ask(question: &Question, asked: &Asked) {
    // Should the table not take it, the contact counts as it is: one step, for one port.
    let _ = ASKED.insert(question, asked, 0);
}

/// What waits for an answer to this question, zeros if nothing does; it waits no longer.
#[inline(always)]
pub(crate) fn take_asked(question: &Question) -> Asked {
    let mut taken = Asked::default();
    // SAFETY: the node stays valid for the run of the program. Should it be recycled meanwhile, it is another question's of the same time.
    if let Some(asked) = unsafe { ASKED.get(question) } {
        let asked = *asked;
        // Who removes it has it; another CPU may have been faster.
        if ASKED.remove(question).is_ok() {
            taken = asked;
        }
    }
    taken
}
