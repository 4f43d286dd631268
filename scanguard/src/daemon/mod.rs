//! The daemon: `scanguard run`.
//!
//! | module | does |
//! |---|---|
//! | [`run`](mod@run) | from start to clean stop |
//! | `start` | loads, sets up and attaches the kernel part |
//! | `events` | drains what the kernel part tells as it happens |
//! | `addresses` | keeps the kernel part's list of own addresses true |
//! | `ports` | keeps the kernel part's classes of ports true |
//! | `keeper` | keeps what outlives the daemon |
//! | `census` | reads the table of sources, not too often |
//! | `view` | what the listeners show, from counters, census and interfaces |
//! | `health` | what a person should look at |
//! | `logging` | where log lines go |

mod addresses;
mod census;
mod events;
mod health;
mod keeper;
mod logging;
mod ports;
pub mod run;
mod start;
mod view;

pub use run::{Options, run};
