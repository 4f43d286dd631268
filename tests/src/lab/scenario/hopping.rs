//! A scanner with a whole /48: every probe comes from another /64.

use std::thread;
use std::time::{Duration, Instant};

use super::{Scenario, scan};
use crate::lab::client::knock;
use crate::lab::plan::{EDGE6, hop};
use crate::lab::stage::Scene;

/// How many probes, networks and ports there are.
const PROBES: u16 = 1000;
/// The first port; none of them is open.
const FIRST_PORT: u16 = 2000;
/// From one probe to the next.
const EVERY: Duration = Duration::from_millis(2);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ipv6-hopping",
    about: "1,000 closed ports over IPv6, each from another /64 of the scanner's /48, 500 a second",
    play: |setup| {
        scan(setup, "ipv6-hopping", &Scene::USUAL, |lab| {
            lab.scanner.run(|| {
                let start = Instant::now();
                for number in 0..PROBES {
                    let due = start + EVERY * u32::from(number);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    knock(hop(number).into(), (EDGE6, FIRST_PORT + number).into(), EVERY);
                }
            })
        })
    },
};
