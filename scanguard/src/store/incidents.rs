//! Incidents, with their tables. Times are Unix time in milliseconds.

use std::borrow::Cow;

use rusqlite::{OptionalExtension as _, Params, Row, Statement, Transaction};
use scanguard_common::source::SourceKey;

use super::Store;
use super::error::{StoreError, sqlite};
use super::people::address;
use crate::incidents::{
    AnswerKey, Cause, Deed, DeedTally, Head, PortKey, Record, SessionKey, SessionTally, SourceTally, Totals,
};

/// What is asked of the list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct IncidentQuery {
    /// Only those of which something was heard since.
    pub since: Option<u64>,
    /// Only those that are open, or that are closed.
    pub open: Option<bool>,
    /// At most so many, the latest.
    pub limit: usize,
}

const HEAD: &str = "id, cause, subject, first, last, opened, closed, part_of, sources, contacts, failures, before_suspicion, \
                    answers, decoys, sessions, worked, with_sessions, ports_unlisted, events_lost";

impl Store {
    /// Keeps incidents: sums and rows take the place of those that are kept already, the rest stays. All or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_incidents(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut statements = Statements::prepare(transaction)?;
            records.iter().try_for_each(|record| statements.save(record))
        })
    }

    /// Those that were open, or were opened since then and are no part of another one, whole: the latest so many. And a number higher than
    /// that of any that is kept.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn open_incidents(&self, since: u64, most: usize) -> Result<(Vec<Record>, u64), StoreError> {
        let query = format!(
            "SELECT {HEAD} FROM incident WHERE closed IS NULL OR (opened >= ?1 AND part_of IS NULL) ORDER BY id DESC LIMIT ?2"
        );
        let heads = self.rows_of(&query, (since, i64::try_from(most).unwrap_or(i64::MAX)), head)?;
        let records = heads.into_iter().map(|head| self.whole(head)).collect::<Result<_, _>>()?;
        let last: Option<u64> = self
            .connection
            .query_row("SELECT max(id) FROM incident", (), |row| row.get(0))
            .map_err(sqlite(&self.path, "read"))?;
        Ok((records, last.unwrap_or(0) + 1))
    }

    /// The latest incidents that are no part of another one, the latest first.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn incidents(&self, query: &IncidentQuery) -> Result<Vec<Head>, StoreError> {
        let IncidentQuery { since, open, limit } = *query;
        let wanted = "FROM incident WHERE part_of IS NULL AND (?1 IS NULL OR last >= ?1) AND (?2 IS NULL OR (closed IS NULL) = ?2)";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.rows_of(&format!("SELECT {HEAD} {wanted} ORDER BY id DESC LIMIT ?3"), (since, open, limit), head)
    }

    /// The ports that an incident asked for most, the most first.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn most_asked(&self, id: u64, most: usize) -> Result<Vec<(PortKey, u64)>, StoreError> {
        let query = "SELECT asked, port, outcome, contacts FROM incident_port WHERE incident = ?1 \
                     ORDER BY contacts DESC, asked, port, outcome LIMIT ?2";
        self.rows_of(query, (id, i64::try_from(most).unwrap_or(i64::MAX)), port)
    }

    /// An incident, whole.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn incident(&self, id: u64) -> Result<Option<Record>, StoreError> {
        let query = format!("SELECT {HEAD} FROM incident WHERE id = ?1");
        let found = self.connection.query_row(&query, [id], head).optional().map_err(sqlite(&self.path, "read"))?;
        found.map(|head| self.whole(head)).transpose()
    }

    /// The numbers of the latest incidents that a source was in, the latest first; parts of another one are not among them.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn incidents_of(&self, source: &SourceKey, most: usize) -> Result<Vec<u64>, StoreError> {
        let query = "SELECT incident FROM incident_source JOIN incident ON incident.id = incident_source.incident \
                     WHERE source = ?1 AND part_of IS NULL ORDER BY incident DESC LIMIT ?2";
        self.rows_of(query, (source.0.bytes(), i64::try_from(most).unwrap_or(i64::MAX)), |row| row.get(0))
    }

    /// Forgets those that are closed and older than `before`, and of all the oldest beyond `most`. Returns how many.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget_incidents(&mut self, before: u64, most: usize) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        self.change(|transaction| {
            let old =
                "closed IS NOT NULL AND (last < ?1 OR id NOT IN (SELECT id FROM incident ORDER BY id DESC LIMIT ?2))";
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            for table in TABLES {
                let delete = format!("DELETE FROM {table} WHERE incident IN (SELECT id FROM incident WHERE {old})");
                transaction.execute(&delete, (before, most))?;
            }
            forgotten = transaction.execute(&format!("DELETE FROM incident WHERE {old}"), (before, most))?;
            Ok(())
        })?;
        Ok(forgotten as u64)
    }

    fn whole(&self, head: Head) -> Result<Record, StoreError> {
        let id = [head.id];
        Ok(Record {
            head,
            sources: self.rows_of(
                "SELECT source, contacts, failures, first, last, session FROM incident_source WHERE incident = ?1 ORDER BY source",
                id,
                |row| {
                    let tally = SourceTally {
                        contacts: row.get(1)?,
                        failures: row.get(2)?,
                        first: row.get(3)?,
                        last: row.get(4)?,
                        session: row.get(5)?,
                    };
                    Ok((SourceKey(address(row, 0)?), tally))
                },
            )?,
            ports: self.rows_of(
                "SELECT asked, port, outcome, contacts FROM incident_port WHERE incident = ?1 ORDER BY asked, port, outcome",
                id,
                port,
            )?,
            answers: self.rows_of(
                "SELECT asked, port, answer, answers FROM incident_answer WHERE incident = ?1 ORDER BY asked, port, answer",
                id,
                |row| Ok((AnswerKey { asked: row.get(0)?, port: row.get(1)?, answer: row.get(2)? }, row.get(3)?)),
            )?,
            sessions: self.rows_of(
                "SELECT class, port, sessions, ended, worked, bytes_in, bytes_out FROM incident_session \
                 WHERE incident = ?1 ORDER BY class, port",
                id,
                |row| {
                    let tally = SessionTally {
                        sessions: row.get(2)?,
                        ended: row.get(3)?,
                        worked: row.get(4)?,
                        bytes_in: row.get(5)?,
                        bytes_out: row.get(6)?,
                    };
                    Ok((SessionKey { class: row.get(0)?, port: row.get(1)? }, tally))
                },
            )?,
            deeds: self.rows_of(
                "SELECT action, scope, reason, times, first, last FROM incident_deed WHERE incident = ?1 \
                 ORDER BY first, action, scope, reason",
                id,
                |row| {
                    let text = |column| row.get::<_, String>(column).map(Cow::Owned);
                    let deed = Deed { action: text(0)?, scope: text(1)?, reason: text(2)? };
                    Ok((deed, DeedTally { times: row.get(3)?, first: row.get(4)?, last: row.get(5)? }))
                },
            )?,
        })
    }

    fn rows_of<T>(
        &self,
        query: &str,
        parameters: impl Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let failed = sqlite(&self.path, "read");
        let mut query = self.connection.prepare(query).map_err(&failed)?;
        let rows = query.query_map(parameters, |row| read(row)).map_err(&failed)?;
        rows.collect::<Result<_, _>>().map_err(&failed)
    }
}

/// The tables that hold rows of incidents.
const TABLES: [&str; 5] = ["incident_source", "incident_port", "incident_answer", "incident_session", "incident_deed"];

/// Prepared once for all incidents that are kept together.
struct Statements<'t> {
    head: Statement<'t>,
    source: Statement<'t>,
    port: Statement<'t>,
    answer: Statement<'t>,
    session: Statement<'t>,
    deed: Statement<'t>,
}

impl<'t> Statements<'t> {
    fn prepare(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        let row = |table: &str, columns: &str| {
            let places: Vec<String> = (1..=columns.split(',').count()).map(|place| format!("?{place}")).collect();
            transaction.prepare(&format!("INSERT OR REPLACE INTO {table} ({columns}) VALUES ({})", places.join(", ")))
        };
        Ok(Self {
            head: row("incident", HEAD)?,
            source: row("incident_source", "incident, source, contacts, failures, first, last, session")?,
            port: row("incident_port", "incident, asked, port, outcome, contacts")?,
            answer: row("incident_answer", "incident, asked, port, answer, answers")?,
            session: row("incident_session", "incident, class, port, sessions, ended, worked, bytes_in, bytes_out")?,
            deed: row("incident_deed", "incident, action, scope, reason, times, first, last")?,
        })
    }

    fn save(&mut self, record: &Record) -> rusqlite::Result<()> {
        let Record { head, sources, ports, answers, sessions, deeds } = record;
        let Head { id, cause, subject, first, last, opened, closed, part_of, totals } = *head;
        let (cause, subject) = (cause.label(), subject.map(|subject| subject.0.bytes()));
        self.head.execute(rusqlite::params![
            id,
            cause,
            subject,
            first,
            last,
            opened,
            closed,
            part_of,
            totals.sources,
            totals.contacts,
            totals.failures,
            totals.before_suspicion,
            totals.answers,
            totals.decoys,
            totals.sessions,
            totals.worked,
            totals.with_sessions,
            totals.ports_unlisted,
            totals.events_lost,
        ])?;
        for (source, SourceTally { contacts, failures, first, last, session }) in sources {
            self.source.execute((id, source.0.bytes(), contacts, failures, first, last, session))?;
        }
        for (PortKey { asked, port, outcome }, contacts) in ports {
            self.port.execute((id, asked, port, outcome, contacts))?;
        }
        for (AnswerKey { asked, port, answer }, answers) in answers {
            self.answer.execute((id, asked, port, answer, answers))?;
        }
        for (SessionKey { class, port }, SessionTally { sessions, ended, worked, bytes_in, bytes_out }) in sessions {
            self.session.execute((id, class, port, sessions, ended, worked, bytes_in, bytes_out))?;
        }
        for (Deed { action, scope, reason }, DeedTally { times, first, last }) in deeds {
            self.deed.execute((id, action, scope, reason, times, first, last))?;
        }
        Ok(())
    }
}

fn head(row: &Row<'_>) -> rusqlite::Result<Head> {
    let cause: String = row.get(1)?;
    let subject: Option<[u8; 16]> = row.get(2)?;
    Ok(Head {
        id: row.get(0)?,
        // A newer version's cause is an incident all the same.
        cause: Cause::from_label(&cause).unwrap_or(if subject.is_some() { Cause::Suspect } else { Cause::Rush }),
        subject: subject.map(|_| address(row, 2)).transpose()?.map(SourceKey),
        first: row.get(3)?,
        last: row.get(4)?,
        opened: row.get(5)?,
        closed: row.get(6)?,
        part_of: row.get(7)?,
        totals: Totals {
            sources: row.get(8)?,
            contacts: row.get(9)?,
            failures: row.get(10)?,
            before_suspicion: row.get(11)?,
            answers: row.get(12)?,
            decoys: row.get(13)?,
            sessions: row.get(14)?,
            worked: row.get(15)?,
            with_sessions: row.get(16)?,
            ports_unlisted: row.get(17)?,
            events_lost: row.get(18)?,
        },
    })
}

fn port(row: &Row<'_>) -> rusqlite::Result<(PortKey, u64)> {
    Ok((PortKey { asked: row.get(0)?, port: row.get(1)?, outcome: row.get(2)? }, row.get(3)?))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn source(last: u8) -> SourceKey {
        SourceKey(IpAddr::from([192, 0, 2, last]).into())
    }

    fn record(id: u64, last: u64) -> Record {
        let tally = SourceTally { contacts: 3, failures: 2, first: 1, last, session: 4 };
        Record {
            head: Head {
                id,
                cause: Cause::Suspect,
                subject: Some(source(1)),
                first: 1,
                last,
                opened: 2,
                closed: None,
                part_of: None,
                totals: Totals {
                    sources: 1,
                    contacts: 3,
                    failures: 2,
                    with_sessions: 1,
                    events_lost: 7,
                    ..Totals::default()
                },
            },
            sources: vec![(source(1), tally)],
            ports: vec![
                (PortKey { asked: 0, port: 22, outcome: 2 }, 1),
                (PortKey { asked: 1, port: 53, outcome: 4 }, 2),
            ],
            answers: vec![(AnswerKey { asked: 0, port: 80, answer: 1 }, 4)],
            sessions: vec![(
                SessionKey { class: 1, port: 80 },
                SessionTally { sessions: 5, ended: 4, worked: 3, bytes_in: 2, bytes_out: u64::from(u32::MAX) + 1 },
            )],
            deeds: vec![(
                Deed { action: "block".into(), scope: "private".into(), reason: "proven".into() },
                DeedTally { times: 1, first: 5, last: 6 },
            )],
        }
    }

    #[test]
    fn what_is_kept_comes_back_whole_and_changes_replace_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let mut store = Store::open(&path).expect("a store");
        assert_eq!(store.open_incidents(0, 9).expect("none"), (Vec::new(), 1));
        store.save_incidents(&[record(4, 10)]).expect("saved");
        let change = Record {
            head: record(4, 20).head,
            ports: vec![(PortKey { asked: 1, port: 53, outcome: 4 }, 9)],
            ..Record {
                sources: Vec::new(),
                answers: Vec::new(),
                sessions: Vec::new(),
                deeds: Vec::new(),
                ..record(4, 20)
            }
        };
        store.save_incidents(&[change]).expect("saved");
        drop(store);
        let store = Store::open(&path).expect("a store");
        let mut expected = record(4, 20);
        expected.sources = record(4, 10).sources;
        expected.ports[1].1 = 9;
        assert_eq!(store.open_incidents(9, 9).expect("one"), (vec![expected.clone()], 5));
        assert_eq!(store.incident(4).expect("read"), Some(expected.clone()));
        assert_eq!(store.incident(5).expect("read"), None);
        assert_eq!(store.most_asked(4, 1).expect("read"), [expected.ports[1]]);
        assert_eq!(store.incidents_of(&source(1), 9).expect("read"), [4]);
        assert_eq!(store.incidents_of(&source(2), 9).expect("read"), [0; 0]);
    }

    #[test]
    fn the_list_is_of_the_latest_that_are_no_part_and_as_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("state.db")).expect("a store");
        let mut records = [record(1, 10), record(2, 20), record(3, 30), record(4, 40)];
        records[1].head.closed = Some(25);
        (records[2].head.closed, records[2].head.part_of) = (Some(35), Some(4));
        store.save_incidents(&records).expect("saved");
        let all = IncidentQuery { limit: 10, ..IncidentQuery::default() };
        let list = |query: IncidentQuery| {
            store.incidents(&query).expect("a list").iter().map(|head| head.id).collect::<Vec<_>>()
        };
        assert_eq!(list(all), [4, 2, 1]);
        assert_eq!(list(IncidentQuery { limit: 1, ..all }), [4]);
        assert_eq!(list(IncidentQuery { open: Some(false), ..all }), [2]);
        assert_eq!(list(IncidentQuery { since: Some(20), open: Some(true), ..all }), [4]);
        assert_eq!(store.incidents_of(&source(1), 9).expect("read"), [4, 2, 1]);
        let again = |since, most| {
            let (records, _) = store.open_incidents(since, most).expect("a list");
            records.iter().map(|record| record.head.id).collect::<Vec<_>>()
        };
        assert_eq!((again(2, 9), again(3, 9), again(2, 1)), (vec![4, 2, 1], vec![4, 1], vec![4]));
    }

    #[test]
    fn the_old_and_the_many_are_forgotten_but_none_that_is_open() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("state.db")).expect("a store");
        let closed = |id, last| {
            let mut record = record(id, last);
            record.head.closed = Some(last);
            record
        };
        store
            .save_incidents(&[record(1, 1), closed(2, 2), closed(3, 30), closed(4, 40), closed(5, 50)])
            .expect("saved");
        assert_eq!(store.forget_incidents(10, 100).expect("forgotten"), 1);
        assert_eq!(store.forget_incidents(10, 2).expect("forgotten"), 1);
        let heads = store.incidents(&IncidentQuery { limit: 10, ..IncidentQuery::default() }).expect("a list");
        assert_eq!(heads.iter().map(|head| head.id).collect::<Vec<_>>(), [5, 4, 1]);
        let rows = store.rows("SELECT DISTINCT incident FROM incident_port ORDER BY 1", |row| row.get::<_, u64>(0));
        assert_eq!(rows.expect("rows"), [1, 4, 5]);
    }
}
