//! `/v1/pending`: what waits for a person to decide.

use serde::{Deserialize, Serialize};

use super::{BlockEntry, Why};

/// All that waits, as `pending list` shows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PendingList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The oldest first.
    pub entries: Vec<PendingEntry>,
}

/// A block that waits for a person.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PendingEntry {
    /// Whom: an IPv4 address or an IPv6 prefix.
    pub source: String,
    /// `all`: the block would take public ports, too; `private`: those alone that are not public.
    pub scope: String,
    /// `proven`: it has proven that it is really there, and scans; `harm`: that it is no browser, besides; `signal`: a log tool says what it did,
    /// and a session backs it; `feed`: a feed names it, and it is a suspect.
    pub reason: String,
    /// Why it is not done without a person, for programs: `fronted`, `customer`, `harmed` or `max_auto_level`.
    pub doubt: String,
    /// The same in a sentence.
    pub sentence: String,
    /// How many people, beside whoever scans, the block is taken to harm.
    pub people: u32,
    /// Ports of the decoys that it completed lately, which are the proof where the reason is `proven` or `harm`.
    pub ports: Vec<u16>,
    /// For how many seconds it would be blocked.
    pub lasts_s: u64,
    /// Since when it waits. RFC 3339, UTC.
    pub since: String,
    /// When the question ends by itself, in the source's favour. RFC 3339, UTC.
    pub expires: String,
    /// All that is known of it; of the first [`MOST_WHYS`] only.
    pub why: Option<Box<Why>>,
}

/// Of so many questions all that is known is told with the list.
pub const MOST_WHYS: usize = 50;

/// `POST /v1/pending/approve`: block it after all.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PendingApprove {
    /// An address of the source, or its prefix.
    pub address: String,
    /// Seconds from now until the block ends; none for as long as was asked.
    #[serde(default)]
    pub for_s: Option<u64>,
    /// Whether safety rules that a person may override are overridden.
    #[serde(default)]
    pub force: bool,
    /// Addresses from which whoever asks is logged in, as far as the command line can tell.
    #[serde(default)]
    pub logged_in_from: Vec<String>,
}

/// Answer to [`PendingApprove`]: it is in force in the kernel.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PendingApproved {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The block.
    pub entry: BlockEntry,
}

/// `POST /v1/pending/deny`: leave it as it is, and do not ask again for a week.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PendingDeny {
    /// Addresses of sources, or their prefixes.
    pub addresses: Vec<String>,
}

/// Answer to [`PendingDeny`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PendingDenied {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Sources of which nobody is asked any more.
    pub denied: Vec<String>,
    /// What was not waiting.
    pub missing: Vec<String>,
    /// Until when nobody is asked again. RFC 3339, UTC.
    pub until: String,
}
