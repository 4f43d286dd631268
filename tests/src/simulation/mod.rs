//! Days of traffic in seconds: the datapath's own code and the policy, over ordinary memory and a clock that jumps.
//!
//! | module | does |
//! |---|---|
//! | `host` | the host: its tables, its ports, what its stack answers, the policy and what is known of people |
//! | `stack` | how somebody connects: a real stack, a raw scanner, a forger in somebody's name |
//! | `cast` | who is there: customers of all kinds, scanners, forgers, pages that steer browsers |
//! | `report` | what became of them |
//! | `year` | a year at restricted ports: who comes to be known |
//!
//! Nobody decides here who is good: each actor does what his kind does, and everything else is the code of the kernel part and of the daemon.

mod cast;
mod host;
mod report;
mod stack;
mod year;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use scanguard::config::AutoLevel;

pub use cast::Size;
use cast::{Cast, Deed};
use host::Host;
pub use report::{Kind, Report, Row, Tally};
pub use year::{YearReport, YearSize, simulate_year};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many of whom, for how long.
    pub size: Size,
    /// How far the policy may go without a person.
    pub max_auto_level: AutoLevel,
    /// The same seed gives the same days.
    pub seed: u64,
}

/// Plays it.
///
/// # Errors
/// When a frame cannot be made, which is a fault of this program.
pub fn simulate(options: &Options) -> anyhow::Result<Report> {
    let started = std::time::Instant::now();
    let mut random = SmallRng::seed_from_u64(options.seed);
    let mut host = Host::new(options.max_auto_level)?;
    let mut cast = Cast::assemble(&options.size, &mut random);
    let mut agenda: BinaryHeap<Reverse<(u64, u64, usize)>> = BinaryHeap::new();
    let mut order = 0;
    for (actor, at_ns) in cast.first_deeds(&mut random) {
        agenda.push(Reverse((at_ns, order, actor)));
        order += 1;
    }
    let end_ns = options.size.span_ns();
    while let Some(Reverse((at_ns, _, actor))) = agenda.pop() {
        if at_ns >= end_ns {
            break;
        }
        host.advance(at_ns)?;
        let Deed { next_ns, did } = cast.act(actor, &mut host, &mut random)?;
        cast.note(actor, did);
        if let Some(next_ns) = next_ns {
            agenda.push(Reverse((next_ns.max(at_ns + 1), order, actor)));
            order += 1;
        }
    }
    host.advance(end_ns)?;
    Ok(Report::of(options, &cast, &host, started.elapsed()))
}
