//! `GET /v1/why?address=`: everything behind what is done about a source.

use serde::{Deserialize, Serialize};

use super::AllowEntry;

/// What is done about a source, and why.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Why {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The address asked for.
    pub address: String,
    /// The source it belongs to: an IPv4 address or an IPv6 prefix.
    pub source: String,
    /// `observe` or `enforce`.
    pub mode: String,
    /// What is done about it.
    pub verdict: WhyVerdict,
    /// Why the address is never judged: `own` (an address of this host), `private` (with `ignore_private`) or
    /// `special` (loopback, multicast, broadcast, unspecified); none where it is judged.
    #[serde(default)]
    pub never_judged: Option<String>,
    /// How sure it is that this is a scanner.
    pub score: WhyScore,
    /// First contacts, oldest first: those that the daemon still remembers.
    pub evidence: Vec<Evidence>,
    /// First contacts that count and are not among `evidence` any more (the daemon was restarted, or keeps the latest only).
    pub evidence_forgotten: u64,
    /// What log tools said of it (`scanguard signal`), oldest first: what the daemon still remembers.
    #[serde(default)]
    pub signals: Vec<WhySignal>,
    /// Whether the allowlist covers the address.
    pub allow: WhyAllow,
    /// Feeds that name it.
    pub feeds: Vec<String>,
    /// Whether it has worked here before.
    pub known: WhyKnown,
    /// Who is taken to be behind it, beside whoever scans; none without a daemon.
    #[serde(default)]
    pub behind: Option<WhyBehind>,
    /// What proves that the address is real: what the daemon still remembers.
    pub proof: Vec<WhyProof>,
    /// When that became proof of a scan: the fourth distinct port. RFC 3339, UTC; none where it is not proven.
    #[serde(default)]
    pub proven_at: Option<String>,
    /// Whether a block of it waits for a person.
    #[serde(default)]
    pub pending: Option<WhyPending>,
    /// The numbers of the incidents that it is or was in, the latest first: `scanguard incidents show` tells them.
    #[serde(default)]
    pub incidents: Vec<u64>,
    /// Why incidents of before are not among them, where the state file could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incidents_unread: Option<String>,
    /// What it was answered while it was a suspect, oldest first: what the daemon still remembers.
    pub answered: Vec<WhyAnswered>,
    /// Its TCP sessions, as far as the kernel still counts them; one entry for each kind of port.
    pub sessions: Vec<WhySessions>,
    /// New flows it sent, but for those that a block or a storm dropped.
    pub attempts: u64,
    /// Distinct (destination, protocol, port) it asked for.
    pub contacts: u64,
    /// First packet. RFC 3339, UTC; none if it was never seen.
    pub first_seen: Option<String>,
    /// Latest packet. RFC 3339, UTC.
    pub last_seen: Option<String>,
    /// How it came to the verdict: a sentence each, with the numbers.
    pub arithmetic: Vec<String>,
    /// What comes next, and what an operator can do.
    pub next_step: String,
}

/// Something that only who is really at the address could do.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyProof {
    /// When. RFC 3339, UTC.
    pub time: String,
    /// `decoy`: it completed a handshake with a port that is closed.
    pub kind: String,
    /// The protocol.
    pub proto: String,
    /// The address asked.
    pub destination: String,
    /// The port asked.
    pub port: u16,
}

/// What a log tool said.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhySignal {
    /// When. RFC 3339, UTC.
    pub time: String,
    /// What it added to the score, in steps.
    pub weight: f64,
    /// What the source did.
    pub reason: String,
    /// Whether a session showed that the source is really at its address.
    pub backed: bool,
    /// Whether the deed was said to be proof.
    pub proof: bool,
}

/// Who is taken to be behind an address, by what is known of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyBehind {
    /// How many people beside the scanner a block of public ports is taken to harm.
    pub people: u32,
    /// Distinct TCP stacks that its sessions show now, or showed at one time since something was held against it lately; each beside one counts
    /// as one more person. None where the kernel does not tell.
    pub stacks: Option<u32>,
    /// Who says that many share its address: `sources.shared` of the configuration, `feed` and a name.
    pub shared_by: Vec<String>,
}

/// A block that waits for a person.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyPending {
    /// From which ports: `private` or `all`.
    pub scope: String,
    /// Why it is not done without him, for programs.
    pub doubt: String,
    /// How many people beside the scanner the block is taken to harm.
    pub people: u32,
    /// When the question ends by itself. RFC 3339, UTC.
    pub expires: String,
}

/// What is done about a source.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyVerdict {
    /// `none`, `conceal` or `block`.
    pub level: String,
    /// Of a block: `private` or `all`.
    pub scope: Option<String>,
    /// What led to it, for programs; of an operator's block, what he said.
    pub reason: Option<String>,
    /// Who decided: `kernel`, `controller` or `operator`.
    pub origin: Option<String>,
    /// The prefix that is blocked, where it is more than the source.
    pub prefix: Option<String>,
    /// Since when. RFC 3339, UTC.
    pub since: Option<String>,
    /// Until when. RFC 3339, UTC; none for until it is removed, or where there is no verdict.
    pub expires: Option<String>,
}

/// A score, in nats.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyScore {
    /// Log-likelihood ratio "scanner : benign".
    pub value: f64,
    /// From here on it is concealed.
    pub conceal_at: f64,
    /// From here on it may be blocked.
    pub block_at: f64,
    /// What one failed contact adds.
    pub step: f64,
    /// After so many seconds without evidence it is half.
    pub half_life_s: u64,
}

/// One first contact.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Evidence {
    /// When. RFC 3339, UTC.
    pub time: String,
    /// `tcp`, `udp`, `icmp`, …: what was asked with.
    pub proto: String,
    /// The address asked.
    pub destination: String,
    /// The port asked; the protocol's number where a protocol was asked for; else 0.
    pub port: u16,
    /// What came of it.
    pub outcome: String,
    /// What it added to the score, in nats.
    pub step: f64,
    /// The score with it, in nats.
    pub score: f64,
    /// When the source completed a decoy there, which forged packets cannot. RFC 3339, UTC; none where it did not.
    #[serde(default)]
    pub proven: Option<String>,
}

/// What the allowlist says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyAllow {
    /// Whether it covers the address.
    pub matched: bool,
    /// The entry that does.
    pub entry: Option<AllowEntry>,
}

/// What is known of earlier sessions.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyKnown {
    /// Sessions it had with data both ways, begun while nothing was held against it.
    pub sessions: u64,
    /// Days of the last 90 on which it had some.
    pub days: u64,
    /// Of these sessions, those on restricted ports.
    pub restricted_sessions: u64,
    /// Until when restricted ports stay visible to it because it is known. RFC 3339, UTC; none if they do not. (The year 9999 is for ever.)
    pub restricted_until: Option<String>,
    /// By what it is known, any of `login`, `sessions` and `operator`; sessions with data alone are none of them.
    #[serde(default)]
    pub by: Vec<String>,
}

/// An answer to a suspect.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhyAnswered {
    /// When. RFC 3339, UTC.
    pub time: String,
    /// `tcp`, `udp` or `icmp`.
    pub proto: String,
    /// The address that answered.
    pub destination: String,
    /// The port that answered; 0 for an echo.
    pub port: u16,
    /// `open`, `datagram`, `refused` or `unreachable`.
    pub answer: String,
}

/// Sessions on one kind of port.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WhySessions {
    /// `public` or `restricted`.
    pub ports: String,
    /// Handshakes that were completed.
    pub sessions: u64,
    /// Sessions that ended, had data both ways and began while nothing was held against it.
    pub worked: u64,
    /// Bytes received in those that ended.
    pub bytes_in: u64,
    /// Bytes sent, and acknowledged, in those that ended.
    pub bytes_out: u64,
    /// When the first began. RFC 3339, UTC.
    pub first: String,
    /// When the latest began. RFC 3339, UTC.
    pub last: String,
}
