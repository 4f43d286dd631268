//! Which ports are open here: listening TCP sockets and unconnected UDP sockets, asked of the kernel's socket tables
//! (sock_diag(7), what `ss` uses).

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};
use scanguard_common::class::Protocol;

/// Bytes of the buffer for answers: the kernel fills at most 32 KiB at a time (`netlink_dump` in
/// `net/netlink/af_netlink.c`).
const BUFFER: usize = 32 * 1024;
/// Index of the loopback interface, the same in every network namespace (`LOOPBACK_IFINDEX`, `include/net/flow.h`).
const LOOPBACK_INTERFACE: u32 = 1;

/// A socket that answers whoever asks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Listener {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port, never 0.
    pub port: u16,
    /// Where: an address of this host, or the unspecified one for all of them. `::` answers IPv4 too unless its socket
    /// was made otherwise; IPv4 addresses of such sockets are given as IPv4.
    pub address: IpAddr,
}

/// Why the sockets cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListenersError {
    /// No netlink socket, or it broke.
    #[error("cannot {what} the kernel's socket tables (sock_diag): {source}")]
    Socket {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel refuses.
    #[error("the kernel does not list {what} sockets: {source}; it needs CONFIG_INET_DIAG and CONFIG_INET_UDP_DIAG")]
    Refused {
        /// Which sockets.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// An answer that this program does not understand.
    #[error("cannot understand the kernel's list of {what} sockets: {source}")]
    Strange {
        /// Which sockets.
        what: &'static str,
        /// Why.
        source: DecodeError,
    },
}

/// A list of sockets to ask for.
struct Question {
    what: &'static str,
    family: u8,
    protocol: Protocol,
}

const QUESTIONS: [Question; 4] = [
    Question { what: "TCP over IPv4", family: AF_INET, protocol: Protocol::Tcp },
    Question { what: "TCP over IPv6", family: AF_INET6, protocol: Protocol::Tcp },
    Question { what: "UDP over IPv4", family: AF_INET, protocol: Protocol::Udp },
    Question { what: "UDP over IPv6", family: AF_INET6, protocol: Protocol::Udp },
];

/// Everything in this network namespace that a packet from outside can reach: sockets bound to loopback are left out.
///
/// Takes well under a millisecond on a quiet host, and blocks for as long: keep it off the async threads.
///
/// # Errors
/// When the kernel does not tell.
pub fn listeners() -> Result<HashSet<Listener>, ListenersError> {
    let error = |what| move |source| ListenersError::Socket { what, source };
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(error("open"))?;
    socket.bind_auto().map_err(error("open"))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(error("open"))?;
    let mut found = HashSet::new();
    for question in &QUESTIONS {
        socket.send(&question.bytes(), 0).map_err(error("ask"))?;
        while !question.read(&socket, &mut found)? {}
    }
    Ok(found)
}

impl Question {
    fn bytes(&self) -> Vec<u8> {
        // A bound UDP socket that is connected to nobody is in the state that TCP calls CLOSE.
        let (protocol, states) = match self.protocol {
            Protocol::Udp => (IPPROTO_UDP, StateFlags::CLOSE),
            _ => (IPPROTO_TCP, StateFlags::LISTEN),
        };
        let request = InetRequest {
            family: self.family,
            protocol,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id: SocketId::new_v4(),
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    /// Reads one datagram of the answer; true when it was the last.
    fn read(&self, socket: &Socket, found: &mut HashSet<Listener>) -> Result<bool, ListenersError> {
        let Self { what, protocol, .. } = *self;
        let strange = |source| ListenersError::Strange { what, source };
        let refused = |source| ListenersError::Refused { what, source };
        let mut buffer = Vec::with_capacity(BUFFER);
        socket.recv(&mut buffer, 0).map_err(|source| ListenersError::Socket { what: "read", source })?;
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(strange)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.extend(listener(&response.header, protocol));
                }
                // How a list ends that never began, too: where the kernel has no such sockets to list.
                NetlinkPayload::Done(done) if done.code < 0 => {
                    return Err(refused(io::Error::from_raw_os_error(done.code.saturating_neg())));
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Error(error) => return Err(refused(error.to_io())),
                _ => {}
            }
            // Messages are aligned to four bytes; the last one may lack its padding.
            let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length..];
        }
        Ok(false)
    }
}

/// The listener that a socket is to the outside, if it is one.
fn listener(socket: &InetResponseHeader, protocol: Protocol) -> Option<Listener> {
    let SocketId { source_port: port, source_address, interface_id, .. } = socket.socket_id;
    let address = source_address.to_canonical();
    let reachable = port != 0 && !address.is_loopback() && interface_id != LOOPBACK_INTERFACE;
    reachable.then_some(Listener { protocol, port, address })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn found(address: &str, protocol: Protocol, port: u16) -> bool {
        let wanted = Listener { protocol, port, address: address.parse().expect("an address") };
        listeners().expect("a list").contains(&wanted)
    }

    #[test]
    fn sockets_that_listen_to_the_outside_are_found_until_they_close() {
        for any in ["0.0.0.0", "::"] {
            let udp = UdpSocket::bind((any, 0)).expect("a socket");
            let port = udp.local_addr().expect("an address").port();
            assert!(found(any, Protocol::Udp, port), "{any}");
        }
        // The other test takes its many ports on `::`, so that none of them is taken for this one.
        let tcp = TcpListener::bind("0.0.0.0:0").expect("a socket");
        let port = tcp.local_addr().expect("an address").port();
        assert!(found("0.0.0.0", Protocol::Tcp, port));
        drop(tcp);
        assert!(!found("0.0.0.0", Protocol::Tcp, port));
    }

    #[test]
    fn sockets_on_loopback_and_connected_ones_are_left_out() {
        for loopback in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            let tcp = TcpListener::bind((loopback, 0)).expect("a socket");
            let udp = UdpSocket::bind((loopback, 0)).expect("a socket");
            let listed = listeners().expect("a list");
            for (protocol, address) in [(Protocol::Tcp, tcp.local_addr()), (Protocol::Udp, udp.local_addr())] {
                let port = address.expect("an address").port();
                assert!(
                    !listed.iter().any(|found| (found.protocol, found.port) == (protocol, port)),
                    "{loopback} {port}"
                );
            }
        }
        let service = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let client = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        client.connect(service.local_addr().expect("an address")).expect("a connection");
        assert!(!found("0.0.0.0", Protocol::Udp, client.local_addr().expect("an address").port()));
    }

    #[test]
    fn a_long_list_comes_whole() {
        // More than 72 bytes each: more than the 32 KiB of one answer.
        let sockets: Vec<TcpListener> = (0..460).map(|_| TcpListener::bind("[::]:0").expect("a socket")).collect();
        let listed = listeners().expect("a list");
        for socket in &sockets {
            let address = socket.local_addr().expect("an address");
            let wanted = Listener { protocol: Protocol::Tcp, port: address.port(), address: address.ip() };
            assert!(listed.contains(&wanted), "{address}");
        }
    }

    #[test]
    fn a_socket_on_the_loopback_interface_is_closed_to_the_outside() {
        let header = |address: &str, interface_id| {
            let socket_id = SocketId {
                source_port: 53,
                source_address: address.parse().expect("an address"),
                interface_id,
                ..SocketId::new_v4()
            };
            InetResponseHeader {
                family: AF_INET,
                state: 0,
                timer: None,
                socket_id,
                recv_queue: 0,
                send_queue: 0,
                uid: 0,
                inode: 0,
            }
        };
        assert_eq!(listener(&header("0.0.0.0", LOOPBACK_INTERFACE), Protocol::Udp), None);
        assert!(listener(&header("0.0.0.0", 2), Protocol::Udp).is_some());
        let mapped = listener(&header("::ffff:192.0.2.1", 0), Protocol::Tcp).expect("a listener");
        assert_eq!(mapped.address, IpAddr::from([192, 0, 2, 1]));
    }
}
