//! Every input that is kept, through its target: what fuzzing found, and so much chance as costs nothing.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use scanguard_fuzz_targets::TARGETS;

fn kept(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../regressions").join(target)
}

#[test]
fn what_fuzzing_found_is_found_no_more() {
    let mut replayed = 0;
    for (target, run) in TARGETS {
        let Ok(folder) = fs::read_dir(kept(target)) else { continue };
        for entry in folder {
            let file = entry.expect("an entry").path();
            let input = fs::read(&file).expect("an input");
            if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                panic!("{target} breaks on {}", file.display());
            }
            replayed += 1;
        }
    }
    assert!(replayed > 0, "nothing is kept");
}

#[test]
fn every_folder_of_inputs_is_of_a_target() {
    for entry in fs::read_dir(kept("")).expect("the inputs that are kept") {
        let name = entry.expect("an entry").file_name();
        assert!(TARGETS.iter().any(|(target, _)| name == *target), "{name:?} is no target");
    }
}

/// The same numbers each time (xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016).
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn no_target_stumbles_over_chance() {
    const INPUTS: usize = 1_000;
    let mut chance = Chance(1);
    for (target, run) in TARGETS {
        for number in 0..INPUTS {
            let length = (chance.number() % 200) as usize;
            let input: Vec<u8> = (0..length).map(|_| (chance.number() >> 56) as u8).collect();
            if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                panic!("{target} breaks on input {number}: {input:02x?}");
            }
        }
    }
}
