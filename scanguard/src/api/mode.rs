//! `/v1/mode`, `/v1/confirm`.

use serde::{Deserialize, Serialize};

/// `POST /v1/mode`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModeSet {
    /// `observe` or `enforce`.
    pub mode: String,
    /// Seconds after which enforcing ends unless it is confirmed.
    #[serde(default)]
    pub confirm_s: Option<u64>,
}

/// Answer to [`ModeSet`], `POST /v1/confirm` and `GET /v1/mode`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ModeState {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `observe` or `enforce`.
    pub mode: String,
    /// What it was before this request.
    pub was: String,
    /// When enforcing ends unless `scanguard confirm` comes. RFC 3339, UTC.
    pub reverts_at: Option<String>,
    /// What the configuration says, where it is something else.
    pub configured: Option<String>,
}
