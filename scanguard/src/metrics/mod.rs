//! What Prometheus is told.
//!
//! | module | does |
//! |---|---|
//! | [`sample`] | the numbers of one moment |
//! | [`labels`] | what labels tell, and what they do not |
//! | [`families`] | the numbers as metrics: names, help, labels |
//! | [`server`] | `/metrics`, `/healthz` and `/` |

pub mod families;
pub mod labels;
pub mod sample;
pub mod server;
