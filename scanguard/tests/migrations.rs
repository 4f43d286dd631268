//! Files of each earlier version, with data in every table, as the program of that time made them: the present one brings them up to date and
//! loses nothing.
//!
//! What is written here was released. A new version is a new entry; nobody changes an old one.

use std::net::IpAddr;
use std::path::Path;

use rusqlite::Connection;
use scanguard::known::{Ground, People};
use scanguard::store::{Store, StoreError};
use scanguard_common::source::SourceKey;

/// Tables that each version added to the one before, and data in them.
const VERSIONS: &[(&str, &str)] = &[
    (
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
    INSERT INTO opened VALUES (0, 22, 1700000000), (1, 53, 1700000001);
    INSERT INTO facts VALUES ('first_run', 1600000000), ('protecting 198.51.100.0/24', 1650000000);
",
    ),
    (
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
    INSERT INTO allow VALUES ('198.51.100.0/24', 'office', 'a \"comment\"', 5, NULL), ('2001:db8::/32', NULL, NULL, 6, 4102444800000);
    INSERT INTO block VALUES ('203.0.113.9', 'all', 'operator', 1, 'spam', 7, NULL),
        ('203.0.113.10', 'private', 'controller', 0, 'proven', 8, 4102444800000);
    INSERT INTO mode VALUES (1, 'enforce', 'observe', 4102444800000);
    INSERT INTO recurrence VALUES ('203.0.113.10', 9, 3);
",
    ),
    (
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
    INSERT INTO known VALUES (x'00000000000000000000ffffc6120001', 1, 4, x'00000000000000000000000000000005', 10, 11, 12);
    INSERT INTO answering VALUES (x'00000000000000000000ffffc0000210', 0, 443, 13);
",
    ),
    (
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
    INSERT INTO question VALUES (x'00000000000000000000ffffcb00710b', 'all', 'customer', 2, 600000, '[22,23]', 14, 4102444800000);
    INSERT INTO denied VALUES (x'00000000000000000000ffffcb00710c', 4102444800000);
    INSERT INTO decoy VALUES (x'00000000000000000000ffffcb00710b', 22, 15);
",
    ),
    (
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
    INSERT INTO incident VALUES (3, 'suspect', x'00000000000000000000ffffcb007142', 1, 2, 3, NULL, NULL, 1, 20, 19, 4, 5, 0, 0, 0, 0, 0, 0);
    INSERT INTO incident_source VALUES (3, x'00000000000000000000ffffcb007142', 20, 19, 1, 2, 0);
    INSERT INTO incident_port VALUES (3, 0, 22, 4, 1);
    INSERT INTO incident_answer VALUES (3, 0, 22, 1, 1);
    INSERT INTO incident_session VALUES (3, 0, 80, 1, 1, 0, 10, 20);
    INSERT INTO incident_deed VALUES (3, 'conceal', '', 'closed', 1, 2, 2);
",
    ),
    (
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
    INSERT INTO audit (at, uid, verb, arguments, result) VALUES (unixepoch() * 1000, 0, 'mode', '{}', 'done');
    INSERT INTO life (at, prefix, event, scope, origin, hard, why)
        VALUES (unixepoch() * 1000, '203.0.113.9', 'begin', 'all', 'operator', 1, 'an operator wanted it');
",
    ),
    (
        "
    -- What the block would be for; of a question of before it follows from the scope.
    ALTER TABLE question ADD COLUMN reason TEXT;
",
        "
    INSERT INTO question (source, scope, doubt, people, lasts, ports, since, expires, reason)
        VALUES (x'00000000000000000000ffffcb007143', 'all', 'max_auto_level', 0, 600000, '[]', 14, 4102444800000, 'signal');
",
    ),
    (
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
    INSERT INTO life (at, prefix, event, scope, origin, hard, why)
        VALUES (unixepoch() * 1000, '203.0.113.9', 'pending_end', 'all', 'controller', 0, 'nobody said');
",
    ),
    (
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
    INSERT INTO known_by_deeds
        VALUES (x'00000000000000000000ffffc6120001', 16, x'00000000000000000000000000000003', 17, 2, 18, 19);
    INSERT INTO known_by_operator VALUES (x'00000000000000000000ffffc6120002', 20, NULL, 'a backup'),
        (x'00000000000000000000ffffc6120003', 21, 4102444800, NULL);
",
    ),
    (
        "
    CREATE TABLE lockdown (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        since INTEGER NOT NULL CHECK (since >= 0), -- Unix time in milliseconds
        until INTEGER NOT NULL CHECK (until >= 0),
        ports TEXT, -- as the configuration writes them, with spaces between; none for all that are restricted
        keep_known INTEGER NOT NULL CHECK (keep_known IN (0, 1))
    ) STRICT;
",
        "
    INSERT INTO lockdown VALUES (1, 1, 4102444800000, '22 53/udp', 1);
",
    ),
];

/// "sgrd", by which the file is told from other databases.
const APPLICATION: u32 = 0x7367_7264;

/// Makes a file of a version.
fn make(path: &Path, version: usize) {
    let file = Connection::open(path).expect("a database");
    file.pragma_update(None, "journal_mode", "wal").expect("a log");
    for (tables, data) in &VERSIONS[..version] {
        file.execute_batch(tables).expect("tables");
        file.execute_batch(data).expect("data");
    }
    file.pragma_update(None, "user_version", version as u32).expect("a version");
    file.pragma_update(None, "application_id", APPLICATION).expect("a mark");
}

/// All tables, indices and triggers as they were made.
fn schema(path: &Path) -> Vec<(String, String)> {
    let file = Connection::open(path).expect("a database");
    let mut query =
        file.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").expect("a question");
    let words = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = query.query_map((), |row| Ok((row.get(0)?, words(row.get(1)?)))).expect("an answer");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// What is in every table, but for the times of what only grows.
fn contents(path: &Path) -> Vec<(String, Vec<String>)> {
    let file = Connection::open(path).expect("a database");
    let mut tables = file
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name")
        .expect("a question");
    let names: Vec<String> =
        tables.query_map((), |row| row.get(0)).expect("an answer").collect::<Result<_, _>>().expect("names");
    let content = |name: &String| {
        let mut query = file.prepare(&format!("SELECT * FROM {name}")).expect("a question");
        let columns = query.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|column| Ok(format!("{:?}", row.get_ref(column)?))).collect::<Result<Vec<_>, _>>()
        };
        let rows = query.query_map((), row).expect("an answer");
        rows.map(|row| row.expect("a row").join(" ")).collect()
    };
    names.iter().map(|name| (name.clone(), content(name))).collect()
}

#[test]
fn a_file_of_each_version_is_brought_up_to_date_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let fresh = folder.path().join("fresh.db");
    drop(Store::open(&fresh).expect("a new file"));
    let newest = schema(&fresh);
    for version in 1..=VERSIONS.len() {
        let path = folder.path().join(format!("{version}.db"));
        make(&path, version);
        let before = contents(&path);
        assert!(
            before.iter().filter(|(name, _)| name != "audit_retention").all(|(_, rows)| !rows.is_empty()),
            "{before:?}"
        );
        drop(Store::open(&path).unwrap_or_else(|error| panic!("version {version}: {error}")));
        let after = contents(&path);
        for (name, rows) in before {
            let kept = after.iter().find(|(kept, _)| *kept == name).map(|(_, rows)| rows.clone()).unwrap_or_default();
            // A column that came later has nothing in it.
            let kept: Vec<&str> = kept.iter().map(|row| row.trim_end_matches(" Null")).collect();
            let rows: Vec<&str> = rows.iter().map(|row| row.trim_end_matches(" Null")).collect();
            assert_eq!(kept, rows, "version {version}, table {name}");
        }
        assert_eq!(schema(&path), newest, "version {version} is now as a new file is");
        drop(Store::open(&path).expect("it opens again"));
    }
}

#[test]
fn what_earlier_versions_kept_is_read_as_it_was_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.db");
    make(&path, 5);
    let mut store = Store::open(&path).expect("a file");
    let prefixes = |list: Vec<String>| list.join(" ");
    let allowed = store.load_allow().expect("a list").into_iter().map(|entry| entry.prefix);
    assert_eq!(prefixes(allowed.collect()), "198.51.100.0/24 2001:db8::/32");
    let blocked = store.load_blocks().expect("a list").into_iter().map(|entry| entry.prefix);
    assert_eq!(prefixes(blocked.collect()), "203.0.113.10 203.0.113.9");
    assert_eq!(store.load_mode().expect("a mode").map(|mode| mode.mode).as_deref(), Some("enforce"));
    assert_eq!(store.load_recurrences().expect("a list")[0].times, 3);
    assert_eq!(store.load_known().expect("a list")[0].1.restricted.sessions, 4);
    assert_eq!((store.load_answering().expect("a list").len(), store.load_opened().expect("a list").len()), (1, 2));
    assert_eq!(store.load_questions().expect("a list")[0].ports, [22, 23]);
    assert_eq!((store.load_denials().expect("a list").len(), store.load_decoys().expect("a list").len()), (1, 1));
    assert_eq!(store.open_incidents(0, 10).expect("a list").1, 4);
    assert_eq!(store.first_run(1_800_000_000).expect("a time"), 1_600_000_000);
    assert!(store.audit(0, 10).expect("a list").is_empty());
}

#[test]
fn who_was_known_by_sessions_alone_shows_anew_who_he_is_and_what_is_counted_of_him_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let people = |version: usize| {
        let path = folder.path().join(format!("{version}.db"));
        make(&path, version);
        let store = Store::open(&path).expect("a file");
        People::remembered(store.load_known().expect("a list"), store.load_added().expect("a list"))
    };
    let worker = SourceKey(IpAddr::from([0xc6, 0x12, 0, 1]).into());
    let earlier = people(8);
    assert_eq!(earlier.until(&worker), 0, "nobody is known by what made known before");
    let person = earlier.get(&worker).expect("his sessions");
    assert_eq!((person.restricted.sessions, person.restricted.days), (4, 5));
    // What later versions know by stays.
    let later = people(9);
    assert_eq!((later.grounds(&worker, 100), later.all_known(100).count()), (vec![Ground::Login, Ground::Sessions], 3));
}

#[test]
fn a_step_that_fails_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state.db");
    make(&path, 1);
    // Something of the same name is in the way of the second step.
    let file = Connection::open(&path).expect("a database");
    file.execute_batch("CREATE TABLE recurrence (x)").expect("a table");
    drop(file);
    let before = (schema(&path), contents(&path));
    let error = Store::open(&path).expect_err("it cannot be brought up to date");
    assert!(matches!(error, StoreError::Sqlite { what: "bring up to date", .. }), "{error:?}");
    assert_eq!((schema(&path), contents(&path)), before);
}
