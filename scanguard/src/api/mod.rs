//! What the daemon answers: the one definition of the JSON that it sends, the client reads and `--json` prints.
//!
//! Fields may be added freely; renaming or dropping one, or changing its meaning, raises [`SCHEMA_VERSION`].

mod allow;
mod block;
mod feeds;
mod incidents;
mod known;
mod lockdown;
mod logins;
mod mode;
mod pending;
mod records;
mod reload;
mod running;
mod signal;
mod sources;
mod status;
mod why;
mod wish;

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

pub use allow::{
    AllowAdd, AllowAdded, AllowEntry, AllowList, AllowRemove, AllowRemoved, AllowTest, MOST_ENTRIES, NewAllow,
};
pub use block::{BlockAdd, BlockAdded, BlockEntry, BlockList, BlockRemove, BlockRemoved};
pub use feeds::{FeedEntry, FeedList, FeedMatch, FeedTest, FeedsRefresh, FeedsRefreshed};
pub use incidents::{
    Incident, IncidentAnswer, IncidentDeed, IncidentList, IncidentPort, IncidentSessions, IncidentSource,
    IncidentState, IncidentSummary, IncidentTotals, IncidentsQuery,
};
pub use known::{KnownAdd, KnownAdded, KnownEntry, KnownList, KnownQuery, KnownRemove, KnownRemoved, ProposedKnown};
pub use lockdown::{
    LockdownAdmitted, LockdownBrief, LockdownOff, LockdownOn, LockdownRefused, LockdownShutOut, LockdownState,
    MOST_LOCKDOWN_NAMES, MOST_LOCKDOWN_S,
};
pub use logins::{LoginEntry, LoginList};
pub use mode::{ModeSet, ModeState};
pub use pending::{MOST_WHYS, PendingApprove, PendingApproved, PendingDenied, PendingDeny, PendingEntry, PendingList};
pub use records::{AuditEntry, AuditList, AuditQuery, BlockEvent, BlockHistory, HistoryQuery, MOST_RECORDS};
pub use reload::{Change, Reloaded};
pub use running::RunningConfig;
pub use signal::{HEAVIEST_SIGNAL, Signal, SignalDecision, Signalled};
pub use sources::{Source, SourceList, SourceOrder, SourcesQuery};
pub use status::{
    Cannot, Counted, CountedAnswers, CountedAttempts, CountedChallenges, CountedContacts, CountedPackets, Interface,
    MapFill, Observed, ObservedCustomer, Packets, SessionsWatch, Status, Takes, VerdictCounts, WARNING_CODES, Warning,
    WouldHave,
};
pub use why::{
    Evidence, Why, WhyAllow, WhyAnswered, WhyBehind, WhyKnown, WhyPending, WhyProof, WhyScore, WhySessions, WhySignal,
    WhyVerdict,
};
pub use wish::{Address, Confirm, Nothing};

/// Version of all JSON shapes, in each object as `schema_version`.
pub const SCHEMA_VERSION: u32 = 1;

/// What the daemon answers when it cannot do what was asked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Refusal {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What went wrong, and what to do.
    pub error: String,
    /// What kind of refusal it is, for programs.
    #[serde(default)]
    pub code: RefusalCode,
    /// The safety rule that forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// What an answer has besides (and status 202 instead of 200) where a change is in force, but not saved: it stays in
/// force, and would be forgotten at a restart until the daemon, which goes on trying, can write its state file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotSaved {
    /// True: it is in force. (Of a signal, whether it was weighed.)
    pub applied: bool,
    /// False.
    pub saved: bool,
    /// Why it is not saved.
    pub unsaved_because: String,
}

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// It failed.
    #[default]
    Failed,
    /// What was asked for makes no sense.
    Usage,
    /// A safety rule forbids it.
    Refused,
    /// There is no such thing.
    NotFound,
}

impl RefusalCode {
    /// As JSON has it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::NotFound => "not_found",
        }
    }
}

impl Refusal {
    /// A refusal with this message.
    #[must_use]
    pub fn new(code: RefusalCode, error: impl Into<String>) -> Self {
        Self { schema_version: SCHEMA_VERSION, error: error.into(), code, rule: None }
    }
}

/// A moment as JSON has it: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn timestamp(time: SystemTime) -> String {
    // The format ends with the year 9999; a broken clock beyond it must not take the daemon down.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(time.clamp(SystemTime::UNIX_EPOCH, last)).to_string()
}
