//! What only grows: who asked for what (the audit), and the lives of verdicts. Times are Unix time in milliseconds.
//!
//! The audit is append-only: triggers refuse to alter a record, and to delete one before its time. That keeps programs honest, this one first
//! of all; whoever may write the file as root can do what he likes, so what must be out of his reach belongs in a log of another machine.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::Row;

use super::Store;
use super::error::{StoreError, sqlite};

/// Entries that wait in memory at most while the file fails.
pub(super) const MOST_WAITING: usize = 10_000;
/// From so many waiting entries on, requests that take something away are refused: what comes after them may find no
/// room.
pub(super) const MANY_WAITING: u64 = 8000;
/// Entries that are written at once: other work gets its turn between.
const AT_ONCE: usize = 512;

/// For how long what only grows is kept: what is beyond either of a pair goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Records of the audit.
    pub audit_rows: u32,
    /// Days of the audit.
    pub audit_days: u32,
    /// Events in the lives of verdicts.
    pub history_rows: u32,
    /// Days of them.
    pub history_days: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { audit_rows: 100_000, audit_days: 400, history_rows: 200_000, history_days: 90 }
    }
}

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// Somebody asked for something.
    Audit(AuditRecord),
    /// A verdict began, changed or ended.
    Life(LifeEvent),
}

/// Who asked for what, and what he got.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuditRecord {
    /// When it was done.
    pub at: u64,
    /// The user's number, as the kernel says of the other end of the socket.
    pub uid: Option<u32>,
    /// The process' number, likewise.
    pub pid: Option<i32>,
    /// The user's name, where there is one.
    pub user: Option<String>,
    /// The name of the program (`/proc/PID/comm`).
    pub program: Option<String>,
    /// What was asked for, in the words of the command line.
    pub verb: String,
    /// With what: a JSON object.
    pub arguments: String,
    /// `done`, or why not: the code of a refusal.
    pub result: String,
    /// What was said to that.
    pub detail: Option<String>,
}

/// Something in the life of a verdict.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LifeEvent {
    /// When.
    pub at: u64,
    /// Whom it is about, as people write it.
    pub prefix: String,
    /// `begin`, `change` or `end`.
    pub event: String,
    /// The verdict's scope.
    pub scope: String,
    /// `operator` or `controller`.
    pub origin: String,
    /// Whether established connections were cut too.
    pub hard: bool,
    /// Why the verdict is.
    pub reason: Option<String>,
    /// Until when it was to be; none for until it is removed.
    pub expires: Option<u64>,
    /// Why this happened.
    pub why: String,
}

/// What waits to be written. Each entry has a number, one more than the one before.
#[derive(Clone, Debug)]
pub struct Journal {
    waiting: VecDeque<Arc<Entry>>,
    /// The number of the oldest that waits, or of the next to come.
    first: u64,
    /// The number of the last that was written.
    written: u64,
    lost: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), first: 1, written: 0, lost: 0 }
    }
}

impl Journal {
    /// Adds one; where too many wait the oldest is lost, of which it gives the number.
    pub(super) fn push(&mut self, entry: Entry) -> Option<u64> {
        let is_full = self.waiting.len() >= MOST_WAITING;
        let lost = is_full.then_some(self.first);
        if is_full {
            self.waiting.pop_front();
            (self.first, self.lost) = (self.first + 1, self.lost + 1);
            if self.lost.is_power_of_two() {
                let lost = self.lost;
                tracing::error!(lost, "records are lost: the state file has failed for so long that no more can wait");
            }
        }
        self.waiting.push_back(Arc::new(entry));
        lost
    }

    /// The number of the last that was written.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// The number of the last that came.
    pub(super) fn last(&self) -> u64 {
        self.first + self.waiting.len() as u64 - 1
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many were lost since the start, for there were too many.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// The oldest ones, and the number of the last of them.
    pub(super) fn oldest(&self) -> (Vec<Arc<Entry>>, u64) {
        let oldest: Vec<_> = self.waiting.iter().take(AT_ONCE).cloned().collect();
        let last = self.first + oldest.len() as u64 - 1;
        (oldest, last)
    }

    /// Those up to this one are written. (One that had to make room while it was written counts as lost, though it is
    /// not.)
    pub(super) fn forget_through(&mut self, last: u64) {
        self.written = last;
        while self.first <= last && self.waiting.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// What waits, the oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Entry> {
        self.waiting.iter().map(|entry| &**entry)
    }
}

impl Store {
    /// Adds what happened, all or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record<'e>(&mut self, entries: impl Iterator<Item = &'e Entry>) -> Result<(), StoreError> {
        self.change(|transaction| {
            let mut audit = transaction.prepare(
                "INSERT INTO audit (at, uid, pid, user, program, verb, arguments, result, detail) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            let mut life = transaction.prepare(
                "INSERT INTO life (at, prefix, event, scope, origin, hard, reason, expires, why) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            for entry in entries {
                match entry {
                    Entry::Audit(AuditRecord { at, uid, pid, user, program, verb, arguments, result, detail }) => {
                        audit.execute((at, uid, pid, user, program, verb, arguments, result, detail))?;
                    }
                    Entry::Life(LifeEvent { at, prefix, event, scope, origin, hard, reason, expires, why }) => {
                        life.execute((at, prefix, event, scope, origin, hard, reason, expires, why))?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The latest records of the audit since a time, the oldest of them first, with their numbers.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn audit(&self, since: u64, limit: u32) -> Result<Vec<(u64, AuditRecord)>, StoreError> {
        let failed = sqlite(&self.path, "read");
        let query = "SELECT number, at, uid, pid, user, program, verb, arguments, result, detail FROM audit \
                     WHERE at >= ?1 ORDER BY number DESC LIMIT ?2";
        let mut query = self.connection.prepare(query).map_err(&failed)?;
        let rows = query.query_map((since, limit), audit_record).map_err(&failed)?;
        let mut records: Vec<_> = rows.collect::<Result<_, _>>().map_err(&failed)?;
        records.reverse();
        Ok(records)
    }

    /// The latest events in the lives of verdicts since a time, on one prefix or all, the oldest of them first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn lives(&self, prefix: Option<&str>, since: u64, limit: u32) -> Result<Vec<LifeEvent>, StoreError> {
        let failed = sqlite(&self.path, "read");
        let query = "SELECT at, prefix, event, scope, origin, hard, reason, expires, why FROM life \
                     WHERE at >= ?1 AND (?2 IS NULL OR prefix = ?2) ORDER BY number DESC LIMIT ?3";
        let mut query = self.connection.prepare(query).map_err(&failed)?;
        let rows = query.query_map((since, prefix, limit), life_event).map_err(&failed)?;
        let mut events: Vec<_> = rows.collect::<Result<_, _>>().map_err(&failed)?;
        events.reverse();
        Ok(events)
    }

    /// Takes out what is older than it is to be kept, or too much.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn trim(&mut self, limits: &Limits) -> Result<(), StoreError> {
        let Limits { audit_rows, audit_days, history_rows, history_days } = *limits;
        self.change(|transaction| {
            // The triggers ask this table which records have had their time.
            transaction.execute(
                "INSERT OR REPLACE INTO audit_retention (only, rows, days) VALUES (1, ?1, ?2)",
                (audit_rows, audit_days),
            )?;
            for (table, rows, days) in [("audit", audit_rows, audit_days), ("life", history_rows, history_days)] {
                transaction.execute(
                    &format!(
                        "DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?1 \
                         OR at < (unixepoch() - ?2 * 86400) * 1000"
                    ),
                    (rows, days),
                )?;
            }
            Ok(())
        })
    }
}

fn audit_record(row: &Row<'_>) -> rusqlite::Result<(u64, AuditRecord)> {
    let record = AuditRecord {
        at: row.get(1)?,
        uid: row.get(2)?,
        pid: row.get(3)?,
        user: row.get(4)?,
        program: row.get(5)?,
        verb: row.get(6)?,
        arguments: row.get(7)?,
        result: row.get(8)?,
        detail: row.get(9)?,
    };
    Ok((row.get(0)?, record))
}

fn life_event(row: &Row<'_>) -> rusqlite::Result<LifeEvent> {
    Ok(LifeEvent {
        at: row.get(0)?,
        prefix: row.get(1)?,
        event: row.get(2)?,
        scope: row.get(3)?,
        origin: row.get(4)?,
        hard: row.get(5)?,
        reason: row.get(6)?,
        expires: row.get(7)?,
        why: row.get(8)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    const DAY: u64 = 86_400_000;

    fn now() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        u64::try_from(since.as_millis()).expect("this age")
    }

    fn audit(at: u64, verb: &str) -> Entry {
        let arguments = "{}".to_owned();
        Entry::Audit(AuditRecord { at, verb: verb.into(), arguments, result: "done".into(), ..AuditRecord::default() })
    }

    fn verbs(store: &Store) -> Vec<String> {
        store.audit(0, 100).expect("a list").into_iter().map(|(_, record)| record.verb).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("state.db")).expect("a store");
        (folder, store)
    }

    #[test]
    fn what_happened_is_read_as_it_was_written_the_latest_last() {
        let (_folder, mut store) = store();
        let record = AuditRecord {
            at: 5,
            uid: Some(u32::MAX),
            pid: Some(7),
            user: Some("ann".into()),
            program: Some("scan guard".into()),
            verb: "block add".into(),
            arguments: "{\"prefix\":\"192.0.2.7\"}".into(),
            result: "refused".into(),
            detail: Some("a \"reason\"".into()),
        };
        let life = |prefix: &str, at| LifeEvent {
            at,
            prefix: prefix.into(),
            event: "begin".into(),
            scope: "all".into(),
            origin: "operator".into(),
            why: "an operator".into(),
            ..LifeEvent::default()
        };
        let entries =
            [Entry::Audit(record.clone()), Entry::Life(life("192.0.2.7", 6)), Entry::Life(life("192.0.2.8", 7))];
        store.record(entries.iter()).expect("recorded");
        store.record([audit(9, "mode")].iter()).expect("recorded");
        let found = store.audit(0, 10).expect("a list");
        assert_eq!((found.len(), &found[0]), (2, &(1, record)));
        assert_eq!(store.audit(9, 10).expect("a list")[0].0, 2);
        assert_eq!(store.audit(0, 1).expect("a list")[0].1.verb, "mode");
        assert_eq!(store.lives(None, 0, 10).expect("a list"), [life("192.0.2.7", 6), life("192.0.2.8", 7)]);
        assert_eq!(store.lives(Some("192.0.2.8"), 0, 10).expect("a list"), [life("192.0.2.8", 7)]);
    }

    #[test]
    fn a_record_of_the_audit_is_neither_altered_nor_deleted_before_its_time() {
        let (_folder, mut store) = store();
        store.trim(&Limits { audit_rows: 1000, audit_days: 10, ..Limits::default() }).expect("trimmed");
        store.record([audit(now(), "one"), audit(now(), "two")].iter()).expect("recorded");
        for statement in [
            "UPDATE audit SET verb = 'other'",
            "UPDATE audit SET at = 0",
            "DELETE FROM audit",
            "DELETE FROM audit WHERE number = 1",
            "INSERT OR REPLACE INTO audit (number, at, verb, arguments, result) VALUES (1, 0, 'x', '{}', 'done')",
        ] {
            let error = store.connection.execute(statement, ()).expect_err(statement);
            assert!(error.to_string().contains("append-only"), "{statement}: {error}");
        }
        assert_eq!(verbs(&store), ["one", "two"]);
    }

    #[test]
    fn records_are_kept_for_so_many_days_and_so_many_of_them() {
        let (_folder, mut store) = store();
        let old = [audit(now() - 11 * DAY, "old"), audit(now() - 9 * DAY, "young")];
        store.record(old.iter()).expect("recorded");
        let limits = Limits { audit_rows: 1000, audit_days: 10, ..Limits::default() };
        store.trim(&limits).expect("trimmed");
        assert_eq!(verbs(&store), ["young"]);
        let many: Vec<Entry> = (0..5).map(|number| audit(now(), &number.to_string())).collect();
        store.record(many.iter()).expect("recorded");
        store.trim(&Limits { audit_rows: 3, ..limits }).expect("trimmed");
        assert_eq!(verbs(&store), ["2", "3", "4"]);
        store.record([audit(now(), "next")].iter()).expect("recorded");
        assert_eq!(store.audit(0, 1).expect("a list")[0].0, 8, "numbers are not used again");
    }

    #[test]
    fn what_waits_for_the_disk_is_bounded() {
        let mut journal = Journal::default();
        for number in 0..MOST_WAITING + 2 {
            journal.push(audit(number as u64, "x"));
        }
        assert_eq!((journal.waiting().count(), journal.lost()), (MOST_WAITING, 2));
        assert!(matches!(journal.waiting().next(), Some(Entry::Audit(record)) if record.at == 2));
    }
}
