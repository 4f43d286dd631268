//! The table of packets through the XDP program (`BPF_PROG_TEST_RUN`) and through the host's model of it.
//!
//! Needs root; run by `cargo xtask test`.

use scanguard::kernel::trial::XDP_PASS;
use scanguard_common::counter::{Counter, CounterIndex};
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_tests::frames::{Row, table};
use scanguard_tests::twin::Twin;

/// What a row must have changed: one packet under its reason, and its attempt.
fn expected(row: &Row) -> Vec<(CounterIndex, u64)> {
    let mut indices = vec![CounterIndex::verdict(Level::None, row.reason, Mode::Observe)];
    if let Some((_, class, protocol)) = row.attempt {
        indices.push(CounterIndex::attempt(class, protocol));
    }
    indices.into_iter().map(|index| (index, row.frame.len() as u64)).collect()
}

#[test]
fn each_packet_of_the_table_is_counted_as_its_row_says() {
    for row in table() {
        let mut twin = Twin::new(1 << 10);
        assert_eq!(twin.feed(&row.frame), XDP_PASS, "{}", row.shows);
        let counters = twin.kernel_counters();
        for (index, bytes) in expected(&row) {
            assert_eq!(counters.get(index), Counter { packets: 1, bytes }, "{}: {index:?}", row.shows);
        }
        let reasons: Vec<Reason> = counters.verdicts().map(|(_, reason, ..)| reason).collect();
        assert_eq!(reasons, [row.reason], "{}: a packet has one reason", row.shows);
        let sources: Vec<(String, u64, u32)> = twin
            .kernel_sources()
            .into_iter()
            .map(|record| (twin.rules().display(record.source).to_string(), record.attempts, record.contacts))
            .collect();
        let attempted: Vec<_> = row.attempt.iter().map(|(source, ..)| ((*source).to_owned(), 1, 1)).collect();
        assert_eq!(sources, attempted, "{}", row.shows);
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
