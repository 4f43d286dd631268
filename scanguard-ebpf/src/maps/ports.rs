//! PORTS: class by protocol and port, for local addresses.

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use scanguard_common::class::{PORT_ENTRIES, PortClass, Protocol, port_index};

#[btf_map]
static PORTS: Array<u8, { PORT_ENTRIES as usize }> = Array::new();

/// The class of a port.
#[inline(always)]
pub(crate) fn class(protocol: Protocol, port: u16) -> PortClass {
    PORTS.get(port_index(protocol, port)).map_or(PortClass::Unknown, |class| PortClass::from_u8(*class))
}
