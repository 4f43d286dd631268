//! The daemon's Unix socket.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A living daemon answers on it.
    #[error(
        "another scanguard already runs: it answers on {}. `scanguard status` shows it; stop it first, or give this one a \
         socket of its own with --socket PATH", .0.display()
    )]
    Taken(PathBuf),
    /// Something that is no socket is in its place.
    #[error("{} is not a socket: remove it, or choose another path with --socket PATH", .0.display())]
    NotASocket(PathBuf),
    /// The file system refuses.
    #[error("cannot make the control socket {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The file of a socket that this process made. Dropping it removes it, unless somebody else's is there by now.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    group: u32,
}

impl SocketFile {
    /// The group that it is for.
    #[must_use]
    pub const fn group(&self) -> u32 {
        self.group
    }
}

/// Listens on a path, for root and a group, the caller's own if none is given. What a dead daemon left there is replaced, a living one is left alone.
///
/// # Errors
/// When a daemon lives there, something that is no socket is there, or the file system refuses.
pub fn claim(path: &Path, group: Option<u32>) -> Result<(tokio::net::UnixListener, SocketFile), ClaimError> {
    let (listener, file) = claim_blocking(path, group)?;
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener));
    Ok((listener.map_err(|source| ClaimError::Io { path: path.to_owned(), source })?, file))
}

/// The same for threads that wait.
///
/// # Errors
/// As there.
pub fn claim_blocking(path: &Path, group: Option<u32>) -> Result<(UnixListener, SocketFile), ClaimError> {
    let io_error = |source| ClaimError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            return Err(ClaimError::NotASocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ClaimError::Taken(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(io_error)?;
        }
        Err(error) => return Err(io_error(error)),
    }
    // Made under another name and moved into place, so that nobody meets it with other rights, and a dead daemon's
    // socket is replaced in one step.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let claim = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        chown(&fresh, None, group)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o660))?;
        let made = fs::symlink_metadata(&fresh)?;
        fs::rename(&fresh, path)?;
        Ok((listener, SocketFile { path: path.to_owned(), identity: (made.dev(), made.ino()), group: made.gid() }))
    };
    claim().map_err(|error| {
        let _ = fs::remove_file(&fresh); // What is left of a failed try; there may be nothing.
        io_error(error)
    })
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let present = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if present.is_ok_and(|present| present == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the control socket");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_has_narrow_rights_and_goes_with_its_daemon() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er/control.sock");
        let (_listener, file) = claim(&path, None).expect("a socket");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o660);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_living_daemon_keeps_its_socket_and_a_dead_one_loses_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let (listener, file) = claim(&path, None).expect("a socket");
        assert!(matches!(claim(&path, None), Err(ClaimError::Taken(_))));
        drop(listener);
        let (_second, _its_file) = claim(&path, None).expect("the dead daemon's socket is replaced");
        drop(file);
        assert!(path.exists(), "the first daemon's end does not take the second one's socket");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        fs::write(&path, "precious").expect("a file");
        assert!(matches!(claim(&path, None), Err(ClaimError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("it is there"), b"precious");
    }
}
