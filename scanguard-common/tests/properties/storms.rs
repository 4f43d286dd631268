//! Forged suspects.

use std::net::IpAddr;

use proptest::prelude::*;
use scanguard_common::datapath::Action;
use scanguard_common::packet::tcp_flags::ACK;
use scanguard_common::storm::StormRules;

use crate::cases;
use crate::frames::What;
use crate::world::{DAY_NS, MINUTE_NS, PORTS, SECOND_NS, World, datagram, entry, syn, v4, v6};

const DURATION_NS: u64 = StormRules::new().duration_ns;

/// Forgers, and strangers by number: each in a network of its own.
fn forger(number: u8) -> IpAddr {
    v4(100, 64, number, 1)
}

fn stranger(number: u8) -> IpAddr {
    v4(100, 65, number, 1)
}

/// A host with this limit on which so many suspects arise within a second.
fn flooded(limit: u8, suspects: u8, gap_ns: u64) -> World {
    let mut world = World::with(|config| config.storm.suspects_per_second = u32::from(limit));
    for number in 0..suspects {
        if number > 0 {
            world.wait(gap_ns);
        }
        world.scan(forger(number), 4);
    }
    world
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn a_storm_begins_with_the_suspect_that_is_one_too_many_within_a_second(limit in 1..20_u8, share in 0..100_u64) {
        let gap_ns = (SECOND_NS - 1) / u64::from(limit) * share / 100;
        let mut world = flooded(limit, limit, gap_ns);
        prop_assert!(world.opens(stranger(0), PORTS.closed[0]), "as many as the limit are no storm");
        let mut world = flooded(limit, limit + 1, gap_ns);
        prop_assert!(!world.opens(stranger(0), PORTS.closed[0]));
    }

    #[test]
    fn a_storm_hides_closed_ports_from_all_strangers_and_nothing_else(limit in 1..10_u8, wait_ns in 0..DURATION_NS) {
        let mut world = flooded(limit, limit + 1, 0);
        world.wait(wait_ns);
        let closed = [&PORTS.closed[..], &PORTS.canary, &[PORTS.high, PORTS.ephemeral]].concat();
        for port in &closed {
            prop_assert_eq!(world.ask(stranger(0), syn(*port)), Action::Drop);
            prop_assert_eq!(world.ask(v6(0x99, 1, 1), syn(*port)), Action::Drop);
        }
        let open = [&PORTS.public[..], &PORTS.restricted, &PORTS.unknown, &[PORTS.listening]].concat();
        for (number, port) in (1..).zip(open) {
            prop_assert_eq!(world.ask(stranger(number), syn(port)), Action::Pass, "port {}", port);
            prop_assert_eq!(world.ask(stranger(number), datagram(port)), Action::Pass, "port {}", port);
        }
        for (number, port) in (20..).zip(&closed) {
            let probe = What::Tcp { flags: ACK, port: *port };
            // Answers to what we asked ourselves arrive at ephemeral ports.
            let probed = if *port == PORTS.ephemeral { Action::Pass } else { Action::Drop };
            for (what, expected) in [(datagram(*port), probed), (probe, probed)] {
                prop_assert_eq!(world.ask(stranger(number), what), expected, "{:?}", what);
            }
            for what in [What::Ping, What::IcmpError] {
                prop_assert_eq!(world.ask(stranger(number), what), Action::Pass, "{:?}", what);
            }
        }
    }

    #[test]
    fn a_storm_is_no_cloak_sources_are_scored_in_it(limit in 1..10_u8, wait_ns in 0..DURATION_NS) {
        let mut world = flooded(limit, limit + 1, 0);
        world.wait(wait_ns);
        for port in &PORTS.closed[..4] {
            prop_assert!(!world.is_suspect(stranger(0)));
            prop_assert_eq!(world.ask(stranger(0), syn(*port)), Action::Drop);
        }
        prop_assert!(world.is_suspect(stranger(0)));
        prop_assert_eq!(world.ask(stranger(0), syn(PORTS.restricted[0])), Action::Drop);
    }

    #[test]
    fn forged_suspects_wash_no_backup_out(minutes in 1..15_u64) {
        // More than the 600 that are backed up in a minute.
        let mut world = World::with(|config| config.storm.suspects_per_second = 1_000_000);
        for number in 0..minutes * 1_000 {
            world.wait(MINUTE_NS / 1_000);
            let [_, .., a, b] = (number as u32).to_be_bytes();
            world.scan(v4(100, 66, a, b), 4);
        }
        let kept = world.tables.suspects().len() as u64;
        prop_assert!(kept <= 1_024 + minutes * 600, "{kept} are kept");
    }

    #[test]
    fn a_storm_spares_the_known_and_the_allowed(limit in 1..10_u8, wait_ns in 0..DURATION_NS) {
        let mut world = flooded(limit, limit + 1, 0);
        world.know(stranger(0), DAY_NS);
        world.tables.set_allowed(vec![entry(stranger(1), 24), entry(v6(0x99, 1, 1), 128)]);
        world.wait(wait_ns);
        for sender in [stranger(0), stranger(1), v6(0x99, 1, 1)] {
            prop_assert!(world.opens(sender, PORTS.closed[0]), "{sender}");
        }
        prop_assert!(!world.opens(v6(0x99, 1, 2), PORTS.closed[0]), "not the one entered");
    }

    #[test]
    fn a_storm_ends_so_long_after_suspects_last_arose_too_fast(limit in 1..10_u8, asked in 0..20_u8) {
        let mut world = flooded(limit, limit + 1, 0);
        world.wait(DURATION_NS - 1);
        for number in 0..asked {
            prop_assert!(!world.opens(stranger(number), PORTS.closed[0]), "what a storm hides does not prolong it");
        }
        world.wait(1);
        prop_assert!(world.opens(stranger(0), PORTS.closed[0]));
        prop_assert!(!world.opens(forger(0), PORTS.closed[0]), "suspects are still suspects");
    }
}
