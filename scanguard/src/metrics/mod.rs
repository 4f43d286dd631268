//! What Prometheus is told.
//!
//! | module | does |
//! |---|---|
//! | [`sample`] | the numbers of one moment |
//! | [`families`] | the numbers as metrics: names, help, labels |
//! | [`server`] | `/metrics`, `/healthz` and `/` |

pub mod families;
pub mod sample;
pub mod server;
