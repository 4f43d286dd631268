//! Properties of the parser: it reads what another library wrote, and never trips over what nobody wrote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, VlanId};
use proptest::prelude::*;
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::datapath::{Case, process, process_frame};
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::packet::{MAX_VLAN_TAGS, Parsed, Shape, parse, plain_segment};

const ETHERNET: usize = 14;

#[derive(Clone, Debug)]
struct Sent {
    source: IpAddr,
    destination: IpAddr,
    tags: u8,
    ports: (u16, u16),
    payload: Vec<u8>,
}

prop_compose! {
    fn sent()(
        addresses in prop_oneof![
            any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        ],
        tags in 0..=MAX_VLAN_TAGS,
        ports: (u16, u16),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) -> Sent {
        Sent { source: addresses.0, destination: addresses.1, tags, ports, payload }
    }
}

/// Writes it with etherparse, as TCP with these flags or as UDP.
fn written(sent: &Sent, tcp_flags: Option<u8>) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let ip = |source: IpAddr, destination: IpAddr| match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => etherparse::IpHeaders::Ipv4(
            etherparse::Ipv4Header::new(0, 64, etherparse::IpNumber::TCP, source.octets(), destination.octets())
                .expect("a header"),
            etherparse::Ipv4Extensions::default(),
        ),
        (IpAddr::V6(source), IpAddr::V6(destination)) => etherparse::IpHeaders::Ipv6(
            etherparse::Ipv6Header {
                source: source.octets(),
                destination: destination.octets(),
                hop_limit: 64,
                ..etherparse::Ipv6Header::default()
            },
            etherparse::Ipv6Extensions::default(),
        ),
        _ => unreachable!("two addresses of one family"),
    };
    let headers = ip(sent.source, sent.destination);
    let vlan = VlanId::try_new(7).expect("an id");
    let step = match sent.tags {
        0 => ethernet.ip(headers),
        1 => ethernet.single_vlan(vlan).ip(headers),
        _ => ethernet.double_vlan(vlan, vlan).ip(headers),
    };
    let mut frame = Vec::new();
    match tcp_flags {
        Some(flags) => {
            step.tcp(sent.ports.0, sent.ports.1, 1, 1).write(&mut frame, &sent.payload).expect("a packet");
            let at = frame.len() - sent.payload.len() - 20 + 13;
            frame[at] = flags;
        }
        None => step.udp(sent.ports.0, sent.ports.1).write(&mut frame, &sent.payload).expect("a packet"),
    }
    frame
}

fn check(parsed: &Parsed, sent: &Sent, shape: Shape, protocol: u8) -> Result<(), TestCaseError> {
    let header = if sent.source.is_ipv4() { 20 } else { 40 };
    prop_assert_eq!(parsed.shape, shape);
    prop_assert_eq!(parsed.protocol, protocol);
    prop_assert_eq!(IpAddr::from(parsed.source), unmapped(sent.source));
    prop_assert_eq!(IpAddr::from(parsed.destination), unmapped(sent.destination));
    prop_assert_eq!((parsed.source_port, parsed.destination_port), sent.ports);
    prop_assert_eq!(parsed.vlan_tags, sent.tags);
    prop_assert_eq!(parsed.version, if sent.source.is_ipv4() { 4 } else { 6 });
    prop_assert_eq!(usize::from(parsed.transport_offset), ETHERNET + 4 * usize::from(sent.tags) + header);
    Ok(())
}

/// Our addresses do not tell a mapped address on the wire from an IPv4 one; the version does.
fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn tcp_is_read_as_it_was_written(sent in sent(), flags: u8) {
        let frame = written(&sent, Some(flags));
        let parsed = parse(&Frame(&frame));
        check(&parsed, &sent, Shape::Tcp, 6)?;
        prop_assert_eq!(parsed.tcp_flags, flags);
    }

    #[test]
    fn udp_is_read_as_it_was_written(sent in sent()) {
        check(&parse(&Frame(&written(&sent, None))), &sent, Shape::Udp, 17)?;
    }

    #[test]
    fn ethernet_padding_changes_nothing(sent in sent(), padding in 1..40_usize) {
        let frame = written(&sent, Some(2));
        let padded = [&frame[..], &vec![0xff; padding]].concat();
        prop_assert_eq!(parse(&Frame(&padded)), parse(&Frame(&frame)));
    }

    #[test]
    fn a_frame_cut_anywhere_before_its_flags_is_no_tcp(sent in sent(), share in 0.0..1.0_f64) {
        let frame = written(&sent, Some(2));
        let whole = parse(&Frame(&frame));
        let flags_end = usize::from(whole.transport_offset) + 14;
        let length = (flags_end as f64 * share) as usize;
        prop_assert_eq!(parse(&Frame(&frame[..length])).shape, Shape::Malformed);
    }

    #[test]
    fn the_short_way_says_what_the_long_way_says(sent in sent(), flags: u8, at: prop::sample::Index, value: u8) {
        let mut frame = written(&sent, Some(flags));
        for changed in [false, true] {
            if changed {
                let at = at.index(frame.len());
                frame[at] = value;
            }
            let [short, long] = [(); 2].map(|()| {
                let mut tables = MemoryTables::new(KernelConfig::new([1, 2]));
                let parsed = parse(&Frame(&frame));
                // So that some of them are probes of a closed port.
                tables.add_own_address(parsed.destination);
                tables.set_port_class(Protocol::Tcp, parsed.destination_port & !1, PortClass::Closed);
                tables
            });
            process_frame(&Frame(&frame), &short);
            process(&mut Case::of(parse(&Frame(&frame))), frame.len() as u64, &long);
            prop_assert_eq!(short.counters(), long.counters());
        }
    }

    #[test]
    fn plain_segments_of_connections_take_the_short_way(sent in sent(), flags: u8) {
        let frame = written(&Sent { tags: 0, ..sent }, Some(flags | 0x10));
        let plain = plain_segment(&Frame(&frame));
        prop_assert_eq!(plain.is_some(), flags & 0x02 == 0);
        let parsed = parse(&Frame(&frame));
        if let Some(plain) = plain {
            prop_assert_eq!(plain.destination_port(), parsed.destination_port);
            prop_assert_eq!(plain.is_ack(), parsed.tcp_flags & 0x04 == 0);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_and_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = parse(&Frame(&bytes));
        if matches!(parsed.shape, Shape::Tcp | Shape::Udp | Shape::Icmp) {
            prop_assert!(usize::from(parsed.transport_offset) + 8 <= bytes.len());
        }
        if !matches!(parsed.shape, Shape::Tcp) {
            prop_assert_eq!(parsed.tcp_flags, 0);
        }
    }
}

/// Linux takes whole units of eight bytes of a fragment that others follow: flags in the bytes behind them are not those of the segment.
#[test]
fn flags_of_a_first_fragment_are_read_in_the_bytes_that_linux_takes() {
    let addresses = (IpAddr::from([203, 0, 113, 66]), IpAddr::from([192, 0, 2, 10]));
    let sent =
        Sent { source: addresses.0, destination: addresses.1, tags: 0, ports: (40_000, 22), payload: vec![0; 12] };
    for (length, shape) in
        [(8, Shape::TinyFragment), (14, Shape::TinyFragment), (15, Shape::TinyFragment), (16, Shape::Tcp)]
    {
        let mut frame = written(&sent, Some(4));
        frame.truncate(ETHERNET + 20 + length);
        frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&(20 + length as u16).to_be_bytes());
        frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&[0x20, 0]);
        let parsed = parse(&Frame(&frame));
        assert_eq!((parsed.shape, parsed.destination_port), (shape, 22), "{length} bytes");
    }
}
