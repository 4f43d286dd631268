//! Sees the TCP sockets of a control group: who completes a handshake, and what goes over it.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sock_ops,
};
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use scanguard_common::address::Address;
use scanguard_common::datapath::connection::{Connection, begin, end, half_close};

use crate::tables::KernelTables;

/// `TCP_ESTABLISHED` and `TCP_CLOSE` of `include/net/tcp_states.h`.
const ESTABLISHED: u32 = 1;
const CLOSE: u32 = 7;
/// `AF_INET` of `include/linux/socket.h`.
const INET: u32 = 2;

/// Counts sessions that others opened to sockets here.
#[sock_ops]
fn scanguard_sessions(context: SockOpsContext) -> u32 {
    match context.op() {
        // The socket of somebody who came, not of one that went out. Not a session yet: with TCP fast open one forged SYN leads here,
        // but to the state ESTABLISHED only the other side's acknowledgement does.
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            let flags = context.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
            let _ = context.set_cb_flags(flags as i32);
        }
        BPF_SOCK_OPS_STATE_CB => {
            let (before, after) = (context.arg(0), context.arg(1));
            if after == ESTABLISHED {
                begin(&connection(&context), &KernelTables::new(&context));
            } else if before == ESTABLISHED || after == CLOSE {
                // SAFETY: the kernel rewrites reads of the context's fields.
                let (bytes_in, bytes_out) = unsafe { ((*context.ops).bytes_received, (*context.ops).bytes_acked) };
                let (connection, tables) = (connection(&context), KernelTables::new(&context));
                if before == ESTABLISHED {
                    half_close(&connection, bytes_in, bytes_out, &tables);
                }
                if after == CLOSE {
                    end(&connection, bytes_in, bytes_out, &tables);
                }
            }
        }
        _ => {}
    }
    1
}

#[inline(always)]
fn connection(context: &SockOpsContext) -> Connection {
    let ops: *mut bpf_sock_ops = context.ops;
    // SAFETY: the context is the one the kernel gave.
    let cookie = unsafe { bpf_get_socket_cookie(ops.cast()) };
    // SAFETY: the kernel rewrites reads of the context's fields.
    let port = unsafe { (*ops).local_port } as u16;
    // In network order, as a word (`include/uapi/linux/bpf.h`).
    // SAFETY: as above.
    let remote_port = u32::from_be(unsafe { (*ops).remote_port }) as u16;
    // The socket begins behind its SYN-ACK (`tcp_create_openreq_child`), and counts what the other side acknowledges of all that comes after it.
    // The verifier takes no access to the counter that is narrower than it.
    // SAFETY: as above.
    let (snd_una, bytes_acked) = unsafe { ((*ops).snd_una, (&raw const (*ops).bytes_acked).read_volatile()) };
    let sequence = snd_una.wrapping_sub(bytes_acked as u32).wrapping_sub(1);
    if context.family() == INET {
        let (remote, local) = (context.remote_ip4(), context.local_ip4());
        let [remote, local] = [remote, local].map(Address::from_ipv4_word);
        return Connection { cookie, remote, local, version: 4, port, remote_port, sequence };
    }
    // SAFETY: the fields are of the context.
    let [remote, local] = unsafe { [address6(&raw const (*ops).remote_ip6), address6(&raw const (*ops).local_ip6)] };
    // A socket of both families has mapped addresses where the packets have IPv4 ones.
    let version = if remote.is_mapped() { 4 } else { 6 };
    Connection { cookie, remote, local, version, port, remote_port, sequence }
}

/// The address in a field of the context.
///
/// # Safety
/// The field must be of a context that the kernel gave.
#[inline(always)]
unsafe fn address6(field: *const [u32; 4]) -> Address {
    // Each by itself: the verifier takes no access that is wider than the context's words.
    // SAFETY: within the field.
    let word = |index| u64::from(unsafe { field.cast::<u32>().add(index).read_volatile() });
    let join = |first, second| if cfg!(target_endian = "little") { first | second << 32 } else { first << 32 | second };
    Address::from_words([join(word(0), word(1)), join(word(2), word(3))])
}
