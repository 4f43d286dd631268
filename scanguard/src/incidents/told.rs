//! Incidents as they are told: the types of [`crate::api`].

use std::cmp::Reverse;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scanguard_common::class::PortClass;
use scanguard_common::contact::{ContactKind, Outcome};
use scanguard_common::event::Answer;
use scanguard_common::source::{KeyRules, SourceKey};

use super::incident::{Head, Kind, PortKey, Record};
use crate::api::{
    Incident, IncidentAnswer, IncidentDeed, IncidentPort, IncidentSessions, IncidentSource, IncidentState,
    IncidentSummary, IncidentTotals, SCHEMA_VERSION, timestamp,
};

/// Ports named in brief.
pub const MOST_NAMED: usize = 6;

/// An incident in brief.
#[must_use]
pub fn summary(head: &Head, ports: &[(PortKey, u64)], keys: &KeyRules) -> IncidentSummary {
    let Head { id, cause, subject, first, last, opened, closed, part_of, totals } = *head;
    IncidentSummary {
        id,
        kind: cause.kind().label().to_owned(),
        cause: cause.label().to_owned(),
        subject: subject.map(|subject| display(cause.kind(), subject, keys)),
        state: if closed.is_some() { IncidentState::Closed } else { IncidentState::Open },
        first_seen: time(first),
        last_seen: time(last),
        opened_at: time(opened),
        closed_at: closed.map(time),
        part_of,
        most_asked: named(ports),
        totals: IncidentTotals {
            sources: totals.sources,
            contacts: totals.contacts,
            failures: totals.failures,
            before_suspicion: totals.before_suspicion,
            answers: totals.answers,
            decoys_completed: totals.decoys,
            sessions: totals.sessions,
            worked: totals.worked,
            sources_with_sessions: totals.with_sessions,
            events_lost: totals.events_lost,
        },
    }
}

/// All of an incident.
#[must_use]
pub fn incident(record: &Record, keys: &KeyRules) -> Incident {
    let Record { head, sources, ports, answers, sessions, deeds } = record;
    let mut by_contacts = ports.clone();
    by_contacts.sort_by_key(|(key, contacts)| (Reverse(*contacts), *key));
    let mut listed: Vec<_> = sources.iter().collect();
    listed.sort_by_key(|(source, tally)| (Reverse(tally.contacts), source.0.bytes()));
    let mut in_order: Vec<_> = deeds.iter().collect();
    in_order.sort_by_key(|(deed, tally)| (tally.first, deed));
    Incident {
        schema_version: SCHEMA_VERSION,
        summary: summary(head, &by_contacts, keys),
        sources: listed
            .into_iter()
            .map(|(source, tally)| {
                // Kept by an earlier version of a source without contacts: no more is known than when the incident was.
                let [first, last] = if tally.first == 0 { [head.first, head.last] } else { [tally.first, tally.last] };
                IncidentSource {
                    source: keys.display(*source).to_string(),
                    contacts: tally.contacts,
                    failures: tally.failures,
                    first_seen: time(first),
                    last_seen: time(last),
                    last_session: (tally.session > 0).then(|| time(tally.session)),
                }
            })
            .collect(),
        sources_unlisted: head.totals.sources.saturating_sub(sources.len() as u64),
        ports: by_contacts
            .iter()
            .map(|(key, contacts)| IncidentPort {
                proto: protocol(key.asked),
                port: key.port,
                outcome: Outcome::from_u8(key.outcome).map_or("unknown", Outcome::label).to_owned(),
                contacts: *contacts,
            })
            .collect(),
        ports_unlisted: head.totals.ports_unlisted,
        answered: answers
            .iter()
            .map(|(key, answers)| IncidentAnswer {
                proto: protocol(key.asked),
                port: key.port,
                answer: Answer::from_u8(key.answer).map_or("unknown", Answer::label).to_owned(),
                answers: *answers,
            })
            .collect(),
        sessions: sessions
            .iter()
            .map(|(key, tally)| IncidentSessions {
                ports: PortClass::from_u8(key.class).label().to_owned(),
                port: key.port,
                sessions: tally.sessions,
                ended: tally.ended,
                worked: tally.worked,
                bytes_in: tally.bytes_in,
                bytes_out: tally.bytes_out,
            })
            .collect(),
        done: in_order
            .into_iter()
            .map(|(deed, tally)| {
                let (action, carried_out) = deed.told();
                IncidentDeed {
                    action: action.to_owned(),
                    carried_out,
                    scope: Some(deed.scope.to_string()).filter(|scope| !scope.is_empty()),
                    reason: deed.reason.to_string(),
                    times: tally.times,
                    first: time(tally.first),
                    last: time(tally.last),
                }
            })
            .collect(),
    }
}

/// Ports as people write them, the first few, each once.
#[must_use]
pub fn named(ports: &[(PortKey, u64)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (key, _) in ports {
        let name = format!("{}/{}", key.port, protocol(key.asked));
        if names.len() < MOST_NAMED && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whose doing an incident of this kind is, as people write it.
#[must_use]
pub fn display(kind: Kind, subject: SourceKey, keys: &KeyRules) -> String {
    match kind {
        Kind::Network => KeyRules::display_network(subject).to_string(),
        Kind::Source | Kind::Campaign => keys.display(subject).to_string(),
    }
}

fn protocol(asked: u8) -> String {
    ContactKind::from_u8(asked).map_or("unknown", ContactKind::label).to_owned()
}

fn time(wall: u64) -> String {
    timestamp(UNIX_EPOCH.checked_add(Duration::from_millis(wall)).unwrap_or(SystemTime::UNIX_EPOCH))
}
