//! Single stories.

use super::*;
use crate::policy::budget::MOST_BLOCKS;
use crate::policy::{Deferral, Ending, MOST_REMEMBERED};
use scanguard_common::address::Address;
use scanguard_common::verdict::Scope;

/// Minutes that the block lasts which comes of a proof.
fn minutes(action: Option<Action>) -> u64 {
    match action {
        Some(Action::Block { lasts, .. }) => lasts.as_secs() / 60,
        other => panic!("no block: {other:?}"),
    }
}

#[test]
fn blocks_escalate_and_begin_again_after_seven_quiet_days() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    let mut now = START;
    let mut lengths = Vec::new();
    for _ in 0..7 {
        let length = minutes(prove(&mut policy, &settings, scanner, now));
        lengths.push(length);
        now = now.after(MINUTE * u32::try_from(length).expect("a length")).after(HOUR);
    }
    assert_eq!(lengths, [10, 40, 160, 640, 1440, 1440, 1440]);
    let ended = Clock(now.0 - 3_600_000);
    let almost = Clock(ended.after(7 * DAY).0 - 1);
    assert_eq!(minutes(prove(&mut policy.clone(), &settings, scanner, almost)), 1440);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, ended.after(7 * DAY))), 10);
}

#[test]
fn a_blocked_source_that_goes_on_changes_nothing() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START);
    let before: Vec<_> = policy.running().collect();
    for minute in 1..10 {
        assert_eq!(prove(&mut policy, &settings, scanner, START.after(MINUTE * minute)), None);
    }
    assert_eq!(policy.running().collect::<Vec<_>>(), before);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, START.after(MINUTE * 10))), 40);
}

#[test]
fn forgeable_evidence_blocks_nobody() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    assert_eq!(policy.step(&settings, &STRANGER, Event::Suspect { source: scanner }, START), []);
    let actions = policy.step(&settings, &STRANGER, Event::Eligible { source: scanner }, START);
    assert_eq!(actions, [Action::Deferred { source: scanner, why: Deferral::Unproven }]);
    assert_eq!(actions[0].labels(), ("defer", "unproven"));
    assert_eq!((policy.running().count(), policy.is_proven(&scanner)), (0, false));
}

#[test]
fn sources_of_one_network_leave_the_budget_of_others_whole() {
    let (mut policy, settings) = (Policy::default(), Blocks::default());
    for host in 0..21 {
        let action = prove(&mut policy, &settings, hostile(1, host), START);
        assert_eq!(is_block(action.as_ref()), host < 20, "{host}: {action:?}");
    }
    for network in 0..19 {
        let other = source(&format!("198.51.{network}.7"));
        assert!(is_block(prove(&mut policy, &settings, other, START).as_ref()), "{network}");
    }
    assert!(policy.breaker_open(&settings, START), "the network itself is the twentieth");
    let late = source("203.0.113.9");
    let deferred = Some(Action::Deferred { source: late, why: Deferral::MinuteBudget });
    assert_eq!(prove(&mut policy, &settings, late, START), deferred);
    let almost = Clock(START.after(MINUTE).0 - 1);
    assert!(policy.breaker_open(&settings, almost));
    assert_eq!(prove(&mut policy, &settings, late, almost), deferred);
    assert!(!policy.breaker_open(&settings, START.after(MINUTE)));
    assert!(is_block(prove(&mut policy, &settings, late, START.after(MINUTE)).as_ref()), "judged anew");
}

#[test]
fn a_block_taken_back_counts_as_none() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START);
    let second = START.after(HOUR);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, second)), 40);
    let lifted = Event::Lifted { source: scanner, by: Lifter::Operator };
    let ended = Action::Ended { source: scanner, why: Ending::Lifted(Lifter::Operator) };
    assert_eq!(policy.step(&settings, &STRANGER, lifted, second), [ended]);
    assert_eq!(policy.step(&settings, &STRANGER, lifted, second), [], "there is none");
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, second)), 40);
}

#[test]
fn settings_of_the_moment_hold() {
    let (mut policy, scanner) = (Policy::default(), source("203.0.113.9"));
    let conceal = Blocks { max_auto_level: AutoLevel::Conceal, unproven: true, ..Blocks::default() };
    let deferred = Some(Action::Deferred { source: scanner, why: Deferral::MaxAutoLevel });
    assert_eq!(prove(&mut policy, &conceal, scanner, START), deferred);
    let unproven = Blocks { unproven: true, ..Blocks::default() };
    let other = source("203.0.113.10"); // Nothing proves that it is there.
    let actions = policy.step(&unproven, &STRANGER, Event::Eligible { source: other }, START);
    assert!(matches!(actions[..], [Action::Block { reason: BlockReason::Score, .. }]), "{actions:?}");
    let customer = Facts { is_customer: true, ..STRANGER };
    let actions = Policy::default().step(&unproven, &customer, Event::Eligible { source: scanner }, START);
    assert_eq!(actions, [Action::Deferred { source: scanner, why: Deferral::Unproven }], "others can forge his score");
}

#[test]
fn a_clock_that_was_a_year_ahead_leaves_no_block_of_a_year() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    prove(&mut policy, &settings, scanner, START.after(365 * DAY));
    policy.step(&settings, &STRANGER, Event::Tick, START);
    assert_eq!(policy.running().map(|block| block.until).collect::<Vec<_>>(), [START.after(10 * MINUTE)]);
    assert_eq!(minutes(prove(&mut policy, &settings, scanner, START.after(10 * MINUTE))), 40);
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let settings = Blocks { per_minute: 100_000, most: 100_000, ..Blocks::default() };
    let mut policy = Policy::default();
    let numbered = |number: usize| source(&format!("2001:db8:{:x}:{:x}::", number >> 16, number & 0xffff));
    for number in 0..MOST_BLOCKS {
        assert!(is_block(prove(&mut policy, &settings, numbered(number), Clock(START.0 + number as u64)).as_ref()));
    }
    let full = Clock(START.0 + MOST_BLOCKS as u64);
    let late = source("203.0.113.9");
    assert!(policy.breaker_open(&settings, full));
    let deferred = Some(Action::Deferred { source: late, why: Deferral::Full });
    assert_eq!(prove(&mut policy, &settings, late, full), deferred);
    let ended = full.after(HOUR);
    assert!(is_block(prove(&mut policy, &settings, late, ended).as_ref()));
    assert_eq!(policy.history().count(), MOST_REMEMBERED);
    policy.step(&settings, &STRANGER, Event::Tick, ended.after(HOUR));
    let remembered: std::collections::HashSet<SourceKey> = policy.history().map(|past| past.source).collect();
    assert_eq!(remembered.len(), MOST_REMEMBERED);
    assert!(remembered.contains(&late) && remembered.contains(&numbered(1)) && !remembered.contains(&numbered(0)));
}

/// What comes of completing decoys on these ports, a second after each other: of the last one.
fn complete(policy: &mut Policy, settings: &Blocks, facts: &Facts, source: SourceKey, ports: &[u16]) -> Vec<Action> {
    let steps = ports.iter().zip(0..).map(|(port, second)| {
        let now = START.after(Duration::from_secs(second));
        policy.step(settings, facts, Event::Completed { source, port: *port }, now)
    });
    steps.last().unwrap_or_default()
}

/// What each action is, for tables.
fn kinds(actions: &[Action]) -> Vec<(&'static str, &'static str)> {
    actions.iter().map(Action::labels).collect()
}

#[test]
fn harm_is_proven_by_score_ports_and_nobody_else_behind_the_address() {
    let all = Blocks { max_auto_level: AutoLevel::BlockAll, ..Blocks::default() };
    let private = Blocks::default();
    let (block, ask) = (("block", "proven"), |doubt| ("ask", doubt));
    let customer = Facts { is_customer: true, sessions: 3, days: 1, ..HARMFUL };
    let fronted = Facts { fronted: true, ..HARMFUL };
    let shared = Facts { shared: true, ..HARMFUL };
    let machines = |stacks| Facts { stacks, ..HARMFUL };
    let unseen = Facts { unseen: true, ..HARMFUL };
    let bold = Blocks { most_harmed: 2, ..all };
    let denied = Facts { denied: true, ..HARMFUL };
    let browsers = [8081, 8082, 9000, 9001];
    let mail = [25, 143, 465, 5060];
    let conceal = Blocks { max_auto_level: AutoLevel::Conceal, ..Blocks::default() };
    let rows: [(&str, Blocks, Facts, &[u16], Vec<_>); 23] = [
        ("its sessions unseen", all, unseen, &PORTS, vec![block, ask("harmed")]),
        ("unseen, whatever may be harmed", bold, unseen, &PORTS, vec![block, ask("harmed")]),
        ("unseen, and private ports alone", private, Facts { unseen: true, ..STRANGER }, &PORTS, vec![block]),
        ("a stranger", all, HARMFUL, &PORTS, vec![("block", "harm")]),
        ("not without a person", private, HARMFUL, &PORTS, vec![block, ask("max_auto_level")]),
        ("a low score", all, STRANGER, &PORTS, vec![block]),
        ("ports that a page can ask for", all, HARMFUL, &browsers, vec![block]),
        ("ports that mail programs ask for", all, HARMFUL, &mail, vec![block]),
        ("a customer", all, customer, &PORTS, vec![ask("customer")]),
        ("a customer, and no proof of harm", all, customer, &browsers, vec![ask("customer")]),
        ("a customer behind a proxy", all, Facts { fronted: true, ..customer }, &PORTS, vec![ask("fronted")]),
        ("a customer, said no", all, Facts { denied: true, ..customer }, &PORTS, vec![]),
        ("a customer, said no, no harm", all, Facts { denied: true, ..customer }, &browsers, vec![]),
        ("a customer, nothing to block", conceal, customer, &browsers, vec![("defer", "max_auto_level")]),
        ("behind a proxy", all, fronted, &PORTS, vec![block, ask("fronted")]),
        ("a shared address", all, shared, &PORTS, vec![block, ask("harmed")]),
        ("one machine", all, machines(1), &PORTS, vec![("block", "harm")]),
        ("another machine behind it", all, machines(2), &PORTS, vec![block, ask("harmed")]),
        ("as many machines as may be", bold, machines(3), &PORTS, vec![("block", "harm")]),
        ("one more", bold, machines(4), &PORTS, vec![block, ask("harmed")]),
        ("said no", all, denied, &PORTS, vec![block]),
        ("three ports", all, HARMFUL, &PORTS[..3], vec![]),
        ("allowed", all, Facts { allowed: true, ..HARMFUL }, &PORTS, vec![("defer", "allowed")]),
    ];
    for (what, settings, facts, ports, expected) in rows {
        let actions = complete(&mut Policy::default(), &settings, &facts, source("203.0.113.9"), ports);
        assert_eq!(kinds(&actions), expected, "{what}: {actions:?}");
    }
}

/// Whom others speak of.
const TOLD: SourceKey = SourceKey(Address::from_ipv4_word(u32::from_ne_bytes([203, 0, 113, 9])));

/// What is shown, settings and facts, what happens to [`TOLD`], what is done, and the ports of the block.
type Row = (&'static str, Blocks, Facts, Event, Vec<(&'static str, &'static str)>, Option<Scope>);

fn check(rows: impl IntoIterator<Item = Row>) {
    for (what, settings, facts, event, expected, scope) in rows {
        let mut policy = Policy::default();
        let actions = policy.step(&settings, &facts, event, START);
        assert_eq!(kinds(&actions), expected, "{what}: {actions:?}");
        assert_eq!(policy.running().next().map(|block| block.scope), scope, "{what}");
    }
}

/// Of whom a log tool tells, and who had a session.
const BACKED: Facts = Facts { backed: true, ..STRANGER };

#[test]
fn a_signal_is_proof_of_harm_only_where_a_session_backs_it_and_nobody_else_is_behind_the_address() {
    let all = Blocks { max_auto_level: AutoLevel::BlockAll, ..Blocks::default() };
    let (private, conceal) = (Blocks::default(), Blocks { max_auto_level: AutoLevel::Conceal, ..Blocks::default() });
    let (block, ask) = (("block", "signal"), |doubt| ("ask", doubt));
    let customer = Facts { is_customer: true, sessions: 3, days: 1, ..BACKED };
    let fronted = Facts { fronted: true, ..BACKED };
    let [proof, suspicion] = [true, false].map(|proof| Event::Signal { source: TOLD, proof });
    check([
        ("a stranger", all, BACKED, proof, vec![block], Some(Scope::All)),
        ("not without a person", private, BACKED, proof, vec![block, ask("max_auto_level")], Some(Scope::Private)),
        ("nothing to block", conceal, BACKED, proof, vec![("defer", "max_auto_level"), ask("max_auto_level")], None),
        ("no session", all, STRANGER, proof, vec![("defer", "unproven")], None),
        ("no session, high score", all, HARMFUL, proof, vec![("defer", "unproven")], None),
        ("suspicion", all, Facts { eligible: true, ..BACKED }, suspicion, vec![], None),
        ("a customer", all, customer, proof, vec![ask("customer")], None),
        (
            "a customer, no session of late",
            all,
            Facts { backed: false, ..customer },
            proof,
            vec![("defer", "unproven")],
            None,
        ),
        ("a customer, said no", all, Facts { denied: true, ..customer }, proof, vec![], None),
        ("behind a proxy", all, fronted, proof, vec![block, ask("fronted")], Some(Scope::Private)),
        (
            "a shared address",
            all,
            Facts { shared: true, ..BACKED },
            proof,
            vec![block, ask("harmed")],
            Some(Scope::Private),
        ),
        ("said no", all, Facts { denied: true, ..BACKED }, proof, vec![block], Some(Scope::Private)),
        ("allowed", all, Facts { allowed: true, ..STRANGER }, proof, vec![("defer", "allowed")], None),
    ]);
}

#[test]
fn a_suspect_that_a_feed_names_is_blocked_as_far_as_feed_configuration_and_proof_of_presence_go() {
    let all = Blocks { max_auto_level: AutoLevel::BlockAll, ..Blocks::default() };
    let (private, conceal) = (Blocks::default(), Blocks { max_auto_level: AutoLevel::Conceal, ..Blocks::default() });
    let block = vec![("block", "feed")];
    let on = |feed, facts| Facts { feed: Some(feed), ..facts };
    let (to_all, to_private) = (AutoLevel::BlockAll, AutoLevel::BlockPrivate);
    let customer = Facts { is_customer: true, ..BACKED };
    let suspect = Event::Suspect { source: TOLD };
    check([
        ("on none", all, BACKED, suspect, vec![], None),
        ("to conceal", all, on(AutoLevel::Conceal, BACKED), suspect, vec![], None),
        ("private", all, on(to_private, BACKED), suspect, block.clone(), Some(Scope::Private)),
        ("all, not there", all, on(to_all, STRANGER), suspect, block.clone(), Some(Scope::Private)),
        ("all, there", all, on(to_all, BACKED), suspect, block.clone(), Some(Scope::All)),
        ("all, there, not so far", private, on(to_all, BACKED), suspect, block.clone(), Some(Scope::Private)),
        ("nothing to block", conceal, on(to_all, BACKED), suspect, vec![("defer", "max_auto_level")], None),
        (
            "behind a proxy",
            all,
            on(to_all, Facts { fronted: true, ..BACKED }),
            suspect,
            block.clone(),
            Some(Scope::Private),
        ),
        ("said no", all, on(to_all, Facts { denied: true, ..BACKED }), suspect, block.clone(), Some(Scope::Private)),
        ("a customer", all, on(to_all, customer), suspect, vec![("ask", "customer")], None),
        ("a customer, said no", all, on(to_all, Facts { denied: true, ..customer }), suspect, vec![], None),
        ("allowed", all, on(to_all, Facts { allowed: true, ..BACKED }), suspect, vec![("defer", "allowed")], None),
    ]);
}

#[test]
fn a_listed_suspect_that_completes_a_decoy_loses_public_ports_too() {
    let settings = Blocks { max_auto_level: AutoLevel::BlockAll, ..Blocks::default() };
    let (mut policy, scanner) = (Policy::default(), source("203.0.113.9"));
    let listed = Facts { feed: Some(AutoLevel::BlockAll), ..STRANGER };
    policy.step(&settings, &listed, Event::Suspect { source: scanner }, START);
    assert_eq!(policy.running().map(|block| block.scope).collect::<Vec<_>>(), [Scope::Private]);
    let later = START.after(MINUTE);
    let actions = policy.step(&settings, &listed, Event::Completed { source: scanner, port: 8081 }, later);
    assert!(
        matches!(actions[..], [Action::Block { scope: Scope::All, reason: BlockReason::Feed, recurrence: 0, .. }]),
        "{actions:?}"
    );
}

#[test]
fn feeds_and_signals_keep_to_the_budget() {
    let (mut policy, settings) = (Policy::default(), Blocks { per_minute: 1, ..Blocks::default() });
    let (first, second, third) = (source("198.51.1.1"), source("198.51.2.1"), source("198.51.3.1"));
    let facts = Facts { feed: Some(AutoLevel::BlockPrivate), ..BACKED };
    assert_eq!(kinds(&policy.step(&settings, &facts, Event::Suspect { source: first }, START)), [("block", "feed")]);
    let deferred = ("defer", "minute_budget");
    assert_eq!(kinds(&policy.step(&settings, &facts, Event::Suspect { source: second }, START)), [deferred]);
    let actions = policy.step(&settings, &facts, Event::Signal { source: third, proof: true }, START);
    assert_eq!(kinds(&actions), [deferred, ("ask", "max_auto_level")]);
}

#[test]
fn a_block_for_a_signal_keeps_its_ports_over_a_restart() {
    let (settings, scanner) =
        (Blocks { max_auto_level: AutoLevel::BlockAll, ..Blocks::default() }, source("203.0.113.9"));
    let mut policy = Policy::default();
    policy.step(&settings, &BACKED, Event::Signal { source: scanner, proof: true }, START);
    let running: Vec<_> = policy.running().collect();
    let mut policy = Policy::restore(&settings, [], running, [], START.after(MINUTE));
    let again = policy.step(&settings, &BACKED, Event::Signal { source: scanner, proof: true }, START.after(MINUTE));
    assert_eq!((again, policy.running().next().map(|block| block.scope)), (vec![], Some(Scope::All)));
}

#[test]
fn a_blocked_scanner_whose_score_or_ports_prove_harm_afterwards_loses_public_ports_too() {
    let (settings, scanner) =
        (Blocks { max_auto_level: AutoLevel::BlockAll, ..Blocks::default() }, source("203.0.113.9"));
    let later = START.after(MINUTE);
    let mut policy = Policy::default();
    complete(&mut policy, &settings, &STRANGER, scanner, &PORTS);
    let actions = policy.step(&settings, &HARMFUL, Event::Eligible { source: scanner }, later);
    assert!(
        matches!(actions[..], [Action::Block { scope: Scope::All, recurrence: 0, until, .. }] if until == later.after(10 * MINUTE)),
        "{actions:?}"
    );
    assert_eq!(policy.running().map(|block| block.reason).collect::<Vec<_>>(), [BlockReason::Harm]);
    assert_eq!(policy.step(&settings, &HARMFUL, Event::Eligible { source: scanner }, later), []);
    let ended = later.after(10 * MINUTE);
    policy.step(&settings, &STRANGER, Event::Tick, ended);
    assert_eq!(policy.history().map(|past| past.times).collect::<Vec<_>>(), [1], "one block, that grew");
    let mut policy = Policy::default();
    complete(&mut policy, &settings, &HARMFUL, scanner, &[8081, 8082, 9000, 9001]);
    let actions = policy.step(&settings, &HARMFUL, Event::Completed { source: scanner, port: 23 }, later);
    assert_eq!(kinds(&actions), [("block", "harm")]);
}

#[test]
fn four_forged_packets_and_a_customers_own_mistake_are_no_proof() {
    let (mut policy, settings, customer) = (Policy::default(), Blocks::default(), source("198.51.100.7"));
    policy.step(&settings, &STRANGER, Event::Suspect { source: customer }, START);
    let actions = policy.step(&settings, &STRANGER, Event::Completed { source: customer, port: 8443 }, START);
    assert_eq!((actions, policy.running().count()), (vec![], 0));
}

#[test]
fn decoys_completed_before_a_restart_count_after_it() {
    let (mut policy, settings, scanner) = (Policy::default(), Blocks::default(), source("203.0.113.9"));
    complete(&mut policy, &settings, &STRANGER, scanner, &PORTS[..3]);
    let later = START.after(MINUTE);
    let mut policy = Policy::restore(&settings, [], [], policy.decoys().collect::<Vec<_>>(), later);
    let last = Event::Completed { source: scanner, port: PORTS[3] };
    assert_eq!(kinds(&policy.step(&settings, &STRANGER, last, later)), [("block", "proven")]);
}
