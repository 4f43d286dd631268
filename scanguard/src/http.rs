//! The small HTTP server that both listeners use: HTTP/1, one request a connection, everything bounded.

use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::Listener;
use axum::{BoxError, Extension, Router};
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::libc;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};
use tracing::debug;

/// Connections served at a time; more wait in the kernel's backlog.
const CONNECTIONS: usize = 256;
/// Longest time for the request's head to arrive.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Longest time for the request's body to arrive after it.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Longest time of a whole connection, slow readers among them.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Most bytes of a request's head, and of what is read ahead.
const HEAD_BYTES: usize = 16 * 1024;
/// Most bytes of a request's body.
const BODY_BYTES: usize = 64 * 1024;

/// Who is at the other end, where that is known: of a Unix socket the kernel says so.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The user's number.
    pub uid: Option<u32>,
    /// His group's number.
    pub gid: Option<u32>,
    /// Numbers of other groups that he is in.
    pub groups: Arc<[u32]>,
    /// The process' number.
    pub pid: Option<i32>,
}

/// A stream that may know who is at its other end.
pub trait Peered {
    /// Who it is.
    fn peer(&self) -> Peer;
}

impl Peered for UnixStream {
    fn peer(&self) -> Peer {
        let credentials = self.peer_cred().ok();
        Peer {
            uid: credentials.as_ref().map(|credentials| credentials.uid()),
            gid: credentials.as_ref().map(|credentials| credentials.gid()),
            groups: groups(self).into(),
            pid: credentials.as_ref().and_then(|credentials| credentials.pid()),
        }
    }
}

/// The groups of the other end beside its first, as the kernel recorded them when it connected (`SO_PEERGROUPS`, since Linux 4.13); none
/// where it does not tell.
fn groups(stream: &UnixStream) -> Vec<u32> {
    /// As many as a process can be in (`NGROUPS_MAX`, include/uapi/linux/limits.h).
    const MOST: usize = 65_536;
    let mut groups = vec![0_u32; 64];
    loop {
        let mut length = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: the buffer has `length` bytes and lives until the call returns; gid_t is an u32.
        let result = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let error = std::io::Error::last_os_error().raw_os_error();
        match (result, error) {
            (0, _) => {
                groups.truncate(length as usize / size_of::<u32>());
                return groups;
            }
            (_, Some(libc::ERANGE)) if groups.len() < MOST => groups.resize(groups.len() * 32, 0),
            _ => return Vec::new(),
        }
    }
}

impl Peered for TcpStream {
    fn peer(&self) -> Peer {
        Peer::default()
    }
}

/// Serves until the task is dropped.
pub async fn serve(mut listener: impl Listener<Io: Peered>, router: Router) {
    let router = router.layer(DefaultBodyLimit::max(BODY_BYTES)).layer(from_fn(hurry));
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return; // Nobody closes the semaphore.
        };
        let (stream, _peer) = listener.accept().await;
        let service = TowerToHyperService::new(router.clone().layer(Extension(stream.peer())));
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(HEAD_BYTES)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            match timeout(CONNECTION_TIME, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a request came to nothing"),
                Err(_) => debug!("a connection was closed: it took longer than {CONNECTION_TIME:?}"),
            }
            drop(slot);
        });
    }
}

/// Gives the body of a request a time to arrive in: who sends half of one does not keep others out for longer than that.
async fn hurry(request: Request, next: Next) -> Response {
    let hurried = |body| Body::new(Hurried { body, deadline: Box::pin(sleep(BODY_TIME)) });
    next.run(request.map(hurried)).await
}

/// A body that fails when it has not arrived in time.
struct Hurried {
    body: Body,
    deadline: Pin<Box<Sleep>>,
}

impl hyper::body::Body for Hurried {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // What has arrived is taken first, so that a body that is there whole is never too late.
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {}
            ready => return ready.map_err(Into::into),
        }
        self.deadline.as_mut().poll(context).map(|()| {
            let seconds = BODY_TIME.as_secs();
            Some(Err(format!("the rest of the request did not come within {seconds} s").into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;
    use tokio::time::Instant;

    use super::*;

    /// Sends the beginning of a request and returns the answer and the time that it took.
    async fn send(pieces: &[&str], pause: Duration) -> (String, Duration) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        let router = Router::new().route("/", post(async |body: Bytes| format!("{} bytes", body.len())));
        let server = tokio::spawn(serve(listener, router));
        let started = Instant::now();
        let mut stream = UnixStream::connect(&path).await.expect("a connection");
        for piece in pieces {
            // The server may hang up before it has taken everything.
            let _ = stream.write_all(piece.as_bytes()).await;
            sleep(pause).await;
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        server.abort();
        (String::from_utf8_lossy(&answer).into_owned(), started.elapsed())
    }

    const HEAD: &str = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn who_never_sends_the_rest_of_a_body_is_answered_and_hung_up_on() {
        let (answer, time) = send(&[HEAD, "abc"], Duration::ZERO).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("did not come within 5 s"), "{answer}");
        assert!(time < CONNECTION_TIME / 2, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_in_is_no_longer_waited_for_than_one_that_does_not() {
        let (answer, _) = send(&[HEAD, "a", "b", "c", "d", "e", "f"], BODY_TIME / 3).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_in_parts_is_taken_while_there_is_time() {
        let (answer, _) = send(&[HEAD, "abc", "def"], BODY_TIME / 3).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("6 bytes"), "{answer}");
    }
}
