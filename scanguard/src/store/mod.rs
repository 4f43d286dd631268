//! What outlives the daemon: an SQLite file.
//!
//! | module | does |
//! |---|---|
//! | `schema` | the tables, and how an older file becomes a newer one |
//! | `opened` | ports that were open, and when last |
//! | `decisions` | what was decided: the allowlist, blocks, the mode, a lockdown |
//! | `questions` | what waits for a person, and decoys that may become proof |
//! | `incidents` | scans as a person thinks of them |
//! | `people` | who has worked here, and what answered without a socket here |
//! | `facts` | single facts by name |
//! | `journal` | what only grows: the audit, the lives of verdicts |
//! | [`Archive`] | all of it on a thread of its own, whatever becomes of the disk |
//! | `queue` | what waits for that thread |
//! | `archivist` | that thread |
//! | `watch` | whether somebody else wrote the file |
//! | `aside` | where damaged files go |
//! | `error` | why there is no memory |
//!
//! All calls of [`Store`] block for as long as the disk takes, which is why the daemon has it in an [`Archive`].

mod archive;
mod archivist;
mod aside;
mod decisions;
mod error;
mod facts;
mod incidents;
mod journal;
mod opened;
mod people;
mod questions;
mod queue;
mod schema;
mod watch;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

pub use archive::{Archive, Health, SetAside, Trouble, Unavailable, Unsaved};
pub use decisions::{Decisions, KeptAllow, KeptBlock, KeptLockdown, KeptMode, KeptRecurrence};
use error::sqlite;
pub use error::{StoreError, TroubleKind};
pub use incidents::IncidentQuery;
pub use journal::{AuditRecord, Entry, Journal, LifeEvent, Limits};
pub use opened::Opened;
pub use questions::{KeptDecoy, KeptDenial, KeptQuestion};
pub use queue::Mark;

/// How long a call waits for somebody else who reads or writes the file, a backup for instance.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an SQLite file begins with.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// The open file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Opens the file, or makes it and its directory (for the owner alone, mode 0600; directory 0750). A file of an older
    /// version is brought up to date.
    ///
    /// # Errors
    /// When the file cannot be made or opened, is damaged, belongs to another program or to a newer version of this one.
    /// It is left as it is then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        create(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        if fs::metadata(path).is_ok_and(|found| found.len() > 0) {
            check_header(path)?;
        }
        let failed = |what| sqlite(path, what);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed("open"))?;
        connection.busy_timeout(PATIENCE).map_err(failed("open"))?;
        schema::check(&connection, path)?;
        // With FULL a transaction is on the disk when it is committed, whatever becomes of the machine
        // (sqlite.org/pragma.html#pragma_synchronous). The log is cut back to this size when it has been longer.
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 4194304;")
            .map_err(failed("set up"))?;
        schema::migrate(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Opens a file that is there to read it, on a disk that cannot be written. It must be of this version.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open_to_read(path: &Path) -> Result<Self, StoreError> {
        let open = |immutable: bool| {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let opened = if immutable {
                Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)
            } else {
                Connection::open_with_flags(path, flags)
            };
            let connection = opened.map_err(sqlite(path, "open"))?;
            schema::check(&connection, path)?;
            schema::is_newest(&connection, path)?;
            Ok(Self { path: path.to_owned(), connection })
        };
        // A log that nobody ended is read where there is one. Without one, on such a disk, SQLite wants to be told that nobody else writes.
        open(false).or_else(|_| open(true))
    }

    /// Whether a file is whole and ours, with fresh eyes.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn verify(path: &Path) -> Result<(), StoreError> {
        check_header(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite(path, "open"))?;
        connection.busy_timeout(PATIENCE).map_err(sqlite(path, "open"))?;
        schema::check(&connection, path)?;
        schema::is_newest(&connection, path)
    }

    /// Closes a file that is damaged or gone without touching it: to end its log, as SQLite does otherwise, would write over what is there.
    pub fn abandon(self) {
        let Self { path, connection } = self;
        if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!(%error, file = %path.display(), "the log of a damaged file may be written into it");
        }
    }

    /// From now on the file cannot grow, as on a full disk; or can again.
    #[cfg(test)]
    pub(crate) fn fill_disk(&self, full: bool) -> Result<(), StoreError> {
        let pages: i64 = self
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .map_err(sqlite(&self.path, "read"))?;
        let most = if full { pages } else { i64::from(u32::MAX) - 1 };
        self.connection
            .query_row(&format!("PRAGMA max_page_count = {most}"), (), |_| Ok(()))
            .map_err(sqlite(&self.path, "set up"))
    }

    /// Writes something, to see whether that can be done.
    ///
    /// # Errors
    /// When it cannot.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        self.change(|transaction| {
            transaction.execute("INSERT OR REPLACE INTO facts (key, value) VALUES ('probe', unixepoch())", ()).map(drop)
        })
    }
}

/// Whether a file begins as a database. SQLite would not notice while the log has all pages (sqlite.org/fileformat.html, 1.3).
fn check_header(path: &Path) -> Result<(), StoreError> {
    let mut header = [0; HEADER.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if read.is_ok() && header == *HEADER {
        return Ok(());
    }
    Err(StoreError::Damaged { path: path.to_owned(), reason: "it does not begin as a database".into() })
}

/// A path as SQLite takes it where nothing may be written (sqlite.org/uri.html).
fn immutable_uri(path: &Path) -> String {
    let escaped: String = path
        .to_string_lossy()
        .chars()
        .map(|letter| match letter {
            '?' => "%3f".to_owned(),
            '#' => "%23".to_owned(),
            '%' => "%25".to_owned(),
            letter => letter.to_string(),
        })
        .collect();
    format!("file:{escaped}?immutable=1")
}

/// Makes an empty file with the right mode before SQLite makes one with the wrong. Its companions (`-wal`, `-shm`) get the
/// mode of the file.
fn create(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        let folder = folder();
        let path = folder.path().join("deep/er/state.db");
        let store = Store::open(&path).expect("a store");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
        assert_eq!(mode(path.parent().expect("a folder")) & !0o750, 0);
        drop(store);
        Store::open(&path).expect("it opens again");
    }

    #[test]
    fn a_damaged_file_is_refused_named_and_left_alone() {
        let folder = folder();
        let path = folder.path().join("state.db");
        let rubbish = vec![0x5a; 4096];
        fs::write(&path, &rubbish).expect("a file");
        let error = Store::open(&path).expect_err("rubbish");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()) && error.to_string().contains("move it away"));
        assert_eq!(fs::read(&path).expect("still there"), rubbish);
    }

    #[test]
    fn a_file_with_a_damaged_middle_is_refused() {
        let folder = folder();
        let path = folder.path().join("state.db");
        let opened = (1..=60_000).map(|port| Opened {
            protocol: scanguard_common::class::Protocol::Tcp,
            port,
            last_seen: 1_700_000_000,
        });
        Store::open(&path).expect("a store").save_opened(opened).expect("saved");
        let mut bytes = fs::read(&path).expect("a file");
        assert!(bytes.len() > 100_000, "{}", bytes.len());
        bytes[50_000..90_000].fill(0xff);
        fs::write(&path, bytes).expect("a file");
        let error = Store::open(&path).expect_err("a damaged file");
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    }

    #[test]
    fn somebody_elses_database_is_refused_and_left_alone() {
        let folder = folder();
        let path = folder.path().join("theirs.db");
        let theirs = Connection::open(&path).expect("a database");
        theirs.execute_batch("CREATE TABLE songs(title TEXT)").expect("a table");
        drop(theirs);
        let before = fs::read(&path).expect("a file");
        let error = Store::open(&path).expect_err("not ours");
        assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
        assert_eq!(fs::read(&path).expect("a file"), before);
    }

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let folder = folder();
        let path = folder.path().join("state.db");
        drop(Store::open(&path).expect("a store"));
        let newer = Connection::open(&path).expect("a database");
        newer.pragma_update(None, "user_version", 1000).expect("a version");
        drop(newer);
        let error = Store::open(&path).expect_err("from the future");
        assert!(matches!(error, StoreError::Newer { found: 1000, .. }), "{error:?}");
    }

    #[test]
    fn where_no_file_can_be_the_path_is_named() {
        let folder = folder();
        fs::write(folder.path().join("file"), "").expect("a file");
        let path = folder.path().join("file/state.db");
        let error = Store::open(&path).expect_err("a file is no directory");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
