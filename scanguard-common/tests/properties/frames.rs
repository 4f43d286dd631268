//! Packets of every kind, as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, PacketBuilder};
use scanguard_common::packet::MAX_EXTENSION_HEADERS;

pub(crate) const HOST4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);

/// Port from which the connections of [`What::Segment`] come.
pub(crate) const CONNECTED_FROM: u16 = 40_000;
/// Port from which everything else comes, but for some datagrams.
pub(crate) const ASKING_FROM: u16 = 50_000;

const ETHERNET: usize = 14;
const IP4: usize = 20;
const IP6: usize = 40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT_HEADER: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    /// TCP with these flags, of no connection.
    Tcp {
        flags: u8,
        port: u16,
    },
    /// TCP with these flags, of a connection that the host has.
    Segment {
        flags: u8,
        port: u16,
    },
    /// A datagram from this port.
    Udp {
        from: u16,
        port: u16,
    },
    Ping,
    /// Destination unreachable.
    IcmpError,
    /// A first fragment with eight bytes of TCP.
    Tiny {
        port: u16,
    },
    /// A fragment of TCP at offset 8.
    TinyLater,
    /// A fragment far behind the header.
    Later,
    /// Too many extension headers; from an IPv4 sender protocol 200.
    Chain,
    /// Another IP protocol.
    Protocol(u8),
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) what: What,
    /// Whether it has a VLAN tag, and so takes the long way through the datapath.
    pub(crate) tagged: bool,
}

impl Packet {
    pub(crate) const fn new(from: IpAddr, what: What) -> Self {
        Self { from, what, tagged: false }
    }

    /// The host's address it goes to.
    pub(crate) const fn to(&self) -> IpAddr {
        match self.from {
            IpAddr::V4(_) => IpAddr::V4(HOST4),
            IpAddr::V6(_) => IpAddr::V6(HOST6),
        }
    }

    /// The bytes.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let is_v4 = self.from.is_ipv4();
        let mut frame = match self.what {
            What::Tcp { flags, port } => self.raw(TCP, &tcp(ASKING_FROM, port, flags)),
            What::Segment { flags, port } => self.raw(TCP, &tcp(CONNECTED_FROM, port, flags)),
            What::Udp { from, port } => self.raw(UDP, &udp(from, port)),
            What::Ping if is_v4 => self.raw(1, &[8, 0, 0, 0, 0, 7, 0, 1]),
            What::Ping => self.raw(58, &[128, 0, 0, 0, 0, 7, 0, 1]),
            What::IcmpError if is_v4 => self.raw(1, &[3, 1, 0, 0, 0, 0, 0, 0]),
            What::IcmpError => self.raw(58, &[1, 1, 0, 0, 0, 0, 0, 0]),
            What::Tiny { port } => self.fragment(0, true, &tcp(ASKING_FROM, port, 2)[..8]),
            What::TinyLater => self.fragment(1, false, &[0; 12]),
            What::Later => self.fragment(185, false, &[0; 12]),
            What::Chain if is_v4 => self.raw(200, &[]),
            What::Chain => self.chain(),
            What::Protocol(number) => self.raw(number, &[0; 8]),
        };
        if self.tagged {
            frame.splice(12..12, [0x81, 0, 0, 42]);
        }
        frame
    }

    fn raw(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let step = match self.from {
            IpAddr::V4(from) => ethernet.ipv4(from.octets(), HOST4.octets(), 64),
            IpAddr::V6(from) => ethernet.ipv6(from.octets(), HOST6.octets(), 64),
        };
        let mut frame = Vec::new();
        step.write(&mut frame, IpNumber(protocol), payload).expect("a valid packet");
        frame
    }

    /// A fragment of TCP; offsets are in units of eight bytes.
    fn fragment(&self, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
        if self.from.is_ipv4() {
            let mut frame = self.raw(TCP, payload);
            let field = offset | if more { 0x2000 } else { 0 };
            frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&field.to_be_bytes());
            debug_assert_eq!(frame.len(), ETHERNET + IP4 + payload.len());
            return frame;
        }
        let field = (offset << 3 | u16::from(more)).to_be_bytes();
        let header = [TCP, 0, field[0], field[1], 0, 0, 0, 1];
        self.raw(FRAGMENT_HEADER, &[&header, payload].concat())
    }

    fn chain(&self) -> Vec<u8> {
        let headers = MAX_EXTENSION_HEADERS + 1;
        let mut payload = [DESTINATION_OPTIONS, 0, 0, 0, 0, 0, 0, 0].repeat(headers);
        let last = payload.len() - 8;
        payload[last] = TCP;
        payload.extend(tcp(ASKING_FROM, 1, 2));
        let frame = self.raw(DESTINATION_OPTIONS, &payload);
        debug_assert_eq!(frame.len(), ETHERNET + IP6 + payload.len());
        frame
    }
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
    vec![a, b, c, d, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 4, 0, 0, 0, 0, 0]
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
    vec![a, b, c, d, 0, 12, 0, 0, 1, 2, 3, 4]
}
