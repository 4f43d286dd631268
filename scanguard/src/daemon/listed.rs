//! The numbers of packets, and sources, as the listeners show them.

use std::cmp::Reverse;

use scanguard_common::contact::Outcome;
use scanguard_common::counter::Counter;
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_common::record::SourceRecord;
use scanguard_common::score::{ScoreRules, UNITS_PER_NAT};
use scanguard_common::source::KeyRules;

use super::census::Snapshot;
use crate::api::{BlockEntry, Packets, SCHEMA_VERSION, Source, SourceList, SourceOrder, SourcesQuery, timestamp};
use crate::kernel::clock;

/// What became of packets. A level above none is a drop, or in observe mode would have been one.
pub(super) fn packets(verdicts: impl Iterator<Item = (Level, Reason, Mode, Counter)>) -> Packets {
    let mut packets = Packets::default();
    for (level, _, mode, Counter { packets: count, .. }) in verdicts {
        match (level, mode) {
            (Level::None, _) => packets.passed += count,
            (_, Mode::Observe) => {
                packets.passed += count;
                packets.would_drop += count;
            }
            (_, Mode::Enforce) => packets.dropped += count,
        }
    }
    packets
}

/// Sources in the order asked for, and as many.
pub(super) fn list(snapshot: &Snapshot, query: SourcesQuery, keys: &KeyRules, rules: &ScoreRules) -> SourceList {
    let SourcesQuery { sort, limit } = query;
    let now_ns = clock::monotonic_coarse_ns();
    let mut records: Vec<&SourceRecord> = snapshot.records.iter().collect();
    // The key decides between equals, so that the same table makes the same list.
    let rank = |record: &&SourceRecord| {
        let first = match sort {
            SourceOrder::Attempts => record.attempts,
            SourceOrder::Score => record.score_at(rules, now_ns).into(),
            SourceOrder::Last => record.last_seen_ns,
        };
        (Reverse(first), record.source.0.bytes())
    };
    let limit = if limit == 0 { records.len() } else { limit.min(records.len()) };
    if limit > 0 && limit < records.len() {
        records.select_nth_unstable_by_key(limit - 1, rank);
        records.truncate(limit);
    }
    records.sort_unstable_by_key(rank);
    SourceList {
        schema_version: SCHEMA_VERSION,
        as_of: timestamp(snapshot.as_of),
        total: snapshot.records.len() as u64,
        sources: records.into_iter().map(|record| source(record, keys, rules, now_ns)).collect(),
    }
}

/// A block comes before suspicion.
pub(super) fn with_block(source: &mut Source, block: BlockEntry) {
    let BlockEntry { level, scope, reason, since, expires, .. } = block;
    (source.level, source.scope, source.reason) = (level, Some(scope), reason);
    (source.since, source.expires) = (Some(since), expires);
}

fn source(record: &SourceRecord, keys: &KeyRules, rules: &ScoreRules, now_ns: u64) -> Source {
    let SourceRecord { source, attempts, first_seen_ns, last_seen_ns, contacts, failures, reason, .. } = *record;
    let SourceRecord { suspect_since_ns, suspect_until_ns, .. } = *record;
    let time = |ns| timestamp(clock::monotonic_to_system(ns));
    let suspect = record.is_suspect(now_ns);
    let level = if suspect { Level::Conceal } else { Level::None };
    let reason = u8::try_from(reason).ok().and_then(Outcome::from_u8).map(|outcome| outcome.label().to_owned());
    Source {
        source: keys.display(source).to_string(),
        attempts,
        score: f64::from(record.score_at(rules, now_ns)) / f64::from(UNITS_PER_NAT),
        level: level.label().to_owned(),
        scope: None,
        reason: reason.filter(|_| suspect),
        since: suspect.then(|| time(suspect_since_ns)),
        expires: suspect.then(|| time(suspect_until_ns)),
        contacts: contacts.into(),
        failures: failures.into(),
        first_seen: time(first_seen_ns),
        last_seen: time(last_seen_ns),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::SystemTime;

    use scanguard_common::source::SourceKey;

    use super::*;

    #[test]
    fn observed_verdicts_pass_and_count_as_would_have_been_dropped() {
        let count = |packets| Counter { packets, bytes: 0 };
        let verdicts = [
            (Level::None, Reason::Established, Mode::Observe, count(1)),
            (Level::None, Reason::NewFlow, Mode::Enforce, count(2)),
            (Level::Conceal, Reason::NewFlow, Mode::Observe, count(4)),
            (Level::Block, Reason::NewFlow, Mode::Enforce, count(8)),
        ];
        assert_eq!(packets(verdicts.into_iter()), Packets { passed: 7, dropped: 8, would_drop: 4 });
    }

    fn snapshot() -> Snapshot {
        let now_ns = clock::monotonic_coarse_ns();
        let record = |address: &str, attempts, score, last_seen_ns| {
            let key = SourceKey(address.parse::<IpAddr>().expect("an address").into());
            SourceRecord { attempts, score, last_seen_ns, ..SourceRecord::new(key, now_ns) }
        };
        let records = vec![
            record("203.0.113.9", 5, 1024, 30),
            record("203.0.113.8", 5, 0, 40),
            record("2001:db8:1::", 9, 512, 10),
            record("198.51.100.1", 1, 2048, 20),
        ];
        let now = std::time::Instant::now();
        Snapshot {
            records,
            suspects: 0,
            storm: false,
            maps: Vec::new(),
            as_of: SystemTime::UNIX_EPOCH,
            fresh_until: now,
        }
    }

    #[test]
    fn sources_are_listed_in_the_order_asked_for_and_as_many() {
        let names = |sort, limit| -> Vec<String> {
            let listed = list(&snapshot(), SourcesQuery { sort, limit }, &KeyRules::new(), &ScoreRules::new());
            assert_eq!(listed.total, 4);
            listed.sources.into_iter().map(|source| source.source).collect()
        };
        let (scanner, twin, subscriber, customer) = ("203.0.113.9", "203.0.113.8", "2001:db8:1::/64", "198.51.100.1");
        assert_eq!(names(SourceOrder::Attempts, 0), [subscriber, twin, scanner, customer]);
        assert_eq!(names(SourceOrder::Attempts, 2), [subscriber, twin]);
        assert_eq!(names(SourceOrder::Score, 9), [customer, scanner, subscriber, twin]);
        assert_eq!(names(SourceOrder::Last, 1), [twin]);
    }

    #[test]
    fn scores_are_told_in_nats() {
        let listed = list(
            &snapshot(),
            SourcesQuery { sort: SourceOrder::Score, limit: 1 },
            &KeyRules::new(),
            &ScoreRules::new(),
        );
        assert!((listed.sources[0].score - 2.0).abs() < f64::EPSILON);
    }
}
