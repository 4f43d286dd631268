//! How the file and its write-ahead log were left, to notice when somebody else wrote them or took them away.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What the file system says of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Mark {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
        })
    }
}

/// The file and its write-ahead log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Marks {
    file: Mark,
    log: Option<Mark>,
}

/// What became of them since.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// Nothing.
    Same,
    /// They were written.
    Written,
    /// It is not there any more, or another one is.
    Gone,
}

impl Marks {
    /// As they are now; nothing when there is no such file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Some(Self { file: Mark::of(path)?, log: Mark::of(&super::aside::companion(path, "-wal")) })
    }

    /// How they differ now.
    pub(super) fn compare(&self, now: Option<&Self>) -> Seen {
        match now {
            None => Seen::Gone,
            Some(now) if (now.file.device, now.file.inode) != (self.file.device, self.file.inode) => Seen::Gone,
            Some(now) if now == self => Seen::Same,
            Some(_) => Seen::Written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_replacing_and_removing_are_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        fs::write(&path, "one").expect("a file");
        let marks = Marks::of(&path).expect("it is there");
        assert_eq!(marks.compare(Marks::of(&path).as_ref()), Seen::Same);
        fs::write(folder.path().join("state.db-wal"), "log").expect("a file");
        assert_eq!(marks.compare(Marks::of(&path).as_ref()), Seen::Written);
        fs::write(&path, "other").expect("a file");
        assert_eq!(marks.compare(Marks::of(&path).as_ref()), Seen::Written);
        fs::write(folder.path().join("new"), "one").expect("a file");
        fs::rename(folder.path().join("new"), &path).expect("replaced");
        assert_eq!(marks.compare(Marks::of(&path).as_ref()), Seen::Gone);
        fs::remove_file(&path).expect("removed");
        assert_eq!(marks.compare(Marks::of(&path).as_ref()), Seen::Gone);
    }
}
