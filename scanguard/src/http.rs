//! The small HTTP server that both listeners use: HTTP/1, one request a connection, everything bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

/// Connections served at a time; more wait in the kernel's backlog.
const CONNECTIONS: usize = 256;
/// Longest time for the request's head to arrive.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// Longest time of a whole connection, slow readers among them.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Most bytes of a request's head, and of what is read ahead.
const HEAD_BYTES: usize = 16 * 1024;
/// Most bytes of a request's body.
const BODY_BYTES: usize = 64 * 1024;

/// Who is at the other end, where that is known: of a Unix socket the kernel says so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// The user's number.
    pub uid: Option<u32>,
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
            pid: credentials.as_ref().and_then(|credentials| credentials.pid()),
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
    let router = router.layer(DefaultBodyLimit::max(BODY_BYTES));
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
