//! What suspects are answered, step by step, through `BPF_PROG_TEST_RUN`; the host's model must give the same answers, byte by byte, and keep
//! the same tables.
//!
//! Needs root; run by `cargo xtask test`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{PacketBuilder, SlicedPacket, TcpHeaderSlice, TcpOptionElement, TransportSlice, VlanId};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use scanguard::kernel::trial::{XDP_DROP, XDP_PASS, XDP_TX};
use scanguard_common::challenge::{ChallengeKind, ChallengeMode, ChallengeResult, MOST_WRONG, Nic, PASS_NS, SLOT_NS};
use scanguard_common::counter::CounterIndex;
use scanguard_common::packet::tcp_flags::{ACK, RST, SYN};
use scanguard_common::reason::Mode;
use scanguard_tests::frames::{HOST4, HOST6, Mutations, own_addresses};
use scanguard_tests::twin::Twin;

const SECOND_NS: u64 = 1_000_000_000;
const START_NS: u64 = 3_600 * 100 * SECOND_NS;
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const NIC: Nic = Nic { mac: OURS, generic: 0, tagged_only: 0 };
const RESTRICTED: u16 = 22;
const RESTRICTED_PORTS: [u16; 3] = [RESTRICTED, 3306, 5432];
const CANARY: u16 = 23;
const FROM4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
const FROM6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x606, 0, 0, 0, 0, 0x66);
const ISN: u32 = 0xfedc_ba98;

/// Makes something of a frame that no stack answers.
type Spoil<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Somebody who asks: how his frames look.
#[derive(Clone, Copy, Debug)]
struct Peer {
    version: u8,
    tags: u8,
    options: bool,
}

/// A segment of his.
#[derive(Clone, Copy)]
struct Sent {
    port: u16,
    flags: u8,
    sequence: u32,
    acknowledged: u32,
}

const PEER: Peer = Peer { version: 4, tags: 0, options: true };

impl Peer {
    /// Every shape of a frame that is answered.
    fn all() -> impl Iterator<Item = Self> {
        let shapes = [4, 6].into_iter().flat_map(|version| (0..3).map(move |tags| (version, tags)));
        shapes.map(|(version, tags)| Self { version, tags, options: true })
    }

    fn frame(self, sent: Sent) -> Vec<u8> {
        let Self { version, tags, options } = self;
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], OURS);
        let vlan = |number| VlanId::try_new(number).expect("a number of a VLAN");
        let (from4, from6) = (FROM4.octets(), FROM6.octets());
        let ip = match (tags, version) {
            (0, 4) => ethernet.ipv4(from4, HOST4, 64),
            (0, _) => ethernet.ipv6(from6, HOST6, 64),
            (1, 4) => ethernet.single_vlan(vlan(7)).ipv4(from4, HOST4, 64),
            (1, _) => ethernet.single_vlan(vlan(7)).ipv6(from6, HOST6, 64),
            (_, 4) => ethernet.double_vlan(vlan(7), vlan(8)).ipv4(from4, HOST4, 64),
            (..) => ethernet.double_vlan(vlan(7), vlan(8)).ipv6(from6, HOST6, 64),
        };
        let mut tcp = ip.tcp(40_000, sent.port, sent.sequence, 64_240);
        tcp = if sent.flags & SYN != 0 { tcp.syn() } else { tcp };
        tcp = if sent.flags & ACK != 0 { tcp.ack(sent.acknowledged) } else { tcp };
        tcp = if sent.flags & RST != 0 { tcp.rst() } else { tcp };
        if options {
            tcp = tcp.options(&[TcpOptionElement::MaximumSegmentSize(1_460)]).expect("room");
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, &[]).expect("a frame");
        frame
    }

    fn syn(self, port: u16) -> Vec<u8> {
        self.frame(Sent { port, flags: SYN, sequence: ISN, acknowledged: 0 })
    }

    fn address(self) -> IpAddr {
        if self.version == 4 { FROM4.into() } else { FROM6.into() }
    }

    fn host(self) -> IpAddr {
        if self.version == 4 { HOST4.into() } else { HOST6.into() }
    }
}

fn twin(mode: ChallengeMode) -> Twin {
    let mut twin = Twin::new(1 << 14);
    twin.set_mode(Mode::Enforce);
    twin.set_now(START_NS);
    twin.set_challenge(mode, Some(NIC));
    for address in own_addresses() {
        twin.set_refused(address, START_NS);
    }
    twin
}

/// Asks for closed ports until the next one is hidden: four failures make a suspect. Told from answers to what comes after.
fn accuse(twin: &mut Twin, peer: Peer) {
    for port in 1..=3 {
        assert_eq!(twin.feed(&peer.syn(port)), XDP_PASS, "{peer:?}");
    }
    assert_ne!(twin.feed(&peer.syn(4)), XDP_PASS, "{peer:?}");
}

/// What an answer says, if all its checksums are right.
struct Said {
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    length: usize,
    has_mss: bool,
}

fn read(answer: &[u8], peer: Peer, port: u16) -> Said {
    assert_eq!(
        (&answer[..6], &answer[6..12]),
        (&[2, 0, 0, 0, 0, 1][..], &OURS[..]),
        "link-layer addresses change places"
    );
    let packet = SlicedPacket::from_ethernet(answer).expect("a frame");
    assert_eq!(packet.vlan_ids().len(), usize::from(peer.tags));
    let ip = packet.net.clone().expect("IP");
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
    let header: TcpHeaderSlice = TcpHeaderSlice::from_slice(tcp.slice()).expect("a header");
    assert_eq!((header.source_port(), header.destination_port()), (port, 40_000));
    let right = match &ip {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!((header.source(), header.ttl(), header.dont_fragment()), (HOST4, 64, true));
            tcp.calc_checksum_ipv4(header.source(), header.destination()).expect("a sum")
        }
        etherparse::NetSlice::Ipv6(ip) => {
            assert_eq!(ip.header().source(), HOST6);
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).expect("a sum")
        }
        etherparse::NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(header.checksum(), right, "checksum");
    let flags = [(header.syn(), SYN), (header.ack(), ACK), (header.rst(), RST)];
    let has_mss = header.options_iterator().any(|option| matches!(option, Ok(TcpOptionElement::MaximumSegmentSize(_))));
    Said {
        flags: flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum(),
        sequence: header.sequence_number(),
        acknowledged: header.acknowledgment_number(),
        length: answer.len(),
        has_mss,
    }
}

/// Sends a SYN that is challenged, and returns the acknowledgement number, which is a cookie.
fn challenged(twin: &mut Twin, peer: Peer, port: u16) -> u32 {
    let syn = peer.syn(port);
    let (action, answer) = twin.answer_to(&syn);
    assert_eq!(action, XDP_TX, "{peer:?} asks for {port}");
    let said = read(&answer.expect("an answer"), peer, port);
    assert_eq!(said.flags, SYN | ACK);
    assert_ne!(said.acknowledged, ISN.wrapping_add(1), "no stack takes that for an answer to its SYN");
    assert!(said.length <= syn.len(), "never longer than what it answers");
    assert_eq!(said.has_mss, peer.options, "an option only where there is room for one");
    said.acknowledged
}

/// A real stack's answer, and its SYN once more: what it gets then.
fn met(twin: &mut Twin, peer: Peer, port: u16) -> (u32, Option<Vec<u8>>) {
    let cookie = challenged(twin, peer, port);
    let reset = peer.frame(Sent { port, flags: RST, sequence: cookie, acknowledged: 0 });
    assert_eq!(twin.feed(&reset), XDP_PASS, "a reset goes on to the stack");
    twin.answer_to(&peer.syn(port))
}

/// All the way to a completed decoy; returns the answer to the last ACK.
fn complete(twin: &mut Twin, peer: Peer, port: u16) -> (u32, Option<Vec<u8>>) {
    let (action, answer) = met(twin, peer, port);
    assert_eq!(action, XDP_TX, "{peer:?} asks for {port} again");
    let said = read(&answer.expect("a decoy"), peer, port);
    assert_eq!((said.flags, said.acknowledged), (SYN | ACK, ISN.wrapping_add(1)));
    let acknowledged = said.sequence.wrapping_add(1);
    let (action, answer) =
        twin.answer_to(&peer.frame(Sent { port, flags: ACK, sequence: ISN.wrapping_add(1), acknowledged }));
    if let Some(answer) = &answer {
        let said = read(answer, peer, port);
        assert_eq!((said.flags, said.sequence), (RST, acknowledged));
    }
    (action, answer)
}

fn count(twin: &Twin, kind: ChallengeKind, result: ChallengeResult) -> u64 {
    twin.kernel_counters().get(CounterIndex::challenge(kind, result)).packets
}

#[test]
fn a_real_stack_gets_through_to_a_restricted_port() {
    for peer in Peer::all() {
        let mut twin = twin(ChallengeMode::On);
        accuse(&mut twin, peer);
        let (action, _) = met(&mut twin, peer, RESTRICTED);
        assert_eq!(action, XDP_PASS, "{peer:?}");
        // Sent again, as stacks do; and no other SYN on the same addresses and ports.
        assert_eq!(twin.feed(&peer.syn(RESTRICTED)), XDP_PASS);
        let other = peer.frame(Sent { port: RESTRICTED, flags: SYN, sequence: ISN + 9, acknowledged: 0 });
        assert_eq!(twin.feed(&other), XDP_TX, "{peer:?}");
        twin.set_now(START_NS + PASS_NS);
        assert_eq!(twin.feed(&peer.syn(RESTRICTED)), XDP_TX, "the pass is over");
        twin.assert_equal("retry");
    }
}

#[test]
fn a_syn_without_options_is_hidden_and_not_challenged() {
    for peer in Peer::all().map(|peer| Peer { options: false, ..peer }) {
        let mut twin = twin(ChallengeMode::On);
        accuse(&mut twin, peer);
        for port in [RESTRICTED, 7, CANARY] {
            assert_eq!(twin.answer_to(&peer.syn(port)), (XDP_DROP, None), "{peer:?} asks for {port}");
        }
        twin.assert_equal("no options");
    }
}

#[test]
fn a_suspect_is_let_through_to_two_restricted_ports_an_hour_and_the_third_is_as_closed() {
    let mut twin = twin(ChallengeMode::On);
    accuse(&mut twin, PEER);
    for (port, seconds) in RESTRICTED_PORTS.into_iter().zip([2, 4, 6]) {
        twin.set_now(START_NS + seconds * SECOND_NS);
        let (action, answer) = met(&mut twin, PEER, port);
        if RESTRICTED_PORTS[..2].contains(&port) {
            assert_eq!((action, answer), (XDP_PASS, None), "port {port}");
            continue;
        }
        assert_eq!(action, XDP_TX, "port {port} gets a decoy");
        let said = read(&answer.expect("a decoy"), PEER, port);
        let (sequence, acknowledged) = (ISN.wrapping_add(1), said.sequence.wrapping_add(1));
        let (action, answer) = twin.answer_to(&PEER.frame(Sent { port, flags: ACK, sequence, acknowledged }));
        assert_eq!(action, XDP_TX, "it is reset like one that completes a decoy on a closed port");
        assert_eq!(read(&answer.expect("a reset"), PEER, port).flags, RST);
        assert!(twin.take_proofs().is_empty(), "to ask for a restricted port proves nothing");
    }
    twin.set_now(START_NS + 3_700 * SECOND_NS);
    assert_ne!(twin.feed(&PEER.syn(1)), XDP_PASS, "its score is still that of a suspect");
    assert_eq!(met(&mut twin, PEER, RESTRICTED_PORTS[2]), (XDP_PASS, None), "an hour later");
    twin.assert_equal("restricted ports");
}

#[test]
fn who_completes_a_decoy_is_told_of_and_reset() {
    for peer in Peer::all() {
        let mut twin = twin(ChallengeMode::On);
        accuse(&mut twin, peer);
        let (action, answer) = complete(&mut twin, peer, 7);
        assert_eq!((action, answer.is_some()), (XDP_TX, true), "{peer:?}");
        let proofs = twin.take_proofs();
        assert_eq!(proofs.iter().map(|proof| proof.port).collect::<Vec<_>>(), [7], "{peer:?}");
        twin.assert_equal("decoy");
    }
}

#[test]
fn who_has_worked_here_completes_no_decoy_that_a_page_or_a_dead_backend_led_him_to() {
    const BEYOND_BROWSERS: u16 = 7;
    const ORDINARY: [u16; 2] = [8, 10];
    for peer in Peer::all() {
        let mut twin = twin(ChallengeMode::On);
        accuse(&mut twin, peer);
        assert_eq!(met(&mut twin, peer, ORDINARY[0]).0, XDP_TX, "{peer:?}: a stranger gets a decoy");
        let source = twin.rules().source_of(peer.address().into(), peer.version).expect("a source");
        twin.work(source);
        assert_eq!(met(&mut twin, peer, ORDINARY[1]), (XDP_DROP, None), "{peer:?}");
        assert_eq!(count(&twin, ChallengeKind::Decoy, ChallengeResult::Customer), 1, "{peer:?}");
        for port in [BEYOND_BROWSERS, CANARY] {
            assert_eq!(met(&mut twin, peer, port).0, XDP_TX, "{peer:?} asks for {port}");
        }
        assert_eq!(met(&mut twin, peer, RESTRICTED).0, XDP_PASS, "{peer:?} gets through");
        twin.assert_equal("work");
    }
}

#[test]
fn the_first_answers_of_restricted_and_closed_ports_are_alike() {
    let mut twin = twin(ChallengeMode::On);
    accuse(&mut twin, PEER);
    let mut answers = [RESTRICTED, 8, CANARY].map(|port| {
        let mut answer = twin.answer_to(&PEER.syn(port)).1.expect("an answer");
        // Ports, numbers and the checksum over them.
        answer[14 + 20..14 + 20 + 12].fill(0);
        answer[14 + 20 + 16..14 + 20 + 18].fill(0);
        answer
    });
    answers.sort();
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn without_a_sign_that_closed_ports_refuse_and_where_it_is_off_they_are_silent() {
    for (mode, port, expected) in [
        (ChallengeMode::Off, CANARY, XDP_DROP),
        (ChallengeMode::Canary, CANARY, XDP_TX),
        (ChallengeMode::Canary, 9, XDP_DROP),
        (ChallengeMode::Canary, RESTRICTED, XDP_DROP),
        (ChallengeMode::On, 9, XDP_TX),
        (ChallengeMode::On, 443, XDP_PASS),
    ] {
        let mut twin = twin(mode);
        accuse(&mut twin, PEER);
        assert_eq!(twin.feed(&PEER.syn(port)), expected, "{mode:?} {port}");
        if expected == XDP_TX {
            twin.set_challenge(mode, None);
            assert_eq!(twin.feed(&PEER.syn(port)), XDP_DROP, "by no interface of ours");
            twin.set_challenge(mode, Some(NIC));
            twin.set_mode(Mode::Observe);
            assert_eq!(twin.feed(&PEER.syn(port)), XDP_PASS, "nobody is answered while nothing is enforced");
            twin.set_mode(Mode::Enforce);
            for address in own_addresses() {
                twin.set_refused(address, START_NS - 25 * 3_600 * SECOND_NS);
            }
            assert_eq!(twin.feed(&PEER.syn(port)), XDP_DROP, "nothing was refused lately");
        }
        twin.assert_equal("modes");
    }
}

#[test]
fn what_a_stack_would_not_answer_is_not_answered() {
    const IP: usize = 14;
    const TCP: usize = IP + 20;
    let mut twin = twin(ChallengeMode::On);
    accuse(&mut twin, PEER);
    let good = PEER.syn(CANARY);
    let spoilt: [(&str, Spoil<'_>); 6] = [
        ("to another interface", &|frame| frame[5] = 9),
        ("to a group", &|frame| frame[0] = 1),
        ("from a group", &|frame| frame[6] = 1),
        ("a wrong sum of the segment", &|frame| frame[TCP + 16] ^= 1),
        ("a wrong sum of the header", &|frame| frame[IP + 10] ^= 1),
        ("cut short", &|frame| {
            frame.pop();
        }),
    ];
    for (what, spoil) in spoilt {
        let mut frame = good.clone();
        spoil(&mut frame);
        assert_ne!(twin.feed(&frame), XDP_TX, "{what}");
    }
    twin.set_challenge(ChallengeMode::On, Some(Nic { tagged_only: 1, ..NIC }));
    assert_eq!(twin.feed(&good), XDP_DROP, "a tag may have been taken off");
    twin.set_challenge(ChallengeMode::On, Some(NIC));
    assert_eq!(twin.feed(&good), XDP_TX);
    twin.assert_equal("unanswerable");
}

#[test]
fn a_checksum_left_to_hardware_is_taken_for_one_and_left_to_it_in_generic_mode() {
    for (generic, peer) in [(0, PEER), (1, PEER), (0, Peer { version: 6, ..PEER }), (1, Peer { version: 6, ..PEER })] {
        let mut twin = twin(ChallengeMode::On);
        twin.set_challenge(ChallengeMode::On, Some(Nic { generic, ..NIC }));
        accuse(&mut twin, peer);
        let mut frame = peer.syn(CANARY);
        let (address, tcp) = if peer.version == 4 { (14 + 12, 14 + 20) } else { (14 + 8, 14 + 40) };
        let pseudo = sum(&frame[address..tcp], 6 + u32::try_from(frame.len() - tcp).expect("short"));
        frame[tcp + 16..tcp + 18].copy_from_slice(&pseudo.to_be_bytes());
        let (action, answer) = twin.answer_to(&frame);
        assert_eq!(action, XDP_TX, "{peer:?}");
        let answer = answer.expect("an answer");
        let left = sum(&answer[address..tcp], 6 + u32::try_from(answer.len() - tcp).expect("short")).to_be_bytes();
        assert_eq!(answer[tcp + 16..tcp + 18] == left, generic == 1, "{peer:?}");
        if generic == 0 {
            read(&answer, peer, CANARY);
        }
    }
}

/// The ones' complement sum of words and a number.
fn sum(words: &[u8], more: u32) -> u16 {
    let mut sum = words.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>() + more;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn guesses_prove_nothing_and_are_looked_at_only_for_a_while() {
    let mut twin = twin(ChallengeMode::On);
    accuse(&mut twin, PEER);
    challenged(&mut twin, PEER, 7);
    let mut random = SmallRng::seed_from_u64(7);
    for _ in 0..1_000 {
        let (sequence, acknowledged) = (random.random(), random.random());
        let ack = PEER.frame(Sent { port: 7, flags: ACK, sequence, acknowledged });
        assert_eq!(twin.feed(&ack), XDP_DROP);
    }
    assert_eq!(count(&twin, ChallengeKind::Decoy, ChallengeResult::Wrong), MOST_WRONG);
    assert_eq!(count(&twin, ChallengeKind::Decoy, ChallengeResult::Tired), 1_000 - MOST_WRONG);
    assert!(twin.take_proofs().is_empty());
    twin.assert_equal("guesses");
    // The next slot begins anew.
    twin.set_now(START_NS + SLOT_NS);
    complete(&mut twin, PEER, 7);
    assert_eq!(twin.take_proofs().len(), 1);
}

#[test]
fn what_is_made_up_meets_no_challenge() {
    let mut twin = twin(ChallengeMode::On);
    accuse(&mut twin, PEER);
    let cookie = challenged(&mut twin, PEER, RESTRICTED);
    for sequence in [0, cookie ^ 2, cookie.wrapping_add(1), ISN] {
        assert_eq!(twin.feed(&PEER.frame(Sent { port: RESTRICTED, flags: RST, sequence, acknowledged: 0 })), XDP_PASS);
        assert_eq!(twin.feed(&PEER.syn(RESTRICTED)), XDP_TX, "{sequence}: challenged again");
    }
    twin.assert_equal("made up");
}

#[test]
fn no_source_and_not_all_together_get_more_answers_than_their_limits() {
    let mut twin = twin(ChallengeMode::On);
    accuse(&mut twin, PEER);
    let mut answers = 0;
    for tick in 0..10_000 {
        twin.set_now(START_NS + 500 * SECOND_NS + tick * SECOND_NS / 1_000);
        answers += u32::from(twin.feed(&PEER.syn(5)) == XDP_TX);
    }
    assert!((6 + 28..=6 + 30).contains(&answers), "{answers} answers in ten seconds");
    assert_eq!(count(&twin, ChallengeKind::Retry, ChallengeResult::SourceLimit), 10_000 - u64::from(answers));
    twin.assert_equal("limits");
}

#[test]
fn kernel_and_model_answer_alike_whatever_comes() {
    let mut twin = twin(ChallengeMode::On);
    let (mut mutations, mut random) = (Mutations::new(11), SmallRng::seed_from_u64(11));
    let peers: Vec<Peer> = Peer::all().collect();
    let mut answers = 0;
    for round in 0..20_000_u64 {
        twin.set_now(START_NS + round * SECOND_NS / 20);
        let peer = peers[random.random_range(0..peers.len())];
        let port = [1, 2, 3, 4, 5, 6, 7, RESTRICTED, CANARY][random.random_range(0..9)];
        let flags = [SYN, SYN, SYN, ACK, RST, RST | ACK][random.random_range(0..6)];
        let mut frame = peer.frame(Sent { port, flags, sequence: ISN, acknowledged: random.random() });
        if random.random_range(0..4) == 0 {
            mutations.spoil(&mut frame);
        }
        if frame.len() < scanguard_tests::frames::SHORTEST {
            continue;
        }
        let (_, answer) = twin.answer_to(&frame);
        if let Some(answer) = answer {
            answers += 1;
            assert!(answer.len() <= frame.len(), "{answer:02x?} to {frame:02x?}");
        }
    }
    for peer in peers {
        twin.set_refused(peer.host(), START_NS);
    }
    assert!(answers > 500, "{answers} answers");
    twin.assert_equal("mutations");
}
