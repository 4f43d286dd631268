//! The small HTTP server that both listeners use: HTTP/1, one request a connection, everything bounded.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep, timeout};
use tracing::debug;

/// Connections served at a time.
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

/// Serves until the task is dropped. Where all connections are taken, who comes waits until one ends.
pub async fn serve(listener: impl Listener<Io: Peered>, router: Router) {
    serve_some(listener, router, Full::Wait).await;
}

/// The same for a listener that anybody reaches: where all connections are taken, who comes is served, and of those that wait for their
/// other end (for the rest of a request, or to have the answer taken) the oldest is ended. Who reads and asks in his time is in nobody's way.
pub async fn serve_anybody(listener: impl Listener<Io: Peered>, router: Router) {
    serve_some(listener, router, Full::EndOldest).await;
}

/// What becomes of who comes where all connections are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Full {
    Wait,
    EndOldest,
}

async fn serve_some(mut listener: impl Listener<Io: Peered>, router: Router, full: Full) {
    let router = router.layer(DefaultBodyLimit::max(BODY_BYTES)).layer(from_fn(hurry));
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let crowd = Arc::<Crowd>::default();
    for number in 0.. {
        let (stream, _peer) = match full {
            // The others wait in the kernel's backlog.
            Full::Wait => {
                drop(slots.acquire().await);
                listener.accept().await
            }
            Full::EndOldest => listener.accept().await,
        };
        if full == Full::EndOldest && slots.available_permits() == 0 {
            crowd.end_oldest();
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return; // Nobody closes the semaphore.
        };
        let answering = Answering::default();
        let router = router.clone().layer(from_fn(busy)).layer(Extension(answering.clone()));
        let service = TowerToHyperService::new(router.layer(Extension(stream.peer())));
        let place = Place { crowd: Arc::clone(&crowd), number };
        let mut connections = crowd.connections(); // Whoever ends waits until it has a place.
        let task = tokio::spawn(async move {
            let _place = place; // Given up when this ends, in whichever way.
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
        connections.insert(number, Connection { task: task.abort_handle(), answering });
    }
}

/// The connections that are served, the oldest first.
#[derive(Default)]
struct Crowd(Mutex<BTreeMap<u64, Connection>>);

struct Connection {
    task: AbortHandle,
    answering: Answering,
}

/// Whether an answer is being made: then a connection waits for this program and not for its other end.
#[derive(Clone, Default)]
struct Answering(Arc<AtomicBool>);

/// A connection's place among the others.
struct Place {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Crowd {
    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the oldest that waits for its other end, if there is one.
    fn end_oldest(&self) {
        let mut connections = self.connections();
        let waits = |(number, connection): (&u64, &Connection)| {
            let answers = connection.answering.0.load(Ordering::Acquire);
            (!answers).then_some(*number)
        };
        if let Some(connection) = connections.iter().find_map(waits).and_then(|oldest| connections.remove(&oldest)) {
            connection.task.abort();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.connections().remove(&self.number);
    }
}

/// Takes note that an answer is being made.
async fn busy(Extension(answering): Extension<Answering>, request: Request, next: Next) -> Response {
    answering.0.store(true, Ordering::Release);
    let response = next.run(request).await;
    answering.0.store(false, Ordering::Release);
    response
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
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, UnixListener};
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

    /// Asks beside `slow` connections that send half of a request, or ask and read nothing: what the answer is, and which of them are
    /// still there when it comes.
    async fn ask_beside(slow: usize, sends: &str) -> (String, Vec<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        // More than the buffers of both ends hold.
        let long = Bytes::from(vec![b'x'; 16 << 20]);
        let router = Router::new().route("/", get(async || "there")).route("/long", get(async move || long.clone()));
        let server = tokio::spawn(serve_anybody(listener, router));
        let mut held = Vec::new();
        for _ in 0..slow {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            // It may be hung up on already.
            let _ = stream.write_all(sends.as_bytes()).await;
            held.push(stream);
        }
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let is_there = |stream: &TcpStream| match stream.try_read(&mut [0]) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        };
        let there = held.iter().map(is_there).collect();
        server.abort();
        (answer, there)
    }

    #[tokio::test]
    async fn who_never_asks_and_who_never_reads_keep_nobody_out() {
        /// Less than it takes until the slow ones have had their time.
        const LIMIT: Duration = Duration::from_secs(25);
        for sends in ["", "GET / HT", "GET /long HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let asked = timeout(LIMIT, ask_beside(CONNECTIONS * 2 + 88, sends)).await;
            let (answer, there) = asked.unwrap_or_else(|_| panic!("{sends:?}: somebody waits for who does not read"));
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("there"), "{sends:?}: {answer}");
            // Those that came last were not ended for their time: it is not over.
            let newest = &there[there.len() - CONNECTIONS / 2..];
            assert!(newest.iter().all(|there| *there), "{sends:?}: {there:?}");
        }
    }
}
