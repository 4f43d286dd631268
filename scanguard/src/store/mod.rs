//! What outlives the daemon: an SQLite file.
//!
//! | module | does |
//! |---|---|
//! | `schema` | the tables, and how an older file becomes a newer one |
//! | `opened` | ports that were open, and when last |
//! | `decisions` | what was decided about sources: the allowlist, blocks, the mode |
//! | `questions` | what waits for a person, and decoys that may become proof |
//! | `incidents` | scans as a person thinks of them |
//! | `people` | who has worked here, and what answered without a socket here |
//! | `facts` | single facts by name |
//! | `error` | why there is no memory |
//!
//! All calls block for as long as the disk takes: keep them off the async threads.

mod decisions;
mod error;
mod facts;
mod incidents;
mod opened;
mod people;
mod questions;
mod schema;

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use decisions::{KeptAllow, KeptBlock, KeptMode, KeptRecurrence};
pub use error::StoreError;
use error::sqlite;
pub use incidents::IncidentQuery;
pub use opened::Opened;
pub use questions::{KeptDecoy, KeptDenial, KeptQuestion};

/// How long a call waits for somebody else who reads or writes the file, a backup for instance.
const PATIENCE: Duration = Duration::from_secs(5);

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
        let failed = |what| sqlite(path, what);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(failed("open"))?;
        connection.busy_timeout(PATIENCE).map_err(failed("open"))?;
        schema::check(&connection, path)?;
        // With a write-ahead log and NORMAL a crash of the machine can lose the last transactions, but never damages the
        // file (sqlite.org/pragma.html#pragma_synchronous). What is kept here can bear that.
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            .map_err(failed("set up"))?;
        schema::migrate(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection })
    }
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
    use std::fs;
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
