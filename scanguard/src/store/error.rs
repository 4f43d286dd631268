//! Why there is no memory.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the file of state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file or its directory cannot be made.
    #[error("cannot make the file of state {}: {source}; choose another with `state` in the configuration", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it is no database, or a broken one.
    #[error(
        "the file of state {} is damaged ({reason}): move it away (with its -wal and -shm, if there are any) and restart; a \
         new one is made, and which ports were open is learnt anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite complains of.
        reason: String,
    },
    /// A database, but not ours.
    #[error("{} is the database of another program: choose another file with `state` in the configuration", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A version from the future.
    #[error(
        "the file of state {} is of version {found}, and this scanguard knows up to {known}: run the newer one that made it, \
         or move the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest this program knows.
        known: u32,
    },
    /// Everything else: a full disk, for instance.
    #[error("cannot {what} the file of state {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: rusqlite::Error,
    },
}

/// Tells damage from other failures.
pub(super) fn sqlite(path: &Path, what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { path, reason: source.to_string() }
            }
            _ => StoreError::Sqlite { what, path, source },
        }
    }
}
