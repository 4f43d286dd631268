//! The maps, one file each, private behind functions.

pub(crate) mod case;
pub(crate) mod challenged;
pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod flows;
pub(crate) mod headers;
pub(crate) mod opened;
pub(crate) mod own;
pub(crate) mod ports;
pub(crate) mod sessions;
pub(crate) mod sockets;
pub(crate) mod sources;
pub(crate) mod state;
pub(crate) mod suspects;
pub(crate) mod verdicts;
