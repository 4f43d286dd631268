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
    /// A version that only a daemon brings up to date.
    #[error("the file of state {} is of version {found}: a daemon brings it up to date when it starts", path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It cannot be written now; why was told before.
    #[error("the file of state is closed")]
    Closed,
    /// Somebody took it away, or put another one in its place.
    #[error("the file of state {} was removed or replaced by somebody else: it is made anew from memory", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// More writes were waiting than may wait.
    #[error("the disk of the file of state {} is too slow: {writes} writes found no room", path.display())]
    TooSlow {
        /// The file.
        path: PathBuf,
        /// How many.
        writes: u64,
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

/// What kind of failure it is, for those who do something about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TroubleKind {
    /// The disk is full.
    Full,
    /// The disk, or the file, cannot be written.
    ReadOnly,
    /// What was in the file is no database, or a broken one, or gone.
    Damaged,
    /// Anything else.
    Other,
}

impl StoreError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> TroubleKind {
        match self {
            Self::Damaged { .. } | Self::Gone { .. } => TroubleKind::Damaged,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TroubleKind::Full,
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => TroubleKind::ReadOnly,
                _ => TroubleKind::Other,
            },
            Self::Sqlite { source, .. } => match source.sqlite_error() {
                Some(error) if error.code == ErrorCode::DiskFull || error.extended_code == SHM_SIZE => {
                    TroubleKind::Full
                }
                Some(error) if matches!(error.code, ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                    TroubleKind::ReadOnly
                }
                _ => TroubleKind::Other,
            },
            Self::Foreign { .. } | Self::Newer { .. } | Self::Older { .. } | Self::Closed | Self::TooSlow { .. } => {
                TroubleKind::Other
            }
        }
    }
}

/// `SQLITE_IOERR_SHMSIZE` (sqlite.org/rescode.html): the index of the write-ahead log could not grow, because the disk is full.
const SHM_SIZE: i32 = 10 | (19 << 8);

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
