//! The command line's way to the daemon: HTTP and JSON over a Unix socket.
//!
//! | module | does |
//! |---|---|
//! | [`socket`] | makes the socket, refuses to take it from a living daemon, removes it at the end |
//! | [`gate`] | who may ask |
//! | [`server`] | the routes |
//! | [`client`] | asks |
//!
//! | route | answers |
//! |---|---|
//! | `GET /v1/status` | [`crate::api::Status`] |
//! | `GET /v1/sources?sort=&limit=` | [`crate::api::SourceList`] |
//! | `GET /v1/incidents?since_s=&state=&limit=`, `GET /v1/incidents/{id}` | [`crate::api::IncidentList`], [`crate::api::Incident`] |
//! | `GET /v1/allow`, `GET /v1/allow/test?address=` | [`crate::api::AllowList`], [`crate::api::AllowTest`] |
//! | `POST /v1/allow`, `POST /v1/allow/remove` | [`crate::api::AllowAdded`], [`crate::api::AllowRemoved`] |
//! | `GET /v1/block` | [`crate::api::BlockList`] |
//! | `POST /v1/block`, `POST /v1/block/remove` | [`crate::api::BlockAdded`], [`crate::api::BlockRemoved`] |
//! | `GET /v1/mode`, `POST /v1/mode`, `POST /v1/confirm` | [`crate::api::ModeState`] |
//! | `GET /v1/feeds`, `GET /v1/feeds/test?address=` | [`crate::api::FeedList`], [`crate::api::FeedTest`] |
//! | `POST /v1/feeds/refresh` | [`crate::api::FeedsRefreshed`] |
//! | `POST /v1/signal` | [`crate::api::Signalled`] |
//! | `GET /v1/why?address=` | [`crate::api::Why`] |
//! | `GET /v1/audit?since=&limit=` | [`crate::api::AuditList`] |
//! | `GET /v1/block/history?address=&since=&limit=` | [`crate::api::BlockHistory`] |
//! | `GET /v1/openapi.json` | all of this for programs: `docs/openapi.json` |
//! | `GET /v1/config` | [`crate::api::RunningConfig`] |
//! | `POST /v1/config/reload` | [`crate::api::Reloaded`] |
//!
//! What cannot be done is answered with [`crate::api::Refusal`] and 400 (makes no sense), 403 (a safety rule), 404 (no such thing), 500
//! or 503 (too busy with long lists).
//! The routes that change something write down who asked, by the peer's credentials, in the log and in the audit, and answer when what they did is on
//! the disk.

pub mod client;
pub mod gate;
#[cfg(test)]
mod openapi;
pub mod server;
pub mod socket;
#[cfg(test)]
mod tests;

/// Path of the route that answers [`crate::api::Status`].
pub const STATUS: &str = "/v1/status";
/// Path of the route that answers [`crate::api::SourceList`].
pub const SOURCES: &str = "/v1/sources";
/// Path of the route that answers [`crate::api::IncidentList`].
pub const INCIDENTS: &str = "/v1/incidents";
/// Path of the route that answers [`crate::api::Incident`].
pub const INCIDENT: &str = "/v1/incidents/{id}";
/// Path of the route that answers [`crate::api::AuditList`].
pub const AUDIT: &str = "/v1/audit";
/// Path of the route that answers [`crate::api::BlockHistory`].
pub const HISTORY: &str = "/v1/block/history";
/// Path of the route that answers [`crate::api::Signalled`].
pub const SIGNAL: &str = "/v1/signal";
/// Path of the route that answers this interface's description.
pub const OPENAPI: &str = "/v1/openapi.json";
/// Path of the route that answers [`crate::api::RunningConfig`].
pub const CONFIG: &str = "/v1/config";
/// Path of the route that answers [`crate::api::Reloaded`].
pub const RELOAD: &str = "/v1/config/reload";
