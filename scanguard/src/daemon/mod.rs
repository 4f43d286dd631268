//! The daemon: `scanguard run`.
//!
//! | module | does |
//! |---|---|
//! | [`run`](mod@run) | from start to clean stop |
//! | `start` | loads, sets up and attaches the kernel part |
//! | `events` | drains what the kernel part tells as it happens |
//! | `interfaces` | keeps the program on the interfaces that are to be guarded |
//! | `jobs` | hands work to the one task that owns the operator's desk |
//! | `decide` | carries the policy out |
//! | `incidents` | feeds, tells and keeps incidents |
//! | `reload` | reads the configuration anew |
//! | `signals` | what signals ask for |
//! | `listening` | where it listens |
//! | `logins` | looks who is logged in, when somebody comes or goes |
//! | `live` | what changes while it runs, for the listeners to show |
//! | `memory` | the evidence that is remembered, for whoever asks why |
//! | `offline` | what is shown without a daemon |
//! | `aside` | what is found out on another thread, so that no decision waits |
//! | `addresses` | keeps the kernel part's list of own addresses true |
//! | `ports` | keeps the kernel part's classes of ports true |
//! | `stacks` | looks how many machines the sessions of a source come from |
//! | `quota` | bounds how many signals are heard |
//! | `reconcile` | puts right what somebody else altered in the kernel's tables |
//! | `keeper` | keeps what outlives the daemon |
//! | `census` | reads the table of sources, not too often |
//! | `supposed` | whom enforcing would have acted on |
//! | `view` | what the listeners show, from counters, census and interfaces |
//! | `listed` | packets and sources as the listeners show them |
//! | `takes` | what it takes of this host |
//! | `health` | what a person should look at |
//! | `logging` | where log lines go |

mod addresses;
mod aside;
mod census;
mod decide;
mod events;
mod health;
mod hearsay;
mod incidents;
mod interfaces;
mod jobs;
mod keeper;
mod listed;
mod listening;
mod live;
mod logging;
mod logins;
mod memory;
mod offline;
mod ports;
mod quota;
mod reconcile;
mod reload;
pub mod run;
mod signals;
mod stacks;
mod start;
mod supposed;
mod takes;
mod view;

pub use offline::offline_status;
pub use run::{Options, run};
pub use start::interfaces as guarded_interfaces;
