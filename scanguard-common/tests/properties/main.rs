//! Properties of the datapath: what holds whatever is sent, by whom, when and in which order.
//!
//! Each property is a promise of `docs/architecture.md` (nobody is cut off, nobody is framed, everything ends) said as a test. A world
//! is a host over [`scanguard_common::host::MemoryTables`]; proptest writes its history, the datapath judges it.
//!
//! | module | has |
//! |---|---|
//! | `frames` | packets of every kind, as bytes |
//! | `world` | the host, those who send to it, and random histories |
//! | `scores` | scores, thresholds and networks |
//! | `order` | packets of one instant in any order |
//! | `expiry` | how suspicion and verdicts end, with and without a daemon, and what survives the table |
//! | `spared` | who and what is never harmed: the allowlist, connections, public and open ports, known people, observing |
//! | `storms` | forged suspects |

mod expiry;
mod frames;
mod order;
mod scores;
mod spared;
mod storms;
mod world;

use proptest::prelude::ProptestConfig;

/// So many histories. A failure prints its shrunk history, which is short enough to become a test of its own.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}
