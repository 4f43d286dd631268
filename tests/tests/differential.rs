//! Kernel against host on a million random and mutated frames: what the parser reads, and everything the datapath keeps.
//!
//! Needs root; run by `cargo xtask test`. `SCANGUARD_FRAMES` sets another number, `SCANGUARD_SEED` another seed.

use std::env;

use scanguard::kernel::rig::Rig;
use scanguard_common::host::Frame;
use scanguard_common::packet::parse;
use scanguard_tests::frames::{Mutations, table};
use scanguard_tests::rig;
use scanguard_tests::twin::Twin;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn the_kernel_reads_a_million_frames_as_the_host_does() {
    let (frames, seed) = (setting("SCANGUARD_FRAMES", 1_000_000), setting("SCANGUARD_SEED", 1));
    let mut rig = Rig::load(rig::OBJECT, 0, 1).expect("the rig, which needs root: run `cargo xtask test`");
    let mut mutations = Mutations::new(seed);
    for number in 0..frames {
        let frame = mutations.next_frame();
        let (kernel, host) = (rig.parse(&frame, None).expect("a trial run"), parse(&Frame(&frame)));
        assert_eq!(kernel, host.words(), "seed {seed}, frame {number}: {frame:02x?} read as {host:?}");
    }
    println!("{frames} frames read alike (seed {seed})");
}

/// Drivers that split headers, and large frames, leave part of a frame in further buffers.
#[test]
fn headers_beyond_the_first_buffer_are_read_alike() {
    const SHORTEST: u32 = 14;
    let mut rig = Rig::load(rig::OBJECT, 0, 1).expect("the rig, which needs root: run `cargo xtask test`");
    let mut compared = 0;
    for row in table() {
        let length = u32::try_from(row.frame.len()).expect("a short frame");
        for near in SHORTEST..length {
            let kernel = match rig.parse(&row.frame, Some(near)) {
                Ok(words) => words,
                Err(error) if compared == 0 => {
                    println!("NOT TESTED: this kernel splits no frames in trial runs (Linux 6.18 does): {error}");
                    return;
                }
                Err(error) => panic!("{}: {error}", row.shows),
            };
            assert_eq!(kernel, parse(&Frame(&row.frame)).words(), "{}, {near} bytes in the first buffer", row.shows);
            compared += 1;
        }
    }
    println!("{compared} split frames read alike");
}

#[test]
fn the_kernel_counts_a_million_frames_as_the_host_does() {
    const BETWEEN_EVENTS: u64 = 1_000;
    let (frames, seed) = (setting("SCANGUARD_FRAMES", 1_000_000), setting("SCANGUARD_SEED", 2));
    // Room for a source a frame, so that nothing is evicted.
    let room = u32::try_from(frames.max(1 << 10) * 2).expect("a number of frames that fits a table");
    let mut twin = Twin::new(room);
    let mut mutations = Mutations::new(seed);
    for number in 0..frames {
        twin.feed(&mutations.next_frame());
        if number % BETWEEN_EVENTS == 0 {
            twin.assert_events_equal(&format!("seed {seed}, by frame {number}"));
            twin.set_now(number * 1_000_000);
        }
    }
    twin.assert_equal(&format!("seed {seed}, after {frames} frames"));
    let counters = twin.kernel_counters();
    let verdicts: Vec<_> = counters.verdicts().collect();
    let total: u64 = verdicts.iter().map(|(.., counter)| counter.packets).sum();
    assert_eq!(total, frames, "every frame has one reason");
    println!("{frames} frames counted alike (seed {seed}), {} sources, reasons:", twin.kernel_sources().len());
    for (_, reason, _, counter) in verdicts {
        println!("  {:>8} {}", counter.packets, reason.label());
    }
}
