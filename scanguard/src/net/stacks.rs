//! What the TCP stacks of those who have sessions here showed of themselves in their handshakes, as the kernel remembers it.
//!
//! A stack offers the same options and the same window scale in each of its handshakes, and nobody completes one in another's name: sessions
//! that differ in these, at one time, are of different machines behind one address. Left out is what differs between the sessions of one
//! machine: the largest segment (the path's, which is found out on the way), congestion notification (tried by chance on some systems), and
//! the clock of timestamps (an offset of its own for each connection since Linux 4.10, and on others).

use std::collections::HashSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use scanguard_common::class::Protocol;

use super::diag::{Diag, DiagError};
use super::listeners::listeners;

/// Most prefixes of [`stacks`]: with each socket that matches none of them the kernel compares all, in some 10 ns each.
pub const MOST_PREFIXES_ASKED: usize = 64;

/// `TCPI_OPT_TIMESTAMPS`, `TCPI_OPT_SACK` and `TCPI_OPT_WSCALE` of `include/uapi/linux/tcp.h`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WINDOW_SCALE: u8 = 4;
/// Where `struct tcp_info` has the options, and in the lower half of the next byte the window scale that the other side sends.
const OPTIONS_AT: usize = 5;
const SCALES_AT: usize = 6;

/// What a TCP stack showed of itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Stack {
    /// Whether it uses timestamps (RFC 7323).
    pub timestamps: bool,
    /// Whether it acknowledges selectively (RFC 2018).
    pub sack: bool,
    /// By how many bits it scales its window, 0 to 14; none if it does not.
    pub window_scale: Option<u8>,
}

impl Stack {
    /// Out of `struct tcp_info`, of which kernels have more or less; none where it is too short.
    fn of(info: &[u8]) -> Option<Self> {
        let (options, scales) = (*info.get(OPTIONS_AT)?, *info.get(SCALES_AT)?);
        let scale = if cfg!(target_endian = "little") { scales & 0xf } else { scales >> 4 };
        Some(Self {
            timestamps: options & TIMESTAMPS != 0,
            sack: options & SACK != 0,
            window_scale: (options & WINDOW_SCALE != 0).then_some(scale),
        })
    }
}

/// The established sessions that others began and whose other side has an address in one of the prefixes: with whom, and what its stack showed.
/// Those in this network namespace. At most [`MOST_PREFIXES_ASKED`] prefixes count.
///
/// The kernel goes through all its sockets and tells those alone. Blocks meanwhile: keep it off the async threads.
///
/// # Errors
/// When the kernel does not tell.
pub fn stacks(prefixes: &[IpNetwork]) -> Result<Vec<(IpAddr, Stack)>, DiagError> {
    let prefixes = &prefixes[..prefixes.len().min(MOST_PREFIXES_ASKED)];
    if prefixes.is_empty() {
        return Ok(Vec::new());
    }
    let mut sessions = Vec::new();
    let diag = Diag::open()?;
    let program = program(prefixes);
    // Sockets for both versions have IPv4 addresses in the clothes of IPv6; the program knows that.
    for (what, family) in [("TCP over IPv4", AF_INET), ("TCP over IPv6", AF_INET6)] {
        if family == AF_INET && prefixes.iter().all(IpNetwork::is_ipv6) {
            continue;
        }
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::INFO,
            states: StateFlags::ESTABLISHED,
            socket_id: SocketId::new_v4(),
        };
        diag.list(what, request, &program, |socket| sessions.extend(session(&socket)))?;
    }
    if sessions.is_empty() {
        return Ok(Vec::new());
    }
    // What was begun here leaves from a port on which nobody listens.
    let services: HashSet<u16> = listeners()?
        .into_iter()
        .filter(|listener| listener.protocol == Protocol::Tcp)
        .map(|listener| listener.port)
        .collect();
    let others = sessions.into_iter().filter(|(port, ..)| services.contains(port));
    Ok(others.map(|(_, address, stack)| (address, stack)).collect())
}

/// The port here, whose session it is, and its stack.
fn session(socket: &InetResponse) -> Option<(u16, IpAddr, Stack)> {
    let info = socket.nlas.iter().find_map(|nla| if let Nla::TcpInfo(info) = nla { Some(info) } else { None })?;
    let SocketId { source_port, destination_address, .. } = socket.header.socket_id;
    Some((source_port, destination_address.to_canonical(), Stack::of(info)?))
}

/// A program for the kernel that lets sockets pass whose other side is in one of the prefixes (`inet_diag_bc_run` in `net/ipv4/inet_diag.c`).
///
/// Each instruction has a code, and how many bytes to go on by where it holds and where it does not. To end right behind the program is to pass,
/// to end four bytes further is not to. Jumps never hold.
fn program(prefixes: &[IpNetwork]) -> Vec<u8> {
    const JUMP: u8 = 1; // INET_DIAG_BC_JMP
    const OTHER_SIDE: u8 = 8; // INET_DIAG_BC_D_COND
    const WORD: usize = 4;
    const ANY_PORT: i32 = -1;
    let mut program: Vec<u8> = Vec::new();
    // From the last to the first, so that what follows is known.
    for prefix in prefixes.iter().rev() {
        let (family, address) = match prefix.network() {
            IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
        };
        let length = 3 * WORD + address.len(); // The instruction, `struct inet_diag_hostcond`, the address.
        let rest = program.len();
        let mut condition = vec![OTHER_SIDE, length as u8];
        condition.extend(((length + WORD) as u16).to_ne_bytes());
        condition.extend([family, prefix.prefix(), 0, 0]);
        condition.extend(ANY_PORT.to_ne_bytes());
        condition.extend(address);
        if rest > 0 {
            // It holds: over all the others, to the end.
            condition.extend([JUMP, WORD as u8]);
            condition.extend(((rest + WORD) as u16).to_ne_bytes());
        }
        program.splice(0..0, condition);
    }
    program
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use tokio::net::TcpSocket;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    /// How many sessions with these the kernel tells of.
    fn told(prefixes: &[&str]) -> usize {
        stacks(&networks(prefixes)).expect("a list").len()
    }

    #[test]
    fn a_stack_is_read_of_what_the_kernel_remembers() {
        let row = |options, scales| Stack::of(&[1, 0, 0, 0, 0, options, scales, 0, 9, 9]);
        let stack = |timestamps, sack, window_scale| Some(Stack { timestamps, sack, window_scale });
        assert_eq!(row(0b111, 0xa7), stack(true, true, Some(7)));
        assert_eq!(row(0b110, 0xa8), stack(false, true, Some(8)));
        assert_eq!(row(0b010, 0), stack(false, true, None));
        assert_eq!(row(0b11_1000, 0xa7), stack(false, false, None), "congestion notification says nothing");
        assert_eq!(Stack::of(&[1, 0, 0, 0, 0, 7]), None);
    }

    #[tokio::test]
    async fn sessions_that_others_began_are_told_of_the_prefixes_asked_for() {
        let many: Vec<String> = (0..300).map(|number| format!("198.51.{}.{}", number / 250, number % 250)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        // (Loopback, where nobody else's test is: an address of its own for each row.)
        for (service, client, client_prefix, other) in [
            ("0.0.0.0:0", "127.66.1.7", "127.66.1.0/24", "127.66.2.0/24"),
            ("[::]:0", "127.66.3.7", "127.66.3.7", "127.66.3.8"),
        ] {
            let listener = TcpListener::bind(service).expect("a service");
            let port = listener.local_addr().expect("an address").port();
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::new(client.parse().expect("an address"), 0)).expect("a free port");
            let to = SocketAddr::new("127.66.9.9".parse().expect("an address"), port);
            let _session = socket.connect(to).await.expect("a session");
            assert_eq!(told(&[client_prefix]), 1, "{service}");
            assert_eq!(told(&[other, "2001:db8::/32", client_prefix]), 1, "{service}");
            assert_eq!(told(&[client_prefix, other, "2001:db8::/32"]), 1, "{service}");
            assert_eq!(told(&[other, "2001:db8::/32"]), 0, "{service}");
            assert_eq!(told(&["127.66.9.9"]), 0, "{service}: the client's own side of it was begun here");
            assert_eq!(told(&[&many[..MOST_PREFIXES_ASKED - 1], &[client_prefix]].concat()), 1, "{service}");
            assert_eq!(told(&[&many[..], &[client_prefix]].concat()), 0, "{service}");
            assert_eq!(told(&[]), 0);
        }
    }
}
