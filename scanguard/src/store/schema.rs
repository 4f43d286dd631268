//! The tables, and how an older file becomes a newer one.

use std::path::Path;

use rusqlite::Connection;

use super::error::{StoreError, sqlite};

/// Marks a database as ours (`PRAGMA application_id`, sqlite.org/fileformat.html): "sgrd".
const APPLICATION: u32 = 0x7367_7264;

/// Each step makes a version (`PRAGMA user_version`) from the one before; the first makes 1 from nothing. Append only: a step
/// that was released is in somebody's file.
const STEPS: &[&str] = &[
    "
    CREATE TABLE opened (
        protocol INTEGER NOT NULL CHECK (protocol IN (0, 1)), -- TCP, UDP
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
        last_seen INTEGER NOT NULL CHECK (last_seen >= 0), -- Unix time in seconds
        PRIMARY KEY (protocol, port)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE facts (
        key TEXT NOT NULL PRIMARY KEY,
        value ANY NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE allow (
        prefix TEXT NOT NULL PRIMARY KEY,
        name TEXT,
        comment TEXT,
        since INTEGER NOT NULL CHECK (since >= 0), -- Unix time in milliseconds, as below
        expires INTEGER CHECK (expires >= 0) -- none for never
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE block (
        prefix TEXT NOT NULL PRIMARY KEY,
        scope TEXT NOT NULL,
        origin TEXT NOT NULL,
        hard INTEGER NOT NULL CHECK (hard IN (0, 1)),
        reason TEXT,
        since INTEGER NOT NULL CHECK (since >= 0),
        expires INTEGER CHECK (expires >= 0)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE mode (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        mode TEXT NOT NULL,
        configured TEXT NOT NULL, -- what the configuration said when this was set
        reverts INTEGER CHECK (reverts >= 0) -- when enforcing ends unless it is confirmed
    ) STRICT;
    CREATE TABLE recurrence (
        source TEXT NOT NULL PRIMARY KEY,
        ended INTEGER NOT NULL CHECK (ended >= 0), -- the latest automatic block
        times INTEGER NOT NULL CHECK (times > 0)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE known (
        source BLOB NOT NULL CHECK (length(source) = 16), -- an IPv6 prefix, or an IPv4 address mapped
        restricted INTEGER NOT NULL CHECK (restricted IN (0, 1)), -- on public ports, on restricted ones
        sessions INTEGER NOT NULL CHECK (sessions > 0),
        days BLOB NOT NULL CHECK (length(days) = 16), -- one bit a day, the lowest the day of the last session
        first INTEGER NOT NULL CHECK (first >= 0), -- Unix time in seconds
        last INTEGER NOT NULL CHECK (last >= 0),
        counted INTEGER NOT NULL CHECK (counted >= 0), -- what the kernel had counted
        PRIMARY KEY (source, restricted)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE answering (
        address BLOB NOT NULL CHECK (length(address) = 16),
        protocol INTEGER NOT NULL CHECK (protocol BETWEEN 0 AND 2), -- TCP, UDP, ICMP
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
        last_seen INTEGER NOT NULL CHECK (last_seen >= 0), -- Unix time in seconds
        PRIMARY KEY (address, protocol, port)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE question (
        source BLOB NOT NULL PRIMARY KEY CHECK (length(source) = 16),
        scope TEXT NOT NULL,
        doubt TEXT NOT NULL, -- why it is not done without a person
        people INTEGER NOT NULL CHECK (people >= 0),
        lasts INTEGER NOT NULL CHECK (lasts >= 0), -- milliseconds
        ports TEXT NOT NULL, -- of the decoys that are proof, as JSON
        since INTEGER NOT NULL CHECK (since >= 0), -- Unix time in milliseconds, as below
        expires INTEGER NOT NULL CHECK (expires >= 0)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE denied (
        source BLOB NOT NULL PRIMARY KEY CHECK (length(source) = 16),
        until INTEGER NOT NULL CHECK (until >= 0)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE decoy (
        source BLOB NOT NULL CHECK (length(source) = 16),
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
        completed INTEGER NOT NULL CHECK (completed >= 0),
        PRIMARY KEY (source, port)
    ) STRICT, WITHOUT ROWID;
",
    "
    -- Times are Unix time in milliseconds; protocols, outcomes, answers and classes are numbers of the enums of scanguard-common.
    CREATE TABLE incident (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id > 0),
        cause TEXT NOT NULL,
        subject BLOB CHECK (length(subject) = 16), -- the source or network; none of a campaign
        first INTEGER NOT NULL CHECK (first >= 0),
        last INTEGER NOT NULL CHECK (last >= 0),
        opened INTEGER NOT NULL CHECK (opened >= 0),
        closed INTEGER CHECK (closed >= 0), -- none while it is open
        part_of INTEGER, -- the incident that it turned out to be a part of
        sources INTEGER NOT NULL,
        contacts INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        before_suspicion INTEGER NOT NULL,
        answers INTEGER NOT NULL,
        decoys INTEGER NOT NULL,
        sessions INTEGER NOT NULL,
        worked INTEGER NOT NULL,
        with_sessions INTEGER NOT NULL,
        ports_unlisted INTEGER NOT NULL,
        events_lost INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE incident_source (
        incident INTEGER NOT NULL,
        source BLOB NOT NULL CHECK (length(source) = 16),
        contacts INTEGER NOT NULL,
        failures INTEGER NOT NULL,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        session INTEGER NOT NULL, -- the latest that began after the first contact; 0 for none
        PRIMARY KEY (incident, source)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX incident_by_source ON incident_source (source, incident);
    CREATE TABLE incident_port (
        incident INTEGER NOT NULL,
        asked INTEGER NOT NULL,
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
        outcome INTEGER NOT NULL,
        contacts INTEGER NOT NULL,
        PRIMARY KEY (incident, asked, port, outcome)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE incident_answer (
        incident INTEGER NOT NULL,
        asked INTEGER NOT NULL,
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
        answer INTEGER NOT NULL,
        answers INTEGER NOT NULL,
        PRIMARY KEY (incident, asked, port, answer)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE incident_session (
        incident INTEGER NOT NULL,
        class INTEGER NOT NULL,
        port INTEGER NOT NULL CHECK (port BETWEEN 0 AND 65535),
        sessions INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        worked INTEGER NOT NULL,
        bytes_in INTEGER NOT NULL,
        bytes_out INTEGER NOT NULL,
        PRIMARY KEY (incident, class, port)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE incident_deed (
        incident INTEGER NOT NULL,
        action TEXT NOT NULL, -- conceal, or an action of the policy
        scope TEXT NOT NULL, -- of a block, else empty
        reason TEXT NOT NULL,
        times INTEGER NOT NULL CHECK (times > 0),
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        PRIMARY KEY (incident, action, scope, reason)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again
        at INTEGER NOT NULL CHECK (at >= 0), -- Unix time in milliseconds, as below
        uid INTEGER, -- who asked, as the kernel says of the other end of the socket
        pid INTEGER,
        user TEXT,
        program TEXT,
        verb TEXT NOT NULL,
        arguments TEXT NOT NULL, -- a JSON object
        result TEXT NOT NULL, -- done, or the code of a refusal
        detail TEXT
    ) STRICT;
    CREATE INDEX audit_by_time ON audit(at);
    CREATE TABLE audit_retention (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        rows INTEGER NOT NULL CHECK (rows > 0),
        days INTEGER NOT NULL CHECK (days > 0)
    ) STRICT;
    INSERT INTO audit_retention (only, rows, days) VALUES (1, 100000, 400);
    CREATE TRIGGER audit_is_not_altered BEFORE UPDATE ON audit BEGIN
        SELECT RAISE(ABORT, 'the audit is append-only');
    END;
    CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number) BEGIN
        SELECT RAISE(ABORT, 'the audit is append-only');
    END;
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    WHEN OLD.number > (SELECT max(number) FROM audit) - (SELECT rows FROM audit_retention)
        AND OLD.at >= (unixepoch() - (SELECT days FROM audit_retention) * 86400) * 1000 BEGIN
        SELECT RAISE(ABORT, 'the audit is append-only: this record has not had its time');
    END;
    CREATE TABLE life ( -- of verdicts
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL CHECK (at >= 0),
        prefix TEXT NOT NULL,
        event TEXT NOT NULL CHECK (event IN ('begin', 'change', 'end')),
        scope TEXT NOT NULL,
        origin TEXT NOT NULL,
        hard INTEGER NOT NULL CHECK (hard IN (0, 1)),
        reason TEXT, -- of the verdict
        expires INTEGER CHECK (expires >= 0),
        why TEXT NOT NULL -- this happened
    ) STRICT;
    CREATE INDEX life_by_prefix ON life(prefix, number);
    CREATE INDEX life_by_time ON life(at);
",
    "
    -- What the block would be for; of a question of before it follows from the scope.
    ALTER TABLE question ADD COLUMN reason TEXT;
",
    "
    CREATE TABLE life_of_now ( -- of verdicts, and of questions whether there is to be one
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL CHECK (at >= 0),
        prefix TEXT NOT NULL,
        event TEXT NOT NULL CHECK (event IN ('begin', 'change', 'end', 'pending_end')),
        scope TEXT NOT NULL,
        origin TEXT NOT NULL,
        hard INTEGER NOT NULL CHECK (hard IN (0, 1)),
        reason TEXT, -- of the verdict
        expires INTEGER CHECK (expires >= 0),
        why TEXT NOT NULL -- this happened
    ) STRICT;
    INSERT INTO life_of_now SELECT number, at, prefix, event, scope, origin, hard, reason, expires, why FROM life;
    DROP TABLE life;
    ALTER TABLE life_of_now RENAME TO life;
    CREATE INDEX life_by_prefix ON life(prefix, number);
    CREATE INDEX life_by_time ON life(at);
",
    "
    -- What `known` has are sessions. By them alone nobody is known any more: whoever guesses passwords has them, too. A source is known by what
    -- is in these tables, which begin empty, so that everybody shows anew who he is.
    CREATE TABLE known_by_deeds (
        source BLOB NOT NULL PRIMARY KEY CHECK (length(source) = 16),
        login INTEGER NOT NULL CHECK (login >= 0), -- when one was last seen, Unix time in seconds as below; 0 for never
        held_days BLOB NOT NULL CHECK (length(held_days) = 16), -- days with sessions that outlast a login's time, as in `known`
        held_last INTEGER NOT NULL CHECK (held_last >= 0),
        held_counted INTEGER NOT NULL CHECK (held_counted >= 0), -- what the kernel had counted of them
        failed INTEGER NOT NULL CHECK (failed >= 0), -- when a contact last failed
        signalled INTEGER NOT NULL CHECK (signalled >= 0) -- when a log tool last told of a deed that a session backs
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE known_by_operator (
        source BLOB NOT NULL PRIMARY KEY CHECK (length(source) = 16),
        since INTEGER NOT NULL CHECK (since >= 0), -- Unix time in seconds
        until INTEGER CHECK (until >= 0), -- none for ever
        comment TEXT
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE lockdown (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        since INTEGER NOT NULL CHECK (since >= 0), -- Unix time in milliseconds
        until INTEGER NOT NULL CHECK (until >= 0),
        ports TEXT, -- as the configuration writes them, with spaces between; none for all that are restricted
        keep_known INTEGER NOT NULL CHECK (keep_known IN (0, 1))
    ) STRICT;
",
];

/// The newest version.
const NEWEST: u32 = STEPS.len() as u32;

/// Looks at a file without changing it: is it whole, ours, and not from the future?
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = sqlite(path, "read");
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, u32>(0));
    let version = number("user_version").map_err(&failed)?;
    let application = number("application_id").map_err(&failed)?;
    let tables: u32 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(&failed)?;
    let empty = (version, application, tables) == (0, 0, 0);
    if !empty && application != APPLICATION {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if version > NEWEST {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: NEWEST });
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0)).map_err(&failed)?;
    if verdict != "ok" {
        // SQLite puts a line of its own before what it found.
        let reason = verdict.lines().last().unwrap_or_default().to_owned();
        return Err(StoreError::Damaged { path: path.to_owned(), reason });
    }
    Ok(())
}

/// Whether a file is of the newest version, and no empty one.
pub(super) fn is_newest(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = sqlite(path, "read");
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found == NEWEST { Ok(()) } else { Err(StoreError::Older { path: path.to_owned(), found }) }
}

/// Takes the steps that a file lacks, all or none.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = sqlite(path, "bring up to date");
    let steps = connection.transaction().map_err(&failed)?;
    let version: u32 = steps.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&failed)?;
    for (step, made) in STEPS.iter().zip(1_u32..).skip(version as usize) {
        steps.execute_batch(step).map_err(&failed)?;
        steps.pragma_update(None, "user_version", made).map_err(&failed)?;
    }
    if version == 0 {
        steps.pragma_update(None, "application_id", APPLICATION).map_err(&failed)?;
    }
    steps.commit().map_err(&failed)
}
