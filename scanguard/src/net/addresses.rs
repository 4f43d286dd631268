//! The host's own addresses, prefixes that are local by route, groups that it is of, and word of their changes.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use ipnetwork::IpNetwork;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Changes, NetError, Netlink};

/// What this host takes for itself of what arrives. Everything sorted, each once.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Own {
    /// Addresses: of interfaces, loopback's among them, and those that are local by route.
    pub addresses: Vec<IpAddr>,
    /// Prefixes all of whose addresses are local by route (`ip route add local PREFIX dev lo`), but loopback's.
    pub prefixes: Vec<IpNetwork>,
    /// Addresses of many hosts, this one among them, by route: broadcast.
    pub groups: Vec<IpAddr>,
}

impl Own {
    /// An address, or a prefix that is local by route; nothing of loopback, and nothing of everything: who has that in his table of local
    /// routes has all senders in it, too, and nobody would be judged.
    fn add_local(&mut self, destination: IpNetwork) {
        let is_address = destination.prefix() == if destination.is_ipv4() { 32 } else { 128 };
        if destination.ip().is_loopback() || destination.prefix() == 0 {
            return;
        }
        if is_address { self.addresses.push(destination.ip()) } else { self.prefixes.push(destination) }
    }

    /// What a route of the table of local ones says.
    fn add(&mut self, route: &RouteMessage) {
        if !is_of_local_table(route) {
            return;
        }
        let Some(destination) = destination(route) else { return };
        match route.header.kind {
            // Anybody may send to an anycast address from afar, and of a datagram there the stack says whether the port is closed.
            RouteType::Local | RouteType::Anycast => self.add_local(destination),
            RouteType::Broadcast if !destination.ip().is_loopback() => {
                self.groups.push(destination.ip());
            }
            _ => {}
        }
    }

    fn sorted(mut self) -> Self {
        self.addresses.sort_unstable();
        self.addresses.dedup();
        self.prefixes.sort_unstable();
        self.prefixes.dedup();
        self.groups.sort_unstable();
        self.groups.dedup();
        let Self { addresses, groups, .. } = &mut self;
        groups.retain(|group| addresses.binary_search(group).is_err());
        self
    }
}

/// `RT_TABLE_LOCAL` (`include/uapi/linux/rtnetlink.h`).
const LOCAL_TABLE: u8 = 255;

fn is_of_local_table(route: &RouteMessage) -> bool {
    let named = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    named.unwrap_or_else(|| route.header.table.into()) == u32::from(LOCAL_TABLE)
}

fn destination(route: &RouteMessage) -> Option<IpNetwork> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })?;
    IpNetwork::new(address, route.header.destination_prefix_length).ok()
}

/// What this network namespace takes for itself now.
///
/// # Errors
/// When netlink cannot be used.
pub async fn own() -> Result<Own, NetError> {
    let mut own = Own { addresses: own_addresses().await?, ..Own::default() };
    // Only then the kernel goes by the table asked for, and a router's million other routes stay there.
    let netlink = Netlink::open_strict()?;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        question.header.table = LOCAL_TABLE;
        let mut routes = netlink.handle.route().get(question).execute();
        loop {
            match routes.try_next().await {
                Ok(Some(route)) => own.add(&route),
                Ok(None) => break,
                Err(source) => return Err(NetError::List { what: "local routes", source }),
            }
        }
    }
    Ok(own.sorted())
}

/// All addresses of this network namespace, loopback's among them, each once.
///
/// # Errors
/// When netlink cannot be used.
pub async fn own_addresses() -> Result<Vec<IpAddr>, NetError> {
    let netlink = Netlink::open()?;
    let mut messages = netlink.handle.address().get().execute();
    let mut addresses = Vec::new();
    while let Some(message) =
        messages.try_next().await.map_err(|source| NetError::List { what: "addresses", source })?
    {
        addresses.extend(local(&message.attributes));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// On a point-to-point link `IFA_ADDRESS` is the peer and `IFA_LOCAL` ours; IPv6 has `IFA_ADDRESS` alone
/// (rtnetlink(7), `include/uapi/linux/if_addr.h`).
fn local(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let mut found = None;
    for attribute in attributes {
        match attribute {
            AddressAttribute::Local(address) => return Some(*address),
            AddressAttribute::Address(address) => found = Some(*address),
            _ => {}
        }
    }
    found
}

/// Word that what [`own`] tells may be something else now.
///
/// # Errors
/// When netlink cannot be used.
pub fn own_changes() -> Result<Changes, NetError> {
    let groups =
        [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
    // A router's other routes change all day.
    Changes::subscribe(&groups, |message| match message {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) => {
            is_of_local_table(route)
        }
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_an_own_address() {
        let addresses = own_addresses().await.expect("netlink needs no rights to read");
        // A namespace whose loopback is down has no addresses at all.
        assert!(addresses.is_empty() || addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
    }

    #[tokio::test]
    async fn the_table_of_local_routes_has_the_addresses_of_interfaces_and_nothing_of_loopback() {
        let (own, addresses) = (own().await.expect("netlink needs no rights to read"), own_addresses().await);
        let addresses = addresses.expect("netlink needs no rights to read");
        assert!(addresses.iter().all(|address| own.addresses.contains(address)), "{own:?}");
        assert!(own.prefixes.iter().all(|prefix| !prefix.ip().is_loopback() && prefix.prefix() > 0), "{own:?}");
        assert!(own.groups.iter().all(|group| !group.is_loopback() && !addresses.contains(group)), "{own:?}");
    }

    fn route(table: u8, kind: RouteType, destination: &str) -> RouteMessage {
        let destination: IpNetwork = destination.parse().expect("a prefix");
        let mut route = RouteMessage::default();
        (route.header.table, route.header.kind) = (table, kind);
        route.header.destination_prefix_length = destination.prefix();
        route.attributes.push(RouteAttribute::Destination(destination.ip().into()));
        route
    }

    #[test]
    fn of_routes_those_of_the_local_table_count_by_their_kind_and_length() {
        let mut own = Own::default();
        for (table, kind, destination) in [
            (255, RouteType::Local, "192.0.2.10/32"),
            (255, RouteType::Local, "198.51.101.0/24"),
            (255, RouteType::Local, "2001:db8:2::10/128"),
            (255, RouteType::Local, "2001:db8:101::/64"),
            (255, RouteType::Broadcast, "192.0.2.255/32"),
            (255, RouteType::Anycast, "2001:db8:2::/128"),
            // Not ours to judge, or not of this table.
            (255, RouteType::Local, "127.0.0.0/8"),
            (255, RouteType::Local, "127.0.0.1/32"),
            (255, RouteType::Local, "::1/128"),
            (255, RouteType::Local, "0.0.0.0/0"),
            (255, RouteType::Broadcast, "127.255.255.255/32"),
            (255, RouteType::Multicast, "ff00::/8"),
            (254, RouteType::Unicast, "203.0.113.0/24"),
            (100, RouteType::Local, "203.0.114.0/24"),
            // An address of an interface that another route has as its broadcast address is an address.
            (255, RouteType::Broadcast, "192.0.2.10/32"),
        ] {
            own.add(&route(table, kind, destination));
        }
        let mut elsewhere = route(0, RouteType::Local, "203.0.115.0/24");
        elsewhere.attributes.push(RouteAttribute::Table(1_000));
        own.add(&elsewhere);
        let own = own.sorted();
        let shown = |networks: &[IpNetwork]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            own.addresses,
            ["192.0.2.10", "2001:db8:2::", "2001:db8:2::10"].map(|text| text.parse::<IpAddr>().expect("an address"))
        );
        assert_eq!(shown(&own.prefixes), ["198.51.101.0/24", "2001:db8:101::/64"]);
        assert_eq!(own.groups, ["192.0.2.255"].map(|text| text.parse::<IpAddr>().expect("an address")));
    }

    #[test]
    fn of_a_point_to_point_link_the_near_end_is_ours() {
        let [near, far]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(local(&[AddressAttribute::Address(far), AddressAttribute::Local(near)]), Some(near));
        assert_eq!(local(&[AddressAttribute::Address(near)]), Some(near));
        assert_eq!(local(&[]), None);
    }
}
