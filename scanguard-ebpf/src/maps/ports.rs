//! PORTS: class by protocol and port, on this host and elsewhere.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use scanguard_common::class::{PORT_ENTRIES, PortEntry, Protocol, port_index};

/// `BPF_F_MMAPABLE` (`include/uapi/linux/bpf.h`): the daemon reads it whole every other second.
pub(crate) const MMAPABLE: usize = 1 << 10;

#[btf_map]
static PORTS: Array<u8, { PORT_ENTRIES as usize }, MMAPABLE> = Array::new();

/// What is said of a port.
#[inline(always)]
pub(crate) fn entry(protocol: Protocol, port: u16) -> PortEntry {
    PORTS.get(port_index(protocol, port)).map_or_else(PortEntry::default, |entry| PortEntry::from_u8(*entry))
}
