//! Who has which address and which port: the one place.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The edge's IPv4 address.
pub const EDGE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The edge's IPv6 address.
pub const EDGE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x10);
/// The scanner's IPv4 address.
pub const SCANNER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
/// The scanner's IPv6 address.
pub const SCANNER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0x66);
/// Further IPv4 addresses of the edge, for scans that ask many addresses for one port; it has them where a scene says so.
pub const EDGE_MORE: &str = "192.0.2.64/26";
/// A network behind the edge; it is there where a scene says so.
pub const BEHIND: &str = "198.51.101.0/24";
/// The addresses of it that hosts have, by their last number. The others are nobody's.
pub const INSIDE: [u8; 8] = [10, 20, 30, 40, 50, 60, 70, 80];
/// The edge's address in a network of containers.
pub const BRIDGE: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// The address of a container.
pub const CONTAINER: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
/// The scanner's own IPv6 network.
pub const SCANNER_NETWORK6: &str = "2001:db8:66::/48";
/// The part of it from which the scanner sends, other than from [`SCANNER6`]: all addresses of [`hop`].
pub const HOPS: &str = "2001:db8:66:1000::/52";
/// The customers' IPv6 networks.
pub const CUSTOMERS6: &str = "2001:db8:100::/48";
/// Where all other hosts of the world are, on the customers' side: peers, balancers, servers.
pub const WORLD: &str = "198.18.0.0/15";
/// The same for IPv6.
pub const WORLD6: &str = "2001:db8:100:1000::/52";
/// Most customers: their network is a /24.
pub const MOST_CUSTOMERS: u8 = 240;

/// Name of every host's only link.
pub const UPLINK: &str = "uplink0";
/// The router's end of the edge's link.
pub const TO_EDGE: &str = "edge0";
/// The edge's end of the link to what is behind it.
pub const TO_INSIDE: &str = "inside0";
/// The router's end of the scanner's link.
pub const TO_SCANNER: &str = "scanner0";
/// The router's end of the customers' link.
pub const TO_CUSTOMERS: &str = "customers0";

/// Ports for everybody.
pub const PUBLIC: [u16; 2] = [80, 443];
/// Ports that are open, but not for customers.
pub const RESTRICTED: [u16; 5] = [22, 3306, 5432, 6379, 9200];

/// The ports that fast scans ask for, in nmap's notation: 1,000, of which 993 are closed.
///
/// nmap asks in numerical order whatever order the list has (`-r` only keeps it from shuffling). So the closed ports
/// that come first are 1 to 21; then ssh, 57 closed ones, http, and so on; the other four listeners come last.
pub const SCANNED: &str = "1-996,3306,5432,6379,9200";

/// The ports that slow and odd scans ask for, in nmap's notation: 200, of which 198 are closed, the first 21 among them.
pub const SCANNED_FEW: &str = "1-200";
/// UDP ports that scans ask for, in nmap's notation: 100, all closed.
pub const SCANNED_UDP: &str = "1-100";
/// A closed port that is asked for on many addresses.
pub const SWEPT: u16 = 23;
/// A port that a file sharing program had once, closed since.
pub const OLD_PEER_PORT: u16 = 51413;
/// A port where a customer's program expects a service that is no more.
pub const DEAD_PORT: u16 = 9999;
/// Ports between which a deployment moves.
pub const BACKENDS: std::ops::RangeInclusive<u16> = 8000..=8020;
/// Where mail programs look for a server.
pub const MAIL: [u16; 7] = [25, 110, 143, 465, 587, 993, 995];
/// Where browsers look for a server when the usual ports do not do.
pub const ALTERNATIVE_WEB: [u16; 2] = [8080, 8443];

/// The numbers that [`SCANNED`] stands for.
#[must_use]
pub fn scanned() -> BTreeSet<u16> {
    let number = |text: &str| text.parse().unwrap_or_default();
    SCANNED
        .split(',')
        .flat_map(|part| part.split_once('-').map_or(number(part)..=number(part), |(a, b)| number(a)..=number(b)))
        .collect()
}

/// Whether something listens on this port of the edge.
#[must_use]
pub fn is_open(port: u16) -> bool {
    PUBLIC.contains(&port) || RESTRICTED.contains(&port)
}

/// IPv4 address of a customer, counted from 0 and below [`MOST_CUSTOMERS`].
#[must_use]
pub const fn customer(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 10 + number)
}

/// IPv6 address of a customer: each has a /64 of its own, as subscribers have.
#[must_use]
pub const fn customer6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x100, 10 + number as u16, 0, 0, 0, 0x10)
}

/// An address of the network behind the edge.
#[must_use]
pub const fn behind(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 101, number)
}

/// Whether an address is the edge's, or of the network behind it; those of [`EDGE_MORE`] are, also where it does not use them.
#[must_use]
pub fn is_edge(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == EDGE || matches!(address.octets(), [192, 0, 2, 64..128] | [198, 51, 101, _]),
        IpAddr::V6(address) => address == EDGE6,
    }
}

/// The addresses of [`EDGE_MORE`].
pub fn edge_more() -> impl Iterator<Item = Ipv4Addr> {
    (64..128).map(|last| Ipv4Addr::new(192, 0, 2, last))
}

/// An IPv6 address of the scanner, each in a /64 of its own; below 4,096.
#[must_use]
pub const fn hop(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x66, 0x1000 + number, 0, 0, 0, 0x66)
}

/// IPv4 address of somebody of a file sharing network.
#[must_use]
pub const fn peer(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 100, number)
}

/// IPv6 address of the same.
#[must_use]
pub const fn peer6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0x1000 + number as u16, 0, 0, 0, 0x10)
}

/// Address of a load balancer in front of the edge.
#[must_use]
pub const fn balancer(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 80, 1 + number)
}

/// IPv4 address of a server that the edge is a client of.
#[must_use]
pub const fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 53, 1 + number)
}

/// IPv6 address of such a server.
#[must_use]
pub const fn server6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0x1f00 + number as u16, 0, 0, 0, 0x53)
}

/// IPv4 address of somebody who works on the edge by ssh.
pub const ADMIN: Ipv4Addr = Ipv4Addr::new(198, 18, 22, 22);

/// Whose address it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The scanner, or an address it sends from on purpose.
    Scanner,
    /// A customer, or anyone else who means well.
    Customer,
    /// Somebody who works on the edge.
    Admin,
    /// Any other: nobody has it.
    Forged,
}

/// The role of an address, by its network.
#[must_use]
pub fn role(address: IpAddr) -> Role {
    match address {
        IpAddr::V4(address) => match address.octets() {
            _ if address == ADMIN => Role::Admin,
            [203, 0, 113, _] => Role::Scanner,
            [198, 51, 100, _] | [198, 18 | 19, ..] => Role::Customer,
            _ => Role::Forged,
        },
        IpAddr::V6(address) => match address.segments() {
            [0x2001, 0xdb8, 0x66, ..] => Role::Scanner,
            [0x2001, 0xdb8, 0x100, ..] => Role::Customer,
            _ => Role::Forged,
        },
    }
}

/// A source as scanguard counts it: an IPv4 address or an IPv6 /64. Written like `scanguard sources list` does.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self(address),
            IpAddr::V6(address) => Self(Ipv6Addr::from(u128::from(address) >> 64 << 64).into()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(formatter),
            IpAddr::V6(address) => write!(formatter, "{address}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_ports_are_scanned_and_all_listeners_are_among_them() {
        let ports = scanned();
        assert_eq!(ports.len(), 1000);
        assert_eq!(ports.iter().filter(|port| is_open(**port)).count(), PUBLIC.len() + RESTRICTED.len());
        assert!(ports.iter().take(20).all(|port| !is_open(*port)), "the first ports are closed");
    }

    #[test]
    fn sources_are_written_as_the_daemon_writes_them() {
        assert_eq!(Source::from(IpAddr::from(customer(3))).to_string(), "198.51.100.13");
        assert_eq!(Source::from(IpAddr::from(customer6(6))).to_string(), "2001:db8:100:10::/64");
    }

    #[test]
    fn roles_follow_the_networks() {
        assert_eq!(role(customer(MOST_CUSTOMERS - 1).into()), Role::Customer);
        assert_eq!(role(customer6(0).into()), Role::Customer);
        assert_eq!(role(server6(1).into()), Role::Customer);
        assert_eq!(role(balancer(0).into()), Role::Customer);
        assert_eq!(role(ADMIN.into()), Role::Admin);
        assert_eq!(role(SCANNER6.into()), Role::Scanner);
        assert_eq!(role(hop(0xfff).into()), Role::Scanner);
        assert_eq!(role(Ipv4Addr::new(192, 0, 2, 99).into()), Role::Forged);
    }
}
