//! What the policy hears and what it answers.

use std::time::Duration;

use scanguard_common::source::SourceKey;
use scanguard_common::verdict::Scope;

use super::Clock;
use crate::config::AutoLevel;

/// Something that happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A source became a suspect. The kernel part conceals it by itself: there is nothing to do, but to count it.
    Suspect {
        /// The source.
        source: SourceKey,
    },
    /// The score of a source reached block-eligible: evidence that others can forge.
    Eligible {
        /// The source.
        source: SourceKey,
    },
    /// A source completed a decoy on a port: it is really at its address, no more.
    Completed {
        /// The source.
        source: SourceKey,
        /// The port, of TCP.
        port: u16,
    },
    /// A source proved that it is real, and scans.
    Proven {
        /// The source.
        source: SourceKey,
    },
    /// A block ended in the kernel.
    Expired {
        /// The source.
        source: SourceKey,
    },
    /// A block was taken back.
    Lifted {
        /// The source.
        source: SourceKey,
        /// By what.
        by: Lifter,
    },
    /// Time went by.
    Tick,
}

/// What takes a block back.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Lifter {
    /// An entry of the allowlist that covers the source.
    Allowlist,
    /// A person.
    Operator,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Block a source.
    Block {
        /// The source.
        source: SourceKey,
        /// From which ports.
        scope: Scope,
        /// For how long: what the kernel part is told, whose clock nobody sets.
        lasts: Duration,
        /// When that is over.
        until: Clock,
        /// Why.
        reason: BlockReason,
        /// Earlier blocks that make this one longer.
        recurrence: u32,
    },
    /// A block is over: nothing is left to do but to write it down, and to see that the kernel part has none.
    Ended {
        /// The source.
        source: SourceKey,
        /// How it ended.
        why: Ending,
    },
    /// Nothing is done. The source stays concealed, and its next event is judged anew.
    Deferred {
        /// The source.
        source: SourceKey,
        /// Why not.
        why: Deferral,
    },
}

impl Action {
    /// Names of the action and of its reason: the labels of `decisions_total`.
    #[must_use]
    pub const fn labels(&self) -> (&'static str, &'static str) {
        match self {
            Self::Block { reason, .. } => ("block", reason.label()),
            Self::Ended { why, .. } => ("end", why.label()),
            Self::Deferred { why, .. } => ("defer", why.label()),
        }
    }
}

/// Why a source is blocked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BlockReason {
    /// It proved that it is real.
    Proven,
    /// Its score, where the configuration does without proof.
    Score,
}

impl BlockReason {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Proven, Self::Score];

    /// The name in metrics, JSON and the store.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Score => "score",
        }
    }

    /// The reason of this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }

    /// What people are told.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Proven => "It proved that it is really there, and scans.",
            Self::Score => {
                "Its score is high enough for a block, and the configuration asks for no proof (`block.unproven`)."
            }
        }
    }

    /// From which ports it is blocked.
    #[must_use]
    pub const fn scope(self) -> Scope {
        match self {
            Self::Proven | Self::Score => Scope::Private,
        }
    }

    /// How far the operator must let it go for that.
    #[must_use]
    pub const fn level(self) -> AutoLevel {
        match self.scope() {
            Scope::Private => AutoLevel::BlockPrivate,
            Scope::All => AutoLevel::BlockAll,
        }
    }
}

/// How a block ended.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Ending {
    /// Its time was over.
    Expired,
    /// It was taken back.
    Lifted(Lifter),
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Expired, Self::Lifted(Lifter::Allowlist), Self::Lifted(Lifter::Operator)];

    /// The name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Lifted(Lifter::Allowlist) => "allowed",
            Self::Lifted(Lifter::Operator) => "operator",
        }
    }

    /// What people are told.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Expired => "Its time was over.",
            Self::Lifted(Lifter::Allowlist) => "The allowlist covers the source now.",
            Self::Lifted(Lifter::Operator) => "An operator took it back.",
        }
    }
}

/// Why a source is not blocked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Deferral {
    /// The allowlist covers it.
    Allowed,
    /// The configuration does not let it go so far.
    MaxAutoLevel,
    /// There is no proof.
    Unproven,
    /// Too many networks got a block within a minute.
    MinuteBudget,
    /// Too many networks have a block.
    StandingBudget,
    /// Too many sources of its network got a block within a minute.
    NetworkMinuteBudget,
    /// Too many sources of its network have a block.
    NetworkStandingBudget,
    /// There are more blocks than there is room for.
    Full,
}

impl Deferral {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Allowed,
        Self::MaxAutoLevel,
        Self::Unproven,
        Self::MinuteBudget,
        Self::StandingBudget,
        Self::NetworkMinuteBudget,
        Self::NetworkStandingBudget,
        Self::Full,
    ];

    /// The name in metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::MaxAutoLevel => "max_auto_level",
            Self::Unproven => "unproven",
            Self::MinuteBudget => "minute_budget",
            Self::StandingBudget => "standing_budget",
            Self::NetworkMinuteBudget => "network_minute_budget",
            Self::NetworkStandingBudget => "network_standing_budget",
            Self::Full => "full",
        }
    }

    /// What people are told.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Allowed => "It is on the allowlist, and nothing is ever done to what is.",
            Self::MaxAutoLevel => {
                "The configuration does not let a block come without a person (`block.max_auto_level`)."
            }
            Self::Unproven => "Nothing proves that it is really there: packets can be forged, and blocks need proof.",
            Self::MinuteBudget => {
                "As many networks as may be got their blocks within the last minute (`block.per_minute`)."
            }
            Self::StandingBudget => "As many networks as may be have blocks now (`block.most`).",
            Self::NetworkMinuteBudget => {
                "As many sources of its network as may be were blocked within the last minute (`block.per_minute`)."
            }
            Self::NetworkStandingBudget => "As many sources of its network as may be are blocked now (`block.most`).",
            Self::Full => "There are as many blocks now as there is room for.",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_distinct_metric_labels_and_sentences_end() {
        let blocks = BlockReason::ALL.map(|reason| ("block", reason.label(), reason.sentence()));
        let ends = Ending::ALL.map(|ending| ("end", ending.label(), ending.sentence()));
        let deferrals = Deferral::ALL.map(|deferral| ("defer", deferral.label(), deferral.sentence()));
        let mut seen = HashSet::new();
        for (action, label, sentence) in blocks.into_iter().chain(ends).chain(deferrals) {
            assert!(seen.insert((action, label)), "{action} {label}");
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{label}");
            assert!(sentence.ends_with('.'), "{sentence}");
        }
    }

    #[test]
    fn a_reason_comes_back_from_its_label() {
        for reason in BlockReason::ALL {
            assert_eq!(BlockReason::from_label(reason.label()), Some(reason));
        }
        assert_eq!(BlockReason::from_label("whim"), None);
    }

    #[test]
    fn nothing_blocks_public_ports_yet() {
        for reason in BlockReason::ALL {
            assert_eq!((reason.scope(), reason.level()), (Scope::Private, AutoLevel::BlockPrivate), "{reason:?}");
        }
    }
}
