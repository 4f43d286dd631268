//! scanguard, a filter against network scans at the kernel's edge.
//!
//! This library is the program: an XDP program counts each source's connection attempts, a daemon keeps it running and
//! tells what it counted, a command line asks the daemon. It is a library so that tests reach its parts.
//!
//! A verb of the command line starts in [`cli`], where one definition makes the arguments, the help, the man pages and the
//! completions. Verbs that ask something send it through [`control`]'s client over a Unix socket, get one of the types of
//! [`api`] back and print it, as JSON or for people. Whatever goes wrong ends as one of the documented codes of
//! [`exit`].
//!
//! The verb `run` becomes the [`daemon`]. It reads its [`config`], loads and attaches the kernel part through
//! [`kernel`] (the only module that names aya, and the only one with `unsafe` in it), follows addresses, routes and
//! listeners through [`net`], and makes [`ports`] and their classes of what listens and of what its [`store`] remembers.
//! Then it serves two listeners with the same small [`http`] server: [`control`] for the command line, [`metrics`] for
//! Prometheus. What both of them show is read in one place, the daemon's view of the kernel's maps.
//!
//! The datapath itself, parsing, keys, classes, counting, is in the crate `scanguard-common`, which the kernel part is
//! compiled from too.

pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod doctor;
pub mod duration;
pub mod exit;
pub mod feeds;
pub mod http;
pub mod incidents;
pub mod kernel;
pub mod known;
pub mod logins;
pub mod metrics;
pub mod net;
pub mod operator;
pub mod policy;
pub mod ports;
pub mod prefix;
pub mod prefix_map;
mod printable;
pub mod replay;
pub mod safety;
pub mod store;
mod turns;
