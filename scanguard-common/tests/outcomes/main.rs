//! True outcomes, in the pure datapath: what frames that leave tell, and what sockets tell of connections.

mod destinations;
mod errors;
mod lockdown;
mod oracles;
mod sessions;

use std::net::IpAddr;

use etherparse::{IcmpEchoHeader, Icmpv4Type, PacketBuilder, PacketBuilderStep, icmpv4};
use proptest::prelude::*;
use scanguard_common::address::{Address, prefix};
use scanguard_common::class::{PortClass, PortEntry, Protocol};
use scanguard_common::config::KernelConfig;
use scanguard_common::datapath::{Action, judge_leaving, process_frame};
use scanguard_common::event::{Answer, Event, EventKind};
use scanguard_common::flow::{FLOW_NS, SENT_NS};
use scanguard_common::host::{Frame, MemoryTables};
use scanguard_common::reason::Mode;
use scanguard_common::record::SourceRecord;
use scanguard_common::source::SourceKey;
use scanguard_common::tables::Tables as _;
use scanguard_common::verdict::{Known, Origin, Scope, Verdict};

type Ip = [u8; 4];

const HOST: Ip = [192, 0, 2, 10];
const PEER: Ip = [203, 0, 113, 66];
const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;
/// Of the tables' clock when it begins: long after the kernel started.
const START_NS: u64 = 1_000 * SECOND_NS;
/// A port of a container: nothing listens on it here.
const CONTAINER: u16 = 8080;
const CONTAINERS_DATABASE: u16 = 5432;

/// A host that enforces, knows all that leaves, and forwards to containers and to a network that it protects.
fn host() -> MemoryTables {
    let mut config = KernelConfig::new([1, 2]);
    config.mode = Mode::Enforce as u32;
    (config.egress_since_ns, config.egress_warm_up_ns) = (0, 0);
    (config.forwards, config.learnt) = (1, 1);
    config.heartbeat_ns = START_NS + 365 * DAY_NS;
    let mut tables = MemoryTables::new(config);
    tables.set_now(START_NS);
    tables.add_own_address(IpAddr::from(HOST).into());
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        for port in 1..=60_000 {
            let own = match port {
                80 | 443 => PortClass::Public,
                22 => PortClass::Restricted,
                32_768.. => PortClass::Unknown,
                _ => PortClass::Closed,
            };
            let elsewhere = match port {
                22 | CONTAINERS_DATABASE => PortClass::Restricted,
                23 => PortClass::Canary,
                _ => PortClass::Public,
            };
            tables.set_port(protocol, port, PortEntry::new(own, elsewhere));
        }
    }
    let (address, bits) = prefix(IpAddr::from([198, 51, 100, 0]), 24);
    tables.set_protected(vec![(address, bits)]);
    tables
}

fn later(tables: &MemoryTables, now_ns: u64) {
    tables.set_now(now_ns);
}

fn ip(from: Ip, to: Ip) -> PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(from, to, 64)
}

enum Tcp {
    Syn,
    SynAck,
    Ack,
    Rst,
}

fn tcp(from: Ip, from_port: u16, to: Ip, to_port: u16, what: &Tcp) -> Vec<u8> {
    let step = ip(from, to).tcp(from_port, to_port, 1, 1024);
    let step = match what {
        Tcp::Syn => step.syn(),
        Tcp::SynAck => step.syn().ack(2),
        Tcp::Ack => step.ack(2),
        Tcp::Rst => step.rst().ack(2),
    };
    let mut frame = Vec::new();
    step.write(&mut frame, &[]).expect("a valid packet");
    frame
}

fn udp(from: Ip, from_port: u16, to: Ip, to_port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    ip(from, to).udp(from_port, to_port).write(&mut frame, b"datagram").expect("a valid packet");
    frame
}

fn echo(from: Ip, to: Ip, is_reply: bool) -> Vec<u8> {
    let header = IcmpEchoHeader { id: 7, seq: 1 };
    let kind = if is_reply { Icmpv4Type::EchoReply(header) } else { Icmpv4Type::EchoRequest(header) };
    let mut frame = Vec::new();
    ip(from, to).icmpv4(kind).write(&mut frame, &[]).expect("a valid packet");
    frame
}

/// What a router or host says to the sender of a frame that nobody is there.
fn unreachable(from: Ip, to: Ip, quoted: &[u8]) -> Vec<u8> {
    let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Host);
    let mut frame = Vec::new();
    ip(from, to).icmpv4(kind).write(&mut frame, &quoted[14..quoted.len().min(14 + 28)]).expect("a valid packet");
    frame
}

fn arrives(tables: &MemoryTables, frame: &[u8]) -> bool {
    process_frame(&Frame(frame), tables) == Action::Pass
}

fn asks(tables: &MemoryTables, from: Ip, to: Ip, port: u16) -> bool {
    arrives(tables, &tcp(from, 40_000, to, port, &Tcp::Syn))
}

fn leaves(tables: &MemoryTables, frame: &[u8]) {
    judge_leaving(&Frame(frame), tables);
}

fn answers(tables: &MemoryTables, from: Ip, port: u16, to: Ip, what: &Tcp) {
    leaves(tables, &tcp(from, port, to, 40_000, what));
}

fn key(address: Ip) -> SourceKey {
    SourceKey(IpAddr::from(address).into())
}

fn record(tables: &MemoryTables, address: Ip) -> SourceRecord {
    let records = tables.records();
    records.into_iter().find(|record| record.source == key(address)).unwrap_or(SourceRecord::new(key(address), 0))
}

fn score(tables: &MemoryTables, address: Ip) -> u32 {
    record(tables, address).score
}

fn is_suspect(tables: &MemoryTables, address: Ip) -> bool {
    record(tables, address).is_suspect(START_NS)
}

fn events(tables: &MemoryTables, kind: EventKind) -> Vec<Event> {
    tables.take_events().into_iter().filter(|event| event.kind == kind as u8).collect()
}

const fn behind(number: u8) -> Ip {
    [198, 51, 100, number]
}

fn step() -> u32 {
    KernelConfig::new([0; 2]).score.step
}

fn block(scope: Scope, hard: u8) -> Verdict {
    Verdict { hard, ..Verdict::block(scope, Origin::Operator, u64::MAX) }
}

#[test]
fn what_answers_a_datagram_of_ours_passes_at_every_level_but_a_hard_block() {
    for (level, verdict, passes) in [
        ("none", None, true),
        ("block private", Some(block(Scope::Private, 0)), true),
        ("block all", Some(block(Scope::All, 0)), true),
        ("hard block", Some(block(Scope::All, 1)), false),
    ] {
        let mut tables = host();
        // A resolver that asks from a port of its own choice.
        leaves(&tables, &udp(HOST, 12_345, PEER, 53));
        tables.set_verdict(key(PEER), verdict);
        let reply = udp(PEER, 53, HOST, 12_345);
        later(&tables, START_NS + FLOW_NS - 1);
        assert_eq!(arrives(&tables, &reply), passes, "{level}");
        later(&tables, START_NS + FLOW_NS);
        assert_eq!(arrives(&tables, &reply), !level.contains("all") && passes, "{level}, long after");
        assert_eq!(score(&tables, PEER), 0, "{level}");
    }
}

#[test]
fn a_flow_that_goes_on_stays_one() {
    let mut tables = host();
    tables.set_verdict(key(PEER), Some(block(Scope::All, 0)));
    for minute in 0..10 {
        later(&tables, START_NS + minute * 60 * SECOND_NS);
        leaves(&tables, &udp(HOST, 51_820, PEER, 51_820));
        later(&tables, START_NS + (minute * 60 + 59) * SECOND_NS);
        assert!(arrives(&tables, &udp(PEER, 51_820, HOST, 51_820)), "minute {minute}");
    }
    assert!(!arrives(&tables, &udp(PEER, 51_821, HOST, 51_820)), "from another port it is another flow");
}

#[test]
fn late_answers_to_the_port_from_which_we_asked_are_no_evidence_whatever_port_they_come_from() {
    let tables = host();
    leaves(&tables, &udp(HOST, 2_000, PEER, 69));
    for port in 1..=20 {
        assert!(arrives(&tables, &udp(PEER, 5000 + port, HOST, 2_000)));
    }
    assert_eq!(score(&tables, PEER), 0);
    later(&tables, START_NS + SENT_NS);
    assert!(arrives(&tables, &udp(PEER, 6000, HOST, 2_000)));
    assert_eq!(score(&tables, PEER), step(), "five minutes later it is a question like any other");
}

#[test]
fn a_service_that_answers_from_a_fresh_port_frees_its_client_to_scan_no_other_port() {
    // TFTP answers from a port of its own (RFC 1350): the client may send there, and nowhere else.
    let tables = host();
    leaves(&tables, &udp(HOST, 40_001, PEER, 5_000));
    let answered = (1..=20).filter(|port| arrives(&tables, &udp(PEER, 5000 + port, HOST, 2000 + port))).count();
    assert_eq!(answered, 3, "the fourth closed port is hidden");
}

#[test]
fn an_answer_of_a_service_earns_its_client_nothing() {
    let tables = host();
    arrives(&tables, &udp(PEER, 5000, HOST, 443));
    leaves(&tables, &udp(HOST, 443, PEER, 5000));
    for port in 1..=3 {
        arrives(&tables, &udp(PEER, 5000, HOST, port));
    }
    assert_eq!(score(&tables, PEER), 3 * step(), "who asks an open port scans like others");
    assert!(arrives(&tables, &udp(PEER, 5000, HOST, 443)), "and goes on being served");
}

#[test]
fn a_containers_port_is_open_once_it_answered_and_nobody_pays_for_the_first_question() {
    let tables = host();
    assert!(asks(&tables, PEER, HOST, CONTAINER));
    assert_eq!(score(&tables, PEER), step());
    answers(&tables, HOST, CONTAINER, PEER, &Tcp::SynAck);
    let found = record(&tables, PEER);
    assert_eq!((found.score, found.failures), (0, 0));
    let opened = events(&tables, EventKind::Opened);
    assert_eq!(
        opened.iter().map(|event| (event.port, event.answer)).collect::<Vec<_>>(),
        [(CONTAINER, Answer::Open as u8)]
    );
    // For everybody else it is open from now on.
    let other = [203, 0, 113, 7];
    assert!(asks(&tables, other, HOST, CONTAINER));
    assert_eq!(score(&tables, other), 0);
    later(&tables, START_NS + 8 * DAY_NS);
    assert!(asks(&tables, [203, 0, 113, 8], HOST, CONTAINER));
    assert_eq!(score(&tables, [203, 0, 113, 8]), step(), "and forgotten a week after its last answer");
}

#[test]
fn a_containers_database_is_restricted_and_its_connections_go_on() {
    let tables = host();
    answers(&tables, HOST, CONTAINERS_DATABASE, PEER, &Tcp::SynAck);
    for port in 1..=4 {
        asks(&tables, PEER, HOST, port);
    }
    assert!(is_suspect(&tables, PEER));
    assert!(!asks(&tables, PEER, HOST, CONTAINERS_DATABASE), "a stranger does not see it");
    answers(&tables, HOST, CONTAINER, PEER, &Tcp::SynAck);
    assert!(asks(&tables, PEER, HOST, CONTAINER), "a public port of a container stays open to suspects");
    let mut tables = tables;
    tables.set_verdict(key(PEER), Some(block(Scope::All, 0)));
    for port in [CONTAINER, CONTAINERS_DATABASE] {
        let segment = tcp(PEER, 40_000, HOST, port, &Tcp::Ack);
        assert!(arrives(&tables, &segment), "no block that is not hard ends a connection with {port}");
    }
}

#[test]
fn attempts_under_a_block_of_private_ports_are_counted_for_their_source() {
    let mut tables = host();
    assert!(asks(&tables, PEER, HOST, 80));
    tables.set_verdict(key(PEER), Some(block(Scope::Private, 0)));
    let before = record(&tables, PEER);
    for port in [22, 81, 82, 81] {
        assert!(!asks(&tables, PEER, HOST, port), "{port}");
    }
    let after = record(&tables, PEER);
    assert_eq!(after.attempts, before.attempts + 4, "repeated ones too");
    assert_eq!((after.score, after.contacts), (before.score, before.contacts), "and nothing is weighed");
    assert!(!arrives(&tables, &tcp(PEER, 40_000, HOST, 81, &Tcp::Ack)), "an ACK is dropped, too");
    assert_eq!(record(&tables, PEER).attempts, after.attempts, "and is no attempt");
}

#[test]
fn a_sweep_is_concealed_at_the_fourth_host_that_does_not_answer() {
    let tables = host();
    for number in 1..=3 {
        assert!(asks(&tables, PEER, behind(number), 80));
    }
    assert!(!asks(&tables, PEER, behind(4), 80));
    assert!(!asks(&tables, PEER, behind(5), 22));
    assert!(is_suspect(&tables, PEER));
}

#[test]
fn a_ping_sweep_is_one_too() {
    let tables = host();
    for number in 1..=3 {
        assert!(arrives(&tables, &echo(PEER, behind(number), false)));
    }
    assert!(!arrives(&tables, &echo(PEER, behind(4), false)));
    assert!(arrives(&tables, &echo(PEER, HOST, false)), "the host itself always answers");
}

#[test]
fn customers_of_many_hosts_are_no_sweep_even_if_all_their_questions_come_before_the_first_answer() {
    let tables = host();
    let asked: Vec<u8> = (1..=40).filter(|number| asks(&tables, PEER, behind(*number), 80)).collect();
    assert_eq!(asked, [1, 2, 3], "until there is an answer it looks like a sweep");
    for number in asked {
        answers(&tables, behind(number), 80, PEER, &Tcp::SynAck);
    }
    let found = record(&tables, PEER);
    assert!(!found.is_suspect(START_NS) && found.score <= step(), "what is left is the one that was hidden");
    // Browsers ask again.
    for number in 4..=40 {
        assert!(asks(&tables, PEER, behind(number), 80), "{number}");
        answers(&tables, behind(number), 80, PEER, &Tcp::SynAck);
    }
    assert!(!is_suspect(&tables, PEER));
}

#[test]
fn hosts_that_answered_are_open_to_everybody() {
    let tables = host();
    for number in 1..=40 {
        answers(&tables, behind(number), 80, [203, 0, 113, 1], &Tcp::SynAck);
        leaves(&tables, &echo(behind(number), [203, 0, 113, 1], true));
    }
    for number in 1..=40 {
        assert!(asks(&tables, PEER, behind(number), 80));
        assert!(arrives(&tables, &echo(PEER, behind(number), false)));
    }
    assert_eq!(score(&tables, PEER), 0);
    assert!(events(&tables, EventKind::OpenedElsewhere).len() == 80);
}

#[test]
fn while_it_learns_only_what_is_refused_counts() {
    let mut tables = host();
    let config = KernelConfig { learnt: 0, ..*scanguard_common::tables::Tables::config(&tables).expect("settings") };
    tables.set_config(config);
    for number in 1..=20 {
        assert!(asks(&tables, PEER, behind(number), 80));
        assert!(arrives(&tables, &echo(PEER, behind(number), false)));
    }
    assert_eq!(score(&tables, PEER), 0, "silence says nothing yet");
    answers(&tables, behind(1), 80, PEER, &Tcp::Rst);
    assert_eq!(score(&tables, PEER), step());
    answers(&tables, behind(1), 80, PEER, &Tcp::Rst);
    assert_eq!(score(&tables, PEER), step(), "once for each question");
    answers(&tables, behind(1), 81, PEER, &Tcp::Rst);
    assert_eq!(score(&tables, PEER), step(), "not for what was never asked");
    for number in 2..=4 {
        let question = tcp(PEER, 40_000, behind(number), 80, &Tcp::Syn);
        leaves(&tables, &unreachable(HOST, PEER, &question));
    }
    assert!(is_suspect(&tables, PEER), "neither a reset nor an unreachable host is an open port");
    answers(&tables, behind(9), 80, [203, 0, 113, 1], &Tcp::Rst);
    assert_eq!(score(&tables, [203, 0, 113, 1]), 0);
}

#[test]
fn an_error_that_quotes_somebody_elses_packet_says_nothing() {
    let tables = host();
    let other = [203, 0, 113, 7];
    asks(&tables, PEER, behind(1), 80);
    let question = tcp(PEER, 40_000, behind(1), 80, &Tcp::Syn);
    let waiting = tables.all_asked();
    leaves(&tables, &unreachable(HOST, other, &question));
    assert_eq!(tables.all_asked(), waiting);
    leaves(&tables, &unreachable(HOST, PEER, &question));
    assert_eq!(tables.all_asked(), []);
    assert_eq!(score(&tables, PEER), step());
}

#[test]
fn what_is_refused_in_the_first_seconds_of_a_host_is_remembered() {
    let tables = host();
    let own = Address::from(IpAddr::from(HOST));
    for (now_ns, remembered) in [(2 * SECOND_NS, 2 * SECOND_NS), (3 * SECOND_NS, 2 * SECOND_NS), (DAY_NS, DAY_NS)] {
        later(&tables, now_ns);
        answers(&tables, HOST, 9, PEER, &Tcp::Rst);
        assert_eq!(tables.refused(&own), remembered);
    }
}

#[test]
fn what_suspects_are_answered_is_told_but_not_without_end() {
    let tables = host();
    answers(&tables, HOST, 80, PEER, &Tcp::SynAck);
    assert!(events(&tables, EventKind::Answered).is_empty(), "it is no suspect yet");
    for port in 1..=4 {
        asks(&tables, PEER, HOST, port);
    }
    for (port, what, answer) in [(80, Tcp::SynAck, Answer::Open), (9, Tcp::Rst, Answer::Refused)] {
        answers(&tables, HOST, port, PEER, &what);
        let told = events(&tables, EventKind::Answered);
        assert_eq!(told.iter().map(|event| (event.port, event.answer)).collect::<Vec<_>>(), [(port, answer as u8)]);
    }
    for _ in 0..1000 {
        answers(&tables, HOST, 80, PEER, &Tcp::SynAck);
    }
    let told = events(&tables, EventKind::Answered).len();
    assert!((1..=64).contains(&told), "{told}");
}

/// Something that arrives or leaves, of few hosts and ports.
#[test]
fn a_score_of_a_block_is_told_at_once_but_others_do_not_crowd_out_proofs() {
    let tables = host();
    let cap = KernelConfig::new([1, 2]).score.cap;
    let (mut told, mut urgent) = (Vec::new(), 0);
    let mut ask = |from: u8, ports: std::ops::Range<u16>| {
        for port in ports {
            asks(&tables, [203, 0, 113, from], HOST, port);
            let of_blocks = events(&tables, EventKind::Contact).iter().filter(|event| event.score >= cap).count();
            let at_once = tables.urgent() - std::mem::replace(&mut urgent, tables.urgent());
            told.push((of_blocks as u64, at_once));
        }
    };
    (1..=40).for_each(|from| ask(from, 1_000..1_020));
    let (mut of_blocks, mut limited) = (0, 0);
    for (of_block, at_once) in &told {
        of_blocks += of_block;
        assert_eq!(*at_once, if of_blocks <= 200 { *of_block } else { 0 }, "after {of_blocks}");
        limited += of_block - at_once;
    }
    assert!(limited > 0, "more at once are told with all others: {of_blocks}");
    later(&tables, START_NS + SECOND_NS);
    asks(&tables, [203, 0, 113, 41], HOST, 1_000);
    assert_eq!(tables.urgent(), 200, "no block follows the first contact of a source");
    for port in 1_001..1_020 {
        asks(&tables, [203, 0, 113, 41], HOST, port);
    }
    assert!(tables.urgent() > 200);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Asks(u8, u8, u16),
    Pings(u8, u8),
    Sends(u8, u8, u16),
    Answers(u8, u8, u16, bool),
    Echoes(u8, u8),
    Datagram(u8, u8, u16),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let (from, to, port) = (1..4_u8, 0..6_u8, 1..12_u16);
    prop_oneof![
        (from.clone(), to.clone(), port.clone()).prop_map(|(from, to, port)| Act::Asks(from, to, port)),
        (from.clone(), to.clone()).prop_map(|(from, to)| Act::Pings(from, to)),
        (from.clone(), to.clone(), port.clone()).prop_map(|(from, to, port)| Act::Sends(from, to, port)),
        (from.clone(), to.clone(), port.clone(), any::<bool>())
            .prop_map(|(from, to, port, open)| Act::Answers(from, to, port, open)),
        (from.clone(), to.clone()).prop_map(|(from, to)| Act::Echoes(from, to)),
        (from, to, port).prop_map(|(from, to, port)| Act::Datagram(from, to, port)),
        (0..400_u64).prop_map(|seconds| Act::Wait(seconds * SECOND_NS)),
    ]
}

/// The host itself, or one behind it.
const fn place(number: u8) -> Ip {
    if number == 0 { HOST } else { behind(number) }
}

const fn sender(number: u8) -> Ip {
    [203, 0, 113, number]
}

fn play(tables: &MemoryTables, acts: &[Act], with_answers: bool) {
    let mut now_ns = START_NS;
    for act in acts {
        match *act {
            Act::Asks(from, to, port) => drop(asks(tables, sender(from), place(to), port)),
            Act::Pings(from, to) => drop(arrives(tables, &echo(sender(from), place(to), false))),
            Act::Sends(from, to, port) => drop(arrives(tables, &udp(sender(from), 40_000, place(to), port))),
            Act::Wait(gap_ns) => {
                now_ns += gap_ns;
                later(tables, now_ns);
            }
            _ if !with_answers => {}
            Act::Answers(to, from, port, open) => {
                answers(tables, place(from), port, sender(to), if open { &Tcp::SynAck } else { &Tcp::Rst });
            }
            Act::Echoes(to, from) => leaves(tables, &echo(place(from), sender(to), true)),
            Act::Datagram(to, from, port) => leaves(tables, &udp(place(from), port, sender(to), 40_000)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 256 } else { 2048 }))]

    /// Once it is learnt what there is, answers only ever speak for those who asked.
    #[test]
    fn answers_only_lower_scores(acts in proptest::collection::vec(act(), 1..80)) {
        let (with, without) = (host(), host());
        play(&with, &acts, true);
        play(&without, &acts, false);
        for number in 1..4 {
            prop_assert!(score(&with, sender(number)) <= score(&without, sender(number)), "{number}");
        }
    }

    /// Who asked for nothing is no suspect, whatever leaves for him.
    #[test]
    fn whatever_leaves_accuses_nobody_who_did_not_ask(acts in proptest::collection::vec(act(), 1..80), bytes: Vec<u8>) {
        let tables = host();
        let silent = acts.iter().copied().filter(|act| {
            !matches!(act, Act::Asks(1, ..) | Act::Sends(1, ..) | Act::Pings(1, _))
        });
        play(&tables, &silent.collect::<Vec<_>>(), true);
        leaves(&tables, &bytes);
        prop_assert_eq!(record(&tables, sender(1)), SourceRecord::new(key(sender(1)), 0));
    }
}

#[test]
fn what_leaves_is_read_whatever_it_is() {
    let question = tcp(PEER, 40_000, behind(1), 80, &Tcp::Syn);
    let error = unreachable(HOST, PEER, &question);
    let tables = host();
    for length in 0..error.len() {
        leaves(&tables, &error[..length]);
    }
    for at in 14..error.len() {
        for value in [0, 1, 4, 0x45, 0x4f, 0x60, 0xff] {
            let mut changed = error.clone();
            changed[at] = value;
            leaves(&tables, &changed);
        }
    }
    assert_eq!(tables.records().len(), 0);
}

/// An ACK to an address of the protected network, not of a connection that began here.
fn probes(tables: &MemoryTables, from: Ip, to: Ip) -> bool {
    arrives(tables, &tcp(from, 40_000, to, 443, &Tcp::Ack))
}

#[test]
fn acks_to_addresses_that_never_sent_anything_count_once_it_is_known_who_sends() {
    let mut tables = host();
    for number in 1..=20 {
        assert!(probes(&tables, PEER, behind(number)));
    }
    assert_eq!(score(&tables, PEER), 0, "connections may be older than what was seen");
    // Segments of such a connection, and anything else that leaves.
    let customer = [203, 0, 113, 1];
    for number in 1..=4 {
        leaves(&tables, &tcp(behind(number), 443, customer, 40_000, &Tcp::Ack));
    }
    leaves(&tables, &udp(behind(5), 123, customer, 123));
    leaves(&tables, &echo(behind(6), customer, true));
    later(&tables, 8 * DAY_NS);
    for number in 1..=6 {
        assert!(probes(&tables, customer, behind(number)));
    }
    assert_eq!(score(&tables, customer), 0, "something came from there");
    for number in 21..=23 {
        assert!(probes(&tables, PEER, behind(number)));
    }
    assert!(!record(&tables, PEER).is_suspect(8 * DAY_NS));
    assert!(!probes(&tables, PEER, behind(24)), "the fourth address that nobody has");
    assert!(record(&tables, PEER).is_suspect(8 * DAY_NS));
    assert!(!probes(&tables, PEER, behind(25)), "it is hidden that nobody is there");
    assert!(probes(&tables, PEER, behind(1)), "connections of a suspect go on");
    // Whoever is not protected is nobody's business.
    for number in 1..=20 {
        assert!(probes(&tables, [203, 0, 113, 2], [198, 18, 0, number]));
    }
    assert_eq!(score(&tables, [203, 0, 113, 2]), 0);
    tables.set_protected(Vec::new());
    assert!(probes(&tables, PEER, behind(26)));
}

#[test]
fn acks_to_a_network_of_which_nothing_leaves_here_say_nothing() {
    let tables = host();
    later(&tables, 8 * DAY_NS);
    // Of this host, which is of another network.
    leaves(&tables, &tcp(HOST, 443, PEER, 40_000, &Tcp::Ack));
    for number in 1..=20 {
        assert!(probes(&tables, PEER, behind(number)));
    }
    assert_eq!(score(&tables, PEER), 0, "its answers may leave by another interface");
    // Also of who is a suspect for another reason: his connections there go on.
    for port in 1..=5 {
        asks(&tables, PEER, HOST, port);
    }
    assert!(record(&tables, PEER).is_suspect(8 * DAY_NS));
    assert!(probes(&tables, PEER, behind(1)));
}
