//! Which interfaces face the internet, those with a default route, and which hosts those routes lead to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};

use super::{NetError, Netlink};

/// Names of the interfaces with a default route, IPv4 or IPv6, by name.
///
/// # Errors
/// When netlink cannot be used.
pub async fn default_route_interfaces() -> Result<Vec<String>, NetError> {
    let indices: BTreeSet<u32> = routes().await?.iter().flat_map(leaves_by).collect();
    let links = super::links().await?.into_iter().filter(|link| indices.contains(&link.index));
    let mut names: Vec<String> = links.map(|link| link.name).collect();
    names.sort_unstable();
    Ok(names)
}

/// Next hops of the default routes, each once.
///
/// # Errors
/// When netlink cannot be used.
pub async fn gateways() -> Result<Vec<IpAddr>, NetError> {
    let mut found: Vec<IpAddr> = routes().await?.iter().flat_map(next_hops).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

async fn routes() -> Result<Vec<RouteMessage>, NetError> {
    let netlink = Netlink::open()?;
    let mut found = Vec::new();
    let questions = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for question in questions {
        let mut routes = netlink.handle.route().get(question).execute();
        while let Some(route) = routes.try_next().await.map_err(|source| NetError::List { what: "routes", source })? {
            found.push(route);
        }
    }
    Ok(found)
}

/// Whether it is a default route, and leads somewhere (`unreachable default` is in every IPv6 table).
fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
}

/// The hosts that a default route leads to: one, one per next hop, or none where it leads onto a link.
fn next_hops(route: &RouteMessage) -> Vec<IpAddr> {
    if !is_default(route) {
        return Vec::new();
    }
    let hop = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
        // IPv4 over a gateway of IPv6 (RFC 5549).
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let mut hops: Vec<IpAddr> = route.attributes.iter().filter_map(hop).collect();
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(several) = attribute {
            hops.extend(several.iter().flat_map(|one| one.attributes.iter().filter_map(hop)));
        }
    }
    hops
}

/// The interfaces a default route leaves by: one, or one per next hop. None when it is no default route, or one that leads
/// nowhere (`unreachable default` is in every IPv6 table).
fn leaves_by(route: &RouteMessage) -> Vec<u32> {
    if !is_default(route) {
        return Vec::new();
    }
    let mut indices = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => indices.push(*index),
            RouteAttribute::MultiPath(hops) => indices.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    indices
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::RouteNextHop;

    use super::*;

    fn route(prefix_length: u8, kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.destination_prefix_length = prefix_length;
        route.header.kind = kind;
        route.attributes = attributes;
        route
    }

    #[test]
    fn only_default_routes_that_lead_somewhere_count() {
        let oif = || vec![RouteAttribute::Oif(7)];
        assert_eq!(leaves_by(&route(0, RouteType::Unicast, oif())), [7]);
        assert!(leaves_by(&route(24, RouteType::Unicast, oif())).is_empty());
        assert!(leaves_by(&route(0, RouteType::Unreachable, oif())).is_empty());
    }

    #[test]
    fn next_hops_are_found_wherever_they_are_written() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let via4 = |address: [u8; 4]| RouteAttribute::Gateway(RouteAddress::Inet(address.into()));
        assert_eq!(next_hops(&route(0, RouteType::Unicast, vec![via4([192, 0, 2, 1])])), [ip("192.0.2.1")]);
        assert!(next_hops(&route(24, RouteType::Unicast, vec![via4([192, 0, 2, 1])])).is_empty());
        let via6 = RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().expect("an address")));
        assert_eq!(next_hops(&route(0, RouteType::Unicast, vec![via6])), [ip("fe80::1")]);
        let hop = |last| {
            let mut hop = RouteNextHop::default();
            hop.attributes = vec![via4([192, 0, 2, last])];
            hop
        };
        let several = vec![RouteAttribute::MultiPath(vec![hop(1), hop(2)])];
        assert_eq!(next_hops(&route(0, RouteType::Unicast, several)), [ip("192.0.2.1"), ip("192.0.2.2")]);
    }

    #[test]
    fn a_route_over_several_hops_leaves_by_all_of_them() {
        let hop = |index| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop
        };
        let hops = vec![RouteAttribute::MultiPath(vec![hop(3), hop(4)])];
        assert_eq!(leaves_by(&route(0, RouteType::Unicast, hops)), [3, 4]);
    }
}
