//! What was recorded: the audit (`GET /v1/audit`), and the lives of blocks (`GET /v1/block/history`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which records are asked for: the latest of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// Since when. RFC 3339; from the beginning if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How many at most, up to [`MOST_RECORDS`].
    pub limit: u32,
}

/// Records of one answer at most.
pub const MOST_RECORDS: u32 = 10_000;

/// Records of an answer unless more or less are asked for.
const USUAL: u32 = 100;

impl Default for AuditQuery {
    fn default() -> Self {
        Self { since: None, limit: USUAL }
    }
}

/// Who asked for what, the latest last.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The records.
    pub entries: Vec<AuditEntry>,
}

/// Somebody asked for something.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Counts the records; none while the file of state cannot be written.
    pub number: Option<u64>,
    /// When it was done. RFC 3339, UTC.
    pub time: String,
    /// The user's number, as the kernel says of the other end of the socket.
    pub uid: Option<u32>,
    /// The process' number, likewise.
    pub pid: Option<i32>,
    /// The user's name.
    pub user: Option<String>,
    /// The name of the program.
    pub program: Option<String>,
    /// What was asked for, in the words of the command line.
    pub verb: String,
    /// With what, as in the request. Of lists longer than 20 items the first 20, and `…_left_out`: how many more there were.
    pub arguments: Value,
    /// `done`, `refused`, `usage`, `not_found` or `failed`.
    pub result: String,
    /// What was said to that.
    pub detail: Option<String>,
}

/// Which events are asked for: the latest of them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HistoryQuery {
    /// Of blocks on this address or prefix, as `block list` names it; on all if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Since when. RFC 3339; from the beginning if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How many at most, up to [`MOST_RECORDS`].
    pub limit: u32,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self { address: None, since: None, limit: USUAL }
    }
}

/// When blocks began, changed and ended, and when blocks that waited for a person did so no more; the latest last.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockHistory {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The events.
    pub entries: Vec<BlockEvent>,
}

/// Something in the life of a block.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockEvent {
    /// When. RFC 3339, UTC.
    pub time: String,
    /// Who was blocked: an address or a prefix.
    pub source: String,
    /// `begin`, `change` or `end`; `pending_end` where a block that waited for a person waits no more.
    pub event: String,
    /// `private` or `all`.
    pub scope: String,
    /// `operator` or `controller`.
    pub origin: String,
    /// Whether established connections were cut too.
    pub hard: bool,
    /// Why it was blocked.
    pub reason: Option<String>,
    /// When the block was to end; none for when it is removed. RFC 3339, UTC.
    pub expires: Option<String>,
    /// Why this happened.
    pub why: String,
}
