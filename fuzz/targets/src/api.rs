//! What somebody sends to the control socket: every request is answered, by HTTP, with one of the documented codes.
//!
//! Routes, limits and reading are the real ones; nothing is carried out, since there is no kernel part here.

use std::future::pending;
use std::io;
use std::sync::Arc;

use axum::serve::Listener;
use scanguard::api::{
    AuditList, AuditQuery, BlockHistory, HistoryQuery, Incident, IncidentList, IncidentsQuery, Reloaded, Signal,
    Signalled, SourceList, SourcesQuery, Status,
};
use scanguard::control::server::{Answers, router};
use scanguard::http::{Peer, Peered, serve};
use scanguard::operator::wish::Wish;
use scanguard::operator::{Caller, OperatorError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// What may be sent at once, and answered.
const BUFFER: usize = 1 << 16;
/// All there are.
const CODES: [u16; 11] = [200, 400, 403, 404, 405, 408, 413, 415, 431, 500, 503];

thread_local! {
    static RUNTIME: Runtime =
        // Nobody waits: time passes by itself when there is nothing else to do.
        Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
}

/// Sends bytes over a connection of their own.
///
/// # Panics
/// When the answer is none that is documented.
pub fn run(data: &[u8]) {
    let answer = RUNTIME.with(|runtime| runtime.block_on(exchange(data)));
    if answer.is_empty() {
        return; // No request, or not a whole one.
    }
    let text = String::from_utf8_lossy(&answer);
    let code = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 ")).and_then(|rest| rest.get(..3));
    let code = code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("not HTTP: {text:?}"));
    // 100 Continue comes before an answer.
    assert!(CODES.contains(&code) || code == 100, "{text:?}");
}

async fn exchange(data: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = tokio::io::duplex(BUFFER);
    let server = tokio::spawn(serve(Once(Some(Connection(theirs))), router(Arc::new(Nobody))));
    // The server may hang up before it has taken everything.
    let _ = ours.write_all(&data[..data.len().min(BUFFER)]).await;
    let _ = ours.shutdown().await;
    let mut answer = Vec::new();
    let _ = ours.read_to_end(&mut answer).await;
    server.abort();
    answer
}

/// One connection, and no other.
struct Once(Option<Connection>);

impl Listener for Once {
    type Io = Connection;
    type Addr = ();

    async fn accept(&mut self) -> (Connection, ()) {
        match self.0.take() {
            Some(connection) => (connection, ()),
            None => pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

struct Connection(DuplexStream);

impl Peered for Connection {
    fn peer(&self) -> Peer {
        Peer::default()
    }
}

mod stream {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::{AsyncRead, AsyncWrite, Connection, ReadBuf};

    impl AsyncRead for Connection {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Connection {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }
}

/// Knows nothing and does nothing.
struct Nobody;

impl Answers for Nobody {
    async fn status(&self) -> anyhow::Result<Status> {
        anyhow::bail!("there is no daemon")
    }

    async fn sources(&self, _: SourcesQuery) -> anyhow::Result<SourceList> {
        anyhow::bail!("there are no tables")
    }

    async fn incidents(&self, _: IncidentsQuery) -> anyhow::Result<IncidentList> {
        anyhow::bail!("nothing happened")
    }

    async fn incident(&self, _: u64) -> anyhow::Result<Option<Incident>> {
        Ok(None)
    }

    async fn operate<W: Wish>(&self, _: W, _: Caller) -> Result<W::Answer, OperatorError> {
        Err(OperatorError::NotFound("there is nobody to do it".into()))
    }

    fn admit(&self, _: &Signal) -> Result<(), OperatorError> {
        Ok(())
    }

    async fn signal(&self, _: Signal, _: Caller) -> Result<Signalled, OperatorError> {
        Err(OperatorError::NotFound("there is nobody to hear it".into()))
    }

    async fn audit(&self, _: AuditQuery) -> Result<AuditList, OperatorError> {
        Err(OperatorError::NotFound("there is no file of state".into()))
    }

    async fn history(&self, _: HistoryQuery) -> Result<BlockHistory, OperatorError> {
        Err(OperatorError::NotFound("there is no file of state".into()))
    }

    async fn reload(&self, _: Caller) -> Result<Reloaded, OperatorError> {
        Err(OperatorError::NotFound("there is no configuration".into()))
    }
}
