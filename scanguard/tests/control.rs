//! The control socket without a kernel part: the real server and client, answers made up.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use scanguard::api::{
    AuditList, AuditQuery, BlockHistory, HistoryQuery, Incident, IncidentList, IncidentsQuery, Packets, Reloaded,
    SCHEMA_VERSION, SessionsWatch, Signal, Signalled, Source, SourceList, SourceOrder, SourcesQuery, Status,
    VerdictCounts,
};
use scanguard::control::client::{AskError, Client};
use scanguard::control::server::{Answers, router};
use scanguard::control::socket::{SocketFile, claim};
use scanguard::http;
use scanguard::operator::wish::Wish;
use scanguard::operator::{Caller, OperatorError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Lists as many sources as asked for; is ill when there is no such number.
struct MadeUp {
    lists: AtomicUsize,
}

impl Answers for MadeUp {
    async fn status(&self) -> Result<Status> {
        Ok(Status {
            schema_version: SCHEMA_VERSION,
            version: "0".into(),
            mode: "observe".into(),
            mode_reverts_at: None,
            lockdown: None,
            mode_since: None,
            observed: scanguard::api::Observed::default(),
            cannot: Vec::new(),
            daemon: true,
            kept: false,
            interfaces: Vec::new(),
            sessions: SessionsWatch::default(),
            known: 0,
            known_proposed: Vec::new(),
            uptime_s: 1,
            kernel: "0".into(),
            packets: Packets::default(),
            counters: Default::default(),
            sources: 0,
            suspects: 0,
            verdicts: VerdictCounts::default(),
            would_have: scanguard::api::WouldHave::default(),
            pending: 0,
            drift: 0,
            ring_lost: 0,
            maps: Vec::new(),
            takes: scanguard::api::Takes::default(),
            healthy: true,
            degraded: false,
            warnings: Vec::new(),
        })
    }

    async fn sources(&self, query: SourcesQuery) -> Result<SourceList> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        let SourcesQuery { sort, limit } = query;
        if sort == SourceOrder::Last {
            bail!("cannot read the table");
        }
        let source = Source {
            source: "203.0.113.9".into(),
            attempts: 1,
            score: 0.5,
            level: "none".into(),
            scope: None,
            reason: None,
            since: None,
            expires: None,
            contacts: 1,
            failures: 0,
            first_seen: "2026-03-01T10:00:00.000Z".into(),
            last_seen: "2026-03-01T10:00:00.000Z".into(),
        };
        let as_of = "2026-03-01T10:00:00.000Z".into();
        Ok(SourceList { schema_version: SCHEMA_VERSION, as_of, total: limit as u64, sources: vec![source; limit] })
    }

    async fn incidents(&self, _: IncidentsQuery) -> Result<IncidentList> {
        bail!("cannot read the file")
    }

    async fn incident(&self, _: u64) -> Result<Option<Incident>> {
        bail!("cannot read the file")
    }

    async fn operate<W: Wish>(&self, _wish: W, _caller: Caller) -> Result<W::Answer, OperatorError> {
        Err(OperatorError::Refused { rule: "own".into(), message: "it is our own".into() })
    }

    fn admit(&self, _: &Signal) -> Result<(), OperatorError> {
        Ok(())
    }

    async fn signal(&self, _: Signal, _: Caller) -> Result<Signalled, OperatorError> {
        unreachable!("it is not asked for")
    }

    async fn audit(&self, _query: AuditQuery) -> Result<AuditList, OperatorError> {
        Err(OperatorError::NotFound("nothing was recorded".into()))
    }

    async fn history(&self, _query: HistoryQuery) -> Result<BlockHistory, OperatorError> {
        Err(OperatorError::NotFound("nothing was recorded".into()))
    }

    async fn reload(&self, _caller: Caller) -> Result<Reloaded, OperatorError> {
        Err(OperatorError::Usage("line 1 is wrong".into()))
    }
}

/// A server that lives as long as this.
struct Served {
    socket: PathBuf,
    _file: SocketFile,
    _folder: TempDir,
}

fn serve() -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control.sock");
    let (listener, file) = claim(&socket, None).expect("a socket");
    tokio::spawn(http::serve(listener, router(Arc::new(MadeUp { lists: AtomicUsize::new(0) }))));
    Served { socket, _file: file, _folder: folder }
}

/// Sends raw bytes and returns all that comes back until the server hangs up.
async fn raw(served: &Served, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(&served.socket).await.expect("a connection");
    // The server may hang up before it has taken everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_client_gets_what_the_server_answers() {
    let served = serve();
    let client = Client::new(&served.socket);
    assert_eq!(client.status().await.expect("an answer").mode, "observe");
    let list = client.sources(SourcesQuery { sort: SourceOrder::Score, limit: 3 }).await.expect("an answer");
    assert_eq!((list.total, list.sources.len()), (3, 3));
    let long = client.sources(SourcesQuery { sort: SourceOrder::Attempts, limit: 50_000 }).await.expect("an answer");
    assert_eq!(long.sources.len(), 50_000);
}

#[tokio::test]
async fn what_goes_wrong_in_the_daemon_is_told() {
    let served = serve();
    let query = SourcesQuery { sort: SourceOrder::Last, limit: 1 };
    let error = Client::new(&served.socket).sources(query).await.expect_err("it fails");
    assert!(matches!(&error, AskError::Refused(error) if error.to_string() == "cannot read the table"), "{error:?}");
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_as_json() {
    let served = serve();
    let rows = [
        ("GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 "),
        ("GET /v1/sources?limit=-1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 "),
        ("GET /v1/sources?colour=red HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400 "),
    ];
    for (request, expected) in rows {
        let answer = raw(&served, request.as_bytes()).await;
        assert!(answer.starts_with(expected) && answer.contains("\"schema_version\":1"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn oversized_and_broken_requests_leave_the_daemon_well() {
    let served = serve();
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("GET /v1/status HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    for request in [long_path.as_bytes(), many_headers.as_bytes(), b"\0\xff\r\n\r\n", b"hello\r\n\r\n"] {
        let answer = tokio::time::timeout(std::time::Duration::from_secs(20), raw(&served, request)).await;
        let answer = answer.expect("the server hangs up");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    Client::new(&served.socket).status().await.expect("the daemon still answers");
}

#[tokio::test(start_paused = true)]
async fn who_never_finishes_a_request_is_hung_up_on() {
    let served = serve();
    let mut stream = UnixStream::connect(&served.socket).await.expect("a connection");
    stream.write_all(b"GET /v1/status HT").await.expect("the beginning of a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the end of the connection");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn a_thousand_may_ask_at_once() {
    let served = serve();
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let client = Client::new(&served.socket);
        clients.spawn(async move {
            let limit = if number % 10 == 0 { 2000 } else { 20 };
            client
                .sources(SourcesQuery { sort: SourceOrder::Attempts, limit })
                .await
                .map(|list| list.sources.len() == limit)
        });
    }
    let answers = clients.join_all().await;
    for answer in answers {
        assert!(answer.expect("an answer"));
    }
}
