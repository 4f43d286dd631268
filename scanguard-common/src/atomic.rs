//! Read-modify-write on memory that several CPUs share, the one place for it.
//!
//! On BPF `core::sync::atomic` offers no `fetch_*` (the target has no compare-and-swap for it), so the intrinsics are
//! called directly. The order is `AcqRel` on purpose: LLVM 22 compiles a *relaxed* add whose result is used to the
//! non-fetching instruction and then takes the addend for the old value. `tests` checks the value returned, in the
//! kernel.

/// Adds to `*target` and returns the value before, wrapping.
///
/// # Safety
/// `target` is aligned, valid for writes, and every concurrent access to it goes through this module.
#[inline(always)]
pub unsafe fn fetch_add_u32(target: *mut u32, addend: u32) -> u32 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise is the intrinsic's.
    unsafe {
        core::intrinsics::atomic_xadd::<u32, u32, { core::intrinsics::AtomicOrdering::AcqRel }>(target, addend)
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's promise is `from_ptr`'s.
    unsafe {
        core::sync::atomic::AtomicU32::from_ptr(target).fetch_add(addend, core::sync::atomic::Ordering::AcqRel)
    }
}

/// Adds to `*target` and returns the value before, wrapping.
///
/// # Safety
/// `target` is aligned, valid for writes, and every concurrent access to it goes through this module.
#[inline(always)]
pub unsafe fn fetch_add_u64(target: *mut u64, addend: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise is the intrinsic's.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::AcqRel }>(target, addend)
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's promise is `from_ptr`'s.
    unsafe {
        core::sync::atomic::AtomicU64::from_ptr(target).fetch_add(addend, core::sync::atomic::Ordering::AcqRel)
    }
}

/// Sets the bits of `mask` in `*target` and returns the value before.
///
/// # Safety
/// `target` is aligned, valid for writes, and every concurrent access to it goes through this module.
#[inline(always)]
pub unsafe fn fetch_or_u64(target: *mut u64, mask: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise is the intrinsic's.
    unsafe {
        core::intrinsics::atomic_or::<u64, u64, { core::intrinsics::AtomicOrdering::AcqRel }>(target, mask)
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's promise is `from_ptr`'s.
    unsafe {
        core::sync::atomic::AtomicU64::from_ptr(target).fetch_or(mask, core::sync::atomic::Ordering::AcqRel)
    }
}

/// Puts `new` into `*target` if it holds `expected`, and returns the value before.
///
/// # Safety
/// `target` is aligned, valid for writes, and every concurrent access to it goes through this module.
#[inline(always)]
pub unsafe fn compare_exchange_u64(target: *mut u64, expected: u64, new: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise is the intrinsic's.
    unsafe {
        use core::intrinsics::AtomicOrdering::{AcqRel, Acquire};
        core::intrinsics::atomic_cxchg::<u64, { AcqRel }, { Acquire }>(target, expected, new).0
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the caller's promise is `from_ptr`'s.
    unsafe {
        use core::sync::atomic::Ordering::{AcqRel, Acquire};
        let target = core::sync::atomic::AtomicU64::from_ptr(target);
        target.compare_exchange(expected, new, AcqRel, Acquire).unwrap_or_else(|before| before)
    }
}
