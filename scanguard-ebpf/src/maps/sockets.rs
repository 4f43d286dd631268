//! Which sockets this host has: asked of the kernel, or in a test or replay of the map `VIRTUAL_SOCKETS`.

use aya_ebpf::bindings::{
    bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
};
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use scanguard_common::address::Address;
use scanguard_common::packet::Parsed;
use scanguard_common::tables::UdpFlow;

use crate::clock::is_virtual;

/// Connected UDP sockets of a test or a replay.
#[btf_map]
static VIRTUAL_SOCKETS: HashMap<UdpFlow, u32, 1024> = HashMap::new();

/// `TCP_ESTABLISHED` of `include/net/tcp_states.h`, which a connected UDP socket has too.
const ESTABLISHED: u32 = 1;
/// The network namespace of the interface.
const CURRENT_NETNS: u64 = u64::MAX;

/// Whether a datagram belongs to a connected UDP socket.
#[inline(always)]
pub(crate) fn udp_connected(context: &XdpContext, packet: &Parsed) -> bool {
    if is_virtual() {
        return VIRTUAL_SOCKETS.get_ptr(UdpFlow::of(packet)).is_some();
    }
    let (mut tuple, size) = tuple(packet);
    // SAFETY: the tuple is as long as said; the socket is released on every path.
    unsafe {
        let socket = bpf_sk_lookup_udp(context.ctx.cast(), &raw mut tuple, size, CURRENT_NETNS, 0);
        if socket.is_null() {
            return false;
        }
        let connected = (*socket).state == ESTABLISHED;
        bpf_sk_release(socket.cast());
        connected
    }
}

#[inline(always)]
fn tuple(packet: &Parsed) -> (bpf_sock_tuple, u32) {
    let (sport, dport) = (packet.source_port.to_be(), packet.destination_port.to_be());
    if packet.version == 4 {
        let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: packet.source.last_word(),
            daddr: packet.destination.last_word(),
            sport,
            dport,
        };
        let tuple = bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv4 } };
        return (tuple, size_of_val(&ipv4) as u32);
    }
    let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
        saddr: halves(packet.source),
        daddr: halves(packet.destination),
        sport,
        dport,
    };
    let tuple = bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv6 } };
    (tuple, size_of_val(&ipv6) as u32)
}

/// An address in words of 32 bits, as in memory.
#[inline(always)]
fn halves(address: Address) -> [u32; 4] {
    let [high, low] = address.words().map(|word| {
        let (first, second) = (word as u32, (word >> 32) as u32);
        if cfg!(target_endian = "little") { [first, second] } else { [second, first] }
    });
    [high[0], high[1], low[0], low[1]]
}
