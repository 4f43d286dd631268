//! What can be asked about incidents: of the store, and with a daemon of what is open in its memory, which is newer.

use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

use scanguard_common::source::{KeyRules, SourceKey};

use super::error::OperatorError;
use crate::api::{Incident, IncidentList, IncidentState, IncidentsQuery, SCHEMA_VERSION, timestamp};
use crate::incidents::{Brief, Head, Record, told};
use crate::store::{IncidentQuery, Store, StoreError};

/// Incidents that `why` names of a source.
const MOST_OF_SOURCE: usize = 16;

/// The latest incidents. `open` are those in memory with the ports they asked for most.
///
/// # Errors
/// When the store cannot be read.
pub fn list(
    store: Option<&Store>,
    open: &[Brief],
    query: &IncidentsQuery,
    keys: &KeyRules,
    now: SystemTime,
) -> Result<IncidentList, StoreError> {
    let IncidentsQuery { since_s, state, limit } = *query;
    let now_ms = now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let since = since_s.map(|seconds| now_ms.saturating_sub(seconds.saturating_mul(1000)));
    let wanted = IncidentQuery { since, open: state.map(|state| state == IncidentState::Open), limit: usize::MAX };
    let kept = store.map_or(Ok(Vec::new()), |store| store.incidents(&wanted))?;
    let in_memory = |id: u64| open.iter().any(|brief| brief.head.id == id);
    let mut found: Vec<Head> = kept.into_iter().filter(|head| !in_memory(head.id)).collect();
    let is_wanted = |head: &Head| {
        since.is_none_or(|since| head.last >= since) && wanted.open.is_none_or(|open| open == head.closed.is_none())
    };
    found.extend(open.iter().map(|brief| brief.head).filter(is_wanted));
    found.sort_by_key(|head| Reverse(head.id));
    let total = found.len() as u64;
    found.truncate(if limit == 0 { usize::MAX } else { limit });
    let mut incidents = Vec::with_capacity(found.len());
    for head in found {
        let brief = open.iter().find(|brief| brief.head.id == head.id);
        incidents.push(match (brief, store) {
            (None, Some(store)) => told::summary(&head, &store.most_asked(head.id, told::MOST_NAMED)?, keys),
            (brief, _) => told::summary(&head, brief.map_or(&[], |brief| &brief.ports), keys),
        });
    }
    Ok(IncidentList { schema_version: SCHEMA_VERSION, as_of: timestamp(now), total, incidents })
}

/// All of one. `open` is what is in memory of it.
///
/// # Errors
/// When the store cannot be read.
pub fn show(
    store: Option<&Store>,
    open: Option<Record>,
    id: u64,
    keys: &KeyRules,
) -> Result<Option<Incident>, StoreError> {
    let record = match (open, store) {
        (Some(record), _) => Some(record),
        (None, Some(store)) => store.incident(id)?,
        (None, None) => None,
    };
    Ok(record.map(|record| told::incident(&record, keys)))
}

/// There is no such incident.
#[must_use]
pub fn missing(id: u64) -> OperatorError {
    OperatorError::NotFound(format!("there is no incident {id}: `scanguard incidents list` shows which there are"))
}

/// The numbers of those that a source is or was in, the latest first. `open` is the one in memory.
///
/// # Errors
/// When the store cannot be read.
pub fn of_source(store: Option<&Store>, open: Option<u64>, source: &SourceKey) -> Result<Vec<u64>, StoreError> {
    let mut ids = store.map_or(Ok(Vec::new()), |store| store.incidents_of(source, MOST_OF_SOURCE))?;
    ids.extend(open);
    ids.sort_unstable_by_key(|id| Reverse(*id));
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::incidents::{Cause, PortKey, Totals};

    fn record(id: u64, last: u64, closed: bool) -> Record {
        let source = SourceKey(IpAddr::from([203, 0, 113, 66]).into());
        Record {
            head: Head {
                id,
                cause: Cause::Suspect,
                subject: Some(source),
                first: 1,
                last,
                opened: 1,
                closed: closed.then_some(last),
                part_of: None,
                totals: Totals { sources: 1, contacts: id, ..Totals::default() },
            },
            sources: vec![(source, crate::incidents::SourceTally::default())],
            ports: vec![(PortKey { asked: 0, port: 22, outcome: 4 }, id)],
            answers: Vec::new(),
            sessions: Vec::new(),
            deeds: Vec::new(),
        }
    }

    #[test]
    fn what_is_in_memory_is_newer_than_the_store_and_both_are_listed_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("state.db")).expect("a store");
        store.save_incidents(&[record(1, 1000, true), record(2, 2000, false)]).expect("saved");
        let keys = KeyRules::new();
        let now = UNIX_EPOCH + Duration::from_secs(10);
        let newer = |id, contacts| {
            let mut head = record(id, 9000, false).head;
            head.totals.contacts = contacts;
            Brief { head, ports: vec![(PortKey { asked: 1, port: 53, outcome: 4 }, 1)] }
        };
        let ask = |query: IncidentsQuery| {
            list(Some(&store), &[newer(2, 77), newer(3, 5)], &query, &keys, now).expect("a list")
        };
        let ids = |list: &IncidentList| list.incidents.iter().map(|incident| incident.id).collect::<Vec<_>>();
        let all = ask(IncidentsQuery::default());
        assert_eq!((ids(&all), all.total), (vec![3, 2, 1], 3));
        assert_eq!(
            (all.incidents[1].totals.contacts, all.incidents[1].most_asked.as_slice()),
            (77, &["53/udp".to_owned()][..])
        );
        assert_eq!(all.incidents[2].most_asked, ["22/tcp"]);
        let limited = ask(IncidentsQuery { limit: 1, ..IncidentsQuery::default() });
        assert_eq!((ids(&limited), limited.total), (vec![3], 3));
        assert_eq!(ids(&ask(IncidentsQuery { state: Some(IncidentState::Closed), ..IncidentsQuery::default() })), [1]);
        assert_eq!(ids(&ask(IncidentsQuery { since_s: Some(5), limit: 0, ..IncidentsQuery::default() })), [3, 2]);
        assert_eq!(ids(&list(None, &[newer(3, 5)], &IncidentsQuery::default(), &keys, now).expect("a list")), [3]);
        let shown = show(Some(&store), None, 1, &keys).expect("read").expect("it is there");
        assert_eq!((shown.summary.id, shown.ports[0].port), (1, 22));
        assert_eq!(show(Some(&store), None, 9, &keys).expect("read"), None);
        let source = record(1, 1, true).sources[0].0;
        assert_eq!(of_source(Some(&store), Some(3), &source).expect("read"), [3, 2, 1]);
        assert_eq!(of_source(Some(&store), Some(2), &source).expect("read"), [2, 1]);
    }
}
