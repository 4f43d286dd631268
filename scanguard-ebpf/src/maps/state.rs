//! STATE: what is remembered beyond single sources and networks.

use core::cell::UnsafeCell;

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use scanguard_common::storm::{State, StateCell};

#[btf_map]
static STATE: Array<State, 1> = Array::new();

/// The state.
#[inline(always)]
pub(crate) fn get() -> Option<StateCell<'static>> {
    let state = STATE.get_ptr_mut(0)?;
    // SAFETY: the entry of an array is valid for as long as the program, and all access goes through the cell.
    Some(StateCell::new(unsafe { &*state.cast::<UnsafeCell<State>>() }))
}
