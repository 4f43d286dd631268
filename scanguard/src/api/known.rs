//! `/v1/known`: sources to which restricted ports stay open.

use serde::{Deserialize, Serialize};

/// `GET /v1/known`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KnownQuery {
    /// How many entries at most; 0 for all.
    #[serde(default = "most_listed")]
    pub limit: u64,
}

impl Default for KnownQuery {
    fn default() -> Self {
        Self { limit: most_listed() }
    }
}

const fn most_listed() -> u64 {
    1_000
}

/// Who is known, as `known list` shows it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KnownList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// How many there are.
    pub total: u64,
    /// Of these so many as were asked for, in the order of their addresses.
    pub entries: Vec<KnownEntry>,
    /// Clients that may be worth adding, at most 10.
    pub proposed: Vec<ProposedKnown>,
}

/// A source that is known.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KnownEntry {
    /// An IPv4 address or an IPv6 prefix.
    pub source: String,
    /// By what: `login` (somebody was seen to be logged in from there), `sessions` (sessions on several days that nobody has who is not logged in)
    /// or `operator`; one or several.
    pub by: Vec<String>,
    /// Until when. RFC 3339, UTC; none for ever.
    pub until: Option<String>,
    /// When a login from there was last seen. RFC 3339, UTC.
    pub login: Option<String>,
    /// Days of the last 90 with sessions that outlast the time for a login.
    pub held_days: u64,
    /// Since when an operator says so. RFC 3339, UTC.
    pub added: Option<String>,
    /// What he said.
    pub comment: Option<String>,
}

/// A client that worked on restricted ports on seven days or more and is not known, because its sessions are short.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProposedKnown {
    /// An IPv4 address or an IPv6 prefix.
    pub source: String,
    /// Days of the last 90 on which it did.
    pub days: u64,
    /// Sessions with data both ways, begun while nothing was held against it.
    pub sessions: u64,
    /// When the last of them ended. RFC 3339, UTC.
    pub last: String,
}

/// `POST /v1/known`: sources are known from now on. What was said of one before is replaced.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KnownAdd {
    /// Addresses of sources, or their prefixes; at most [`super::MOST_ENTRIES`].
    pub addresses: Vec<String>,
    /// Seconds from now until that ends; none for never.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// Why, one line.
    #[serde(default)]
    pub comment: Option<String>,
}

/// Answer to [`KnownAdd`]: it is in force in the kernel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KnownAdded {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Sources that operators had not added before.
    pub added: u64,
    /// Sources that they had.
    pub updated: u64,
    /// All of them, at most 100.
    pub sources: Vec<String>,
    /// Until when. RFC 3339, UTC; none for ever.
    pub until: Option<String>,
}

/// `POST /v1/known/remove`: whatever made these sources known is forgotten.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KnownRemove {
    /// Addresses of sources, or their prefixes.
    pub addresses: Vec<String>,
}

/// Answer to [`KnownRemove`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KnownRemoved {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Sources that are known no more.
    pub removed: Vec<String>,
    /// What was not known.
    pub missing: Vec<String>,
}
