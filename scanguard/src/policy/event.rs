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
    /// A log tool, or whoever may change anything here, says that a source did harm. It is as good as what is known of the source: see
    /// [`super::Facts::backed`].
    Signal {
        /// The source.
        source: SourceKey,
        /// Whether the deed itself is proof, as a guessed password is; else it is suspicion, which the score has already.
        proof: bool,
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

impl Event {
    /// Whom it is about.
    #[must_use]
    pub const fn source(&self) -> Option<&SourceKey> {
        match self {
            Self::Suspect { source }
            | Self::Eligible { source }
            | Self::Completed { source, .. }
            | Self::Signal { source, .. }
            | Self::Lifted { source, .. } => Some(source),
            Self::Tick => None,
        }
    }
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
        /// How many people beside the scanner a block of public ports is taken to harm ([`super::harm::people`]).
        people: u32,
    },
    /// A person is to be asked whether to block a source, and the question ends unanswered, in the source's favour. Until then, what can be done
    /// without him was done.
    Ask {
        /// The source.
        source: SourceKey,
        /// From which ports.
        scope: Scope,
        /// What it would be blocked for.
        reason: BlockReason,
        /// Why it is not done without him.
        why: Doubt,
        /// For how long he would block it, if he says nothing else.
        lasts: Duration,
        /// How many people beside the scanner that is taken to harm.
        people: u32,
        /// When the question ends.
        until: Clock,
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
            Self::Ask { why, .. } => ("ask", why.label()),
            Self::Ended { why, .. } => ("end", why.label()),
            Self::Deferred { why, .. } => ("defer", why.label()),
        }
    }
}

/// Why a source is blocked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BlockReason {
    /// It proved that it is real, and means harm.
    Harm,
    /// A log tool says that it did harm, and it had a session, so that it is real.
    Signal,
    /// The operator's feed names it, and it is a suspect.
    Feed,
    /// It proved that it is real.
    Proven,
    /// Its score, where the configuration does without proof.
    Score,
}

impl BlockReason {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Harm, Self::Signal, Self::Feed, Self::Proven, Self::Score];

    /// The name in metrics, JSON and the store.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Harm => "harm",
            Self::Signal => "signal",
            Self::Feed => "feed",
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
            Self::Harm => {
                "It proved that it is really there and scans, by programs that are no browser's, and nobody else is known behind it."
            }
            Self::Signal => {
                "A log tool told that it did harm, and it had a session here at that time, so that it is really there."
            }
            Self::Feed => "A feed names it to which the configuration gives that level, and it became a suspect.",
            Self::Proven => "It proved that it is really there, and scans.",
            Self::Score => {
                "Its score is high enough for a block, and the configuration asks for no proof (`block.unproven`)."
            }
        }
    }

    /// The ports that it may take at most.
    #[must_use]
    pub const fn widest(self) -> Scope {
        match self {
            Self::Harm | Self::Signal | Self::Feed => Scope::All,
            Self::Proven | Self::Score => Scope::Private,
        }
    }
}

/// How far the operator must let it go for a block of these ports.
#[must_use]
pub const fn level(scope: Scope) -> AutoLevel {
    match scope {
        Scope::Private => AutoLevel::BlockPrivate,
        Scope::All => AutoLevel::BlockAll,
    }
}

/// Why a person is asked before a source is blocked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Doubt {
    /// Most sessions come from few sources.
    Fronted,
    /// It is a customer.
    Customer,
    /// Too many people may be behind it.
    Harmed,
    /// The configuration does not let it go so far.
    MaxAutoLevel,
}

impl Doubt {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fronted, Self::Customer, Self::Harmed, Self::MaxAutoLevel];

    /// The name in metrics, JSON and the store.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fronted => "fronted",
            Self::Customer => "customer",
            Self::Harmed => "harmed",
            Self::MaxAutoLevel => "max_auto_level",
        }
    }

    /// What people are told.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Fronted => {
                "Most sessions come from few addresses: proxies are in front of this host, and who is behind them is not known."
            }
            Self::Customer => {
                "It had a session with data on a public port in the last 30 days, begun before its first probe."
            }
            Self::Harmed => "More people may be behind it than may be harmed without a person (`block.most_harmed`).",
            Self::MaxAutoLevel => {
                "The configuration lets no block of public ports come without a person (`block.max_auto_level`)."
            }
        }
    }

    /// The doubt of this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|doubt| doubt.label() == label)
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
        let questions = Doubt::ALL.map(|doubt| ("ask", doubt.label(), doubt.sentence()));
        let mut seen = HashSet::new();
        for (action, label, sentence) in blocks.into_iter().chain(ends).chain(deferrals).chain(questions) {
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
        for doubt in Doubt::ALL {
            assert_eq!(Doubt::from_label(doubt.label()), Some(doubt));
        }
    }

    #[test]
    fn what_proves_no_harm_takes_no_public_ports() {
        for reason in BlockReason::ALL {
            let expected = match reason {
                BlockReason::Harm | BlockReason::Signal | BlockReason::Feed => AutoLevel::BlockAll,
                BlockReason::Proven | BlockReason::Score => AutoLevel::BlockPrivate,
            };
            assert_eq!(level(reason.widest()), expected, "{reason:?}");
        }
    }
}
