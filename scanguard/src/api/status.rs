//! `GET /v1/status`, `scanguard status --json`.

use serde::{Deserialize, Serialize};

use super::{LockdownBrief, ProposedKnown};

/// How the daemon is and what it did.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of the daemon.
    pub version: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// When enforcing ends unless `scanguard confirm` comes. RFC 3339, UTC.
    #[serde(default)]
    pub mode_reverts_at: Option<String>,
    /// The lockdown that is in force, if there is one.
    #[serde(default)]
    pub lockdown: Option<LockdownBrief>,
    /// Since when the mode has been in force, over restarts too; none where nobody knows. RFC 3339, UTC.
    #[serde(default)]
    pub mode_since: Option<String>,
    /// Whether a daemon runs; false where this was read from what one left in the kernel.
    #[serde(default = "yes")]
    pub daemon: bool,
    /// Whether the kernel part goes on without a daemon.
    #[serde(default)]
    pub kept: bool,
    /// The interfaces it was told to guard.
    pub interfaces: Vec<Interface>,
    /// Whose TCP sessions are counted.
    #[serde(default)]
    pub sessions: SessionsWatch,
    /// Sources to which restricted ports stay open because they are known.
    #[serde(default)]
    pub known: u64,
    /// Clients with short sessions on restricted ports that may be worth adding to them (`scanguard known add`), at most 10.
    #[serde(default)]
    pub known_proposed: Vec<ProposedKnown>,
    /// Seconds since it attached.
    pub uptime_s: u64,
    /// Release of the running kernel.
    pub kernel: String,
    /// What became of packets.
    pub packets: Packets,
    /// What the kernel part counted, with all that `/metrics` tells as one.
    #[serde(default)]
    pub counters: Counted,
    /// Sources in the table.
    pub sources: u64,
    /// Sources whose score reached the conceal threshold.
    pub suspects: u64,
    /// Verdicts in force.
    pub verdicts: VerdictCounts,
    /// What enforcing would have done since the daemon's start, while the mode was observe.
    #[serde(default)]
    pub would_have: WouldHave,
    /// The same as packets and sources, with those who had sessions here by name.
    #[serde(default)]
    pub observed: Observed,
    /// What the configuration makes impossible, though somebody may count on it.
    #[serde(default)]
    pub cannot: Vec<Cannot>,
    /// Blocks that wait for a person; `scanguard pending list` shows them.
    #[serde(default)]
    pub pending: u64,
    /// Verdicts that the kernel holds and should not, or should hold and does not.
    pub drift: u64,
    /// Events lost because the ring buffer was full. Counters lose nothing by it.
    pub ring_lost: u64,
    /// How full the kernel's tables are.
    pub maps: Vec<MapFill>,
    /// What it takes of this host.
    #[serde(default)]
    pub takes: Takes,
    /// Whether it does its work; false makes `scanguard status` exit with 5.
    pub healthy: bool,
    /// Whether something of its work would not outlast a restart: filtering goes on, but what is decided is not kept. True makes
    /// `scanguard status` exit with 5, too; `/healthz` does not mind, for a restart would lose it.
    #[serde(default)]
    pub degraded: bool,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
}

/// What the daemon and the kernel part take of this host. Zero without a daemon.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Takes {
    /// Bytes of kernel memory of all maps and programs.
    pub kernel_bytes: u64,
    /// Bytes of memory that the daemon has in use.
    pub daemon_bytes: u64,
    /// Processor time of the daemon since its start, in percent of one processor.
    pub cpu_percent: f64,
}

/// A guarded interface.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Where the program was attached: `native`, `generic` or `offloaded`.
    pub driver_mode: String,
    /// Whether our program is on it now, as read back from the kernel.
    pub attached: bool,
    /// How the egress program hangs on it: `tcx`, `clsact`, or `none` where it does not.
    #[serde(default)]
    pub egress: String,
}

/// Whose TCP sessions are counted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SessionsWatch {
    /// Whether they are.
    pub watched: bool,
    /// The folder of the control group.
    pub cgroup: Option<String>,
    /// Why not.
    pub reason: Option<String>,
}

/// What enforcing would have done while the mode was observe: how often, not of how many sources.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WouldHave {
    /// Sources that became suspects: restricted and closed ports would have been hidden from them.
    pub hidden: u64,
    /// Sources that would have been blocked.
    pub blocked: u64,
    /// Of both, those that had sessions with data here in the last 90 days: customers, perhaps.
    pub with_sessions: u64,
}

/// What enforcing would have done since the daemon's start, while the mode was observe: to how many sources, and to whom first of all.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Observed {
    /// Since when this is counted. RFC 3339, UTC; none without a daemon.
    pub since: Option<String>,
    /// Packets that would have been dropped.
    pub packets: u64,
    /// Sources that would have been concealed or blocked.
    pub sources: u64,
    /// Whether there were more sources than are told apart.
    pub at_least: bool,
    /// How many of the sources had sessions with data here in the last 90 days, or a login.
    pub with_sessions: u64,
    /// Those with the most sessions, at most 20.
    pub customers: Vec<ObservedCustomer>,
}

/// A source that had sessions here, and that enforcing would have acted on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ObservedCustomer {
    /// An IPv4 address or an IPv6 prefix.
    pub source: String,
    /// What would have become of it: `conceal` or `block`.
    pub level: String,
    /// Its sessions that were work, on whatever ports.
    pub sessions: u64,
    /// On how many of the last 90 days.
    pub days: u64,
}

/// Something that the configuration makes impossible.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cannot {
    /// A name for scripts: `automatic_block`.
    pub code: String,
    /// What is not possible, and why.
    pub message: String,
    /// What makes it possible.
    pub hint: String,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Packets {
    /// Passed, those among them that enforcing would have dropped.
    pub passed: u64,
    /// Dropped.
    pub dropped: u64,
    /// Passed because the mode is observe.
    pub would_drop: u64,
}

/// What the kernel part counted since it was loaded. What never occurred may be missing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counted {
    /// Packets that arrived, each once.
    pub packets: Vec<CountedPackets>,
    /// First packets of a source to a destination, protocol and port.
    pub contacts: Vec<CountedContacts>,
    /// New flows.
    pub attempts: Vec<CountedAttempts>,
    /// Challenges to suspects.
    pub challenges: Vec<CountedChallenges>,
    /// Answers of the stack that were kept from suspects and blocked sources as they left, or would have been in mode enforce.
    pub withheld: Vec<CountedAnswers>,
}

/// Packets that got the same for the same reason.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedPackets {
    /// What was done with them: `none`, `conceal` or `block`.
    pub level: String,
    /// Why.
    pub reason: String,
    /// In which mode; in `observe` they passed, whatever the level.
    pub mode: String,
    /// How many.
    pub packets: u64,
    /// Their bytes on the link.
    pub bytes: u64,
}

/// Contacts of one outcome.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedContacts {
    /// The outcome.
    pub outcome: String,
    /// How many.
    pub contacts: u64,
}

/// New flows to ports of one class.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedAttempts {
    /// The class of the port.
    pub class: String,
    /// The protocol.
    pub protocol: String,
    /// How many.
    pub attempts: u64,
}

/// Challenges of one kind of which the same became.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedChallenges {
    /// `retry` or `decoy`.
    pub kind: String,
    /// What became of them.
    pub result: String,
    /// How many.
    pub challenges: u64,
}

/// Answers that were withheld because of a level.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedAnswers {
    /// `conceal` or `block`.
    pub level: String,
    /// In which mode; in `observe` they left all the same.
    pub mode: String,
    /// How many.
    pub packets: u64,
    /// Their bytes on the link.
    pub bytes: u64,
}

/// Verdicts in force, by level.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerdictCounts {
    /// Sources from which ports that are not for customers are hidden.
    pub conceal: u64,
    /// Sources that are blocked.
    pub block: u64,
}

/// How full a table of the kernel part is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MapFill {
    /// Its name.
    pub name: String,
    /// Entries in it.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
    /// Bytes of kernel memory it takes.
    pub bytes: u64,
}

/// The codes that warnings have: a closed set, so that metrics can count by it.
pub const WARNING_CODES: [&str; 25] = [
    "no_daemon",
    "not_attached",
    "sources_full",
    "table_full",
    "state_full",
    "state_read_only",
    "state_damaged",
    "state_unusable",
    "state_set_aside",
    "records_lost",
    "unconfirmed",
    "attempts_uncounted",
    "events_lost",
    "events_undecided",
    "log_lines_dropped",
    "flood",
    "drift",
    "budget",
    "fronted",
    "pending",
    "known_proposed",
    "storm",
    "egress_missing",
    "sessions_unseen",
    "logins_unseen",
];

/// Something that a person should look at.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Warning {
    /// A name for scripts.
    pub code: String,
    /// What is the matter.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// Whether it keeps scanguard from doing its work.
    pub unhealthy: bool,
    /// Whether something of its work would not outlast a restart.
    #[serde(default)]
    pub degraded: bool,
}

const fn yes() -> bool {
    true
}
