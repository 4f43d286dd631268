//! `GET /v1/incidents`, `GET /v1/incidents/{id}`: scans as a person thinks of them. Times are RFC 3339, UTC.

use serde::{Deserialize, Serialize};

/// Which incidents are asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct IncidentsQuery {
    /// Only those of which something was heard within so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_s: Option<u64>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<IncidentState>,
    /// How many, the latest; 0 for all.
    pub limit: usize,
}

impl Default for IncidentsQuery {
    fn default() -> Self {
        Self { since_s: None, state: None, limit: 20 }
    }
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// Something was heard of it within the last hour.
    #[default]
    Open,
    /// It is over.
    Closed,
}

/// The latest incidents.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// When this was asked.
    pub as_of: String,
    /// Incidents that are as asked for; more than are listed when the list was limited.
    pub total: u64,
    /// The latest first. Those that turned out to be a part of another one are not listed.
    pub incidents: Vec<IncidentSummary>,
}

/// An incident in brief.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentSummary {
    /// Its number: higher ones opened later.
    pub id: u64,
    /// `source`, `network` or `campaign`.
    pub kind: String,
    /// Why it is one: `suspect`, `network`, `neighbours`, `ports`, `canary`, `rush` or `storm`.
    pub cause: String,
    /// The source or the network whose doing it is; none of a campaign.
    pub subject: Option<String>,
    /// Whether it goes on.
    pub state: IncidentState,
    /// The first contact in it.
    pub first_seen: String,
    /// The latest of what it is made of.
    pub last_seen: String,
    /// When it was opened.
    pub opened_at: String,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// The incident that it turned out to be a part of.
    pub part_of: Option<u64>,
    /// The ports asked for most, as `23/tcp`.
    pub most_asked: Vec<String>,
    /// Sums.
    pub totals: IncidentTotals,
}

/// Sums over all of an incident, what is not listed included.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentTotals {
    /// Sources.
    pub sources: u64,
    /// First contacts, whatever came of them.
    pub contacts: u64,
    /// Of these, those that count against their source.
    pub failures: u64,
    /// Of these, those before their source was a suspect: they were answered like anybody's.
    pub before_suspicion: u64,
    /// Answers of this host to suspects.
    pub answers: u64,
    /// Decoys that were completed.
    pub decoys_completed: u64,
    /// TCP sessions, as far as they are told: all of suspects, and of others those on restricted ports.
    pub sessions: u64,
    /// Of these, those that ended and had data both ways.
    pub worked: u64,
    /// Sources listed that had a TCP session of whatever kind after their first contact.
    pub sources_with_sessions: u64,
    /// Events of anybody that were lost while it was open: at most so much is missing.
    pub events_lost: u64,
}

/// All that is known of an incident.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Incident {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// In brief.
    #[serde(flatten)]
    pub summary: IncidentSummary,
    /// Its sources, those with most contacts first.
    pub sources: Vec<IncidentSource>,
    /// Sources that are counted and not listed.
    pub sources_unlisted: u64,
    /// What was asked for, and what came of it; the most asked first.
    pub ports: Vec<IncidentPort>,
    /// Contacts with ports that are not listed.
    pub ports_unlisted: u64,
    /// What this host answered while they were suspects.
    pub answered: Vec<IncidentAnswer>,
    /// TCP sessions of its sources: was anything touched?
    pub sessions: Vec<IncidentSessions>,
    /// What was done, or deliberately not, in the order in which it first was.
    pub done: Vec<IncidentDeed>,
}

/// One source in an incident.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentSource {
    /// An IPv4 address or an IPv6 prefix.
    pub source: String,
    /// First contacts.
    pub contacts: u64,
    /// Of these, those that count against it.
    pub failures: u64,
    /// The first of them, or when it became a suspect by what others say of it.
    pub first_seen: String,
    /// The latest of these.
    pub last_seen: String,
    /// When its latest TCP session of whatever kind began, if that was after its first contact here.
    pub last_session: Option<String>,
}

/// One port that was asked for, and what came of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentPort {
    /// `tcp`, `udp`, `icmp`, …: what was asked with.
    pub proto: String,
    /// The port; the number of a protocol where one was asked for; else 0.
    pub port: u16,
    /// What came of it.
    pub outcome: String,
    /// First contacts.
    pub contacts: u64,
}

/// One kind of answer to suspects.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentAnswer {
    /// `tcp`, `udp` or `icmp`.
    pub proto: String,
    /// The port that answered; 0 for an echo.
    pub port: u16,
    /// `open`, `datagram`, `refused` or `unreachable`.
    pub answer: String,
    /// How often.
    pub answers: u64,
}

/// Sessions on one port.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentSessions {
    /// `public` or `restricted`.
    pub ports: String,
    /// The port.
    pub port: u16,
    /// Those that began in the incident, and those that ended in it and had begun before.
    pub sessions: u64,
    /// Of these, those that ended.
    pub ended: u64,
    /// Ended with data both ways.
    pub worked: u64,
    /// Bytes received in those that ended.
    pub bytes_in: u64,
    /// Bytes sent, and acknowledged, in those that ended.
    pub bytes_out: u64,
}

/// What is told by a daemon that does not say so.
const fn carried_out() -> bool {
    true
}

/// Something that was done, or deliberately not, or would have been done in mode enforce.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct IncidentDeed {
    /// `conceal` or `storm`, or an action of the policy as in `scanguard_decisions_total`.
    pub action: String,
    /// False of `conceal`, `block` and `storm` in mode observe, in which nothing is dropped for them.
    #[serde(default = "carried_out")]
    pub carried_out: bool,
    /// Of a block, or the question whether to: `private` or `all`.
    pub scope: Option<String>,
    /// Why, for programs.
    pub reason: String,
    /// How often.
    pub times: u64,
    /// First.
    pub first: String,
    /// Last.
    pub last: String,
}
