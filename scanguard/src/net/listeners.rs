//! Which ports are open here: listening TCP sockets and unconnected UDP sockets, asked of the kernel's socket tables.

use std::collections::HashSet;
use std::net::IpAddr;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use scanguard_common::class::Protocol;

use super::diag::{Diag, DiagError};

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
pub fn listeners() -> Result<HashSet<Listener>, DiagError> {
    let diag = Diag::open()?;
    let mut found = HashSet::new();
    for question in &QUESTIONS {
        diag.list(question.what, question.request(), &[], |socket| {
            found.extend(listener(&socket.header, question.protocol));
        })?;
    }
    Ok(found)
}

/// A listener with the socket that it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Opened {
    /// Where it listens.
    pub listener: Listener,
    /// The socket's inode, by which its process is found.
    pub inode: u32,
}

/// The same as [`listeners`], with the sockets.
///
/// # Errors
/// As there.
pub fn opened() -> Result<Vec<Opened>, DiagError> {
    let diag = Diag::open()?;
    let mut found = Vec::new();
    for question in &QUESTIONS {
        diag.list(question.what, question.request(), &[], |socket| {
            let listener = listener(&socket.header, question.protocol);
            found.extend(listener.map(|listener| Opened { listener, inode: socket.header.inode }));
        })?;
    }
    Ok(found)
}

impl Question {
    fn request(&self) -> InetRequest {
        // A bound UDP socket that is connected to nobody is in the state that TCP calls CLOSE.
        let (protocol, states) = match self.protocol {
            Protocol::Udp => (IPPROTO_UDP, StateFlags::CLOSE),
            _ => (IPPROTO_TCP, StateFlags::LISTEN),
        };
        InetRequest {
            family: self.family,
            protocol,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id: SocketId::new_v4(),
        }
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
