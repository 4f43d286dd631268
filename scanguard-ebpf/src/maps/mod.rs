//! The maps, one file each, private behind functions.

pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod events;
pub(crate) mod headers;
pub(crate) mod own;
pub(crate) mod ports;
pub(crate) mod sockets;
pub(crate) mod sources;
