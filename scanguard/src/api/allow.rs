//! `/v1/allow`: the allowlist.

use serde::{Deserialize, Serialize};

/// `POST /v1/allow`: what is to be allowed. Entries that are there already get the new comment and end.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AllowAdd {
    /// What is to be allowed, at most [`MOST_ENTRIES`].
    pub entries: Vec<NewAllow>,
    /// Adds prefixes, too, that cover so much that scanguard is as good as switched off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// Most entries in one request; longer lists are sent in several.
pub const MOST_ENTRIES: usize = 5_000;

/// One entry to be.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NewAllow {
    /// An address or a prefix without bits set after its end.
    pub prefix: String,
    /// A name for people, one line.
    #[serde(default)]
    pub name: Option<String>,
    /// Why it is there, one line.
    #[serde(default)]
    pub comment: Option<String>,
    /// Seconds from now until it ends; none for never.
    #[serde(default)]
    pub for_s: Option<u64>,
}

/// Answer to [`AllowAdd`]: it is in force in the kernel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowAdded {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Entries that are new.
    pub added: u64,
    /// Entries that were there already.
    pub updated: u64,
    /// Sources and prefixes whose block ended by it, at most 100 of them.
    pub unblocked: Vec<String>,
    /// Sources that were suspects until now, at most 100 of them.
    pub cleared: Vec<String>,
}

/// `POST /v1/allow/remove`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AllowRemove {
    /// Addresses or prefixes, exactly as in the list.
    pub prefixes: Vec<String>,
}

/// Answer to [`AllowRemove`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowRemoved {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Entries that are gone.
    pub removed: Vec<String>,
    /// What was no entry.
    pub missing: Vec<String>,
    /// What is gone from the operator's list, but still covered by another entry: prefix asked for, prefix that covers it.
    pub still_covered: Vec<(String, String)>,
}

/// `GET /v1/allow`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The entries in force, in the order of their addresses.
    pub entries: Vec<AllowEntry>,
}

/// One entry of the allowlist.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowEntry {
    /// An address, or a prefix.
    pub prefix: String,
    /// A name for people.
    pub name: Option<String>,
    /// Why it is there.
    pub comment: Option<String>,
    /// When it ends. RFC 3339, UTC; none for never.
    pub expires: Option<String>,
    /// Where it comes from: `operator`, `configuration` or `lease` (somebody is logged in from there).
    pub source: String,
    /// When it was added. RFC 3339, UTC; none for those of the configuration.
    pub since: Option<String>,
}

/// `GET /v1/allow/test?address=`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AllowTest {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The address or prefix asked for.
    pub address: String,
    /// Whether all of it is covered.
    pub matched: bool,
    /// The entry that covers it: the one with the longest prefix.
    pub entry: Option<AllowEntry>,
}
