//! The policy against what it promises.

mod cases;
mod explain;
mod model;
mod promises;
mod restart;

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use scanguard_common::source::SourceKey;

use super::{Action, BlockReason, Clock, Event, Facts, Lifter, Policy};
use crate::config::{AutoLevel, Blocks};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Some day in 2026.
const START: Clock = Clock(1_780_000_000_000);

fn source(address: &str) -> SourceKey {
    SourceKey(address.parse::<IpAddr>().expect("an address").into())
}

/// Many sources of one network, the /48 with this number.
fn hostile(network: u16, host: u16) -> SourceKey {
    source(&format!("2001:db8:{network:x}:{host:x}::"))
}

/// Of whom nothing is known.
const STRANGER: Facts = Facts {
    allowed: false,
    eligible: false,
    is_customer: false,
    sessions: 0,
    days: 0,
    shared: false,
    stacks: 0,
    unseen: false,
    fronted: false,
    denied: false,
    backed: false,
    feed: None,
};

/// A stranger whose score is that of a block.
const HARMFUL: Facts = Facts { eligible: true, ..STRANGER };

/// A port to which browsers refuse to connect, and others.
const PORTS: [u16; 4] = [23, 8081, 9000, 9001];

/// What is known of each source in these tests: by its last digits, so that there are some of all kinds.
fn facts_of(source: &SourceKey) -> Facts {
    let sum = source.0.bytes().iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let kind = sum % 10;
    Facts {
        allowed: kind == 0,
        eligible: kind != 7,
        is_customer: kind == 1,
        sessions: u64::from(kind == 2) * 40,
        days: u32::from(kind == 2) * 20,
        shared: kind == 3,
        stacks: match kind {
            6 => 1,
            8 => 2,
            _ => 0,
        },
        unseen: false,
        fronted: kind == 4,
        denied: kind == 5,
        backed: sum % 3 != 0,
        // Those of IPv6 networks are on lists.
        feed: (sum / 10 == 23).then_some(match kind {
            1 => AutoLevel::BlockPrivate,
            3 => AutoLevel::Conceal,
            _ => AutoLevel::BlockAll,
        }),
    }
}

fn facts(event: &Event) -> Facts {
    event.source().map(facts_of).unwrap_or_default()
}

/// What comes of a proof: of decoys that a source completes on as many ports as that takes. The ends of earlier blocks
/// are left out. Where the source had proof before, each of them is judged, in the same way.
fn prove(policy: &mut Policy, settings: &Blocks, source: SourceKey, now: Clock) -> Option<Action> {
    let mut actions = Vec::new();
    for port in PORTS {
        actions.extend(policy.step(settings, &STRANGER, Event::Completed { source, port }, now));
    }
    actions.retain(|action| !matches!(action, Action::Ended { .. }));
    actions.dedup();
    assert!(actions.len() <= 1, "{actions:?}");
    actions.pop()
}

fn is_block(action: Option<&Action>) -> bool {
    matches!(action, Some(Action::Block { .. }))
}

/// Sources of few networks, so that budgets are met: three to a /24, three to a /48, and on a link each its own.
fn any_source() -> impl Strategy<Value = SourceKey> {
    prop_oneof![
        (0_u8..4, 1_u8..4).prop_map(|(network, host)| source(&format!("198.51.{network}.{host}"))),
        (0_u16..3, 0_u16..3).prop_map(|(network, host)| hostile(network, host)),
        (1_u16..4).prop_map(|host| source(&format!("fe80::{host:x}"))),
    ]
}

/// Every event that the daemon tells the policy, and no other. It tells of the time with each beat and each command, so
/// often that it is not left to be rare here either.
fn any_event() -> impl Strategy<Value = Event> {
    let lifter = prop_oneof![Just(Lifter::Allowlist), Just(Lifter::Operator)];
    prop_oneof![
        6 => any_source().prop_map(|source| Event::Suspect { source }),
        8 => (any_source(), any::<bool>()).prop_map(|(source, proof)| Event::Signal { source, proof }),
        6 => any_source().prop_map(|source| Event::Eligible { source }),
        40 => (any_source(), 1_u16..8).prop_map(|(source, port)| Event::Completed { source, port }),
        2 => (any_source(), lifter).prop_map(|(source, by)| Event::Lifted { source, by }),
        4 => Just(Event::Tick),
    ]
}

/// How much time goes by before an event, in milliseconds.
fn any_pause() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0_u64..20_000,
        2 => Just(60_000),
        2 => Just(59_999),
        2 => 0_u64..2_000_000,
        1 => 0_u64..90_000_000,
        1 => 500_000_000_u64..700_000_000,
    ]
}

/// Decoys that a source completes one after the other, most often as many as are proof.
fn any_burst() -> impl Strategy<Value = Vec<(u64, Event)>> {
    (any_pause(), any_source(), 1_u16..5, 3_u16..6).prop_map(|(pause, source, first, count)| {
        let completed = (first..first + count).map(|port| (100, Event::Completed { source, port }));
        [(pause, Event::Tick)].into_iter().chain(completed).collect()
    })
}

/// Events and how long after the one before each comes.
fn any_story() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let one = (any_pause(), any_event()).prop_map(|event| vec![event]);
    prop::collection::vec(prop_oneof![6 => one, 1 => any_burst()], 1..100).prop_map(|parts| parts.concat())
}

/// Settings whose budgets are small enough to be met.
fn any_settings() -> impl Strategy<Value = Blocks> {
    let level = prop_oneof![
        1 => Just(AutoLevel::Conceal),
        6 => Just(AutoLevel::BlockPrivate),
        2 => Just(AutoLevel::BlockAll),
    ];
    (level, any::<bool>(), 1_u32..5, 0_u32..5, 0_u32..6, 1_u64..8, 0_u32..3).prop_map(
        |(max_auto_level, unproven, factor, per_minute, most, days, most_harmed)| Blocks {
            max_auto_level,
            unproven,
            factor,
            per_minute,
            most,
            most_harmed,
            recurrence: Duration::from_secs(days * 86_400),
            ..Blocks::default()
        },
    )
}
