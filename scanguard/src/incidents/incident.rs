//! One incident: what was asked, answered and done, in tables that cannot outgrow their bounds.

use std::collections::BTreeSet;

use scanguard_common::class::PortClass;
use scanguard_common::contact::{ContactKind, Outcome};
use scanguard_common::event::Answer;
use scanguard_common::session::END_OF_STREAM;
use scanguard_common::source::SourceKey;

use super::heard::{Deed, Moment, Service, service};
use super::rows::Rows;

/// Distinct (protocol, port, outcome) listed of an incident; the contacts of further ones are only summed up.
pub const MOST_PORTS: usize = 1024;
/// Answers, kinds of sessions and deeds listed of an incident, each.
pub const MOST_LINES: usize = 256;
/// Sources listed of an incident; further ones are only counted.
pub const MOST_SOURCES: usize = 4096;

macro_rules! named {
    ($(#[$about:meta])* $type:ident; $($name:ident, $label:literal, $sentence:literal;)+) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $type { $(#[doc = $sentence] $name,)+ }

        impl $type {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The name in metrics, JSON and the store.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The one of this name.
            #[must_use]
            pub fn from_label(label: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.label() == label)
            }

            /// What people are told.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)+ }
            }
        }
    };
}

named! {
    /// Whose doing an incident is.
    Kind;
    Source, "source", "One source.";
    Network, "network", "Sources of one network, a /24 or a /48.";
    Campaign, "campaign", "Sources of many networks.";
}

named! {
    /// Why it is an incident.
    Cause;
    Suspect, "suspect", "It failed on enough ports to be a suspect.";
    Network, "network", "Its addresses scan in turn: together they failed on enough ports for the network to be a suspect.";
    Neighbours, "neighbours", "Several of its sources are suspects.";
    Ports, "ports", "Many sources failed on the same ports.";
    Canary, "canary", "Many sources asked for a port for which nobody legitimate asks.";
    Rush, "rush", "More sources became suspects than can be told of one by one.";
    Storm, "storm", "Suspects arose faster than real ones do: somebody forges addresses.";
}

impl Cause {
    /// Whose doing such an incident is.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Suspect => Kind::Source,
            Self::Network | Self::Neighbours => Kind::Network,
            Self::Ports | Self::Canary | Self::Rush | Self::Storm => Kind::Campaign,
        }
    }
}

/// Sums over all of an incident, what is not listed included.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Sources. One that was forgotten meanwhile (there were too many) counts again if it is not listed.
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
    pub decoys: u64,
    /// TCP sessions, as far as they are told: all of suspects, and of others those on restricted ports.
    pub sessions: u64,
    /// Of these, those with data both ways.
    pub worked: u64,
    /// Sources listed that had a TCP session of whatever kind after their first contact.
    pub with_sessions: u64,
    /// Contacts with ports that found no room in the list.
    pub ports_unlisted: u64,
    /// Events of anybody that were lost while it was open.
    pub events_lost: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        let Self { sources: _, contacts, failures, before_suspicion, answers, decoys, sessions, worked, .. } = other;
        self.contacts += contacts;
        self.failures += failures;
        self.before_suspicion += before_suspicion;
        self.answers += answers;
        self.decoys += decoys;
        self.sessions += sessions;
        self.worked += worked;
        self.ports_unlisted += other.ports_unlisted;
        self.events_lost = self.events_lost.max(other.events_lost);
    }
}

/// Of one source in an incident. Times are Unix time in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SourceTally {
    /// First contacts.
    pub contacts: u64,
    /// Of these, those that count against it.
    pub failures: u64,
    /// The first of them, or when it became a suspect by what others say of it; 0 where neither is known.
    pub first: u64,
    /// The latest of these.
    pub last: u64,
    /// When its latest TCP session of whatever kind began, if that was after the first of them; else 0.
    pub session: u64,
}

impl SourceTally {
    fn add(&mut self, other: &Self) {
        let Self { contacts, failures, first, last, session } = *other;
        self.contacts += contacts;
        self.failures += failures;
        if self.first == 0 || (first > 0 && first < self.first) {
            self.first = first;
        }
        self.last = self.last.max(last);
        self.session = self.session.max(session);
    }
}

/// Of sessions on one port.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionTally {
    /// Those that began in it, and those that ended in it and had begun before.
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

/// How often something was done. Times are Unix time in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DeedTally {
    /// How often.
    pub times: u64,
    /// First.
    pub first: u64,
    /// Last.
    pub last: u64,
}

/// What a line on ports is about: protocol, port, outcome, by their numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PortKey {
    /// Number of a [`ContactKind`].
    pub asked: u8,
    /// The port.
    pub port: u16,
    /// Number of an [`Outcome`].
    pub outcome: u8,
}

/// What a line on answers is about: protocol, port, answer, by their numbers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct AnswerKey {
    /// Number of a [`ContactKind`].
    pub asked: u8,
    /// The port.
    pub port: u16,
    /// Number of an [`Answer`].
    pub answer: u8,
}

/// Two looks at the same moment of the kernel's clock differ by as much on the wall clock at most, in milliseconds. A session that began
/// so little later is taken for the same.
const JITTER_MS: u64 = 10;

/// What a line on sessions is about: class of the port, by its number, and the port.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SessionKey {
    /// Number of a [`PortClass`].
    pub class: u8,
    /// The port.
    pub port: u16,
}

/// What is said of an incident before its tables. Times are Unix time in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// Its number: higher ones opened later.
    pub id: u64,
    /// Why it is one; that tells its kind too.
    pub cause: Cause,
    /// The source or the network whose doing it is; none of a campaign.
    pub subject: Option<SourceKey>,
    /// The first contact in it.
    pub first: u64,
    /// The latest of what it is made of.
    pub last: u64,
    /// When it was opened.
    pub opened: u64,
    /// When it was closed last; none while it is open.
    pub closed: Option<u64>,
    /// The incident that it turned out to be a part of.
    pub part_of: Option<u64>,
    /// Sums.
    pub totals: Totals,
}

/// An incident in brief.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Brief {
    /// What is said of it before the tables.
    pub head: Head,
    /// The ports asked for most, the most first.
    pub ports: Vec<(PortKey, u64)>,
}

/// An incident as it is kept and told: whole, or what changed of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// What is said of it before the tables.
    pub head: Head,
    /// Its sources.
    pub sources: Vec<(SourceKey, SourceTally)>,
    /// Contacts.
    pub ports: Vec<(PortKey, u64)>,
    /// Answers.
    pub answers: Vec<(AnswerKey, u64)>,
    /// Sessions.
    pub sessions: Vec<(SessionKey, SessionTally)>,
    /// What was done.
    pub deeds: Vec<(Deed, DeedTally)>,
}

/// A sum of bytes, no higher than what the store takes.
fn sum(one: u64, other: u64) -> u64 {
    one.saturating_add(other).min(i64::MAX as u64)
}

/// A source as the key of a table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Listed(pub(super) [u8; 16]);

impl From<SourceKey> for Listed {
    fn from(source: SourceKey) -> Self {
        Self(source.0.bytes())
    }
}

impl From<Listed> for SourceKey {
    fn from(listed: Listed) -> Self {
        Self(scanguard_common::address::Address::from_bytes(listed.0))
    }
}

/// An incident that is open, or about to be.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    /// None until it is opened.
    pub(super) id: Option<u64>,
    pub(super) cause: Cause,
    pub(super) subject: Option<SourceKey>,
    /// When it began to be one.
    pub(super) formed: Moment,
    pub(super) last: Moment,
    first: u64,
    opened: u64,
    /// When it was closed, if nothing was heard of it since.
    pub(super) closed: Option<u64>,
    /// Whether something was, and that is yet to be told.
    pub(super) reopened: bool,
    /// What those who take part ask for; of campaigns.
    pub(super) services: BTreeSet<Service>,
    pub(super) totals: Totals,
    pub(super) sources: Rows<Listed, SourceTally>,
    ports: Rows<PortKey, u64>,
    answers: Rows<AnswerKey, u64>,
    sessions: Rows<SessionKey, SessionTally>,
    deeds: Rows<Deed, DeedTally>,
    pub(super) changed: bool,
}

impl Incident {
    pub(super) fn new(cause: Cause, subject: Option<SourceKey>, at: Moment) -> Self {
        Self {
            id: None,
            cause,
            subject,
            formed: at,
            last: at,
            first: at.wall,
            opened: at.wall,
            closed: None,
            reopened: false,
            services: BTreeSet::new(),
            totals: Totals::default(),
            sources: Rows::default(),
            ports: Rows::default(),
            answers: Rows::default(),
            sessions: Rows::default(),
            deeds: Rows::default(),
            changed: true,
        }
    }

    /// What was kept of one that was open, at a time when it was last heard of `ago` milliseconds ago.
    pub(super) fn restored(record: Record, now: Moment) -> Self {
        let Record { head, sources, ports, answers, sessions, deeds } = record;
        let back = |wall: u64| Moment { ticks: now.ticks.saturating_sub(now.wall.saturating_sub(wall)), wall };
        let mut incident = Self::new(head.cause, head.subject, back(head.opened));
        (incident.id, incident.first, incident.opened) = (Some(head.id), head.first, head.opened);
        (incident.last, incident.totals, incident.changed) = (back(head.last), head.totals, false);
        incident.closed = head.closed;
        sources.into_iter().for_each(|(key, value)| incident.sources.restore(key.into(), value));
        ports.into_iter().for_each(|(key, value)| incident.ports.restore(key, value));
        answers.into_iter().for_each(|(key, value)| incident.answers.restore(key, value));
        sessions.into_iter().for_each(|(key, value)| incident.sessions.restore(key, value));
        deeds.into_iter().for_each(|(key, value)| incident.deeds.restore(key, value));
        incident
    }

    pub(super) fn open(&mut self, id: u64, now: Moment) {
        (self.id, self.opened, self.changed) = (Some(id), now.wall, true);
    }

    /// Takes note that something belongs to it, which opens it again if it was closed.
    pub(super) fn hear(&mut self, at: Moment) {
        self.changed = true;
        self.reopened |= self.closed.take().is_some();
        self.first = self.first.min(at.wall);
        if at.ticks >= self.last.ticks {
            self.last = at;
        }
    }

    /// Lists a source, or only counts it where there is no room. Returns whether the list is longer now.
    pub(super) fn join(&mut self, source: SourceKey, has_room: bool, at: Moment) -> bool {
        self.hear(at);
        let key = Listed::from(source);
        if self.sources.contains(&key) {
            return false;
        }
        self.totals.sources += 1;
        has_room && self.sources.change(&key, MOST_SOURCES).is_some()
    }

    pub(super) fn contact(
        &mut self,
        source: SourceKey,
        (asked, port, outcome): (ContactKind, u16, Outcome),
        counts: bool,
        at: Moment,
    ) {
        self.hear(at);
        self.totals.contacts += 1;
        self.totals.failures += u64::from(counts);
        let key = PortKey { asked: asked as u8, port, outcome: outcome as u8 };
        match self.ports.change(&key, MOST_PORTS) {
            Some(contacts) => *contacts += 1,
            None => self.totals.ports_unlisted += 1,
        }
        let (failures, wall) = (counts.into(), at.wall);
        self.tally(source, &SourceTally { contacts: 1, failures, first: wall, last: wall, session: 0 });
    }

    /// Takes note of when a source became a suspect: of one that is known by signals alone nothing else tells when.
    pub(super) fn suspected(&mut self, source: SourceKey, at: Moment) {
        self.hear(at);
        self.tally(source, &SourceTally { first: at.wall, last: at.wall, ..SourceTally::default() });
    }

    /// Adds contacts of which it is not known any more what they asked for.
    pub(super) fn contacts_untold(&mut self, source: SourceKey, tally: &SourceTally) {
        self.totals.contacts += tally.contacts;
        self.totals.failures += tally.failures;
        self.totals.ports_unlisted += tally.contacts;
        self.first = self.first.min(tally.first);
        self.tally(source, tally);
    }

    fn tally(&mut self, source: SourceKey, more: &SourceTally) {
        let key = Listed::from(source);
        if self.sources.contains(&key)
            && let Some(tally) = self.sources.change(&key, MOST_SOURCES)
        {
            tally.add(more);
        }
    }

    pub(super) fn answered(&mut self, asked: ContactKind, port: u16, answer: Answer, at: Moment) {
        self.hear(at);
        self.totals.answers += 1;
        let key = AnswerKey { asked: asked as u8, port, answer: answer as u8 };
        if let Some(answers) = self.answers.change(&key, MOST_LINES) {
            *answers += 1;
        }
    }

    /// Takes note that a source had a session that began then. Whatever it is, it does not keep the incident open.
    pub(super) fn met(&mut self, source: SourceKey, at: Moment) {
        let key = Listed::from(source);
        let Some(tally) = self.sources.get(&key).filter(|tally| tally.contacts > 0 && tally.first < at.wall) else {
            return;
        };
        if tally.session == 0 || tally.session + JITTER_MS < at.wall {
            (self.totals.with_sessions, self.changed) =
                (self.totals.with_sessions + u64::from(tally.session == 0), true);
            if let Some(tally) = self.sources.change(&key, MOST_SOURCES) {
                tally.session = at.wall;
            }
        }
    }

    pub(super) fn completed(&mut self, at: Moment) {
        self.hear(at);
        self.totals.decoys += 1;
    }

    pub(super) fn session(&mut self, class: PortClass, port: u16, at: Moment) {
        self.hear(at);
        self.totals.sessions += 1;
        if let Some(tally) = self.sessions.change(&SessionKey { class: class as u8, port }, MOST_LINES) {
            tally.sessions += 1;
        }
    }

    pub(super) fn session_end(&mut self, class: PortClass, port: u16, [bytes_in, bytes_out]: [u64; 2], at: Moment) {
        self.hear(at);
        let worked = u64::from(bytes_in > END_OF_STREAM && bytes_out > END_OF_STREAM);
        self.totals.worked += worked;
        if let Some(tally) = self.sessions.change(&SessionKey { class: class as u8, port }, MOST_LINES) {
            tally.ended += 1;
            if tally.ended > tally.sessions {
                // All that began in it have ended: this one began before.
                self.totals.sessions += tally.ended - tally.sessions;
                tally.sessions = tally.ended;
            }
            tally.worked += worked;
            tally.bytes_in = sum(tally.bytes_in, bytes_in);
            tally.bytes_out = sum(tally.bytes_out, bytes_out);
        }
    }

    /// Notes what was done. It is our own doing, and does not keep the incident open.
    pub(super) fn done(&mut self, deed: &Deed, at: Moment) {
        self.done_times(deed, &DeedTally { times: 1, first: at.wall, last: at.wall });
    }

    fn done_times(&mut self, deed: &Deed, more: &DeedTally) {
        self.changed = true;
        if let Some(tally) = self.deeds.change(deed, MOST_LINES) {
            tally.first = if tally.times == 0 { more.first } else { tally.first.min(more.first) };
            tally.last = tally.last.max(more.last);
            tally.times += more.times;
        }
    }

    /// Takes in one that turned out to be a part of this one, but for its sources: who owns the tables lists them.
    pub(super) fn absorb(&mut self, part: &Self) {
        self.changed = true;
        self.totals.add(&part.totals);
        self.first = self.first.min(part.first);
        if part.last.ticks > self.last.ticks {
            self.last = part.last;
        }
        for (key, contacts) in part.ports.iter() {
            match self.ports.change(key, MOST_PORTS) {
                Some(sum) => *sum += contacts,
                None => self.totals.ports_unlisted += contacts,
            }
        }
        for (key, answers) in part.answers.iter() {
            if let Some(sum) = self.answers.change(key, MOST_LINES) {
                *sum += answers;
            }
        }
        for (key, tally) in part.sessions.iter() {
            if let Some(sum) = self.sessions.change(key, MOST_LINES) {
                sum.sessions += tally.sessions;
                sum.ended += tally.ended;
                sum.worked += tally.worked;
                sum.bytes_in = self::sum(sum.bytes_in, tally.bytes_in);
                sum.bytes_out = self::sum(sum.bytes_out, tally.bytes_out);
            }
        }
        for (deed, tally) in part.deeds.iter() {
            self.done_times(deed, tally);
        }
        for (source, tally) in part.sources.iter() {
            let counted = self.sources.get(source).is_some_and(|known| known.session > 0);
            self.totals.with_sessions += u64::from(tally.session > 0 && !counted && self.sources.contains(source));
            self.tally((*source).into(), tally);
        }
    }

    /// The ports asked for most, the most first.
    pub(super) fn most_asked(&self) -> Vec<(PortKey, u64)> {
        const TOLD: usize = 8;
        let mut ports = self.ports.all();
        ports.sort_by_key(|(key, contacts)| (std::cmp::Reverse(*contacts), *key));
        ports.truncate(TOLD);
        ports
    }

    /// The services that so many contacts, at least, failed on.
    pub(super) fn asked_for(&self, contacts: u64) -> BTreeSet<Service> {
        let asked = self.ports.iter().filter(|(_, asked)| **asked >= contacts);
        let services = asked
            .filter_map(|(key, _)| service(ContactKind::from_u8(key.asked)?, key.port, Outcome::from_u8(key.outcome)?));
        services.collect()
    }

    pub(super) fn head(&self, id: u64) -> Head {
        Head {
            id,
            cause: self.cause,
            subject: self.subject,
            first: self.first,
            last: self.last.wall,
            opened: self.opened,
            closed: self.closed,
            part_of: None,
            totals: self.totals,
        }
    }

    /// All of it.
    pub(super) fn record(&self, id: u64) -> Record {
        Record {
            head: self.head(id),
            sources: self.sources.all().into_iter().map(|(key, tally)| (key.into(), tally)).collect(),
            ports: self.ports.all(),
            answers: self.answers.all(),
            sessions: self.sessions.all(),
            deeds: self.deeds.all(),
        }
    }

    /// What changed of it since this was last called.
    pub(super) fn take_changed(&mut self, id: u64) -> Record {
        self.changed = false;
        Record {
            head: self.head(id),
            sources: self.sources.take_changed().into_iter().map(|(key, tally)| (key.into(), tally)).collect(),
            ports: self.ports.take_changed(),
            answers: self.answers.take_changed(),
            sessions: self.sessions.take_changed(),
            deeds: self.deeds.take_changed(),
        }
    }
}
