//! The command line's way to the daemon: HTTP and JSON over a Unix socket.
//!
//! | module | does |
//! |---|---|
//! | [`socket`] | makes the socket, refuses to take it from a living daemon, removes it at the end |
//! | [`server`] | the routes |
//! | [`client`] | asks |
//!
//! | route | answers |
//! |---|---|
//! | `GET /v1/status` | [`crate::api::Status`] |
//! | `GET /v1/sources?sort=&limit=` | [`crate::api::SourceList`] |

pub mod client;
pub mod server;
pub mod socket;

/// Path of the route that answers [`crate::api::Status`].
pub const STATUS: &str = "/v1/status";
/// Path of the route that answers [`crate::api::SourceList`].
pub const SOURCES: &str = "/v1/sources";
