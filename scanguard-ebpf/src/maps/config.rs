//! CONFIG: settings of the running datapath.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use scanguard_common::config::KernelConfig;

#[btf_map]
static CONFIG: Array<KernelConfig, 1> = Array::new();

/// The settings.
#[inline(always)]
pub(crate) fn get() -> Option<&'static KernelConfig> {
    CONFIG.get(0)
}
