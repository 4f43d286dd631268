//! The attacks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::attacker::{
    Attacker, CLOSED, Learnt, MORE_RESTRICTED, PUBLIC_UDP, SIX, THREE, at_most_three, claims, few_restricted, mixed,
    nothing_hidden,
};
use super::half_open;
use super::probes::{self, DATAGRAMS, Probe, Write};
use super::{Attack, Found, World};
use crate::lab::craft::{self, Checksum, Header4, ICMP, ICMP6, SYN, TCP, UDP};
use crate::lab::plan::{EDGE, EDGE6, PUBLIC};
use crate::lab::report::{Claim, Scanner};
use crate::lab::stage::Setup;
use crate::lab::tools::Tool;
use crate::lab::wire::Says;

const OFF: &str = "challenge = \"off\"\n";

pub(super) const WORLDS: &[World] = &[
    World {
        config: OFF,
        tables: "",
        attacks: &[
            Attack { name: "scan", note: "SYNs to 298 closed and 12 open ports (the control)", run: scan },
            Attack { name: "scan, IPv6", note: "the same over IPv6", run: scan6 },
            Attack {
                name: "neutral datagrams first",
                note: "1,500 datagrams to ports of clients, then the scan",
                run: datagrams,
            },
            Attack { name: "neutral datagrams first, IPv6", note: "the same over IPv6", run: datagrams6 },
            Attack {
                name: "neutral datagrams between",
                note: "five neutral datagrams after each port of the scan",
                run: |a, _| between(a, &[0]),
            },
            Attack {
                name: "pings between",
                note: "five pings after each port of the scan",
                run: |a, _| between(a, &[1]),
            },
            Attack {
                name: "SYNs to a public port between",
                note: "five SYNs to a public port after each port of the scan",
                run: |a, _| between(a, &[2]),
            },
            Attack {
                name: "tunnel packets between",
                note: "five tunnel packets after each port of the scan",
                run: |a, _| between(a, &[3]),
            },
            Attack {
                name: "neutral packets between",
                note: "five of each of these after each port of the scan",
                run: |a, _| between(a, &[0, 1, 2, 3]),
            },
            Attack {
                name: "public ports first",
                note: "1,000 SYNs to public ports and as many pings, then the scan",
                run: public_first,
            },
            Attack {
                name: "restricted ports first",
                note: "all restricted ports, then the closed ones",
                run: restricted_first,
            },
            Attack {
                name: "restricted datagrams first",
                note: "datagrams to restricted ports, then the scan of TCP ports",
                run: restricted_udp_first,
            },
            Attack { name: "ACK sweep", note: "nmap -sA of a fresh source", run: |a, _| sweep_fresh(a, probes::ack) },
            Attack {
                name: "Maimon's sweep",
                note: "nmap -sM of a fresh source",
                run: |a, _| sweep_fresh(a, probes::fin_ack),
            },
            Attack {
                name: "SYN-ACK sweep",
                note: "SYN-ACKs of a fresh source",
                run: |a, _| sweep_told(a, probes::syn_ack),
            },
            Attack { name: "NULL sweep", note: "nmap -sN of a fresh source", run: |a, _| sweep_fresh(a, probes::null) },
            Attack {
                name: "chain cut by a fragment",
                note: "IPv6: the first fragment ends within the chain of headers",
                run: |a, _| sweep_six(a, probes::cut_chain),
            },
            Attack {
                name: "chain cut by a fragment, UDP",
                note: "the same with datagrams",
                run: |a, _| udp_six(a, probes::cut_chain_udp),
            },
            Attack {
                name: "nine extension headers",
                note: "IPv6: SYNs behind nine headers",
                run: |a, _| sweep_six(a, probes::nine_headers),
            },
            Attack {
                name: "flags of another fragment",
                note: "SYNs in two fragments, of which the first shows a reset in bytes that Linux does not take",
                run: |a, _| sweep_fresh(a, probes::flags_of_another),
            },
            Attack {
                name: "anycast",
                note: "datagrams to the anycast address that a router has in its network",
                run: anycast,
            },
            Attack {
                name: "translated loopback",
                note: "SYNs from 64:ff9b::127.0.0.1, an address of IPv6 with one in it that IPv4 takes nothing from",
                run: |a, _| sweep_from(a, "64:ff9b::127.0.0.1".parse()?, probes::syn),
            },
            Attack {
                name: "ACKs to restricted ports",
                note: "three closed ports; then an ACK to each restricted one, and a look whether the first is silent",
                run: acks_to_restricted,
            },
            Attack {
                name: "three priority tags",
                note: "SYNs behind three tags of VLAN 0, on the same link",
                run: |a, _| sweep_fresh(a, probes::priority_tags::<3>),
            },
            Attack {
                name: "five priority tags",
                note: "SYNs behind five",
                run: |a, _| sweep_fresh(a, probes::priority_tags::<5>),
            },
            Attack {
                name: "every kind of probe, suspect",
                note: "50 kinds of probes to restricted and closed ports, by a suspect",
                run: |a, _| every_kind(a, "suspect", ""),
            },
            Attack {
                name: "every kind of probe, blocked private",
                note: "the same under a block of private ports",
                run: |a, _| every_kind(a, "blocked", "private"),
            },
            Attack {
                name: "every kind of probe, blocked all",
                note: "the same under a block of all ports, public ones too",
                run: |a, _| every_kind(a, "blocked", "all"),
            },
            Attack {
                name: "everything else, blocked all",
                note: "pings, timestamps, SCTP, GRE, ESP, unknown protocols, headers that are refused, by a \
                       source blocked from all ports",
                run: everything_else,
            },
            Attack {
                name: "UDP scan",
                note: "datagrams to 298 closed ports, then to 20 restricted ones",
                run: |a, _| udp_scan(a, false),
            },
            Attack { name: "UDP scan behind options", note: "the same behind IPv4 options", run: udp_options },
            Attack {
                name: "UDP scan after a public service",
                note: "a UDP service is asked first and answers; then the UDP scan",
                run: |a, _| udp_scan(a, true),
            },
            Attack {
                name: "UDP scan after a service from another port",
                note: "as TFTP does: a service answers from a fresh port, then the UDP scan",
                run: tftp,
            },
            Attack {
                name: "datagrams of a suspect",
                note: "every kind of datagram to restricted and closed ports",
                run: datagrams_of_suspect,
            },
            Attack {
                name: "datagrams to everybody",
                note: "a suspect asks the restricted UDP ports of broadcast and multicast addresses",
                run: broadcast,
            },
            Attack {
                name: "taking turns in a /24",
                note: "each address of a /24 until it is answered no more, then the next",
                run: turns4,
            },
            Attack { name: "taking turns in a /48", note: "each /64 of a /48, likewise", run: turns6 },
            Attack { name: "Teredo", note: "each address of one Teredo server, likewise", run: teredo },
            Attack { name: "link-local", note: "link-local addresses, likewise, on the same link", run: link_local },
            Attack {
                name: "IPv4-compatible source",
                note: "a scan from ::9.9.9.9",
                run: |a, _| sweep_from(a, compatible(), probes::syn),
            },
            Attack {
                name: "source of 0.0.0.0/8",
                note: "a scan from 0.9.9.9, which Linux answers since 5.3",
                run: |a, _| sweep_from(a, Ipv4Addr::new(0, 9, 9, 9).into(), probes::syn),
            },
            Attack {
                name: "source of class E",
                note: "a scan from 250.9.9.9",
                run: |a, _| sweep_from(a, Ipv4Addr::new(250, 9, 9, 9).into(), probes::syn),
            },
            Attack {
                name: "translated source",
                note: "a scan from 64:ff9b::9.9.9.8, when 9.9.9.8 is a suspect",
                run: translated,
            },
            Attack {
                name: "allowed for a while",
                note: "the operator allows a source that scans, and takes it back; then it scans again",
                run: allowed,
            },
            Attack {
                name: "fragments that nothing completes",
                note: "a suspect sends first fragments of ACKs and waits for what is said when they are given up",
                run: given_up,
            },
            Attack {
                name: "reassembly as an oracle",
                note: "a suspect sends a first fragment of an ACK to a hidden port, then a SYN to a public one \
                       in fragments of the same number",
                run: |a, _| reassembly(a, fresh4()),
            },
            Attack {
                name: "reassembly as an oracle, IPv6",
                note: "the same over IPv6",
                run: |a, _| reassembly(a, fresh6()),
            },
            Attack {
                name: "firewall that rejects",
                note: "a firewall on the edge rejects segments to most ports by ICMP errors; a suspect sends ACKs",
                run: rejected,
            },
            Attack {
                name: "counters of the stack",
                note: "a suspect reads from IP identifications of echo replies what the stack answered to it \
                       without its seeing",
                run: counters,
            },
            Attack {
                name: "looks and goes on",
                note: "asks by another kind whenever it is not answered",
                run: adaptive,
            },
        ],
    },
    World {
        config: OFF,
        tables: "",
        attacks: &[Attack {
            name: "storm as a cloak",
            note: "520 SYNs of 130 networks make a storm; then a scan from a clean address",
            run: storm_of_networks,
        }],
    },
    World {
        config: OFF,
        tables: "",
        attacks: &[Attack {
            name: "storm of forged flags",
            note: "256 forged frames without flags make a storm; then a scan from a clean address",
            run: storm_of_flags,
        }],
    },
    World {
        config: OFF,
        tables: "",
        attacks: &[Attack {
            name: "storm and ACK sweep",
            note: "a storm, then nmap -sA from a clean address",
            run: storm_and_ack,
        }],
    },
    World {
        config: OFF,
        tables: "[sources]\nmax_sources = 20000\n",
        attacks: &[Attack {
            name: "washing out a suspect",
            note: "a suspect, then frames without flags of forged sources, two each, at full speed, while it \
                   knocks now and then",
            run: wash,
        }],
    },
    World {
        config: "challenge = \"on\"\n",
        tables: "",
        attacks: &[
            Attack {
                name: "half-open scan through retries",
                note: "challenge = on: a suspect meets each retry, reads what answers then, and completes nothing",
                run: half_open::run,
            },
            Attack {
                name: "bare SYNs through retries",
                note: "the same with SYNs without options",
                run: half_open::bare,
            },
            Attack {
                name: "every kind of probe, challenged suspect",
                note: "challenge = on: 50 kinds of probes to restricted and closed ports, answers compared in kind",
                run: |a, _| every_kind(a, "challenged", ""),
            },
        ],
    },
];

/// An attacker's address, each in a /24 of its own.
pub(super) fn fresh4() -> IpAddr {
    let number = next();
    Ipv4Addr::new(45, (number >> 8) as u8, number as u8, 66).into()
}

/// The same, each in a /48 of its own.
fn fresh6() -> IpAddr {
    Ipv6Addr::new(0x2a01, 0x45, next(), 0, 0, 0, 0, 0x66).into()
}

fn next() -> u16 {
    use std::sync::atomic::AtomicU16;
    static NUMBER: AtomicU16 = AtomicU16::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn compatible() -> IpAddr {
    Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0x0909, 0x0909).into()
}

fn scanner(learnt: &Learnt) -> Scanner {
    Scanner {
        probes_sent: learnt.asked(),
        closed_answered: learnt.closed(),
        restricted_revealed: learnt.restricted(),
        public_revealed: learnt.public(),
        ..Scanner::default()
    }
}

fn found(learnt: &Learnt, claims: Vec<Claim>) -> Found {
    let note = format!("{} of {} ports answered, {} public ones", learnt.answered(), learnt.asked(), learnt.public());
    Found { claims, note, scanner: scanner(learnt) }
}

fn sweep_from(a: &mut Attacker<'_>, from: IpAddr, write: Write) -> Result<Found> {
    let learnt = a.sweep(from, mixed(), &write)?;
    Ok(found(&learnt, at_most_three(&learnt)))
}

fn sweep_fresh(a: &mut Attacker<'_>, write: Write) -> Result<Found> {
    sweep_from(a, fresh4(), write)
}

fn scan(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    sweep_fresh(a, probes::syn)
}

fn scan6(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    sweep_from(a, fresh6(), probes::syn)
}

/// For probes that all ports answer alike.
fn sweep_told(a: &mut Attacker<'_>, write: Write) -> Result<Found> {
    let learnt = a.sweep(fresh4(), mixed(), &write)?;
    Ok(found(&learnt, claims(&[("restricted ports told apart", 0, learnt.restricted())])))
}

/// From fresh sources, and from ones that are blocked from private and from all ports.
fn sweep_six(a: &mut Attacker<'_>, write: Write) -> Result<Found> {
    let fresh = a.sweep(fresh6(), mixed(), &write)?;
    let mut claims = at_most_three(&fresh);
    let mut blocked = Learnt::default();
    for scope in ["private", "all"] {
        let from = fresh6();
        a.block(&from.to_string(), scope)?;
        let learnt = a.sweep(from, mixed(), &write)?;
        claims.push(Claim {
            what: format!("ports answered, blocked {scope}"),
            most: if scope == "all" { 0 } else { PUBLIC.len() as u64 },
            measured: learnt.answered(),
        });
        blocked.join(learnt);
    }
    Ok(found(&fresh, claims))
}

fn udp_six(a: &mut Attacker<'_>, write: Write) -> Result<Found> {
    let learnt = a.sweep(fresh6(), CLOSED.chain(MORE_RESTRICTED), &write)?;
    let mut claims = at_most_three(&learnt);
    let from = fresh6();
    a.block(&from.to_string(), "all")?;
    let blocked = a.sweep(from, CLOSED.chain(MORE_RESTRICTED), &write)?;
    claims.push(Claim { what: "ports answered, blocked all".to_owned(), most: 0, measured: blocked.answered() });
    Ok(found(&learnt, claims))
}

fn datagrams(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let from = fresh4();
    a.neutral_datagrams(from, 1_500)?;
    sweep_from(a, from, probes::syn)
}

fn datagrams6(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let from = fresh6();
    a.neutral_datagrams(from, 1_500)?;
    sweep_from(a, from, probes::syn)
}

fn echo(from: IpAddr, number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    if from.is_ipv4() {
        craft::packet(from, EDGE.into(), ICMP, craft::icmp(8, 0, [1, 1, high, low], b"ping"))
    } else {
        craft::packet(from, EDGE6.into(), ICMP6, craft::icmp(128, 0, [1, 1, high, low], b"ping"))
    }
}

/// Packets that are worth nothing, of these kinds, after each port.
fn between(a: &mut Attacker<'_>, kinds: &[u8]) -> Result<Found> {
    let from = fresh4();
    let mut learnt = Learnt::default();
    for (position, port) in mixed().into_iter().enumerate() {
        learnt.join(a.sweep(from, [port], &probes::syn)?);
        for number in (0..5_u16).map(|number| position as u16 * 5 + number) {
            for kind in kinds {
                let syn = || craft::tcp(2_000 + number, 80, 1, 0, SYN, &craft::MSS_OPTION, &[]);
                let packet = match kind {
                    0 => craft::packet(from, EDGE.into(), UDP, craft::udp(5_000, 33_000 + number, b"nothing")),
                    1 => echo(from, number),
                    2 => craft::packet(from, EDGE.into(), TCP, syn()),
                    // GRE, which is in ordinary use.
                    _ => craft::ip4(from, EDGE.into(), 47, &Header4::default(), &[0, 0, 8, 0, number as u8]),
                };
                let frame = a.tap.framed(&packet);
                a.send(&frame)?;
            }
        }
    }
    Ok(found(&learnt, at_most_three(&learnt)))
}

fn public_first(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let from = fresh4();
    for number in 0..1_000_u16 {
        for packet in [
            craft::packet(
                from,
                EDGE.into(),
                TCP,
                craft::tcp(2_000 + number, PUBLIC[usize::from(number) % 2], 1, 0, SYN, &craft::MSS_OPTION, &[]),
            ),
            echo(from, number),
        ] {
            let frame = a.tap.framed(&packet);
            a.send(&frame)?;
        }
    }
    sweep_from(a, from, probes::syn)
}

/// Restricted ports are told to be open until somebody is a suspect. Of two sources that ask for different ones the
/// one that learns less: contacts may fall together.
fn restricted_first(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let (one, other) = (few_restricted(), MORE_RESTRICTED.skip(5).take(10).collect());
    let (mut first, mut then) = (u64::MAX, Learnt::default());
    for ports in [one, other] {
        let from = fresh4();
        first = first.min(a.sweep(from, ports, &probes::syn)?.answered());
        then.join(a.sweep(from, CLOSED, &probes::syn)?);
    }
    let claims = claims(&[
        ("restricted ports that answered", SIX, first),
        ("closed ports answered after them", THREE, then.closed()),
    ]);
    Ok(found(&then, claims))
}

fn restricted_udp_first(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let (mut first, mut then) = (u64::MAX, Learnt::default());
    for skipped in [0, 10] {
        let from = fresh4();
        first = first.min(a.sweep(from, MORE_RESTRICTED.skip(skipped).take(10), &probes::udp)?.answered());
        then.join(a.sweep(from, mixed(), &probes::syn)?);
    }
    let mut claims = claims(&[("restricted UDP ports that answered", SIX, first)]);
    claims.extend(at_most_three(&then));
    Ok(found(&then, claims))
}

/// Each kind of probe to the same ports; what is restricted must answer as what is closed does.
fn every_kind(a: &mut Attacker<'_>, state: &str, scope: &str) -> Result<Found> {
    let (mut told, mut closed, mut public, mut worst) = (0, 0, 0, BTreeSet::new());
    let mut all = Learnt::default();
    for mut from in [fresh4(), fresh6()] {
        match state {
            "blocked" => a.block(&from.to_string(), scope)?,
            _ => a.accuse(from)?,
        }
        let family = if from.is_ipv4() { "IPv4" } else { "IPv6" };
        let kinds = probes::all(from.is_ipv4());
        for (kind, write) in kinds {
            if state == "challenged" {
                // Each source gets so many answers a second: one that is new for each kind, whose bucket is full.
                from = if from.is_ipv4() { fresh4() } else { fresh6() };
                a.accuse(from)?;
            }
            // Restricted and closed ones in turn, a closed one at the end, for what it says is what hidden ports say.
            let few = few_restricted();
            let ports: Vec<u16> = if state == "challenged" {
                // A source gets six retries at once, of which two were for making it a suspect.
                vec![few[0], few[5]]
            } else {
                few.iter().zip(CLOSED.skip(100)).flat_map(|(open, closed)| [*open, closed]).collect()
            };
            let learnt = a.sweep(from, ports.into_iter().chain(PUBLIC).chain([CLOSED.end + 1]), &write)?;
            if let Some(difference) = learnt.difference() {
                worst.insert(format!("{kind} over {family} ({difference})"));
            }
            (told, closed, public) = (told + learnt.restricted(), closed + learnt.closed(), public + learnt.public());
            all.join(learnt);
        }
        for (kind, write) in DATAGRAMS {
            let ports = MORE_RESTRICTED.zip(CLOSED.skip(100)).flat_map(|(open, closed)| [open, closed]);
            let learnt = a.sweep(from, ports.chain([CLOSED.end + 1]), &write)?;
            if let Some(difference) = learnt.difference() {
                worst.insert(format!("{kind} over {family} ({difference})"));
            }
            (told, closed) = (told + learnt.restricted(), closed + learnt.closed());
        }
    }
    let mut claims = claims(&[("restricted ports told apart", 0, told)]);
    if scope == "all" {
        claims.push(Claim { what: "closed ports answered".to_owned(), most: 0, measured: closed });
        claims.push(Claim { what: "public ports answered".to_owned(), most: 0, measured: public });
    }
    let worst: Vec<String> = worst.into_iter().collect();
    let note = if worst.is_empty() {
        format!("closed ports answered {closed} times")
    } else {
        format!("told by {}", worst.join(", "))
    };
    Ok(Found { claims, note, scanner: scanner(&all) })
}

fn everything_else(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let (from, from6) = (fresh4(), fresh6());
    for source in [from, from6] {
        a.block(&source.to_string(), "all")?;
    }
    let four = |protocol: u8, mut message: Vec<u8>, options: &[u8]| {
        craft::sum_transport(protocol, from, EDGE.into(), &mut message, Checksum::Right);
        craft::ip4(from, EDGE.into(), protocol, &Header4 { options, ..Header4::default() }, &message)
    };
    let six = |protocol: u8, mut message: Vec<u8>, headers: &[(u8, Vec<u8>)]| {
        craft::sum_transport(protocol, from6, EDGE6.into(), &mut message, Checksum::Right);
        let (next, payload) = craft::chained(headers, protocol, &message);
        craft::ip6(from6, EDGE6.into(), next, &payload)
    };
    let refused = |option: u8| vec![(craft::DESTINATION, vec![0, option, 4, 0, 0, 0, 0])];
    let packets: Vec<(&str, Vec<u8>)> = vec![
        ("ping", echo(from, 1)),
        ("timestamp", four(ICMP, craft::icmp(13, 0, [0, 1, 0, 1], &[0; 12]), &[])),
        ("address mask", four(ICMP, craft::icmp(17, 0, [0, 1, 0, 1], &[0; 4]), &[])),
        ("information", four(ICMP, craft::icmp(15, 0, [0, 1, 0, 1], &[]), &[])),
        ("SCTP", four(132, [&[0x9c, 0x40, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 0, 0, 20], &[0; 16]].concat(), &[])),
        ("GRE", four(47, vec![0, 0, 8, 0, 0x45, 0, 0, 20], &[])),
        ("ESP", four(50, vec![0, 0, 1, 0, 0, 0, 0, 1], &[])),
        ("AH", four(51, vec![6, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1], &[])),
        ("IP in IP", four(4, echo(from, 2), &[])),
        ("protocol 200", four(200, vec![0; 8], &[])),
        ("UDP-Lite", four(136, craft::udp(5_000, 22, b"x"), &[])),
        ("DCCP", four(33, craft::udp(5_000, 22, b"x"), &[])),
        ("IGMP query", four(2, vec![0x11, 0, 0xee, 0xff, 0, 0, 0, 0], &[148, 4, 0, 0])),
        ("a datagram to a public port", four(UDP, craft::udp(5_000, PUBLIC_UDP, b"x"), &[])),
        ("a datagram to a closed port", four(UDP, craft::udp(5_000, 1_000, b"x"), &[])),
        (
            "a SYN with options that are refused",
            four(TCP, craft::tcp(5_000, 80, 1, 0, SYN, &[], &[]), &[7, 39, 200, 0]),
        ),
        (
            "a SYN with a source route",
            four(TCP, craft::tcp(5_000, 80, 1, 0, SYN, &[], &[]), &[131, 7, 4, 192, 0, 2, 10]),
        ),
        ("ping, IPv6", echo(from6, 1)),
        ("node information", six(ICMP6, craft::icmp(139, 0, [0, 2, 0, 0], &[0; 24]), &[])),
        ("multicast listener query", six(ICMP6, craft::icmp(130, 0, [0; 4], &[0; 16]), &[])),
        ("unknown next header", six(200, vec![0; 8], &[])),
        ("an option that is refused", six(TCP, craft::tcp(5_000, 80, 1, 0, SYN, &[], &[]), &refused(0x9e))),
        ("an option that everybody refuses", six(TCP, craft::tcp(5_000, 80, 1, 0, SYN, &[], &[]), &refused(0xde))),
        (
            "a routing header of an unknown type",
            six(TCP, craft::tcp(5_000, 80, 1, 0, SYN, &[], &[]), &[(craft::ROUTING, vec![0, 200, 1, 0, 0, 0, 0])]),
        ),
        (
            "SCTP, IPv6",
            six(132, [&[0x9c, 0x40, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 0, 0, 20], &[0; 16]].concat(), &[]),
        ),
        (
            "a hop-by-hop header in the middle",
            six(TCP, craft::tcp(5_000, 80, 1, 0, SYN, &[], &[]), &[(60, craft::options6(1)), (0, craft::options6(1))]),
        ),
        ("a fragment of an odd length", {
            let (next, payload) = craft::chained(&[(craft::FRAGMENT, craft::fragment6(0, true, 7))], UDP, &[0; 13]);
            craft::ip6(from6, EDGE6.into(), next, &payload)
        }),
        ("a fragment behind the end of what is possible", {
            let (next, payload) =
                craft::chained(&[(craft::FRAGMENT, craft::fragment6(8_191, false, 7))], UDP, &[0; 64]);
            craft::ip6(from6, EDGE6.into(), next, &payload)
        }),
    ];
    let (mut answers, mut by) = (0, Vec::new());
    for (what, packet) in packets {
        let source = if packet[0] >> 4 == 4 { from } else { from6 };
        let frame = a.tap.framed(&packet);
        let heard = a.answers_to(source, &[frame])?;
        answers += heard.len() as u64;
        by.extend(heard.iter().map(|answer| format!("{what}: {}", answer.says)));
    }
    let note = if by.is_empty() { String::new() } else { format!("answered: {}", by.join(", ")) };
    Ok(Found { claims: claims(&[("answers", 0, answers)]), note, scanner: Scanner::default() })
}

fn anycast(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    const FORWARDING: &str = "ipv6/conf/uplink0/forwarding";
    // Linux has it where it forwards (RFC 4291, section 2.6.1).
    a.lab().edge.sysctl(&[(FORWARDING, "1")])?;
    a.listen(Duration::from_secs(6), &mut |_| {})?;
    let to: IpAddr = "2001:db8:2::".parse()?;
    let learnt = a.sweep_to(fresh6(), to, CLOSED.chain(MORE_RESTRICTED).chain([CLOSED.end]), &probes::udp)?;
    a.lab().edge.sysctl(&[(FORWARDING, "0")])?;
    Ok(found(&learnt, at_most_three(&learnt)))
}

fn acks_to_restricted(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let from = fresh4();
    a.sweep(from, CLOSED.take(3), &probes::syn)?;
    let mut told = 0;
    for port in few_restricted().into_iter().chain(MORE_RESTRICTED.skip(5)) {
        a.sweep(from, [port], &probes::ack)?;
        told += u64::from(a.sweep(from, [CLOSED.start], &probes::syn)?.answered() > 0);
    }
    // No limit: each right guess costs nothing, the first wrong one makes it a suspect.
    let asked = few_restricted().into_iter().chain(MORE_RESTRICTED.skip(5)).count() as u64;
    let note = format!("the first port was not silent after {told} of {asked} ACKs");
    Ok(Found { claims: claims(&[("restricted ports told", asked, told)]), note, scanner: Scanner::default() })
}

fn udp_scan(a: &mut Attacker<'_>, ask_first: bool) -> Result<Found> {
    let from = fresh4();
    if ask_first {
        for _ in 0..5 {
            a.sweep(from, [PUBLIC_UDP], &probes::udp)?;
        }
    }
    let learnt = a.sweep(from, CLOSED.chain(MORE_RESTRICTED).chain([CLOSED.end]), &probes::udp)?;
    Ok(found(&learnt, at_most_three(&learnt)))
}

fn udp_options(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let learnt = a.sweep(fresh4(), CLOSED.chain(MORE_RESTRICTED).chain([CLOSED.end]), &probes::udp_behind_options)?;
    Ok(found(&learnt, at_most_three(&learnt)))
}

/// A service on port 69 that answers each question from a socket of its own (RFC 1350 section 4).
fn tftp(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let socket = a.lab().edge.run(|| UdpSocket::bind((EDGE, 69)))?.context("cannot listen on port 69")?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let ended = Arc::new(AtomicBool::new(false));
    let served = thread::spawn({
        let (edge, ended) = (a.lab().edge.clone(), Arc::clone(&ended));
        move || {
            let mut buffer = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                let Ok((_, from)) = socket.recv_from(&mut buffer) else { continue };
                let answered = edge.run(|| UdpSocket::bind((EDGE, 0)).and_then(|fresh| fresh.send_to(b"data", from)));
                drop(answered);
            }
        }
    });
    let from = fresh4();
    for _ in 0..3 {
        a.sweep(from, [69], &probes::udp)?;
        a.listen(Duration::from_millis(50), &mut |_| {})?;
    }
    let learnt = a.sweep(from, CLOSED.chain(MORE_RESTRICTED).chain([CLOSED.end]), &probes::udp);
    ended.store(true, Ordering::Relaxed);
    let _ = served.join();
    let learnt = learnt?;
    Ok(found(&learnt, at_most_three(&learnt)))
}

fn datagrams_of_suspect(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let (mut all, mut restricted, mut closed) = (Learnt::default(), 0, 0);
    for from in [fresh4(), fresh6()] {
        a.accuse(from)?;
        for (_, write) in DATAGRAMS {
            let learnt = a.sweep(from, MORE_RESTRICTED.chain(CLOSED.take(20)), &write)?;
            restricted += learnt.answered() - learnt.closed();
            closed += learnt.closed();
            all.join(learnt);
        }
    }
    let claims = claims(&[("restricted UDP ports answered", 0, restricted), ("closed UDP ports answered", 0, closed)]);
    Ok(Found { claims, note: String::new(), scanner: scanner(&all) })
}

fn broadcast(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let (mut answers, mut by) = (0, Vec::new());
    for to in ["192.0.2.255", "255.255.255.255", "224.0.0.1", "224.0.0.251", "ff02::1"] {
        let to: IpAddr = to.parse()?;
        let from = if to.is_ipv4() { fresh4() } else { fresh6() };
        a.accuse(from)?;
        let learnt = a.sweep_to(from, to, MORE_RESTRICTED.chain(CLOSED.take(10)), &move |probe: &Probe| {
            let mut frames = probes::udp(probe);
            let group = match to {
                IpAddr::V4(to) if to.is_multicast() => {
                    [1, 0, 0x5e, to.octets()[1] & 0x7f, to.octets()[2], to.octets()[3]]
                }
                IpAddr::V4(_) => [0xff; 6],
                IpAddr::V6(_) => [0x33, 0x33, 0, 0, 0, 1],
            };
            frames.iter_mut().for_each(|frame| frame[..6].copy_from_slice(&group));
            frames
        })?;
        answers += learnt.answered();
        if learnt.answered() > 0 {
            by.push(format!("{to}: {}", learnt.answered()));
        }
    }
    Ok(Found {
        claims: claims(&[("restricted UDP ports answered", 0, answers)]),
        note: by.join(", "),
        scanner: Scanner::default(),
    })
}

/// Addresses in turn, each until a closed port of it is silent.
fn turns(a: &mut Attacker<'_>, addresses: impl Iterator<Item = IpAddr>, most: u64) -> Result<Found> {
    let mut ports = CLOSED.cycle();
    let (mut answered, mut used, mut restricted) = (0, 0, BTreeSet::new());
    let mut open = few_restricted().into_iter().cycle();
    for from in addresses {
        used += 1;
        // Restricted first: that is how most of them are learnt.
        if let Some(port) = open.next() {
            let learnt = a.sweep(from, [port], &probes::syn)?;
            restricted.extend((learnt.answered() > 0).then_some(port));
        }
        for port in ports.by_ref().take(8) {
            if a.sweep(from, [port], &probes::syn)?.answered() == 0 {
                break;
            }
            answered += 1;
        }
    }
    let note = format!("{used} addresses; {} restricted ports answered, for which there is no bound", restricted.len());
    let scanner =
        Scanner { closed_answered: answered, restricted_revealed: restricted.len() as u64, ..Scanner::default() };
    Ok(Found { claims: claims(&[("closed ports answered", most, answered)]), note, scanner })
}

fn turns4(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let IpAddr::V4(first) = fresh4() else { return Ok(Found::default()) };
    let [x, y, z, _] = first.octets();
    turns(a, (1..60).map(|last| Ipv4Addr::new(x, y, z, last).into()), 12)
}

fn turns6(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let number = next();
    turns(a, (1..60).map(|subnet| Ipv6Addr::new(0x2a01, 0x46, number, subnet, 0, 0, 0, 9).into()), 12)
}

fn teredo(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let address = |client: u16| Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, 0x3fff, client);
    turns(a, (1..50).map(|client| address(client).into()), 12)
}

fn link_local(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    turns(a, (1..30).map(|host| Ipv6Addr::new(0xfe80, 0, 0, 0, 0x200, 0, 0xbad, host).into()), 12)
}

fn translated(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    a.accuse(Ipv4Addr::new(9, 9, 9, 8).into())?;
    let learnt = a.sweep(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x0909, 0x0908).into(), mixed(), &probes::syn)?;
    Ok(found(&learnt, nothing_hidden(&learnt)))
}

fn allowed(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let from = fresh4();
    let text = from.to_string();
    a.sweep(from, CLOSED, &probes::syn)?;
    a.cli(&["allow", "add", &text, "--for", "1h"])?;
    a.sweep(from, CLOSED, &probes::syn)?;
    a.cli(&["allow", "remove", &text])?;
    sweep_from(a, from, probes::syn)
}

/// Whenever a port is silent it is asked by the next kind, until one answers or there is none left.
fn adaptive(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let hidden = CLOSED.end + 2;
    let (mut all, mut closed, mut told) = (Learnt::default(), 0, 0);
    for from in [fresh4(), fresh6()] {
        let kinds = probes::all(from.is_ipv4());
        let (mut best, mut learnt) = (0, Learnt::default());
        for port in CLOSED.skip(50).take(12).chain(few_restricted()).chain([hidden]) {
            // What told something last is tried first.
            for turn in 0..kinds.len() {
                let which = (best + turn) % kinds.len();
                let answers = a.sweep(from, [port], &kinds[which].1)?;
                let answered = answers.answered() > 0;
                learnt.join(answers);
                if answered {
                    best = which;
                    break;
                }
            }
        }
        (closed, told) = (closed + learnt.closed(), told + learnt.restricted());
        all.join(learnt);
    }
    let claims = claims(&[
        ("closed ports answered, of two sources", 2 * THREE, closed),
        ("restricted ports told apart", 0, told),
    ]);
    Ok(Found { claims, note: String::new(), scanner: scanner(&all) })
}

/// First fragments of ACKs: what is said after a second (`ipfrag_time` is 1 here), and about which port.
fn given_up(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let (mut restricted, mut closed) = (0, 0);
    for from in [fresh4(), fresh6()] {
        a.accuse(from)?;
        a.sweep(from, few_restricted().into_iter().chain(CLOSED.skip(100).take(10)), &probes::first_fragment)?;
        a.listen_for(Duration::from_millis(2_500), &mut |answer| {
            if answer.to == from && answer.says.is_unassembled() {
                let is_closed = answer.port.is_some_and(|port| CLOSED.contains(&port));
                *(if is_closed { &mut closed } else { &mut restricted }) += 1;
            }
        })?;
    }
    let note = format!("{restricted} about restricted ports, {closed} about closed ones");
    let claims = claims(&[("more for one kind of ports", 0, u64::abs_diff(restricted, closed))]);
    Ok(Found { claims, note, scanner: Scanner::default() })
}

/// What is dropped as it arrives no firewall rejects, what is not may be.
fn rejected(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let from = fresh4();
    a.accuse(from)?;
    let edge = a.lab().edge.clone();
    let nft = |words: &[&str]| Tool::Nft.run(&edge, words, Duration::from_secs(10)).map(drop);
    nft(&["add", "table", "inet", "firewall"])?;
    nft(&["add", "chain", "inet", "firewall", "input", "{ type filter hook input priority 0; }"])?;
    let source = from.to_string();
    let rule = ["ip", "saddr", &source, "tcp", "dport", "!=", "80", "reject", "with", "icmp", "admin-prohibited"];
    nft(&[&["add", "rule", "inet", "firewall", "input"], &rule[..]].concat())?;
    let ports = few_restricted().into_iter().zip(CLOSED.skip(100)).flat_map(|(open, closed)| [open, closed]);
    let learnt = a.sweep(from, ports.chain([CLOSED.end]), &probes::ack);
    nft(&["delete", "table", "inet", "firewall"])?;
    let learnt = learnt?;
    Ok(found(&learnt, nothing_hidden(&learnt)))
}

/// What is in the queue of a packet's fragments shows in whether others with its number make a packet.
fn reassembly(a: &mut Attacker<'_>, from: IpAddr) -> Result<Found> {
    a.accuse(from)?;
    let to: IpAddr = if from.is_ipv4() { EDGE.into() } else { EDGE6.into() };
    let (mac, peer) = (a.tap.mac, a.tap.peer);
    let (mut restricted, mut closed) = (0, 0);
    for port in few_restricted().into_iter().zip(CLOSED.skip(100)).flat_map(|(open, closed)| [open, closed]) {
        let number = a.own_port();
        let hidden = Probe { from, to, from_port: number, port, mac, peer };
        let asking = Probe { from_port: a.own_port(), port: PUBLIC[0], ..hidden };
        let frames = [probes::first_fragment(&hidden), probes::syn_with_number(&asking, number)].concat();
        let heard = a.answers_to(from, &frames)?;
        let opened = heard.iter().any(|answer| answer.says == Says::SynAck && answer.asker == Some(asking.from_port));
        *(if CLOSED.contains(&port) { &mut closed } else { &mut restricted }) += u64::from(opened);
    }
    let note = format!(
        "the public port answered {restricted} times after restricted ports and {closed} times after closed ones, of 10"
    );
    let claims = claims(&[("more for one kind of ports", 0, u64::abs_diff(restricted, closed))]);
    Ok(Found { claims, note, scanner: Scanner::default() })
}

/// Probes between two pings.
const COUNTED: u16 = 20;

/// The identification of an echo reply counts what was sent to somebody (`ip_idents` of Linux), and so what was
/// withheld.
fn counters(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let from = fresh4();
    a.accuse(from)?;
    let kinds = probes::all(true);
    let (mut told, mut by) = (0, BTreeSet::new());
    for (kind, write) in kinds {
        // The counter is moved on at random with time: the least of some tries counts.
        let mut least = [u16::MAX; 2];
        for (which, port) in [(0, MORE_RESTRICTED.start), (1, CLOSED.end + 3)].repeat(3) {
            let mut frames = vec![a.tap.framed(&echo(from, 1))];
            for _ in 0..COUNTED {
                let (mac, peer) = (a.tap.mac, a.tap.peer);
                frames.extend(write(&Probe { from, to: EDGE.into(), from_port: a.own_port(), port, mac, peer }));
            }
            frames.push(a.tap.framed(&echo(from, 2)));
            let heard = a.answers_to(from, &frames)?;
            let ids: Vec<u16> = heard
                .iter()
                .filter(|answer| answer.says == Says::Echo)
                .map(|answer| u16::from_be_bytes([answer.packet[4], answer.packet[5]]))
                .collect();
            if let [first, second] = ids[..] {
                least[which] = least[which].min(second.wrapping_sub(first));
            }
        }
        if least[0].abs_diff(least[1]) >= COUNTED / 2 {
            told += 1;
            by.insert(format!("{kind} ({} against {})", least[0], least[1]));
        }
    }
    let note = by.into_iter().collect::<Vec<_>>().join(", ");
    Ok(Found { claims: claims(&[("kinds of probes that tell", 0, told)]), note, scanner: Scanner::default() })
}

fn cloaked(a: &mut Attacker<'_>, write: Write) -> Result<Found> {
    let learnt = a.sweep(fresh4(), mixed(), &write)?;
    Ok(found(&learnt, at_most_three(&learnt)))
}

fn storm_of_networks(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    for subnet in 0..130 {
        let from = Ipv6Addr::new(0x2a01, 0x47, 1, subnet, 0, 0, 0, 9).into();
        a.sweep_quietly(from, 1..5, &probes::syn)?;
    }
    cloaked(a, probes::syn)
}

pub(super) fn forge_flags(a: &mut Attacker<'_>, first: u32, sources: u32) -> Result<()> {
    for number in first..first + sources {
        let from = Ipv4Addr::from(0x3200_0000 + number.wrapping_mul(0x9e37_79b1) % 0x4000_0000).into();
        a.sweep_quietly(from, 1..3, &probes::null)?;
    }
    Ok(())
}

fn storm_of_flags(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    forge_flags(a, 0, 128)?;
    cloaked(a, probes::syn)
}

fn storm_and_ack(a: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    forge_flags(a, 1_000, 128)?;
    cloaked(a, probes::ack)
}

/// Forged sources, at full length and in the short form.
const WASHING: u32 = 300_000;
const WASHING_SHORT: u32 = 60_000;

fn wash(a: &mut Attacker<'_>, setup: &Setup) -> Result<Found> {
    let suspect = fresh4();
    a.accuse(suspect)?;
    let sources = if setup.full { WASHING } else { WASHING_SHORT };
    let mut random = SmallRng::seed_from_u64(7);
    let step = 20_000;
    let mut answered_meanwhile = 0;
    for first in (0..sources).step_by(step as usize) {
        forge_flags(a, 10_000 + first, step)?;
        if first < sources / 2 {
            let port = random.random_range(CLOSED);
            answered_meanwhile += a.sweep(suspect, [port], &probes::syn)?.answered();
        }
    }
    let learnt = a.sweep(suspect, mixed(), &probes::syn)?;
    let mut claims = nothing_hidden(&learnt);
    claims.push(Claim { what: "answered meanwhile".to_owned(), most: 0, measured: answered_meanwhile });
    let note = format!("{sources} forged sources");
    Ok(Found { claims, note, scanner: scanner(&learnt) })
}

impl Attacker<'_> {
    /// Sends and does not listen.
    fn sweep_quietly(
        &mut self,
        from: IpAddr,
        ports: std::ops::Range<u16>,
        write: &dyn Fn(&Probe) -> Vec<Vec<u8>>,
    ) -> Result<()> {
        let to = if from.is_ipv4() { EDGE.into() } else { EDGE6.into() };
        for port in ports {
            let from_port = self.own_port();
            let probe = Probe { from, to, from_port, port, mac: self.tap.mac, peer: self.tap.peer };
            for frame in write(&probe) {
                self.send(&frame)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::attacker::is_closed;
    use super::*;

    #[test]
    fn ports_are_of_the_kind_that_rows_take_them_for() {
        assert!(CLOSED.chain([CLOSED.end, CLOSED.end + 1, CLOSED.end + 2]).all(is_closed));
        let ports = mixed();
        assert_eq!(ports.iter().filter(|port| is_closed(**port)).count(), 299);
        assert!(is_closed(ports[ports.len() - 1]), "what is hidden is known by the last one");
    }
}
