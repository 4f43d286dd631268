//! What incidents are made of, and when it happened.

use std::borrow::Cow;

use scanguard_common::class::PortClass;
use scanguard_common::contact::{ContactKind, Outcome, family};
use scanguard_common::event::{Answer, Event, EventKind};
use scanguard_common::source::SourceKey;

/// A time on two clocks: one that nobody sets, to measure with, and one that people read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moment {
    /// Milliseconds of a clock that never goes back.
    pub ticks: u64,
    /// Unix time in milliseconds.
    pub wall: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A source asked for something for the first time.
    Contact {
        /// Who.
        source: SourceKey,
        /// What with.
        asked: ContactKind,
        /// The port, or the number of a protocol; else 0.
        port: u16,
        /// What came of it.
        outcome: Outcome,
        /// Whether it counts against the source.
        counts: bool,
    },
    /// A source became a suspect, with the contact told just before.
    Suspect {
        /// Who.
        source: SourceKey,
        /// What came of that contact.
        outcome: Outcome,
    },
    /// A network became a suspect as a whole.
    Network {
        /// Its prefix.
        network: SourceKey,
    },
    /// Suspects arise faster than real ones do.
    Storm,
    /// A suspect was answered.
    Answered {
        /// Who.
        source: SourceKey,
        /// What with.
        asked: ContactKind,
        /// The port.
        port: u16,
        /// What it was told.
        answer: Answer,
    },
    /// A source completed a handshake with a service.
    Session {
        /// Who.
        source: SourceKey,
        /// Class of the port.
        class: PortClass,
        /// The port.
        port: u16,
    },
    /// Such a session ended.
    SessionEnd {
        /// Who.
        source: SourceKey,
        /// Class of the port.
        class: PortClass,
        /// The port.
        port: u16,
        /// Bytes received.
        bytes_in: u64,
        /// Bytes sent, and acknowledged.
        bytes_out: u64,
    },
    /// A source is known to have had a session of whatever kind that began then.
    Met {
        /// Who.
        source: SourceKey,
    },
    /// A source completed a decoy.
    Completed {
        /// Who.
        source: SourceKey,
        /// The port.
        port: u16,
    },
    /// Something was done about a source, or deliberately not.
    Done {
        /// Whom.
        source: SourceKey,
        /// What.
        deed: Deed,
    },
}

/// What was done about a source, by the names that metrics and JSON have for it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Deed {
    /// `conceal`, or an action of the policy: `block`, `ask`, `end`, `defer`, …; behind a mark where it was not
    /// carried out.
    pub action: Cow<'static, str>,
    /// Of a block, or the question whether to: `private` or `all`; else empty.
    pub scope: Cow<'static, str>,
    /// Why.
    pub reason: Cow<'static, str>,
}

/// Before the name of an action that was not carried out because the mode was observe.
const SUPPOSED: &str = "would_";

impl Deed {
    /// The same in mode observe, in which sources are neither concealed nor blocked.
    #[must_use]
    pub fn in_observe(self) -> Self {
        if !["conceal", "block", "storm"].contains(&&*self.action) {
            return self;
        }
        Self { action: format!("{SUPPOSED}{}", self.action).into(), ..self }
    }

    /// The name of the action, and whether it was carried out.
    #[must_use]
    pub fn told(&self) -> (&str, bool) {
        self.action.strip_prefix(SUPPOSED).map_or((&*self.action, true), |action| (action, false))
    }
}

impl Heard {
    /// What an event of the kernel part says; nothing where it says nothing of anybody's doings.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let Event { source, port, .. } = *event;
        let asked = ContactKind::from_u8(event.asked).unwrap_or(ContactKind::Tcp);
        let outcome = Outcome::from_u8(event.outcome).unwrap_or_default();
        let class = PortClass::from_u8(event.class);
        Some(match EventKind::from_u8(event.kind)? {
            EventKind::Contact => Self::Contact { source, asked, port, outcome, counts: event.points > 0 },
            EventKind::Suspect => Self::Suspect { source, outcome },
            EventKind::PrefixSuspect => Self::Network { network: source },
            EventKind::Storm => Self::Storm,
            EventKind::Answered => {
                Self::Answered { source, asked, port, answer: Answer::from_u8(event.answer).unwrap_or_default() }
            }
            EventKind::Session => Self::Session { source, class, port },
            EventKind::SessionEnd => {
                let Event { bytes_in, bytes_out, .. } = *event;
                Self::SessionEnd { source, class, port, bytes_in, bytes_out }
            }
            EventKind::Completed => Self::Completed { source, port },
            EventKind::Opened | EventKind::OpenedElsewhere => return None,
        })
    }
}

/// What a port is for, whatever the protocol: ports that clients try in turn are one service.
pub(super) type Service = u16;

/// The service that a failed contact asked for, where that may tell scanners from customers. Web, mail and telephony do not: when such a
/// service moves away, all its customers go on to ask for it.
pub(super) fn service(asked: ContactKind, port: u16, outcome: Outcome) -> Option<Service> {
    const TRIED_BY_CUSTOMERS: [Service; 3] = [25, 80, 5060];
    let is_port = matches!(asked, ContactKind::Tcp | ContactKind::Udp);
    let is_closed = matches!(outcome, Outcome::Closed | Outcome::Canary);
    let service = family(port);
    (is_port && is_closed && (outcome == Outcome::Canary || !TRIED_BY_CUSTOMERS.contains(&service))).then_some(service)
}
