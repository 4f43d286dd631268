//! What the operator says of ports, and lists of them as the configuration writes them: `22`, `"8000-8100"`, `"53/udp"`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ipnetwork::IpNetwork;
use scanguard_common::class::Protocol;

use super::shipped;

/// What stands for the shipped ports in the lists of restricted and of canary ports.
pub const SHIPPED: &str = "default";

/// What the operator says of ports. No port is in two lists.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ports {
    /// Open and for everybody, whether or not something listens there: it may be on another host, behind DNAT.
    pub public: PortList,
    /// Open, but not for customers, whether or not something listens there.
    pub restricted: PortList,
    /// The shipped ports, if they were asked for, less those named in another list: not for customers where they are open.
    pub restricted_if_open: PortList,
    /// Nobody legitimate ever asks for them, unless something listens there.
    pub canary: PortList,
    /// The shipped canaries, if they were asked for, less those named in another list: only where sockets tell that they are closed.
    pub canary_if_closed: PortList,
    /// Never challenged, besides those that clients fall back to ([`shipped::FALLBACK`]).
    pub unchallenged: PortList,
    /// Networks behind this host whose ports are learnt from what they answer.
    pub protect: Vec<IpNetwork>,
    /// How long a port that was open does not count as closed.
    pub memory: Duration,
    /// For how long after the first start no port of a host that forwards counts as closed, nor any of a protected network; 0 for not at all.
    pub learning: Duration,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            public: PortList::default(),
            restricted: PortList::default(),
            restricted_if_open: shipped::restricted(),
            canary: PortList::default(),
            canary_if_closed: shipped::canary(),
            unchallenged: PortList::default(),
            protect: Vec::new(),
            memory: Duration::from_secs(7 * 86_400),
            learning: Duration::from_secs(86_400),
        }
    }
}

impl Ports {
    /// Adds ports that are named apart from the file: public, restricted and canary ones. They are taken from the other lists.
    ///
    /// # Errors
    /// When one of them is named twice.
    pub fn name(&mut self, lists: [PortList; 3]) -> Result<(), String> {
        let [public, restricted, canary] = lists;
        let names = [("public", &public), ("restricted", &restricted), ("canary", &canary)];
        for (position, (name, list)) in names.iter().enumerate() {
            for (other_name, other) in &names[position + 1..] {
                let shared = list.0.iter().find(|range| other.0.iter().any(|other| range.overlaps(other)));
                if let Some(range) = shared {
                    return Err(format!("port {range} cannot be both {name} and {other_name}"));
                }
            }
        }
        let named = [&public, &restricted, &canary];
        for list in [
            &mut self.public,
            &mut self.restricted,
            &mut self.restricted_if_open,
            &mut self.canary,
            &mut self.canary_if_closed,
        ] {
            list.retain_apart_from(&named);
        }
        self.public.0.extend(public.0);
        self.restricted.0.extend(restricted.0);
        self.canary.0.extend(canary.0);
        Ok(())
    }
}

/// A range of ports of one protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortRange {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
}

/// Ranges of ports, in the order in which they were written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortList(pub Vec<PortRange>);

impl PortRange {
    /// One TCP port.
    #[must_use]
    pub const fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, first: port, last: port }
    }

    /// Whether some port is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }

    const fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl PortList {
    /// Whether there is no port in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every (protocol, port) in the list; one that was written twice comes twice.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, u16)> {
        self.0.iter().flat_map(|range| range.ports().map(|port| (range.protocol, port)))
    }

    /// Leaves out the ranges that share a port with `others`.
    pub(super) fn retain_apart_from(&mut self, others: &[&Self]) {
        self.0.retain(|range| !others.iter().flat_map(|list| &list.0).any(|other| range.overlaps(other)));
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(format!("the protocol is tcp or udp, not {other:?}")),
        };
        let port = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|port| digits && *port > 0)
                .ok_or_else(|| format!("{text:?} is no port from 1 to 65535"))
        };
        let (first, last) = match ports.split_once('-') {
            Some((first, last)) => (port(first)?, port(last)?),
            None => (port(ports)?, port(ports)?),
        };
        if first > last {
            return Err(format!("the range {first}-{last} is backwards"));
        }
        Ok(Self { protocol, first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, first, last } = *self;
        write!(formatter, "{first}")?;
        if last != first {
            write!(formatter, "-{last}")?;
        }
        if protocol == Protocol::Tcp { Ok(()) } else { write!(formatter, "/{}", protocol.label()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_they_are_written() {
        for text in ["22", "8000-8100", "53/udp", "8000-8100/udp", "1", "65535"] {
            assert_eq!(text.parse::<PortRange>().map(|range| range.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("443/tcp".parse(), Ok(PortRange::tcp(443)));
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["", "0", "65536", "-1", "+1", " 1", "ssh", "1-", "-", "1-2-3", "9-8", "53/sctp", "53/", "/udp"] {
            assert!(text.parse::<PortRange>().is_err(), "{text:?}");
        }
    }
}
