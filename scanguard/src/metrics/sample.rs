//! The numbers of one moment, read from the kernel part.

use std::time::{Duration, SystemTime};

use prometheus::Histogram;
use scanguard_common::challenge::{ChallengeKind, ChallengeResult};
use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::contact::Outcome;
use scanguard_common::counter::{Counter, CounterIndex, Loss};
use scanguard_common::reason::{Level, Mode, Reason};
use scanguard_common::verdict::Scope;

use crate::api::{
    Counted, CountedAnswers, CountedAttempts, CountedChallenges, CountedContacts, CountedPackets, Interface, MapFill,
    WouldHave,
};
use crate::incidents::Kind;
use crate::kernel::Counters;

/// A list that others make.
#[derive(Clone, Debug)]
pub struct FeedSample {
    /// The feed's name in the configuration.
    pub name: String,
    /// How many prefixes it has, each once.
    pub prefixes: u64,
    /// How long ago it was read.
    pub age: Duration,
}

/// The numbers of one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The mode in force.
    pub mode: Mode,
    /// The mode that the configuration asks for.
    pub configured: Mode,
    /// Whether a lockdown is in force.
    pub lockdown: bool,
    /// Whether it does its work, as `status` says.
    pub healthy: bool,
    /// Whether something of its work would not outlast a restart, as `status` says.
    pub degraded: bool,
    /// Warnings of `status`, by code; each code is there, be it 0.
    pub warnings: Vec<(&'static str, u64)>,
    /// Whether the configuration was read the last time that this was tried, and when it was put in force last.
    pub config_read: (bool, SystemTime),
    /// What was done with packets and why. Every reason is there in the running mode, be it 0, so that a rate
    /// has a start.
    pub verdicts: Vec<(Level, Reason, Mode, Counter)>,
    /// First contacts by outcome.
    pub contacts: Vec<(Outcome, u64)>,
    /// New flows by class of the port and protocol.
    pub attempts: Vec<(PortClass, Protocol, u64)>,
    /// Challenges by kind and by what became of them.
    pub challenges: Vec<(ChallengeKind, ChallengeResult, u64)>,
    /// Answers that were kept from a source because of a level.
    pub withheld: Vec<(Level, Mode, Counter)>,
    /// Events that found the ring buffer full.
    pub events_lost: u64,
    /// Proofs that found theirs full.
    pub proofs_lost: u64,
    /// Attempts at public ports of new sources that were not recorded in a flood.
    pub unrecorded: u64,
    /// Sources in the table.
    pub sources: u64,
    /// Sources whose score reached the conceal threshold.
    pub suspects: u64,
    /// Sources that are blocked, by scope.
    pub blocks: [(Scope, u64); 2],
    /// Decisions by action and reason.
    pub decisions: Vec<((&'static str, &'static str), u64)>,
    /// From the packet that gave the reason to the decision in force.
    pub decision_seconds: Option<Histogram>,
    /// Entries of the kernel's tables that differ from what was told.
    pub drift: u64,
    /// Such entries that were put right, by table.
    pub repairs: Vec<(&'static str, u64)>,
    /// Of the file of state: whether it cannot be written now, failures, damaged files that were set aside.
    pub state: (bool, u64, u64),
    /// Whether no more automatic blocks are made now.
    pub breaker_open: bool,
    /// Blocks that wait for a person.
    pub pending: u64,
    /// Signals since the daemon started, by what became of them.
    pub signals: [(&'static str, u64); 3],
    /// Lists that others make.
    pub feeds: Vec<FeedSample>,
    /// What enforcing would have done.
    pub would_have: WouldHave,
    /// Incidents opened since the daemon started, by kind.
    pub incidents: Vec<(Kind, u64)>,
    /// Incidents that are open.
    pub incidents_open: u64,
    /// Events that came too fast to be heard of by incidents.
    pub incident_events_lost: u64,
    /// Events on which nothing was decided, because they came too fast: those that prove something, and others.
    pub undecided: (u64, u64),
    /// Records of the audit and of the lives of blocks: those that wait for the state file, and those that were lost.
    pub records: (u64, u64),
    /// Log lines that are in no log since the start, by why.
    pub log_lines: [(&'static str, u64); 2],
    /// How long ago the daemon told the kernel part that it lives.
    pub heartbeat: Duration,
    /// How full the tables are.
    pub maps: Vec<MapFill>,
    /// The guarded interfaces.
    pub interfaces: Vec<Interface>,
}

impl Sample {
    /// What the counters say, in a running mode; the rest empty.
    #[must_use]
    pub fn of(counters: &Counters, mode: Mode) -> Self {
        let running = Reason::ALL.iter().map(|reason| {
            let index = CounterIndex::verdict(reason.level(), *reason, mode);
            (reason.level(), *reason, mode, counters.get(index))
        });
        let other =
            counters.verdicts().filter(|(level, reason, in_mode, _)| (*level, *in_mode) != (reason.level(), mode));
        let attempts = PortClass::ALL.into_iter().flat_map(|class| {
            Protocol::ALL
                .map(|protocol| (class, protocol, counters.get(CounterIndex::attempt(class, protocol)).packets))
        });
        let challenges = ChallengeKind::ALL.into_iter().flat_map(|kind| {
            ChallengeResult::ALL
                .iter()
                .map(move |result| (kind, *result, counters.get(CounterIndex::challenge(kind, *result)).packets))
        });
        let withheld = [Level::Conceal, Level::Block]
            .into_iter()
            .flat_map(|level| Mode::ALL.map(|mode| (level, mode, counters.get(CounterIndex::withheld(level, mode)))));
        let contacts = Outcome::ALL.iter();
        Self {
            mode,
            verdicts: running.chain(other).collect(),
            contacts: contacts
                .map(|outcome| (*outcome, counters.get(CounterIndex::contact(*outcome)).packets))
                .collect(),
            attempts: attempts.collect(),
            challenges: challenges.collect(),
            withheld: withheld.collect(),
            events_lost: counters.get(CounterIndex::loss(Loss::Events)).packets,
            proofs_lost: counters.get(CounterIndex::loss(Loss::Proofs)).packets,
            unrecorded: counters.get(CounterIndex::loss(Loss::Newcomers)).packets,
            ..Self::default()
        }
    }
}

impl Sample {
    /// What the kernel part counted, for people on the control socket: nothing is told as one that is not.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let packets = self.verdicts.iter().map(|(level, reason, mode, Counter { packets, bytes })| CountedPackets {
            level: level.label().to_owned(),
            reason: reason.label().to_owned(),
            mode: mode.label().to_owned(),
            packets: *packets,
            bytes: *bytes,
        });
        let contacts = self
            .contacts
            .iter()
            .map(|(outcome, count)| CountedContacts { outcome: outcome.label().to_owned(), contacts: *count });
        let attempts = self.attempts.iter().map(|(class, protocol, count)| CountedAttempts {
            class: class.label().to_owned(),
            protocol: protocol.label().to_owned(),
            attempts: *count,
        });
        let challenges = self.challenges.iter().map(|(kind, result, count)| CountedChallenges {
            kind: kind.label().to_owned(),
            result: result.label().to_owned(),
            challenges: *count,
        });
        let withheld = self.withheld.iter().map(|(level, mode, Counter { packets, bytes })| CountedAnswers {
            level: level.label().to_owned(),
            mode: mode.label().to_owned(),
            packets: *packets,
            bytes: *bytes,
        });
        Counted {
            packets: packets.collect(),
            contacts: contacts.collect(),
            attempts: attempts.collect(),
            challenges: challenges.collect(),
            withheld: withheld.collect(),
        }
    }
}

/// Nothing counted.
impl Default for Sample {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            configured: Mode::Observe,
            lockdown: false,
            healthy: true,
            degraded: false,
            warnings: Vec::new(),
            config_read: (true, SystemTime::UNIX_EPOCH),
            verdicts: Vec::new(),
            contacts: Vec::new(),
            attempts: Vec::new(),
            challenges: Vec::new(),
            withheld: Vec::new(),
            events_lost: 0,
            proofs_lost: 0,
            unrecorded: 0,
            sources: 0,
            suspects: 0,
            blocks: [(Scope::Private, 0), (Scope::All, 0)],
            decisions: Vec::new(),
            decision_seconds: None,
            drift: 0,
            repairs: Vec::new(),
            state: (false, 0, 0),
            breaker_open: false,
            pending: 0,
            signals: [("heard", 0), ("over_per_source", 0), ("over_per_minute", 0)],
            feeds: Vec::new(),
            would_have: WouldHave::default(),
            incidents: Vec::new(),
            incidents_open: 0,
            incident_events_lost: 0,
            undecided: (0, 0),
            records: (0, 0),
            log_lines: [("unread", 0), ("repeated", 0)],
            heartbeat: Duration::ZERO,
            maps: Vec::new(),
            interfaces: Vec::new(),
        }
    }
}
