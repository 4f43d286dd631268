//! Which sockets this host has: asked of the kernel, or in a test or replay of the map `VIRTUAL_SOCKETS`.

use aya_ebpf::bindings::{bpf_sock, bpf_sock_tuple};
use aya_ebpf::btf_maps::HashMap;
use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::XdpContext;
use scanguard_common::address::Address;
use scanguard_common::class::Protocol;
use scanguard_common::flow::Flow;
use scanguard_common::packet::Parsed;
use scanguard_common::tables::Socket;

use crate::clock::is_virtual;

/// Sockets of a test or a replay, by the flow they receive, as numbers of [`Socket`]. On a host userspace makes it with
/// one entry.
#[btf_map]
static VIRTUAL_SOCKETS: HashMap<Flow, u32, 65_536> = HashMap::new();

/// `TCP_ESTABLISHED` and `TCP_LISTEN` of `include/net/tcp_states.h`; a connected UDP socket has the former too.
const ESTABLISHED: u32 = 1;
const LISTEN: u32 = 10;
/// The network namespace of the interface.
const CURRENT_NETNS: u64 = u64::MAX;

/// The socket that a segment or a datagram would reach.
#[inline(always)]
pub(crate) fn find(context: &XdpContext, packet: &Parsed, protocol: Protocol) -> Socket {
    if is_virtual() {
        return Socket::from_u32(find_virtual(packet, protocol));
    }
    find_real(context, packet, protocol)
}

/// A function of its own, for its stack.
#[inline(never)]
fn find_real(context: &XdpContext, packet: &Parsed, protocol: Protocol) -> Socket {
    let (mut tuple, size) = tuple(packet);
    let tuple: *mut bpf_sock_tuple = tuple.as_mut_ptr().cast();
    let context = context.ctx.cast();
    // SAFETY: the tuple is as long as said; a socket is released on every path.
    unsafe {
        if protocol == Protocol::Udp {
            let socket = bpf_sk_lookup_udp(context, tuple, size, CURRENT_NETNS, 0);
            release(socket, |state| state != ESTABLISHED)
        } else {
            // Linux 5.0; finds connections in every state, SYNs and waiting ones too.
            let socket = bpf_skc_lookup_tcp(context, tuple, size, CURRENT_NETNS, 0);
            release(socket, |state| state == LISTEN)
        }
    }
}

/// # Safety
/// `socket` came from a lookup, or is null.
#[inline(always)]
unsafe fn release(socket: *mut bpf_sock, is_listening: impl Fn(u32) -> bool) -> Socket {
    if socket.is_null() {
        return Socket::None;
    }
    // SAFETY: it is not null and not released yet.
    unsafe {
        let state = (*socket).state;
        bpf_sk_release(socket.cast());
        if is_listening(state) { Socket::Listening } else { Socket::Connected }
    }
}

/// As [`find_real`].
#[inline(never)]
fn find_virtual(packet: &Parsed, protocol: Protocol) -> u32 {
    let mut flow = Flow::of(packet, protocol);
    // SAFETY: only tests write to it, and not while a frame is judged.
    unsafe {
        if let Some(socket) = VIRTUAL_SOCKETS.get(flow) {
            return *socket;
        }
        flow = flow.to_listener();
        VIRTUAL_SOCKETS.get(flow).map_or(0, |socket| *socket)
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
        let mut words = [ports; TUPLE_WORDS];
        (words[0], words[1]) = (packet.source.last_word(), packet.destination.last_word());
        return (words, 12);
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
