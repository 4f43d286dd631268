//! The oracle: nothing is told, and each hole that was closed is found again when it is put back.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use proptest::prelude::*;
use scanguard_fuzz_targets::oracle::{self, Hole};

/// The same numbers each time (xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn history(&mut self) -> Vec<u8> {
        let length = 4 + self.number() % 160;
        (0..length).map(|_| self.number() as u8).collect()
    }
}

/// A history: how it begins, and steps of a few bytes each, so that shrinking leaves out whole ones.
fn history() -> impl Strategy<Value = Vec<u8>> {
    let step = prop::collection::vec(any::<u8>(), 1..10);
    (any::<[u8; 4]>(), prop::collection::vec(step, 16..48))
        .prop_map(|(begin, steps)| [&begin[..], &steps.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_concealed_or_blocked_source_learns_nothing_of_a_hidden_port(history in history()) {
        oracle::run(&history);
    }

    #[test]
    fn in_a_lockdown_strangers_learn_nothing_of_its_ports_either(history in history(), challenge in 0..4_u8) {
        const LOCKED: u8 = 11;
        let mut history = history;
        (history[2], history[3]) = (LOCKED, history[3] & 0xf0 | challenge);
        oracle::run(&history);
    }
}

/// Histories that come to the point where chance would take long: a header chain cut in two to one closed port after the other, and a network
/// whose addresses ask in turn.
fn to_the_point(hole: Hole) -> Vec<u8> {
    const FREE: [u8; 4] = [0, 0x10, 15, 0];
    let steps: Vec<u8> = match hole {
        Hole::NeutralContacts => {
            [20, 0, 0, 255, 20, 0, 0, 255, 29, 0, 7, 29, 0, 7 | (7 << 3), 29, 0, 7 | (14 << 3)].to_vec()
        }
        Hole::CutChains => (0..6).flat_map(|port| [14, 1, 24 + port, 0, 0, 2, 1, 1 | (port << 5), 0]).collect(),
        Hole::NoNetworks => (0..3).flat_map(|turn| [29, 0xa9, 7 | ((turn * 7) << 3)]).collect(),
        _ => Vec::new(),
    };
    [&FREE[..], &steps].concat()
}

#[test]
fn each_hole_that_was_closed_is_found_when_it_is_put_back() {
    const MOST: usize = 50_000;
    let before = take_hook();
    set_hook(Box::new(|_| {})); // What is found is no news here.
    let found = Hole::ALL.map(|hole| {
        let mut chance = Chance(7);
        let is_found = |number: &usize| {
            let history = if *number == 1 { to_the_point(hole) } else { chance.history() };
            let breaks = |run: &dyn Fn(&[u8])| catch_unwind(AssertUnwindSafe(|| run(&history))).is_err();
            breaks(&|history| oracle::run_with(history, hole)) && !breaks(&oracle::run)
        };
        (hole, (1..=MOST).find(is_found))
    });
    set_hook(before);
    for (hole, number) in found {
        println!("{hole:?}: found by history {number:?}");
        assert!(number.is_some(), "{hole:?} was not found in {MOST} histories");
    }
}
