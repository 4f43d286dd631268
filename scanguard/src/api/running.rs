//! `GET /v1/config`: the settings in force.

use serde::{Deserialize, Serialize};

/// The settings that the daemon runs with: those of its options and its file, and defaults for the rest. What takes a restart is as it was
/// at the start.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunningConfig {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Every key with its value, as a file has them (TOML).
    pub text: String,
}
