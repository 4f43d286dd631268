//! The table of packets through the XDP program (`BPF_PROG_TEST_RUN`) and through the host's model of it.
//!
//! Needs root; run by `cargo xtask test`.

use std::collections::BTreeMap;

use scanguard::kernel::size::ProgramSize;
use scanguard::kernel::trial::XDP_PASS;
use scanguard::kernel::{Datapath, LoadOptions};
use scanguard_common::counter::CounterIndex;
use scanguard_common::reason::Mode;
use scanguard_tests::frames::{Row, table};
use scanguard_tests::twin::Twin;

/// What a row must change: one packet under its reason, its attempt, and the first time its contact.
fn expected(row: &Row, is_first: bool) -> Vec<CounterIndex> {
    let mut indices = vec![CounterIndex::verdict(row.reason.level(), row.reason, Mode::Observe)];
    if let Some((_, class, protocol)) = row.attempt {
        indices.push(CounterIndex::attempt(class, protocol));
    }
    if let (true, Some((_, outcome))) = (is_first, row.contact) {
        indices.push(CounterIndex::contact(outcome));
    }
    indices
}

/// Attempts, contacts and failures of each source.
fn attempts(twin: &Twin) -> BTreeMap<String, (u64, u32, u32)> {
    let records = twin.kernel_sources().into_iter();
    records
        .map(|record| {
            let counts = (record.attempts, record.contacts, record.failures);
            (twin.rules().display(record.source).to_string(), counts)
        })
        .collect()
}

#[test]
fn each_packet_of_the_table_changes_what_its_row_says_and_nothing_else() {
    let mut twin = Twin::new(1 << 10);
    // Nobody watches, so nobody becomes a suspect and each row stands for itself.
    twin.set_watched(false);
    twin.set_now(1_000_000_000_000);
    for row in table() {
        let (counters, sources) = (twin.kernel_counters(), attempts(&twin));
        assert_eq!(twin.feed(&row.frame), XDP_PASS, "{}", row.shows);
        let (counters_now, sources_now) = (twin.kernel_counters(), attempts(&twin));

        let mut wanted = sources.clone();
        let mut is_first = false;
        if let Some((source, ..)) = row.attempt {
            wanted.entry(source.to_owned()).or_default().0 += 1;
        }
        if let Some((source, _)) = row.contact {
            let (_, contacts, failures) = wanted.entry(source.to_owned()).or_default();
            // Whether this contact is a new one, or a new failure, is the business of the sets' own tests.
            let (_, contacts_now, failures_now) = sources_now.get(source).copied().unwrap_or_default();
            is_first = contacts_now == *contacts + 1 || failures_now == *failures + 1;
            (*contacts, *failures) = (contacts_now, failures_now);
        }
        assert_eq!(sources_now, wanted, "{}", row.shows);

        let indices = expected(&row, is_first);
        for (index, (before, now)) in (0..).zip(counters.all().iter().zip(counters_now.all())) {
            let wanted = u64::from(indices.iter().any(|expected| expected.get() == index));
            assert_eq!(now.packets - before.packets, wanted, "{}: counter {index}", row.shows);
        }
        let verdict = CounterIndex::verdict(row.reason.level(), row.reason, Mode::Observe);
        let bytes = counters_now.get(verdict).bytes - counters.get(verdict).bytes;
        assert_eq!(bytes, row.frame.len() as u64, "{}: bytes", row.shows);
        twin.assert_equal(row.shows);
    }
}

/// The verifier gives up at a million instructions, and older ones look at more than newer ones.
#[test]
fn the_verifier_looks_at_half_of_what_it_takes_at_most() {
    const MOST: u32 = 500_000;
    let mut datapath = Datapath::load(&LoadOptions::default()).expect("the kernel part, which needs root");
    for ProgramSize { name, instructions, verified, .. } in datapath.sizes().expect("sizes") {
        println!("{name}: {instructions} instructions, {verified} looked at");
        assert!(verified <= MOST, "{name} takes {verified} instructions to verify, more than {MOST}");
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
