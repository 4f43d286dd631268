//! The table of packets through the XDP program (`BPF_PROG_TEST_RUN`) and through the host's model of it.
//!
//! Needs root; run by `cargo xtask test`.

use std::collections::BTreeMap;

use scanguard::kernel::trial::XDP_PASS;
use scanguard_common::contact::Outcome;
use scanguard_common::counter::{Counter, CounterIndex};
use scanguard_common::reason::{Level, Mode};
use scanguard_tests::frames::{Row, table};
use scanguard_tests::twin::Twin;

/// What a row must change: one packet under its reason, its attempt, and the first time its contact.
fn expected(row: &Row, is_first: bool) -> Vec<CounterIndex> {
    let mut indices = vec![CounterIndex::verdict(Level::None, row.reason, Mode::Observe)];
    if let Some((_, class, protocol)) = row.attempt {
        indices.push(CounterIndex::attempt(class, protocol));
        if is_first {
            indices.push(CounterIndex::contact(Outcome::from_u8(class as u8).expect("an outcome for each class")));
        }
    }
    indices
}

/// Attempts and contacts of each source.
fn attempts(twin: &Twin) -> BTreeMap<String, (u64, u32)> {
    let records = twin.kernel_sources().into_iter();
    records
        .map(|record| (twin.rules().display(record.source).to_string(), (record.attempts, record.contacts)))
        .collect()
}

#[test]
fn each_packet_of_the_table_changes_what_its_row_says_and_nothing_else() {
    let mut twin = Twin::new(1 << 10);
    for row in table() {
        let (counters, sources) = (twin.kernel_counters(), attempts(&twin));
        assert_eq!(twin.feed(&row.frame), XDP_PASS, "{}", row.shows);
        let (counters_now, sources_now) = (twin.kernel_counters(), attempts(&twin));

        let mut wanted = sources.clone();
        let mut is_first = false;
        if let Some((source, ..)) = row.attempt {
            let (attempts, contacts) = wanted.entry(source.to_owned()).or_default();
            *attempts += 1;
            // Whether this contact is a new one is the business of the contact set's own tests.
            let contacts_now = sources_now.get(source).map_or(0, |(_, contacts)| *contacts);
            is_first = contacts_now == *contacts + 1;
            *contacts = contacts_now;
        }
        assert_eq!(sources_now, wanted, "{}", row.shows);

        let indices = expected(&row, is_first);
        for (index, (before, now)) in (0..).zip(counters.all().iter().zip(counters_now.all())) {
            let wanted = u64::from(indices.iter().any(|expected| expected.get() == index));
            let bytes = wanted * row.frame.len() as u64;
            let grown = Counter { packets: now.packets - before.packets, bytes: now.bytes - before.bytes };
            assert_eq!(grown, Counter { packets: wanted, bytes }, "{}: counter {index}", row.shows);
        }
        twin.assert_equal(row.shows);
    }
}

#[test]
fn a_repeated_attempt_is_one_contact_and_every_packet_counts() {
    let mut twin = Twin::new(1 << 10);
    let rows = table();
    let syn = &rows.iter().find(|row| row.shows == "SYN to a restricted port").expect("the row").frame;
    for second in 1..=100 {
        twin.set_now(second * 1_000_000_000);
        twin.feed(syn);
    }
    let [record] = twin.kernel_sources()[..] else { panic!("one source") };
    assert_eq!((record.attempts, record.contacts), (100, 1));
    assert_eq!((record.first_seen_ns, record.last_seen_ns), (1_000_000_000, 100_000_000_000));
    twin.assert_equal("a hundred attempts");
}
