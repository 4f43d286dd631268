//! `POST /v1/signal`: a log tool says what a source did.

use serde::{Deserialize, Serialize};

use super::WhyScore;

/// The heaviest signal, in steps of a failed contact: as much as makes a source block-eligible at once with the default rates.
pub const HEAVIEST_SIGNAL: f64 = 10.0;

/// What a log tool, or a person, says of an address.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The address, or the prefix of a source.
    pub address: String,
    /// What it adds to the score, in steps: 1 is as much as one failed contact. More than 0, at most [`HEAVIEST_SIGNAL`].
    pub weight: f64,
    /// What it did, in a line of at most 200 characters: kept, and shown with everything that is done for it.
    pub reason: String,
    /// Whether the deed itself is proof, such as a guessed password; good for a block only where a session backs it.
    #[serde(default)]
    pub proof: bool,
}

/// Answer to [`Signal`]: what came of it is in force in the kernel.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Signalled {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The source it is about: an IPv4 address or an IPv6 prefix.
    pub source: String,
    /// Whether the source has a session here, or had one in the last 10 minutes, so that it is really at its address.
    pub backed: bool,
    /// Whether the weight was added to its score; not where the allowlist covers it.
    pub applied: bool,
    /// Its score with it.
    pub score: WhyScore,
    /// What is done about it now: `none`, `conceal` or `block`.
    pub level: String,
    /// Of a block: `private` or `all`.
    pub scope: Option<String>,
    /// What was decided.
    pub decision: SignalDecision,
    /// What comes next, and what an operator can do.
    pub next_step: String,
}

/// What was decided for a signal.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SignalDecision {
    /// `none`, `conceal`, `block`, `ask` or `defer`.
    pub action: String,
    /// Why, for programs: the reason of the block, the doubt of the question, or what is against it.
    pub reason: Option<String>,
    /// The same in words.
    pub sentence: String,
}
