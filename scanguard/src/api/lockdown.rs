//! `/v1/lockdown`: ports that answer only a few for a while.

use serde::{Deserialize, Serialize};

/// `POST /v1/lockdown`: begins a lockdown, in place of one that is in force.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LockdownOn {
    /// Seconds from now until it ends by itself; at most [`MOST_LOCKDOWN_S`].
    pub for_s: u64,
    /// The ports that it closes, as the configuration writes them: `22`, `8000-8100`, `53/udp`. None: all that are restricted.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Whether known sources get through as well.
    #[serde(default)]
    pub keep_known: bool,
    /// Whether it is only to be told what it would do.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether it begins though somebody who is logged in would be shut out.
    #[serde(default)]
    pub force: bool,
    /// Addresses from which whoever asks is logged in, as far as the command line can tell.
    #[serde(default)]
    pub logged_in_from: Vec<String>,
}

/// A lockdown lasts so long at most, in seconds: what is to last for longer is a firewall's business.
pub const MOST_LOCKDOWN_S: u64 = 7 * 86_400;

/// `POST /v1/lockdown/off`: ends it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LockdownOff {}

/// Answer to [`LockdownOn`], [`LockdownOff`] and `GET /v1/lockdown`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LockdownState {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether one is in force. After a dry run: whether one was before.
    pub on: bool,
    /// Whether this is what one would do, and nothing was changed.
    pub dry_run: bool,
    /// Whether one was in force before this request.
    pub was_on: bool,
    /// When it began. RFC 3339, UTC.
    pub since: Option<String>,
    /// When it ends by itself. RFC 3339, UTC.
    pub until: Option<String>,
    /// The ports that it closes, as the configuration writes them.
    pub ports: Vec<String>,
    /// Whether they are all that are restricted, those that open later among them; else they were named.
    pub all_restricted: bool,
    /// Those of the ports on which something answers now, as far as is known.
    pub open: Vec<String>,
    /// Those of the ports that are public: customers are shut out.
    pub public: Vec<String>,
    /// Whether known sources get through.
    pub keep_known: bool,
    /// Who still gets in, at most [`MOST_LOCKDOWN_NAMES`].
    pub admitted: Vec<LockdownAdmitted>,
    /// How many those are in all.
    pub admitted_total: u64,
    /// Who had sessions on such ports in the last 30 days, or is known, and does not get in any more; those who were here last first, at most
    /// [`MOST_LOCKDOWN_NAMES`].
    pub shut_out: Vec<LockdownShutOut>,
    /// How many those are in all.
    pub shut_out_total: u64,
    /// After a dry run: why it would be refused without `force`.
    pub refused: Option<LockdownRefused>,
}

/// Names in each list of [`LockdownState`].
pub const MOST_LOCKDOWN_NAMES: usize = 1_000;

/// Somebody who gets in during a lockdown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LockdownAdmitted {
    /// An address or a prefix.
    pub source: String,
    /// Why: `configuration` or `operator` (an entry of the allowlist), `lease` (somebody is logged in from there), `known`, or `never_judged`.
    pub because: String,
    /// Who that is, or what was said of it.
    pub name: Option<String>,
    /// Until when, if that ends. RFC 3339, UTC.
    pub until: Option<String>,
}

/// Somebody who had sessions here and does not get in during a lockdown.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LockdownShutOut {
    /// An IPv4 address or an IPv6 prefix.
    pub source: String,
    /// Whether it is known: `keep_known` would let it through.
    pub known: bool,
    /// Sessions with data on ports of the classes that are closed, as far as they are remembered.
    pub sessions: u64,
    /// When the last one ended, or a login from there was last seen. RFC 3339, UTC; none where only an operator says that it is known.
    pub last: Option<String>,
}

/// Why a lockdown would be refused.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LockdownRefused {
    /// Name of the rule.
    pub rule: String,
    /// What would happen, and how to override it.
    pub message: String,
}

/// A lockdown as `status` has it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LockdownBrief {
    /// When it ends by itself. RFC 3339, UTC.
    pub until: String,
    /// The ports that were named; none for all that are restricted.
    pub ports: Vec<String>,
    /// Whether known sources get through.
    pub keep_known: bool,
}
