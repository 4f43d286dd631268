//! `POST /v1/config/reload`.

use serde::{Deserialize, Serialize};

/// What a reload changed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reloaded {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The file that was read; none where there is none and the defaults hold.
    pub file: Option<String>,
    /// What is different now.
    pub changes: Vec<Change>,
}

/// One key that says something else than before.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Change {
    /// The key with its section: `score.t0`.
    pub key: String,
    /// What it said, as TOML.
    pub old: String,
    /// What it says, as TOML.
    pub new: String,
    /// Whether it is in force now; false if that takes a restart.
    pub applied: bool,
}
