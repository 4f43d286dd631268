//! The daemon is killed at random moments under load, and nothing that it said yes to is lost. `cargo xtask chaos` does it 200 times.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::env;

use scanguard_tests::binary_beside_tests;
use scanguard_tests::lab::chaos::{Plan, play};

#[test]
fn nothing_acknowledged_is_lost_nothing_is_stuck_and_nobody_notices_when_the_daemon_is_killed_again_and_again() {
    let kills = if env::var_os("SCANGUARD_FULL").is_some() { 200 } else { 8 };
    let outage = play(&Plan { kills, seed: 42, scanguard: binary_beside_tests() }).expect("a run");
    assert!(outage.is_clean(), "{outage}");
    assert_eq!(outage.kills, kills, "{outage}");
    assert!(outage.acknowledged >= u64::from(kills) && outage.requests[0] > 0 && outage.sessions[0] > 0, "{outage}");
}
