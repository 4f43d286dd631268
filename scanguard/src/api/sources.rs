//! `GET /v1/sources`, `scanguard sources list --json`.

use serde::{Deserialize, Serialize};

/// What the kernel counted per source.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SourceList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When the kernel's table was read. A full table takes a while to read, so it is not read anew for each question.
    pub as_of: String,
    /// Sources in the table; more than are listed when the list was limited.
    pub total: u64,
    /// The sources, in the order asked for.
    pub sources: Vec<Source>,
}

/// One source.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Source {
    /// An IPv4 address or an IPv6 prefix.
    pub source: String,
    /// New flows it sent (TCP SYNs, unasked UDP, ICMP echo requests), but for those that a block or a storm dropped.
    pub attempts: u64,
    /// Log-likelihood ratio "scanner : benign", in nats.
    pub score: f64,
    /// `none`, `conceal` or `block`.
    pub level: String,
    /// What a block covers: `private` or `all`.
    pub scope: Option<String>,
    /// What made it a suspect: the outcome of the contact that crossed the threshold.
    pub reason: Option<String>,
    /// Since when it has this level. RFC 3339, UTC.
    pub since: Option<String>,
    /// When the level ends, if nothing more comes. RFC 3339, UTC.
    pub expires: Option<String>,
    /// Distinct (destination, protocol, port) it asked for, as far as the 256-bit set tells them apart.
    pub contacts: u64,
    /// Contacts that failed.
    pub failures: u64,
    /// RFC 3339, UTC.
    pub first_seen: String,
    /// RFC 3339, UTC.
    pub last_seen: String,
}

/// What a list of sources is sorted by, highest or latest first.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SourceOrder {
    /// Most attempts first.
    #[default]
    Attempts,
    /// Highest score first.
    Score,
    /// Latest first.
    Last,
}

/// Which sources are asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SourcesQuery {
    /// What comes first.
    pub sort: SourceOrder,
    /// How many; 0 for all.
    pub limit: usize,
}

impl Default for SourcesQuery {
    fn default() -> Self {
        Self { sort: SourceOrder::default(), limit: 20 }
    }
}
