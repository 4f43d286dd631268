//! Who sends in the scenario, and to where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::lab::plan::{EDGE, EDGE6};

/// In which part of the scenario somebody sends: each has addresses of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    Blocked,
    Suspect,
    Stranger,
}

/// A kind of source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    Ordinary4,
    /// 0.0.0.0/8, which Linux takes since 5.3.
    This4,
    /// 240.0.0.0/4, since 2.6.25.
    Reserved4,
    Private4,
    Shared4,
    LinkLocal4,
    /// On the edge's own network.
    OnLink4,
    Loopback4,
    Multicast4,
    Own4,
    Ordinary6,
    Local6,
    LinkLocal6,
    Teredo,
    SixToFour,
    Translated,
    Compatible,
    Mapped,
    OnLink6,
    Loopback6,
    Multicast6,
    Unspecified6,
}

/// All with how often they come.
const PEERS: [(Peer, u32); 22] = [
    (Peer::Ordinary4, 30),
    (Peer::Ordinary6, 30),
    (Peer::This4, 3),
    (Peer::Reserved4, 3),
    (Peer::Private4, 2),
    (Peer::Shared4, 1),
    (Peer::LinkLocal4, 2),
    (Peer::OnLink4, 2),
    (Peer::Loopback4, 1),
    (Peer::Multicast4, 1),
    (Peer::Own4, 1),
    (Peer::Local6, 2),
    (Peer::LinkLocal6, 3),
    (Peer::Teredo, 3),
    (Peer::SixToFour, 3),
    (Peer::Translated, 3),
    (Peer::Compatible, 4),
    (Peer::Mapped, 1),
    (Peer::OnLink6, 2),
    (Peer::Loopback6, 1),
    (Peer::Multicast6, 1),
    (Peer::Unspecified6, 1),
];

/// Those that may be suspects: whom nobody can answer needs no hiding.
pub(super) const SUSPECTS: [Peer; 14] = [
    Peer::Ordinary4,
    Peer::Ordinary6,
    Peer::This4,
    Peer::Reserved4,
    Peer::Private4,
    Peer::Shared4,
    Peer::LinkLocal4,
    Peer::Local6,
    Peer::LinkLocal6,
    Peer::Teredo,
    Peer::SixToFour,
    Peer::Translated,
    Peer::Compatible,
    Peer::OnLink6,
];

impl Peer {
    pub(super) fn any(random: &mut SmallRng) -> Self {
        weighted(&PEERS, random)
    }

    pub(super) const fn is_ordinary(self) -> bool {
        matches!(self, Self::Ordinary4 | Self::Ordinary6)
    }

    /// The address with this number, another one for each number as far as the kind has them; those of ordinary kinds
    /// are in networks of their own.
    pub(super) fn address(self, part: Part, number: u32) -> IpAddr {
        let [_, a, b, c] = scattered(number).to_be_bytes();
        let last = 1 + (number % 251) as u8;
        let v4 = |octets: [u8; 4]| IpAddr::from(Ipv4Addr::from(octets));
        let v6 = |segments: [u16; 8]| IpAddr::from(Ipv6Addr::from(segments));
        let (high, low) = ((number >> 16) as u16, number as u16);
        let place: u16 = match part {
            Part::Blocked => 0xb,
            Part::Suspect => 0xc,
            Part::Stranger => 0xd,
        };
        // So that parts do not meet where a kind has few addresses.
        let third = (place as u8) << 4 | b & 15;
        match self {
            Self::Ordinary4 => match part {
                Part::Blocked => v4([95, a, b, last]),
                Part::Suspect => v4([94, a, b, last]),
                Part::Stranger => v4([20 + c % 70, a, b, last]),
            },
            Self::This4 => v4([0, third, a, last]),
            Self::Reserved4 => v4([240 + c % 15, third, a, last]),
            Self::Private4 => v4([10, third, a, last]),
            Self::Shared4 => v4([100, 64 | third & 0x30 | c & 15, a, last]),
            Self::LinkLocal4 => v4([169, 254, third, a]),
            Self::OnLink4 => v4([192, 0, 2, 128 + (number % 100) as u8]),
            Self::Loopback4 => v4([127, a, b, last]),
            Self::Multicast4 => v4([224 + c % 15, a, b, last]),
            Self::Own4 => EDGE.into(),
            Self::Ordinary6 => v6([0x2a00 | place, high, low, 0, 0, 0, 0, 1]),
            Self::Local6 => v6([0xfd00 | place, high, low, 0, 0, 0, 0, 1]),
            // As many as the table of neighbours holds.
            Self::LinkLocal6 => v6([0xfe80, 0, 0, 0, 0x200 | place, 0, 1, low % 300]),
            // A server, flags, and the client's port and address turned over (RFC 4380 section 4).
            Self::Teredo => v6([0x2001, 0, 0x4100 | place, high ^ low, 0, !low, !high, 0x1234]),
            Self::SixToFour => v6([0x2002, 0x2d00 | place, high ^ low, 0, 0, 0, high, low]),
            Self::Translated => v6([0x64, 0xff9b, 0, 0, 0, 0, 0x5b00 | place << 4, low ^ high.rotate_left(5)]),
            Self::Compatible => v6([0, 0, 0, 0, 0, 0, 0x0900 | place << 4 | high & 15, low << 1 | 1]),
            Self::Mapped => v6([0, 0, 0, 0, 0, 0xffff, 0x0900 | place, low]),
            Self::OnLink6 => v6([0x2001, 0xdb8, 2, 0, 0x200 | place, 0, 1, low % 100]),
            Self::Loopback6 => Ipv6Addr::LOCALHOST.into(),
            Self::Multicast6 => v6([0xff0e, 0, 0, 0, 0, 0, high, low]),
            Self::Unspecified6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// What is blocked for the first part: prefixes that hold all addresses of a kind there, and how often it comes.
pub(super) const BLOCKED: [(&str, Peer, u32); 12] = [
    ("95.0.0.0/8", Peer::Ordinary4, 30),
    ("2a0b::/16", Peer::Ordinary6, 30),
    ("0.176.0.0/12", Peer::This4, 3),
    ("10.176.0.0/12", Peer::Private4, 2),
    ("169.254.176.0/20", Peer::LinkLocal4, 2),
    ("fd0b::/16", Peer::Local6, 2),
    ("fe80::20b:0:0:0/80", Peer::LinkLocal6, 3),
    ("2001:0:410b::/48", Peer::Teredo, 3),
    ("2002:2d0b::/32", Peer::SixToFour, 3),
    ("91.176.0.0/16", Peer::Translated, 3),
    ("::9.176.0.0/108", Peer::Compatible, 3),
    ("2001:db8:2:0:20b::/80", Peer::OnLink6, 2),
];

/// Where a frame goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Dest {
    /// The edge's address.
    Own,
    /// Another address of it.
    Second,
    /// An address that is local by a route alone.
    Routed,
    /// The broadcast address of its network.
    Broadcast,
    /// 255.255.255.255.
    Everybody,
    /// All nodes.
    Multicast,
    /// An anycast address of it (IPv6), or the network's own number (IPv4).
    Anycast,
}

const DESTS: [(Dest, u32); 7] = [
    (Dest::Own, 70),
    (Dest::Second, 8),
    (Dest::Routed, 8),
    (Dest::Broadcast, 4),
    (Dest::Everybody, 3),
    (Dest::Multicast, 3),
    (Dest::Anycast, 4),
];

impl Dest {
    pub(super) fn any(random: &mut SmallRng) -> Self {
        weighted(&DESTS, random)
    }

    pub(super) fn address(self, v4: bool) -> IpAddr {
        let text = match (self, v4) {
            (Self::Own, true) => return EDGE.into(),
            (Self::Own, false) => return EDGE6.into(),
            (Self::Second, true) => "192.0.2.70",
            (Self::Second, false) => "2001:db8:2::70",
            (Self::Routed, true) => "198.51.101.77",
            (Self::Routed, false) => "2001:db8:2a::77",
            (Self::Broadcast, true) => "192.0.2.255",
            (Self::Everybody, true) => "255.255.255.255",
            (Self::Multicast, true) => "224.0.0.1",
            (Self::Broadcast | Self::Multicast, false) => "ff02::1",
            (Self::Everybody, false) => "ff01::1",
            (Self::Anycast, true) => "192.0.2.0",
            (Self::Anycast, false) => "2001:db8:2::a",
        };
        text.parse().unwrap_or(EDGE.into())
    }

    /// Its link-layer address, where it is not that of one host.
    pub(super) fn group(self, v4: bool) -> Option<[u8; 6]> {
        match (self, v4) {
            (Self::Broadcast | Self::Everybody, true) => Some([0xff; 6]),
            (Self::Multicast, true) => Some([1, 0, 0x5e, 0, 0, 1]),
            (Self::Broadcast | Self::Multicast | Self::Everybody, false) => Some([0x33, 0x33, 0, 0, 0, 1]),
            _ => None,
        }
    }
}

/// What the edge has besides, for `ip -batch`.
pub(super) const EDGE_HAS: &str = "addr add 192.0.2.70/32 dev uplink0\n\
    addr add 2001:db8:2::70/128 dev uplink0 nodad\n\
    route add local 198.51.101.0/24 dev lo\n\
    route add local 2001:db8:2a::/64 dev lo\n";

/// One of these, as often as their weights say.
pub(super) fn weighted<T: Copy>(choices: &[(T, u32)], random: &mut SmallRng) -> T {
    let mut left = random.random_range(0..choices.iter().map(|(_, weight)| weight).sum::<u32>());
    for (choice, weight) in choices {
        if left < *weight {
            return *choice;
        }
        left -= weight;
    }
    choices[0].0
}

/// A number of 24 bits for each one below 2^24, without an order that anybody would see.
const fn scattered(number: u32) -> u32 {
    number.wrapping_mul(0x009e_3779) & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_source_has_an_address_of_its_own() {
        for peer in [Peer::Ordinary4, Peer::Ordinary6, Peer::Teredo, Peer::SixToFour] {
            let all: HashSet<IpAddr> = (0..100_000).map(|number| peer.address(Part::Stranger, number)).collect();
            assert_eq!(all.len(), 100_000, "{peer:?}");
        }
    }

    #[test]
    fn parts_do_not_meet() {
        for peer in SUSPECTS {
            let of = |part| -> HashSet<IpAddr> { (0..2_000).map(|number| peer.address(part, number)).collect() };
            assert!(of(Part::Blocked).is_disjoint(&of(Part::Stranger)), "{peer:?}");
            assert!(of(Part::Suspect).is_disjoint(&of(Part::Stranger)), "{peer:?}");
        }
    }
}
