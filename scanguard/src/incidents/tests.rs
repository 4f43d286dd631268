//! What is an incident and what is none, and what holds whatever happens in whatever order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use scanguard_common::class::PortClass;
use scanguard_common::contact::ContactKind;
use scanguard_common::event::Answer;
use scanguard_common::source::KeyRules;

use super::*;

const START: Moment = Moment { ticks: 10_000_000, wall: 1_750_000_000_000 };

fn after(milliseconds: u64) -> Moment {
    Moment { ticks: START.ticks + milliseconds, wall: START.wall + milliseconds }
}

/// Sources of as many /24 networks.
fn far(number: u32) -> SourceKey {
    SourceKey(IpAddr::from(Ipv4Addr::from(0x2d00_0001 + (number << 8))).into())
}

/// Sources of one /24.
fn near(number: u8) -> SourceKey {
    SourceKey(IpAddr::from([203, 0, 113, number]).into())
}

fn asked(source: SourceKey, asked: ContactKind, port: u16, outcome: Outcome) -> Heard {
    let counts = !matches!(outcome, Outcome::Public | Outcome::Unknown);
    Heard::Contact { source, asked, port, outcome, counts }
}

fn closed(source: SourceKey, port: u16) -> Heard {
    asked(source, ContactKind::Tcp, port, Outcome::Closed)
}

/// What is heard of a scan of these closed ports: from the fourth on the source is a suspect.
fn scan(source: SourceKey, ports: &[u16]) -> Vec<Heard> {
    let mut heard: Vec<Heard> = ports.iter().map(|port| closed(source, *port)).collect();
    if heard.len() > 3 {
        heard.insert(4, Heard::Suspect { source, outcome: Outcome::Closed });
    }
    heard
}

/// Incidents with everything that they said, and whatever is kept of them.
#[derive(Default)]
struct World {
    incidents: Incidents,
    now: u64,
    changes: Vec<Change>,
    kept: BTreeMap<u64, Record>,
}

impl World {
    /// Hears something a millisecond after what came before.
    fn hear(&mut self, heard: &Heard) {
        self.pass(1);
        self.incidents.hear(heard, after(self.now));
    }

    fn hear_all<'h>(&mut self, heard: impl IntoIterator<Item = &'h Heard>) {
        heard.into_iter().for_each(|heard| self.hear(heard));
    }

    /// Lets time go by, with a tick for each second of it, or a hundred of them if it is long.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        let step = 1000.max(milliseconds / 100);
        while self.now / step < end / step {
            self.now = (self.now / step + 1) * step;
            self.tick();
        }
        self.now = end;
        if milliseconds > step {
            self.tick();
        }
    }

    fn tick(&mut self) {
        let changes = self.incidents.tick(after(self.now));
        self.changes.extend(changes);
        for record in self.incidents.take_changed() {
            keep(&mut self.kept, record);
        }
    }

    fn opened(&self) -> Vec<Head> {
        let opened = self.changes.iter().filter_map(|change| match change {
            Change::Opened(brief) => Some(brief.head),
            Change::Joined { .. } | Change::Closed(_) | Change::Reopened(_) => None,
        });
        opened.collect()
    }

    /// What is kept of those that are no part of another one.
    fn whole(&self) -> Vec<&Record> {
        self.kept.values().filter(|record| record.head.part_of.is_none()).collect()
    }
}

/// As the store does.
fn keep(kept: &mut BTreeMap<u64, Record>, record: Record) {
    fn replace<K: PartialEq, V>(rows: &mut Vec<(K, V)>, new: Vec<(K, V)>) {
        for (key, value) in new {
            match rows.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => rows.push((key, value)),
            }
        }
    }
    let Some(known) = kept.get_mut(&record.head.id) else {
        kept.insert(record.head.id, record);
        return;
    };
    known.head = record.head;
    replace(&mut known.sources, record.sources);
    replace(&mut known.ports, record.ports);
    replace(&mut known.answers, record.answers);
    replace(&mut known.sessions, record.sessions);
    replace(&mut known.deeds, record.deeds);
}

#[test]
fn a_source_known_by_signals_alone_is_seen_when_it_became_a_suspect() {
    let (mut world, source) = (World::default(), near(66));
    world.hear(&Heard::Suspect { source, outcome: Outcome::Unknown });
    let signalled = after(world.now).wall;
    world.pass(SETTLE + 1000);
    let tally = |world: &World| world.kept[&1].sources[0].1;
    assert_eq!((tally(&world).contacts, tally(&world).first, tally(&world).last), (0, signalled, signalled));
    world.hear(&closed(source, 5));
    let asked = after(world.now).wall;
    world.pass(1000);
    assert_eq!((tally(&world).contacts, tally(&world).first, tally(&world).last), (1, signalled, asked));
    let shown = told::incident(&world.kept[&1], &KeyRules::new());
    assert!(!shown.sources[0].first_seen.starts_with("1970"), "{shown:?}");
    // As earlier versions kept it.
    let mut earlier = world.kept[&1].clone();
    earlier.sources[0].1 = SourceTally::default();
    let shown = told::incident(&earlier, &KeyRules::new());
    assert_eq!(shown.sources[0].first_seen, shown.summary.first_seen);
}

#[test]
fn a_session_that_began_before_the_incident_is_one_of_its_sessions_once_it_ends() {
    let (mut world, source) = (World::default(), near(66));
    let (class, port) = (PortClass::Restricted, 22);
    world.hear_all(&scan(source, &[1, 2, 3, 4]));
    let end = Heard::SessionEnd { source, class, port, bytes_in: 100, bytes_out: 900 };
    for heard in [&end, &Heard::Session { source, class, port }, &end, &end] {
        world.hear(heard);
    }
    world.pass(SETTLE + 1000);
    let record = &world.kept[&1];
    let SessionTally { sessions, ended, worked, .. } = record.sessions[0].1;
    assert_eq!((sessions, ended, worked), (3, 3, 3));
    assert_eq!((record.head.totals.sessions, record.head.totals.worked), (3, 3));
}

#[test]
fn what_is_not_carried_out_in_mode_observe_is_told_apart() {
    let (mut world, source) = (World::default(), near(66));
    let done = |action: &'static str| Heard::Done {
        source,
        deed: Deed { action: action.into(), scope: "private".into(), reason: "proven".into() },
    };
    world.incidents.set_mode(Mode::Observe);
    world.hear_all(&scan(source, &[1, 2, 3, 4]));
    world.hear(&done("block"));
    world.hear(&done("defer"));
    world.incidents.set_mode(Mode::Enforce);
    world.hear(&done("block"));
    world.pass(SETTLE + 1000);
    let mut told: Vec<_> = told::incident(&world.kept[&1], &KeyRules::new()).done;
    told.sort_by_key(|deed| (deed.action.clone(), deed.carried_out));
    let told: Vec<_> = told.iter().map(|deed| (deed.action.as_str(), deed.carried_out, deed.times)).collect();
    assert_eq!(told, [("block", false, 1), ("block", true, 1), ("conceal", false, 1), ("defer", true, 1)]);
}

#[test]
fn a_scan_is_one_incident_with_all_that_came_of_it() {
    let (mut world, source) = (World::default(), near(66));
    world.hear_all(&scan(source, &[1, 2, 3, 4]));
    world.hear(&asked(source, ContactKind::Tcp, 80, Outcome::Public));
    world.hear(&Heard::Answered { source, asked: ContactKind::Tcp, port: 80, answer: Answer::Open });
    world.hear(&Heard::Session { source, class: PortClass::Public, port: 80 });
    let (class, port) = (PortClass::Public, 80);
    world.hear(&Heard::SessionEnd { source, class, port, bytes_in: 100, bytes_out: 900 });
    world.hear(&Heard::Completed { source, port: 4 });
    let block = Deed { action: "block".into(), scope: "private".into(), reason: "proven".into() };
    world.hear(&Heard::Done { source, deed: block.clone() });
    world.pass(SETTLE - 1000);
    assert_eq!(world.opened(), [], "it waits for others to belong to");
    world.pass(2000);
    let [opened] = world.opened()[..] else { panic!("{:?}", world.changes) };
    assert_eq!((opened.id, opened.cause, opened.subject), (1, Cause::Suspect, Some(source)));
    assert_eq!(world.incidents.of_source(&source), Some(1));
    world.hear(&closed(source, 5));
    world.pass(QUIET + 2000);
    let record = world.kept[&1].clone();
    assert_eq!(
        record.head.totals,
        Totals {
            sources: 1,
            contacts: 6,
            failures: 5,
            before_suspicion: 3,
            answers: 1,
            decoys: 1,
            sessions: 1,
            worked: 1,
            ..Totals::default()
        }
    );
    let ports: Vec<_> = record.ports.iter().map(|(key, contacts)| (key.port, key.outcome, *contacts)).collect();
    let [closed_port, public] = [Outcome::Closed as u8, Outcome::Public as u8];
    let expected = [(1, closed_port, 1), (2, closed_port, 1), (3, closed_port, 1), (4, closed_port, 1)];
    assert_eq!(ports, [&expected[..], &[(80, public, 1), (5, closed_port, 1)]].concat());
    assert_eq!(
        record.deeds.iter().map(|(deed, tally)| (&*deed.action, tally.times)).collect::<Vec<_>>(),
        [("block", 1), ("conceal", 1)]
    );
    assert!(record.deeds.iter().any(|(deed, _)| *deed == block));
    assert_eq!(record.sessions[0].1.bytes_out, 900);
    assert!(record.head.closed.is_some() && world.incidents.open() == 0, "{record:?}");
    // It comes back: within a day that is the same incident, and alarms nobody.
    world.hear(&closed(source, 6));
    world.pass(SETTLE + 1000);
    assert_eq!((world.opened().len(), world.incidents.open()), (1, 1));
    assert!(matches!(world.changes.last(), Some(Change::Reopened(head)) if head.id == 1), "{:?}", world.changes);
    assert_eq!((world.kept[&1].head.totals.contacts, world.kept[&1].head.closed), (7, None));
    world.pass(LONGEST);
    // After that it is another one. The kernel part need not say again that it is a suspect.
    world.hear(&closed(source, 7));
    world.hear(&Heard::Suspect { source, outcome: Outcome::Closed });
    world.pass(SETTLE + 1000);
    assert_eq!(world.opened().len(), 2);
}

#[test]
fn five_hundred_sources_with_three_probes_each_are_one_incident() {
    let mut world = World::default();
    for number in 0..500 {
        world.hear_all(&scan(far(number), &[23, 2323, 5555]));
        world.pass(100);
    }
    world.pass(2000);
    let [opened] = world.opened()[..] else { panic!("{:?}", world.changes) };
    assert_eq!((opened.cause, opened.subject), (Cause::Ports, None));
    let record = &world.kept[&opened.id];
    let totals = Totals { sources: 500, contacts: 1500, failures: 1500, before_suspicion: 1500, ..Totals::default() };
    assert_eq!(record.head.totals, totals);
    assert_eq!(
        record.ports.iter().map(|(key, contacts)| (key.port, *contacts)).collect::<Vec<_>>(),
        [(23, 500), (2323, 500), (5555, 500)]
    );
    assert_eq!(record.sources.len(), 500);
    assert_eq!(record.deeds, [], "nothing was done about anybody");
    world.pass(QUIET + 2000);
    assert!(world.kept[&opened.id].head.closed.is_some());
    assert_eq!(world.opened().len(), 1);
}

#[test]
fn what_a_bot_touched_afterwards_is_told() {
    let mut world = World::default();
    for number in 0..100 {
        let source = far(number);
        world.hear(&Heard::Met { source });
        world.hear_all(&scan(source, &[23, 2323, 5555]));
    }
    world.pass(2000);
    assert_eq!(world.whole()[0].head.totals.with_sessions, 0, "what was before is no matter");
    for pause in [0, 100] {
        world.pass(pause);
        world.hear(&Heard::Met { source: far(7) });
        world.hear(&Heard::Met { source: far(700) });
    }
    let met = after(world.now - 1).wall;
    // The same session told again: a millisecond may lie between two looks at the clocks.
    world.hear(&Heard::Met { source: far(7) });
    world.pass(2000);
    let record = world.whole()[0];
    assert_eq!(record.head.totals.with_sessions, 1);
    let touched: Vec<_> = record.sources.iter().filter(|(_, tally)| tally.session > 0).collect();
    assert_eq!(touched.iter().map(|(source, tally)| (*source, tally.session)).collect::<Vec<_>>(), [(far(7), met)]);
}

#[test]
fn bots_that_pick_two_ports_of_six_are_one_incident() {
    let mut world = World::default();
    let ports = [21, 22, 23, 2323, 5555, 7547];
    for number in 0..300_u32 {
        let (one, step) = (number as usize % 6, 1 + number as usize / 6 % 5);
        world.hear_all(&scan(far(number), &[ports[one], ports[(one + step) % 6]]));
    }
    world.pass(2000);
    assert_eq!(world.opened().iter().map(|head| head.cause).collect::<Vec<_>>(), [Cause::Ports]);
    assert_eq!(world.whole()[0].head.totals.sources, 300);
}

#[test]
fn bots_that_become_suspects_are_one_incident_and_few_alarms() {
    let mut world = World::default();
    for number in 0..500 {
        world.hear_all(&scan(far(number), &[22, 23, 2323, 5555, 7547]));
        world.pass(200);
    }
    world.pass(10_000);
    assert_eq!(world.whole().len(), 1, "{:?}", world.changes);
    let whole = world.whole()[0];
    assert_eq!((whole.head.cause, whole.head.totals.sources, whole.head.totals.contacts), (Cause::Ports, 500, 2500));
    assert_eq!(whole.head.totals.before_suspicion, 1500);
    assert_eq!(world.opened().len(), 1, "eight of them came within the time that one waits");
    assert!(whole.deeds.iter().any(|(deed, tally)| deed.action == "conceal" && tally.times == 500));
}

#[test]
fn who_was_told_of_first_is_a_part_of_the_whole_later() {
    let mut world = World::default();
    for number in 0..20 {
        world.hear_all(&scan(far(number), &[22, 23, 2323, 5555]));
        world.pass(3000);
    }
    let joined: Vec<_> = world.changes.iter().filter(|change| matches!(change, Change::Joined { .. })).collect();
    assert!(!joined.is_empty(), "{:?}", world.changes);
    let [whole] = world.whole()[..] else { panic!("{:?}", world.changes) };
    assert_eq!((whole.head.totals.sources, whole.head.totals.contacts), (20, 80));
    for part in world.kept.values().filter(|record| record.head.part_of.is_some()) {
        assert_eq!(part.head.part_of, Some(whole.head.id));
        assert!(part.head.closed.is_some());
    }
}

#[test]
fn crowds_of_customers_are_no_campaign() {
    let tcp = |source, ports: &[u16]| scan(source, ports);
    let both = |source, port| {
        vec![
            asked(source, ContactKind::Tcp, port, Outcome::Closed),
            asked(source, ContactKind::Udp, port, Outcome::Closed),
        ]
    };
    // Each of many sources: what it fails on, by its number.
    type Customer<'c> = &'c dyn Fn(u32) -> Vec<Heard>;
    let rows: [(&str, u32, Customer<'_>); 8] = [
        ("a service that moved away", 5000, &|number| tcp(far(number), &[8333])),
        ("peers of a program that is gone, by TCP and UDP", 2000, &|number| both(far(number), 6881)),
        ("peers of a program with two ports", 2000, &|number| {
            vec![closed(far(number), 4662), asked(far(number), ContactKind::Udp, 4672, Outcome::Closed)]
        }),
        ("an old address: web, mail, telephony and FTP", 2000, &|number| tcp(far(number), &[443, 25, 21])),
        ("an old address: web over QUIC and TCP, mail", 2000, &|number| {
            [both(far(number), 443), tcp(far(number), &[993])].concat()
        }),
        ("a mistake each, on different ports", 5000, &|number| tcp(far(number), &[10_000 + (number % 5000) as u16])),
        ("two mistakes each, on different ports", 3000, &|number| {
            let port = |factor: u32| 1000 + (number.wrapping_mul(factor) >> 16) as u16 % 500;
            tcp(far(number), &[port(2_654_435_761), 2000 + port(2_246_822_519)])
        }),
        ("an office that looks for its old servers", 200, &|number| {
            tcp(near(u8::try_from(number).expect("few")), &[445, 139, 135])
        }),
    ];
    for (what, sources, customer) in rows {
        let mut world = World::default();
        for number in 0..sources {
            world.hear_all(&customer(number));
        }
        world.pass(10_000);
        assert_eq!(world.changes, [], "{what}");
    }
}

#[test]
fn many_sources_at_a_canary_port_are_a_campaign_and_a_few_are_none() {
    for (sources, expected) in [(crowd::FEWEST_SOURCES - 1, 0), (crowd::FEWEST_SOURCES, 1)] {
        let mut world = World::default();
        for number in 0..sources {
            world.hear(&asked(far(number), ContactKind::Tcp, 23, Outcome::Canary));
        }
        world.pass(2000);
        assert_eq!(world.opened().len(), expected);
        assert!(world.opened().iter().all(|head| head.cause == Cause::Canary && head.totals.sources == 32));
    }
}

#[test]
fn failures_of_long_ago_make_no_campaign() {
    let mut world = World::default();
    for number in 0..100 {
        world.hear_all(&scan(far(number), &[23, 2323, 5555]));
        world.pass(crowd::WINDOW / 24);
    }
    assert_eq!(world.changes, [], "25 within an hour are too few");
}

#[test]
fn suspects_of_one_network_are_one_incident() {
    let mut world = World::default();
    world.hear(&closed(near(99), 7));
    for number in 0..40 {
        let ports: Vec<u16> = (0..5).map(|port| 1000 + u16::from(number) * 10 + port).collect();
        world.hear_all(&scan(near(number), &ports));
    }
    world.pass(2000);
    let [opened] = world.opened()[..] else { panic!("{:?}", world.changes) };
    assert_eq!((opened.cause.kind(), opened.subject), (Kind::Network, Some(KeyRules::network(&near(0)))));
    let totals = world.kept[&opened.id].head.totals;
    assert_eq!((totals.sources, totals.contacts), (41, 201), "whoever failed before is in it");
}

#[test]
fn a_network_that_scans_in_turn_is_one_incident() {
    let mut world = World::default();
    for number in 0..10 {
        world.hear(&closed(near(number), 1000 + u16::from(number)));
    }
    let network = KeyRules::network(&near(0));
    world.hear(&Heard::Network { network });
    world.hear(&closed(near(77), 5000));
    world.pass(2000);
    let [opened] = world.opened()[..] else { panic!("{:?}", world.changes) };
    assert_eq!((opened.cause, opened.totals.sources, opened.totals.contacts), (Cause::Network, 11, 11));
}

#[test]
fn a_flood_of_forged_suspects_is_one_incident_within_all_bounds() {
    let mut world = World::default();
    for number in 0..40_000_u32 {
        let port = |probe: u32| (number.wrapping_mul(2_654_435_761).wrapping_add(probe * 7919) >> 12) as u16 | 1;
        world.hear_all(&scan(far(number), &[port(1), port(2), port(3), port(4)]));
        if number == 100 {
            world.hear(&Heard::Storm);
        }
        let Incidents { open, actors, listed, .. } = &world.incidents;
        assert!(open.len() <= MOST_OPEN && actors.len() <= MOST_ACTORS && *listed <= MOST_LISTED);
    }
    world.pass(10_000);
    assert_eq!(world.whole().len(), 1, "{:?}", world.changes);
    let record = world.whole()[0];
    assert_eq!(record.head.cause.kind(), Kind::Campaign);
    assert_eq!((record.head.totals.sources, record.head.totals.contacts), (40_000, 160_000));
    assert_eq!((record.sources.len(), record.ports.len()), (incident::MOST_SOURCES, incident::MOST_PORTS));
    assert_eq!(world.opened().len(), 1);
}

#[test]
fn single_scanners_stay_apart() {
    let mut world = World::default();
    for number in 0..200_u32 {
        let ports: Vec<u16> = (0..20).map(|probe| 1 + (number * 100 + probe * 13) as u16).collect();
        world.hear_all(&scan(far(number), &ports));
        world.pass(5000);
    }
    world.pass(10_000);
    assert_eq!(world.whole().len(), 200);
    assert!(world.whole().iter().all(|record| record.head.totals.contacts == 20));
}

#[test]
fn what_was_open_goes_on_after_a_restart() {
    let mut world = World::default();
    for number in 0..40 {
        world.hear_all(&scan(far(number), &[23, 2323, 5555]));
    }
    world.hear_all(&scan(near(1), &[1, 2, 3, 4]));
    world.pass(SETTLE + 2000);
    let before: Vec<Record> = world.kept.values().cloned().collect();
    assert_eq!(before.len(), 2);
    let later = World { now: 0, incidents: Incidents::restore(before.clone(), 3, after(60_000)), ..World::default() };
    let mut later = World { now: 60_000, kept: world.kept, ..later };
    for record in &before {
        assert_eq!(later.incidents.record(record.head.id).expect("open").head, record.head);
    }
    later.hear(&closed(near(1), 5));
    later.hear_all(&scan(far(41), &[23, 2323]));
    later.hear_all(&scan(near(200), &[11, 12, 13, 14]));
    later.pass(SETTLE + 2000);
    assert_eq!(later.opened().iter().map(|head| head.id).collect::<Vec<_>>(), [3], "numbers go on");
    let sums = |id| (later.kept[&id].head.totals.sources, later.kept[&id].head.totals.contacts);
    assert_eq!((sums(1), sums(2)), ((41, 122), (1, 5)));
}

fn any_source() -> impl Strategy<Value = SourceKey> {
    prop_oneof![(0_u32..60).prop_map(far), (0_u8..12).prop_map(near)]
}

fn any_heard() -> impl Strategy<Value = Heard> {
    let port = prop_oneof![3 => prop::sample::select(vec![22_u16, 23, 2323, 5555]), 1 => 1_u16..500];
    let outcome = prop::sample::select(Outcome::ALL.to_vec());
    let kind = prop::sample::select(vec![ContactKind::Tcp, ContactKind::Udp]);
    prop_oneof![
        30 => (any_source(), kind, port, outcome).prop_map(|(source, kind, port, outcome)| asked(source, kind, port, outcome)),
        30 => (any_source(), 0_usize..4)
            .prop_map(|(source, port)| closed(source, [22, 23, 2323, 5555][port])),
        8 => any_source().prop_map(|source| Heard::Suspect { source, outcome: Outcome::Closed }),
        1 => (0_u8..12).prop_map(|number| Heard::Network { network: KeyRules::network(&near(number)) }),
        1 => Just(Heard::Storm),
        3 => any_source().prop_map(|source| Heard::Answered { source, asked: ContactKind::Tcp, port: 80, answer: Answer::Open }),
        3 => any_source().prop_map(|source| Heard::Session { source, class: PortClass::Public, port: 80 }),
        3 => any_source().prop_map(|source| Heard::SessionEnd { source, class: PortClass::Public, port: 80, bytes_in: 9, bytes_out: 9 }),
        8 => any_source().prop_map(|source| Heard::Met { source }),
        2 => any_source().prop_map(|source| Heard::Completed { source, port: 4 }),
        3 => any_source().prop_map(|source| Heard::Done { source, deed: deed("defer", "unproven") }),
    ]
}

/// What happens, and how long after what came before.
fn any_story() -> impl Strategy<Value = Vec<(u64, Heard)>> {
    let pause = prop_oneof![30 => 0_u64..50, 10 => 0_u64..2000, 2 => 0_u64..100_000, 1 => 0_u64..8_000_000];
    prop::collection::vec((pause, any_heard()), 1..400)
}

fn play(story: &[(u64, Heard)]) -> World {
    let mut world = World::default();
    for (pause, heard) in story {
        world.pass(*pause);
        world.hear(heard);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn each_is_told_once_and_ends_after_a_quiet_time(story in any_story()) {
        let mut world = play(&story);
        let listed: usize = world.incidents.open.values().map(|incident| incident.sources.len()).sum();
        prop_assert_eq!(world.incidents.listed, listed);
        world.pass(QUIET + SETTLE + 2000);
        prop_assert_eq!(world.incidents.open(), 0);
        world.pass(LONGEST);
        prop_assert_eq!((world.incidents.open.len(), world.incidents.listed), (0, 0));
        prop_assert!(world.incidents.moved.is_empty() && world.incidents.networks.is_empty() && world.incidents.campaigns.is_empty());
        let mut opened = BTreeSet::new();
        let mut ended = HashMap::new();
        for change in &world.changes {
            match change {
                Change::Opened(Brief { head, .. }) => prop_assert!(opened.insert(head.id), "{} opened twice", head.id),
                Change::Joined { part, whole } => {
                    prop_assert!(opened.contains(whole) && ended.insert(*part, "joined").is_none());
                }
                Change::Closed(head) => prop_assert!(ended.insert(head.id, "closed").is_none()),
                Change::Reopened(head) => prop_assert_eq!(ended.remove(&head.id), Some("closed")),
            }
        }
        prop_assert_eq!(&opened, &world.kept.keys().copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(&opened, &ended.keys().copied().collect::<BTreeSet<_>>());
        for record in world.kept.values() {
            prop_assert!(record.head.closed.is_some());
            prop_assert!(record.head.first <= record.head.last, "{:?}", record.head);
            prop_assert!(record.head.part_of.is_none_or(|whole| opened.contains(&whole) && whole != record.head.id));
        }
    }

    #[test]
    fn no_contact_is_in_two_incidents_and_sums_are_those_of_their_rows(story in any_story()) {
        let mut world = play(&story);
        world.pass(QUIET + SETTLE + 2000);
        let contacts = story.iter().filter(|(_, heard)| matches!(heard, Heard::Contact { .. })).count() as u64;
        let told: u64 = world.whole().iter().map(|record| record.head.totals.contacts).sum();
        prop_assert!(told <= contacts, "{} of {}", told, contacts);
        for record in world.kept.values() {
            let totals = record.head.totals;
            let ports: u64 = record.ports.iter().map(|(_, contacts)| contacts).sum();
            prop_assert_eq!(ports + totals.ports_unlisted, totals.contacts);
            let sources = |value: fn(&SourceTally) -> u64| record.sources.iter().map(|(_, tally)| value(tally)).sum::<u64>();
            prop_assert_eq!(sources(|tally| tally.contacts), totals.contacts);
            prop_assert_eq!(sources(|tally| tally.failures), totals.failures);
            prop_assert_eq!(record.sources.len() as u64, totals.sources);
            let with_sessions = record.sources.iter().filter(|(_, tally)| tally.session > 0).count() as u64;
            prop_assert_eq!(with_sessions, totals.with_sessions);
            prop_assert!(totals.before_suspicion <= totals.failures && totals.failures <= totals.contacts);
            prop_assert_eq!(record.answers.iter().map(|(_, answers)| answers).sum::<u64>(), totals.answers);
            prop_assert_eq!(record.sessions.iter().map(|(_, tally)| tally.sessions).sum::<u64>(), totals.sessions);
        }
    }

    #[test]
    fn every_suspect_is_in_an_incident(story in any_story()) {
        let mut incidents = Incidents::default();
        let mut now = 0;
        for (pause, heard) in &story {
            now += pause;
            incidents.hear(heard, after(now));
            if let Heard::Suspect { source, .. } = heard {
                incidents.tick(after(now));
                incidents.tick(after(now + SETTLE));
                prop_assert!(incidents.of_source(source).is_some(), "{:?}", source);
            }
        }
    }

    #[test]
    fn the_order_within_a_second_does_not_matter(
        order in Just((0..120_u32).flat_map(|source| [23_u16, 2323, 5555].map(|port| (source, port))).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut incidents = Incidents::default();
        for (source, port) in order {
            incidents.hear(&closed(far(source), port), START);
        }
        let changes = incidents.tick(after(1000));
        prop_assert_eq!(changes.len(), 1);
        let record = incidents.record(1).expect("a campaign");
        prop_assert_eq!((record.head.totals.sources, record.head.totals.contacts), (120, 360));
        prop_assert_eq!(record.ports.iter().map(|(_, contacts)| *contacts).collect::<Vec<_>>(), [120, 120, 120]);
    }
}
