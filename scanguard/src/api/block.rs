//! `/v1/block`: blocks, the operator's and the controller's.

use serde::{Deserialize, Serialize};

/// `POST /v1/block`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BlockAdd {
    /// An address or a prefix.
    pub prefix: String,
    /// `all` or `private`.
    pub scope: String,
    /// Whether established connections are cut too.
    #[serde(default)]
    pub hard: bool,
    /// Seconds from now until it ends; none for until it is removed.
    pub for_s: Option<u64>,
    /// Why, one line.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether safety rules that a person may override are overridden.
    #[serde(default)]
    pub force: bool,
    /// Addresses from which whoever asks is logged in, as far as the command line can tell.
    #[serde(default)]
    pub logged_in_from: Vec<String>,
}

/// Answer to [`BlockAdd`]: it is in force in the kernel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockAdded {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The block.
    pub entry: BlockEntry,
    /// Whether it takes the place of an earlier one.
    pub replaced: bool,
    /// Entries of the allowlist within the prefix, which the block does not touch.
    pub spared: u64,
}

/// `POST /v1/block/remove`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BlockRemove {
    /// Addresses or prefixes, exactly as in the list.
    pub prefixes: Vec<String>,
}

/// Answer to [`BlockRemove`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockRemoved {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Blocks that are lifted.
    pub removed: Vec<String>,
    /// What was not blocked by an entry of its own.
    pub missing: Vec<String>,
    /// What is lifted, but lies within another block: prefix asked for, prefix that covers it.
    pub still_covered: Vec<(String, String)>,
}

/// `GET /v1/block`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The blocks in force, in the order of their addresses.
    pub entries: Vec<BlockEntry>,
}

/// One block.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BlockEntry {
    /// An address, the prefix of an IPv6 source, or a prefix.
    pub source: String,
    /// `block`.
    pub level: String,
    /// `private` or `all`.
    pub scope: String,
    /// Whether established connections are cut too.
    pub hard: bool,
    /// Why.
    pub reason: Option<String>,
    /// `operator` or `controller`.
    pub origin: String,
    /// Since when. RFC 3339, UTC.
    pub since: String,
    /// Until when. RFC 3339, UTC; none for until it is removed.
    pub expires: Option<String>,
}
