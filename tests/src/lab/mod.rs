//! A laboratory: one machine that plays a server, its customers, a scanner and the internet between them.
//!
//! ```text
//!   scanner  203.0.113.66 ───┐
//!                            ├── router ("internet") ── uplink0 ── edge 192.0.2.10
//!   customers 198.51.100.x ──┘
//!   and the rest of the world, 198.18.0.0/15
//! ```
//!
//! Every host is a network namespace without a name, held by a file descriptor of this process alone; every program is
//! started to die with this process; captures live in memory; `/run` and `/sys/fs/bpf` are private copies. So nothing
//! has to be cleaned up: when this process ends, by whatever means, all of it is gone.
//!
//! The way through the modules, from the ground up:
//! - [`sandbox`] checks the rights and makes the file system private; [`process`] runs programs that cannot outlive us;
//! - [`cgroup`] keeps its sockets apart from those of others;
//! - [`netns`] makes hosts, [`plan`] says who has which address and port, [`topology`] wires them up;
//! - [`wire`] records and counts what really passed a link; [`tools`] runs nmap, curl and the others;
//! - [`craft`] writes packets that no stack sends;
//! - `client` asks, `responder` and `site` answer from here, where no program of others does it; `ssh` runs a real server and client of it, `utmp` writes what a
//!   login program does;
//! - [`services`] listens on the edge, [`customers`] browses and holds sessions open;
//! - [`defender`] is what protects the edge: nothing, scanguard's daemon, or the usual nftables recipe;
//! - [`stage`] puts these together for one run, [`scenario`] plays a named one and writes the [`report`];
//! - [`chaos`] kills the daemon again and again; [`pinned`] does to its tables what anybody can do with bpftool;
//! - [`demo`] tells it to a person.

pub mod cgroup;
pub mod chaos;
pub mod craft;
pub mod customers;
pub mod defender;
pub mod demo;
pub mod netns;
pub mod pinned;
pub mod plan;
pub mod process;
pub mod report;
pub mod sandbox;
pub mod scenario;
pub mod services;
pub mod ssh;
pub mod stage;
pub mod tools;
pub mod topology;
pub mod utmp;
pub mod wire;

mod client;
pub(crate) mod forge;
mod responder;
mod site;
pub(crate) mod wait;

pub use sandbox::CannotRun;
pub use stage::{Scene, Setup};
pub use topology::Lab;

/// The exit code that an error stands for: 77 when this machine lacks something, else 1.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<CannotRun>().is_some() { 77 } else { 1 }
}
