//! What keeps an operator from locking himself out, and how far blocks go without one.

use std::time::Duration;

use crate::logins::Watcher;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// What keeps an operator from locking himself out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Safety {
    /// Whether addresses from which somebody is logged in are on the allowlist meanwhile.
    pub leases: bool,
    /// For how long after he was last seen, 1 minute to 1 day.
    pub lease: Duration,
    /// Who looks who is logged in.
    pub logins: Watcher,
    /// The shortest IPv4 prefix that may be blocked, 0 to 32 bits.
    pub shortest_ipv4: u8,
    /// The shortest IPv6 prefix that may be blocked, 0 to 128 bits.
    pub shortest_ipv6: u8,
}

impl Default for Safety {
    fn default() -> Self {
        Self { leases: true, lease: 10 * MINUTE, logins: Watcher::Here, shortest_ipv4: 16, shortest_ipv6: 32 }
    }
}

/// How many signals are heard within a minute; a whole minute's may come at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SignalLimits {
    /// In all, 1 to 100,000.
    pub per_minute: u32,
    /// About one source, 1 to 100,000.
    pub per_source: u32,
}

impl Default for SignalLimits {
    fn default() -> Self {
        Self { per_minute: 300, per_source: 30 }
    }
}

/// How far it may go without a person.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AutoLevel {
    /// Hide what is not for customers from suspects: the kernel part's own doing.
    Conceal,
    /// Block proven scanners from all but public ports.
    #[default]
    BlockPrivate,
    /// Block who has proven to do harm from public ports too.
    BlockAll,
}

impl AutoLevel {
    /// All of them, the mildest first.
    pub const ALL: [Self; 3] = [Self::Conceal, Self::BlockPrivate, Self::BlockAll];

    /// The name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Conceal => "conceal",
            Self::BlockPrivate => "block private",
            Self::BlockAll => "block all",
        }
    }
}

/// Automatic blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Blocks {
    /// How far it may go.
    pub max_auto_level: AutoLevel,
    /// Whether evidence that can be forged is enough for a block of private ports.
    pub unproven: bool,
    /// How long the first block of a source lasts, 1 minute to `longest`.
    pub first: Duration,
    /// How many times as long each further one, 1 to 100.
    pub factor: u32,
    /// How long at most, up to 7 days.
    pub longest: Duration,
    /// For how long a block counts as an earlier one, 1 hour to 90 days.
    pub recurrence: Duration,
    /// New blocks in a minute, 0 to 100,000.
    pub per_minute: u32,
    /// Blocks at once, 0 to 100,000.
    pub most: u32,
    /// People that a block of public ports may be taken to harm without a person being asked, 0 to 1,000,000.
    pub most_harmed: u32,
    /// How long a question for a person waits, 1 minute to 30 days. Unanswered it ends in the source's favour.
    pub question: Duration,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            max_auto_level: AutoLevel::BlockPrivate,
            unproven: false,
            first: 10 * MINUTE,
            factor: 4,
            longest: DAY,
            recurrence: 7 * DAY,
            per_minute: 20,
            most: 1000,
            most_harmed: 0,
            question: DAY,
        }
    }
}
