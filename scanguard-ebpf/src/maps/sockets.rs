//! Which sockets this host has: asked of the kernel, or in a test or replay of the map `VIRTUAL_SOCKETS`.

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
        let socket = bpf_sk_lookup_udp(context.ctx.cast(), tuple.as_mut_ptr().cast(), size, CURRENT_NETNS, 0);
        if socket.is_null() {
            return false;
        }
        let connected = (*socket).state == ESTABLISHED;
        bpf_sk_release(socket.cast());
        connected
    }
}

/// Words of `struct bpf_sock_tuple`: for IPv6 two addresses of four words, and the ports.
const TUPLE_WORDS: usize = 9;

/// `struct bpf_sock_tuple` (of `include/uapi/linux/bpf.h`) and its size in bytes, as words in memory. All of them are set for
/// IPv4 too: where a union leaves some out, LLVM merges the two cases with whatever is in the registers, and the verifier
/// refuses that.
#[inline(always)]
fn tuple(packet: &Parsed) -> ([u32; TUPLE_WORDS], u32) {
    let ports = {
        let (from, to) = (u32::from(packet.source_port.to_be()), u32::from(packet.destination_port.to_be()));
        if cfg!(target_endian = "little") { from | to << 16 } else { from << 16 | to }
    };
    if packet.version == 4 {
        return ([packet.source.last_word(), packet.destination.last_word(), ports, 0, 0, 0, 0, 0, 0], 12);
    }
    let ([a, b, c, d], [e, f, g, h]) = (halves(packet.source), halves(packet.destination));
    ([a, b, c, d, e, f, g, h, ports], 36)
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
