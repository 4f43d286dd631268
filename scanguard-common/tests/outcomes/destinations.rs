//! Destinations that are this host's by a route, or that it has in common with others.

use super::*;

const BROADCAST: Ip = [192, 0, 2, 255];
const MDNS: Ip = [224, 0, 0, 251];
const LIMITED: Ip = [255; 4];
/// Local by route.
const ROUTED: Ip = [198, 51, 101, 77];
const STRANGER: Ip = [203, 0, 113, 67];

/// The host, with a prefix that is local by route and the broadcast address of its network.
fn host_with_routes() -> MemoryTables {
    let mut tables = host();
    tables.set_local(vec![prefix(IpAddr::from([198, 51, 101, 0]), 24)]);
    tables.add_group(IpAddr::from(BROADCAST).into());
    tables
}

fn suspect(tables: &MemoryTables, at: Ip) {
    for port in 1..=4 {
        asks(tables, PEER, at, port);
    }
    assert!(record(tables, PEER).is_suspect(START_NS), "four closed ports at {at:?}");
}

#[test]
fn ports_of_prefixes_that_are_local_by_route_count_and_are_hidden_like_those_of_addresses() {
    let tables = host_with_routes();
    suspect(&tables, ROUTED);
    for (port, passes) in [(80, true), (22, false), (9, false)] {
        assert_eq!(asks(&tables, PEER, ROUTED, port), passes, "{port}");
        assert_eq!(asks(&tables, PEER, HOST, port), passes, "{port} of the address");
        assert_eq!(arrives(&tables, &udp(PEER, 40_000, ROUTED, port)), passes, "{port}/udp");
    }
    // Another network, of which nothing is known.
    assert!(asks(&tables, PEER, [198, 51, 102, 77], 22));
}

#[test]
fn senders_within_a_prefix_that_is_local_by_route_are_never_judged() {
    let tables = host_with_routes();
    for port in 1..=20 {
        assert!(asks(&tables, [198, 51, 101, 5], HOST, port));
    }
    assert!(tables.records().is_empty());
}

#[test]
fn datagrams_to_many_hosts_are_hidden_from_suspects_on_all_ports_but_public_ones() {
    let tables = host_with_routes();
    suspect(&tables, HOST);
    for to in [BROADCAST, MDNS, LIMITED] {
        // Restricted; closed, and closed where containers have a service; public; nothing known.
        for (port, passes) in
            [(22, false), (9, false), (23, false), (CONTAINERS_DATABASE, false), (80, true), (50_000, true)]
        {
            assert_eq!(arrives(&tables, &udp(PEER, 40_000, to, port)), passes, "{to:?} {port}");
        }
    }
    // The broadcast address of another network.
    assert!(arrives(&tables, &udp(PEER, 40_000, [198, 51, 102, 255], 22)));
}

#[test]
fn a_service_that_was_open_lately_is_hidden_from_datagrams_to_many_hosts() {
    let mut tables = host_with_routes();
    tables.set_port(Protocol::Udp, 5353, PortEntry::new(PortClass::Unknown, PortClass::Restricted));
    suspect(&tables, HOST);
    assert!(!arrives(&tables, &udp(PEER, 40_000, MDNS, 5353)));
    assert!(arrives(&tables, &udp(STRANGER, 40_000, MDNS, 5353)));
}

#[test]
fn datagrams_to_many_hosts_are_no_evidence_whatever_port_they_ask_for() {
    let tables = host_with_routes();
    for to in [BROADCAST, MDNS, LIMITED] {
        for port in 1..=100 {
            assert!(arrives(&tables, &udp(PEER, 40_000, to, port)), "{to:?} {port}");
        }
    }
    let record = record(&tables, PEER);
    assert_eq!((record.attempts, record.score, record.failures), (300, 0, 0));
    // Nor do they take anything from what comes later.
    suspect(&tables, HOST);
}

#[test]
fn under_a_block_of_private_ports_datagrams_to_many_hosts_get_to_public_ports_alone() {
    let mut tables = host_with_routes();
    tables.set_verdict(key(PEER), Some(Verdict::block(Scope::Private, Origin::Operator, u64::MAX)));
    for (port, passes) in [(22, false), (9, false), (80, true)] {
        assert_eq!(arrives(&tables, &udp(PEER, 40_000, BROADCAST, port)), passes, "{port}");
    }
    let known = Known { restricted_until_ns: u64::MAX };
    tables.set_known(key(PEER), known);
    assert!(arrives(&tables, &udp(PEER, 40_000, BROADCAST, 22)), "who works there is let through");
}

#[test]
fn syns_and_echo_requests_to_many_hosts_are_neutral() {
    let tables = host_with_routes();
    for port in 1..=20 {
        assert!(asks(&tables, PEER, BROADCAST, port));
        assert!(arrives(&tables, &echo(PEER, MDNS, false)));
    }
    assert_eq!(score(&tables, PEER), 0);
}

/// The first fragment of a datagram whose header is in the second.
fn cut_chain(to: [u8; 16]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    frame.extend([0x60, 0, 0, 0, 0, 16, 44, 64]);
    frame.extend("2001:db8:3::66".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    frame.extend(to);
    // Fragment header: destination options follow, offset 0, more fragments. Options: UDP follows, six bytes of padding.
    frame.extend([60, 0, 0, 1, 0, 0, 0, 7]);
    frame.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    frame
}

#[test]
fn first_fragments_without_their_headers_reach_nobody_by_a_multicast_address() {
    let tables = host_with_routes();
    let all_nodes = "ff02::1".parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let elsewhere = "2001:db8:9::1".parse::<std::net::Ipv6Addr>().expect("an address").octets();
    assert!(!arrives(&tables, &cut_chain(all_nodes)));
    assert!(arrives(&tables, &cut_chain(elsewhere)), "what only passes through");
}
