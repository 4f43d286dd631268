//! Where damaged files go: beside their place, under a name that says what they are and when that was found.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Damaged files that are kept; of more of them the oldest goes.
const MOST: usize = 3;
/// What follows the file's name.
const MARK: &str = ".damaged-";
/// What belongs to an SQLite file.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// The path of what belongs to a file.
pub(super) fn companion(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Renames a file and what belongs to it; returns its new path.
pub(super) fn set_aside(path: &Path, now: SystemTime) -> io::Result<PathBuf> {
    let time: String =
        humantime::format_rfc3339_millis(now).to_string().chars().filter(|letter| !"-:.".contains(*letter)).collect();
    let aside = companion(path, &format!("{MARK}{time}"));
    // What belongs to it first: beside a new file it would be taken for a part of that one.
    for ending in COMPANIONS {
        present(fs::rename(companion(path, ending), companion(&aside, ending)))?;
    }
    fs::rename(path, &aside)?;
    forget_oldest(path)?;
    Ok(aside)
}

/// Removes what belonged to a file that is gone.
pub(super) fn forget_companions(path: &Path) -> io::Result<()> {
    COMPANIONS.into_iter().try_for_each(|ending| present(fs::remove_file(companion(path, ending))))
}

fn forget_oldest(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let beginning = format!("{}{MARK}", name.to_string_lossy());
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&beginning) && !COMPANIONS.iter().any(|ending| name.ends_with(ending))
        })
        .collect();
    files.sort_unstable();
    let too_many = files.len().saturating_sub(MOST);
    for old in files.iter().take(too_many) {
        present(fs::remove_file(old))?;
        forget_companions(old)?;
    }
    Ok(())
}

/// It is no error that something is not there.
fn present(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_three_damaged_files_are_kept_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        for second in 1..=5 {
            for ending in ["", "-wal", "-shm"] {
                fs::write(companion(&path, ending), format!("{second}{ending}")).expect("a file");
            }
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let aside = set_aside(&path, now).expect("set aside");
            assert_eq!(fs::read_to_string(companion(&aside, "-wal")).expect("a file"), format!("{second}-wal"));
            assert!(!path.exists());
        }
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
            .collect();
        names.sort_unstable();
        assert_eq!(names, [3, 4, 5].map(|second| format!("state.db.damaged-19700101T00000{second}000Z")));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 9);
    }
}
