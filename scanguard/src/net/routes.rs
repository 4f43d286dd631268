//! Which interfaces face the internet: those with a default route.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::{NetError, Netlink};

/// Names of the interfaces with a default route, IPv4 or IPv6, by name.
///
/// # Errors
/// When netlink cannot be used.
pub async fn default_route_interfaces() -> Result<Vec<String>, NetError> {
    let netlink = Netlink::open()?;
    let mut indices = BTreeSet::new();
    let questions = [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ];
    for question in questions {
        let mut routes = netlink.handle.route().get(question).execute();
        while let Some(route) = routes.try_next().await.map_err(|source| NetError::List { what: "routes", source })? {
            indices.extend(leaves_by(&route));
        }
    }
    let mut names = Vec::new();
    let mut links = netlink.handle.link().get().execute();
    while let Some(link) = links.try_next().await.map_err(|source| NetError::List { what: "interfaces", source })? {
        if indices.contains(&link.header.index) {
            names.extend(link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            }));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The interfaces a default route leaves by: one, or one per next hop. None when it is no default route, or one that leads
/// nowhere (`unreachable default` is in every IPv6 table).
fn leaves_by(route: &RouteMessage) -> Vec<u32> {
    if route.header.destination_prefix_length != 0 || route.header.kind != RouteType::Unicast {
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
