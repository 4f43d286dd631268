//! Another process that looks who is logged in, so that the daemon needs no rights for that: `scanguard logins serve`.
//!
//! Each connection to its socket gets one answer of [`records`](super::records). Nothing is read from it.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Login, Seen, records};

/// How long an answer may take, all of it. The other process reads all of `/proc` for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long somebody may take to read an answer.
const READING: Duration = Duration::from_secs(1);

/// Asks the process behind a socket, which has [`PATIENCE`] for its answer, however slowly it comes.
pub(super) fn ask(socket: &Path) -> Result<Vec<Login>, String> {
    answer(socket).map_err(|error| format!("{}: {error}", socket.display()))
}

fn answer(socket: &Path) -> io::Result<Vec<Login>> {
    let mut stream = UnixStream::connect(socket)?;
    let deadline = Instant::now() + PATIENCE;
    let mut record = [0; records::LENGTH];
    read_by(deadline, &mut stream, &mut record)?;
    let (count, _) = records::count(&record).map_err(io::Error::other)?;
    let mut logins = Vec::with_capacity(count);
    for _ in 0..count {
        read_by(deadline, &mut stream, &mut record)?;
        logins.extend(records::read(&record));
    }
    Ok(logins)
}

fn read_by(deadline: Instant, stream: &mut UnixStream, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => into = &mut into[read..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells everybody who connects who is logged in, one after the other, until the socket fails.
///
/// # Errors
/// When the socket takes no more connections.
pub fn serve(listener: &UnixListener, mut look: impl FnMut() -> Seen) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let Seen { logins, unseen } = look();
        // One who sees nothing says nothing: whoever asks learns that there is no answer.
        if unseen.is_some() {
            continue;
        }
        if let Err(error) = tell(stream, &logins) {
            tracing::debug!(%error, "somebody who asked who is logged in did not hear it out");
        }
    }
}

fn tell(mut stream: UnixStream, logins: &[Login]) -> io::Result<()> {
    stream.set_write_timeout(Some(READING))?;
    stream.write_all(&records::write(logins))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::thread;

    use super::super::How;
    use super::*;

    fn ann() -> Login {
        Login { address: IpAddr::from([203, 0, 113, 7]), user: Some("ann".into()), how: How::Ssh }
    }

    #[test]
    fn whoever_asks_is_told_and_a_helper_that_sees_nothing_gives_no_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("logins.sock");
        assert!(ask(&socket).expect_err("nobody listens").contains("logins.sock"));
        let listener = UnixListener::bind(&socket).expect("a socket");
        let mut looks = 0;
        thread::spawn(move || {
            serve(&listener, || {
                looks += 1;
                let unseen = (looks == 3).then(|| "no rights".to_owned());
                Seen { logins: vec![ann(); looks], unseen }
            })
        });
        assert_eq!(ask(&socket), Ok(vec![ann()]));
        assert_eq!(ask(&socket), Ok(vec![ann(), ann()]), "it looks each time");
        ask(&socket).expect_err("it saw nothing");
        assert_eq!(ask(&socket).expect("an answer").len(), 4, "and goes on");
    }

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("logins.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        thread::spawn(move || {
            for length in [100, 0] {
                let (mut stream, _) = listener.accept().expect("somebody");
                stream.write_all(&records::write(&[ann()])[..length]).expect("somebody who reads");
            }
        });
        ask(&socket).expect_err("half a login");
        ask(&socket).expect_err("nothing");
    }
}
