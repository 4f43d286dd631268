//! `/v1/feeds`: lists of addresses that others make.

use serde::{Deserialize, Serialize};

/// All feeds, as `feeds list` shows them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FeedList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// In the order of the configuration.
    pub feeds: Vec<FeedEntry>,
}

/// A feed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FeedEntry {
    /// Its name.
    pub name: String,
    /// The file that it was read from.
    pub file: String,
    /// How far it may go with a suspect that it names: `conceal`, `block private` or `block all`; or `shared`, where it says that many share
    /// each address.
    pub level: String,
    /// How many prefixes it has, each once.
    pub prefixes: u64,
    /// When it was read. RFC 3339, UTC.
    pub read_at: String,
}

/// `GET /v1/feeds/test?address=`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FeedTest {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The address or prefix asked for.
    pub address: String,
    /// How far the strongest may go; none where no feed names it, or none of those says that.
    pub level: Option<String>,
    /// Whether one says that many share its address.
    #[serde(default)]
    pub shared: bool,
    /// Those that name it.
    pub feeds: Vec<FeedMatch>,
}

/// A feed that names an address.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FeedMatch {
    /// Its name.
    pub name: String,
    /// How far it may go, or `shared`.
    pub level: String,
    /// The entry that names the source.
    pub prefix: String,
}

/// `POST /v1/feeds/refresh`: read the files again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FeedsRefresh {}

/// Answer to [`FeedsRefresh`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FeedsRefreshed {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// As they are now.
    pub feeds: Vec<FeedEntry>,
    /// How many prefixes each had before.
    pub before: Vec<u64>,
}
