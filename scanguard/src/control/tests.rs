//! Every route, with what it takes and what it refuses. The server is the real one, its answers are made up.

use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::client::{AskError, Client};
use super::server::{Answers, router};
use super::socket::{SocketFile, claim};
use crate::api::{
    AuditList, AuditQuery, BlockHistory, HistoryQuery, Incident, IncidentList, IncidentsQuery, MOST_ENTRIES, ModeSet,
    Reloaded, Signal, Signalled, SourceList, SourcesQuery, Status,
};
use crate::http;
use crate::operator::wish::Wish;
use crate::operator::{Caller, OperatorError};

/// Notes what it is asked for and refuses it, in a way that `refusal` makes.
pub(super) struct MadeUp {
    asked: Mutex<Vec<(&'static str, Value)>>,
    refusal: fn() -> OperatorError,
}

impl MadeUp {
    pub(super) fn new(refusal: fn() -> OperatorError) -> Self {
        Self { asked: Mutex::default(), refusal }
    }
}

impl Answers for MadeUp {
    async fn status(&self) -> anyhow::Result<Status> {
        anyhow::bail!("it is ill")
    }

    /// Long lists take for ever.
    async fn sources(&self, _: SourcesQuery) -> anyhow::Result<SourceList> {
        pending().await
    }

    async fn incidents(&self, query: IncidentsQuery) -> anyhow::Result<IncidentList> {
        Ok(IncidentList { total: query.limit as u64 + query.since_s.unwrap_or(0), ..IncidentList::default() })
    }

    async fn incident(&self, id: u64) -> anyhow::Result<Option<Incident>> {
        Ok((id == 7).then(Incident::default))
    }

    async fn operate<W: Wish>(&self, wish: W, _: Caller) -> Result<W::Answer, OperatorError> {
        let wish = serde_json::to_value(wish).expect("JSON");
        self.asked.lock().expect("nobody panicked").push((W::PATH, wish));
        Err((self.refusal)())
    }

    fn admit(&self, _: &Signal) -> Result<(), OperatorError> {
        Ok(())
    }

    async fn signal(&self, signal: Signal, _: Caller) -> Result<Signalled, OperatorError> {
        let signal = serde_json::to_value(signal).expect("JSON");
        self.asked.lock().expect("nobody panicked").push((super::SIGNAL, signal));
        Err((self.refusal)())
    }

    async fn audit(&self, _: AuditQuery) -> Result<AuditList, OperatorError> {
        Err(OperatorError::NotFound("there is none".into()))
    }

    async fn history(&self, _: HistoryQuery) -> Result<BlockHistory, OperatorError> {
        Err(OperatorError::NotFound("there is none".into()))
    }

    async fn reload(&self, _: Caller) -> Result<Reloaded, OperatorError> {
        self.asked.lock().expect("nobody panicked").push((super::RELOAD, Value::Null));
        Err((self.refusal)())
    }
}

/// A server that lives as long as this.
struct Served {
    socket: PathBuf,
    answers: Arc<MadeUp>,
    _file: SocketFile,
    _folder: TempDir,
}

pub(super) fn refused() -> OperatorError {
    OperatorError::Refused { rule: "own".into(), message: "it is our own".into() }
}

fn serve(refusal: fn() -> OperatorError) -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("control.sock");
    let (listener, file) = claim(&socket, None).expect("a socket");
    let answers = Arc::new(MadeUp::new(refusal));
    tokio::spawn(http::serve(listener, router(Arc::clone(&answers))));
    Served { socket, answers, _file: file, _folder: folder }
}

impl Served {
    /// Sends a request and returns the status and the body of the answer.
    async fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).await.expect("a connection");
        // The server may hang up before it has taken everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no answer to {request:.200}: {answer}")), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    async fn post(&self, path: &str, kind: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}");
        self.ask(&format!("{head}\r\n\r\n{body}")).await
    }

    fn asked(&self) -> Vec<(&'static str, Value)> {
        std::mem::take(&mut *self.answers.asked.lock().expect("nobody panicked"))
    }
}

const JSON: &str = "application/json";

/// What is changed: route, a body that is complete, and one with an unknown field.
const CHANGES: [(&str, &str, &str); 8] = [
    (
        "/v1/allow",
        r#"{"entries":[{"prefix":"192.0.2.7","name":null,"comment":"x","for_s":60}]}"#,
        r#"{"entries":[{"prefix":"192.0.2.7","colour":"red"}]}"#,
    ),
    ("/v1/allow/remove", r#"{"prefixes":["192.0.2.7"]}"#, r#"{"prefixes":[],"colour":"red"}"#),
    (
        "/v1/block",
        r#"{"prefix":"192.0.2.7","scope":"all","hard":true,"for_s":60,"reason":"x","force":false,"logged_in_from":[]}"#,
        r#"{"prefix":"192.0.2.7","scope":"all","colour":"red"}"#,
    ),
    ("/v1/block/remove", r#"{"prefixes":["192.0.2.7"]}"#, r#"{"prefixes":[],"colour":"red"}"#),
    ("/v1/mode", r#"{"mode":"enforce","confirm_s":300}"#, r#"{"mode":"enforce","colour":"red"}"#),
    ("/v1/confirm", "{}", r#"{"colour":"red"}"#),
    ("/v1/feeds/refresh", "{}", r#"{"colour":"red"}"#),
    (
        "/v1/signal",
        r#"{"address":"192.0.2.7","weight":2.5,"reason":"sshd","proof":true}"#,
        r#"{"address":"192.0.2.7","weight":2.5,"reason":"sshd","colour":"red"}"#,
    ),
];

#[tokio::test]
async fn what_is_changed_arrives_as_it_was_sent() {
    let served = serve(refused);
    for (path, body, _) in CHANGES {
        let (status, answer) = served.post(path, JSON, body).await;
        assert_eq!(status, 403, "{path}: {answer}");
        assert_eq!(served.asked(), [(path, serde_json::from_str(body).expect("JSON"))]);
    }
    assert_eq!(served.post("/v1/config/reload", JSON, "").await.0, 403);
    assert_eq!(served.asked(), [("/v1/config/reload", Value::Null)]);
}

#[tokio::test]
async fn what_is_read_arrives_as_it_was_asked() {
    let served = serve(refused);
    let rows = [
        ("/v1/allow", "/v1/allow", json!({})),
        ("/v1/allow/test?address=2001%3Adb8%3A%3A%2F64", "/v1/allow/test", json!({"address": "2001:db8::/64"})),
        ("/v1/block", "/v1/block", json!({})),
        ("/v1/feeds", "/v1/feeds", json!({})),
        ("/v1/feeds/test?address=192.0.2.7", "/v1/feeds/test", json!({"address": "192.0.2.7"})),
        ("/v1/mode", "/v1/mode", json!({})),
        ("/v1/why?address=192.0.2.7", "/v1/why", json!({"address": "192.0.2.7"})),
    ];
    for (request, path, wish) in rows {
        let (status, answer) = served.get(request).await;
        assert_eq!(status, 403, "{request}: {answer}");
        assert_eq!(served.asked(), [(path, wish)]);
    }
}

#[tokio::test]
async fn incidents_are_listed_as_asked_for_and_told_one_by_one() {
    let served = serve(refused);
    let client = Client::new(&served.socket);
    let query = IncidentsQuery { since_s: Some(60), limit: 3, ..IncidentsQuery::default() };
    assert_eq!(client.incidents(query).await.expect("a list").total, 63);
    assert_eq!(client.incident(7).await.expect("an incident"), Incident::default());
    let error = client.incident(8).await.expect_err("there is none");
    assert!(matches!(&error, AskError::Refused(OperatorError::NotFound(_))), "{error}");
    for path in ["/v1/incidents?limit=x", "/v1/incidents?state=half", "/v1/incidents?colour=red", "/v1/incidents/x"] {
        let (status, answer) = served.get(path).await;
        assert!(status == 400 && answer.contains("\"usage\""), "{path}: {status} {answer}");
    }
}

#[tokio::test]
async fn broken_requests_are_refused_with_the_reason_and_reach_nobody() {
    let served = serve(refused);
    for (path, body, unknown) in CHANGES {
        let half = &body[..body.len() - 1];
        let rows = [
            (served.post(path, JSON, unknown).await, 400, "colour"),
            (served.post(path, JSON, half).await, 400, "EOF"),
            (served.post(path, JSON, "\0").await, 400, "line 1"),
            (served.post(path, "text/plain", body).await, 415, "application/json"),
        ];
        for ((status, answer), expected, reason) in rows {
            assert!(status == expected && answer.contains(reason), "{path}: {status} {answer}");
            let refusal: Value = serde_json::from_str(&answer).expect("JSON");
            assert_eq!(
                (&refusal["schema_version"], &refusal["code"]),
                (&json!(1), &json!("usage")),
                "{path}: {answer}"
            );
        }
    }
    for path in ["/v1/why", "/v1/allow/test", "/v1/why?addres=192.0.2.7", "/v1/mode?colour=red", "/v1/block?a=b"] {
        let (status, answer) = served.get(path).await;
        assert!(status == 400 && answer.contains("\"usage\""), "{path}: {status} {answer}");
    }
    for path in ["/v1/allow/remove", "/v1/block/remove", "/v1/confirm", "/v1/config/reload"] {
        let (status, answer) = served.get(path).await;
        assert!(status == 405 && answer.contains("POST"), "{path}: {status} {answer}");
    }
    assert_eq!(served.asked(), []);
}

#[tokio::test]
async fn bodies_are_bounded_and_the_longest_list_fits() {
    let served = serve(refused);
    let entry = format!(r#"{{"prefix":"2001:db8:1111:2222:3333:4444:5555:6666/128","comment":"{}"}}"#, "x".repeat(200));
    let entries = |count: usize| format!(r#"{{"entries":[{}]}}"#, vec![entry.as_str(); count].join(","));
    let (status, answer) = served.post("/v1/allow", JSON, &entries(MOST_ENTRIES)).await;
    assert_eq!(status, 403, "{answer}");
    assert_eq!(served.asked().len(), 1);
    let far_too_long = entries(10 * MOST_ENTRIES);
    for (path, body) in [
        ("/v1/allow", far_too_long.as_str()),
        ("/v1/allow/remove", &far_too_long),
        ("/v1/block", &entries(1_000)),
        ("/v1/block/remove", &entries(1_000)),
        ("/v1/mode", &entries(1_000)),
        ("/v1/confirm", &entries(1_000)),
        ("/v1/signal", &entries(1_000)),
        ("/v1/feeds/refresh", &entries(1_000)),
    ] {
        let (status, answer) = served.post(path, JSON, body).await;
        assert!(status == 413 && answer.contains("\"usage\""), "{path}: {status} {answer}");
    }
    assert_eq!(served.asked(), []);
}

#[tokio::test(start_paused = true)]
async fn half_of_a_body_reaches_nobody_and_is_answered() {
    let served = serve(refused);
    for (path, body, _) in CHANGES {
        let (half, length) = (&body[..body.len() / 2], body.len());
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {length}");
        let (status, answer) = served.ask(&format!("{head}\r\n\r\n{half}")).await;
        assert!(status == 400 && answer.contains("did not come within"), "{path}: {status} {answer}");
    }
    assert_eq!(served.asked(), []);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_turn_for_a_long_list_is_told_so() {
    let served = serve(refused);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = UnixStream::connect(&served.socket).await.expect("a connection");
        stream.write_all(b"GET /v1/sources?limit=0 HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("a request");
        waiting.push(stream);
    }
    let (status, answer) = served.get("/v1/sources?limit=0").await;
    assert!(status == 503 && answer.contains("--limit"), "{status} {answer}");
}

#[tokio::test]
async fn each_kind_of_refusal_comes_through_with_its_status() {
    type Make = fn() -> OperatorError;
    let rows: [(Make, _, _, _); 4] = [
        (|| OperatorError::Usage("x".into()), 400, "usage", None),
        (refused, 403, "refused", Some("own")),
        (|| OperatorError::NotFound("x".into()), 404, "not_found", None),
        (|| OperatorError::Failed(anyhow::anyhow!("x")), 500, "failed", None),
    ];
    for (refusal, status, code, rule) in rows {
        let served = serve(refusal);
        let wish = ModeSet { mode: "enforce".into(), confirm_s: None };
        let (found, answer) = served.post("/v1/mode", JSON, &serde_json::to_string(&wish).expect("JSON")).await;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!((found, answer["code"].as_str(), answer["rule"].as_str()), (status, Some(code), rule));
        let error = Client::new(&served.socket).operate(&wish).await.expect_err("a refusal");
        let AskError::Refused(error) = error else { panic!("{error:?}") };
        let again = serde_json::to_value(error.refusal()).expect("JSON");
        assert_eq!(again, answer, "the client has it as the server had it");
    }
}
