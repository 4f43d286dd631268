//! The routes of the control socket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::info;

use super::{AUDIT, CONFIG, HISTORY, INCIDENT, INCIDENTS, OPENAPI, RELOAD, SIGNAL, SOURCES, STATUS};
use crate::api::{
    Address, AllowAdd, AllowList, AllowRemove, AllowTest, AuditList, AuditQuery, BlockAdd, BlockHistory, BlockList,
    BlockRemove, Confirm, FeedList, FeedTest, FeedsRefresh, HistoryQuery, Incident, IncidentList, IncidentsQuery,
    KnownAdd, KnownQuery, KnownRemove, LockdownOff, LockdownOn, LockdownState, ModeSet, ModeState, Nothing,
    PendingApprove, PendingDeny, PendingList, Refusal, RefusalCode, Reloaded, RunningConfig, Signal, Signalled,
    SourceList, SourcesQuery, Status, Why,
};
use crate::http::Peer;
use crate::operator::wish::Wish;
use crate::operator::{Caller, OperatorError, incidents as told};
use crate::printable;

/// Lists of at most this many sources (some 250 bytes each) are not counted as long ones.
const SHORT_LIST: usize = 1000;
/// Long lists made or sent at a time. With a full table of the default size each takes some 130 MB while it is made, and
/// 65 MB until its reader has it.
const LONG_LISTS: usize = 2;
/// Longest time to wait for one's turn to have a long list. The command line waits longer than that for its answer.
const LONG_LIST_WAIT: Duration = Duration::from_secs(15);

/// Who knows the answers: the daemon, or a test.
pub trait Answers: Send + Sync + 'static {
    /// How the daemon is.
    fn status(&self) -> impl Future<Output = Result<Status>> + Send;
    /// What was counted per source.
    fn sources(&self, query: SourcesQuery) -> impl Future<Output = Result<SourceList>> + Send;
    /// The latest incidents.
    fn incidents(&self, query: IncidentsQuery) -> impl Future<Output = Result<IncidentList>> + Send;
    /// All of an incident, if there is such a one.
    fn incident(&self, id: u64) -> impl Future<Output = Result<Option<Incident>>> + Send;
    /// Does what an operator asks for.
    fn operate<W: Wish>(
        &self,
        wish: W,
        caller: Caller,
    ) -> impl Future<Output = Result<W::Answer, OperatorError>> + Send;
    /// Whether a signal is heard, of which there may be too many: then nothing of it is written down.
    fn admit(&self, signal: &Signal) -> Result<(), OperatorError>;
    /// Hears what a log tool says of a source, once it was admitted.
    fn signal(&self, signal: Signal, caller: Caller) -> impl Future<Output = Result<Signalled, OperatorError>> + Send;
    /// Who asked for what.
    fn audit(&self, query: AuditQuery) -> impl Future<Output = Result<AuditList, OperatorError>> + Send;
    /// When blocks began, changed and ended.
    fn history(&self, query: HistoryQuery) -> impl Future<Output = Result<BlockHistory, OperatorError>> + Send;
    /// The settings in force.
    fn running(&self) -> impl Future<Output = Result<RunningConfig, OperatorError>> + Send {
        std::future::ready(Err(OperatorError::NotFound("nothing runs here".to_owned())))
    }
    /// Reads the configuration anew.
    fn reload(&self, caller: Caller) -> impl Future<Output = Result<Reloaded, OperatorError>> + Send;
}

/// This interface as OpenAPI has it; a test keeps it true.
const DOCUMENT: &str = include_str!("../../../docs/openapi.json");

/// Most bytes of a list of entries for the allowlist: [`crate::api::MOST_ENTRIES`] of them with long comments.
const LIST_BYTES: usize = 4 * 1024 * 1024;

struct Control<A> {
    answers: Arc<A>,
    long_lists: Arc<Semaphore>,
}

impl<A> Clone for Control<A> {
    fn clone(&self) -> Self {
        Self { answers: Arc::clone(&self.answers), long_lists: Arc::clone(&self.long_lists) }
    }
}

/// A route: its path, the methods that it takes, and what answers.
struct Route<A> {
    path: &'static str,
    #[cfg_attr(not(test), expect(dead_code, reason = "what the test of the description compares"))]
    methods: &'static [&'static str],
    answers: MethodRouter<Control<A>>,
}

const GET: &[&str] = &["get"];
const POST: &[&str] = &["post"];
const BOTH: &[&str] = &["get", "post"];

/// All of them, as the description of this interface has them (a test compares).
fn routes<A: Answers>() -> Vec<Route<A>> {
    let route = |path, methods, answers| Route { path, methods, answers };
    let list = || DefaultBodyLimit::max(LIST_BYTES);
    vec![
        route(STATUS, GET, get(status::<A>)),
        route(SOURCES, GET, get(sources::<A>)),
        route(INCIDENTS, GET, get(incidents::<A>)),
        route(INCIDENT, GET, get(incident::<A>)),
        route(AllowAdd::PATH, BOTH, read::<A, Nothing<AllowList>>().merge(change::<A, AllowAdd>()).layer(list())),
        route(AllowRemove::PATH, POST, change::<A, AllowRemove>().layer(list())),
        route(<Address<AllowTest>>::PATH, GET, read::<A, Address<AllowTest>>()),
        route(BlockAdd::PATH, BOTH, read::<A, Nothing<BlockList>>().merge(change::<A, BlockAdd>())),
        route(BlockRemove::PATH, POST, change::<A, BlockRemove>()),
        route(HISTORY, GET, get(history::<A>)),
        route(ModeSet::PATH, BOTH, read::<A, Nothing<ModeState>>().merge(change::<A, ModeSet>())),
        route(Confirm::PATH, POST, change::<A, Confirm>()),
        route(LockdownOn::PATH, BOTH, read::<A, Nothing<LockdownState>>().merge(change::<A, LockdownOn>())),
        route(LockdownOff::PATH, POST, change::<A, LockdownOff>()),
        route(<Nothing<PendingList>>::PATH, GET, read::<A, Nothing<PendingList>>()),
        route(PendingApprove::PATH, POST, change::<A, PendingApprove>()),
        route(PendingDeny::PATH, POST, change::<A, PendingDeny>()),
        route(KnownAdd::PATH, BOTH, read::<A, KnownQuery>().merge(change::<A, KnownAdd>()).layer(list())),
        route(KnownRemove::PATH, POST, change::<A, KnownRemove>().layer(list())),
        route(<Nothing<FeedList>>::PATH, GET, read::<A, Nothing<FeedList>>()),
        route(<Address<FeedTest>>::PATH, GET, read::<A, Address<FeedTest>>()),
        route(FeedsRefresh::PATH, POST, change::<A, FeedsRefresh>()),
        route(SIGNAL, POST, post(signal::<A>)),
        route(<Address<Why>>::PATH, GET, read::<A, Address<Why>>()),
        route(AUDIT, GET, get(audit::<A>)),
        route(CONFIG, GET, get(running::<A>)),
        route(RELOAD, POST, post(reload::<A>)),
        route(OPENAPI, GET, get(async || ([(header::CONTENT_TYPE, "application/json")], DOCUMENT))),
    ]
}

/// The routes with their methods, as paths of the description of this interface.
#[cfg(test)]
pub(super) fn paths<A: Answers>() -> Vec<(&'static str, &'static [&'static str])> {
    routes::<A>().into_iter().map(|Route { path, methods, .. }| (path, methods)).collect()
}

/// The routes, answered by `answers`.
pub fn router<A: Answers>(answers: Arc<A>) -> Router {
    routes::<A>()
        .into_iter()
        .fold(Router::new(), |router, Route { path, answers, .. }| router.route(path, answers))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Control { answers, long_lists: Arc::new(Semaphore::new(LONG_LISTS)) })
}

async fn status<A: Answers>(State(control): State<Control<A>>) -> Response {
    match control.answers.status().await {
        Ok(status) => Told(status).into_response(),
        Err(error) => failed(&error),
    }
}

async fn sources<A: Answers>(
    State(control): State<Control<A>>,
    query: Result<Query<SourcesQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    };
    let permit = if (1..=SHORT_LIST).contains(&query.limit) {
        None
    } else {
        match timeout(LONG_LIST_WAIT, Arc::clone(&control.long_lists).acquire_owned()).await {
            Ok(permit) => permit.ok(),
            Err(_) => {
                let message = "others are being sent long lists: ask again later, or for a short one with --limit";
                return refuse(StatusCode::SERVICE_UNAVAILABLE, RefusalCode::Failed, message);
            }
        }
    };
    let list = match control.answers.sources(query).await {
        Ok(list) => list,
        Err(error) => return failed(&error),
    };
    let written = tokio::task::spawn_blocking(move || written(&list)).await;
    match written.map_err(anyhow::Error::from).and_then(|bytes| Ok(bytes?)) {
        Ok(bytes) => {
            let body = Body::from(Bytes::from_owner(Held { bytes, _permit: permit }));
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn incidents<A: Answers>(
    State(control): State<Control<A>>,
    query: Result<Query<IncidentsQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => match control.answers.incidents(query).await {
            Ok(list) => Told(list).into_response(),
            Err(error) => failed(&error),
        },
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    }
}

async fn incident<A: Answers>(State(control): State<Control<A>>, id: Result<Path<u64>, PathRejection>) -> Response {
    match id {
        Ok(Path(id)) => match control.answers.incident(id).await {
            Ok(Some(incident)) => Told(incident).into_response(),
            Ok(None) => answer::<()>(Err(told::missing(id))),
            Err(error) => failed(&error),
        },
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    }
}

/// An answer as JSON, in which nothing deceives whoever looks at it on a terminal.
struct Told<T>(T);

impl<T: Serialize> IntoResponse for Told<T> {
    fn into_response(self) -> Response {
        match written(&self.0) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        }
    }
}

fn written<T: Serialize>(answer: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_string(answer).map(|json| printable::json(json).into_bytes())
}

/// A body that gives its permit back when it has been sent.
struct Held {
    bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A route that is only read.
fn read<A: Answers, W: Wish>() -> MethodRouter<Control<A>> {
    get(async |State(control): State<Control<A>>, query: Result<Query<W>, QueryRejection>| match query {
        Ok(Query(wish)) => answer(control.answers.operate(wish, Caller::default()).await),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    })
}

/// A route that changes something.
fn change<A: Answers, W: Wish>() -> MethodRouter<Control<A>> {
    post(
        async |State(control): State<Control<A>>,
               Extension(peer): Extension<Peer>,
               body: Result<Json<W>, JsonRejection>| match body {
            Ok(Json(wish)) => {
                let caller = caller(W::PATH, peer).await;
                answer(control.answers.operate(wish, caller).await)
            }
            Err(rejection) => senseless(&rejection),
        },
    )
}

/// A body that is not what the route takes.
fn senseless(rejection: &JsonRejection) -> Response {
    let status = match rejection.status() {
        // JSON that says something else than what is asked for makes no more sense than what is no JSON.
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    refuse(status, RefusalCode::Usage, rejection.body_text())
}

async fn signal<A: Answers>(
    State(control): State<Control<A>>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<Signal>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(signal)) => {
            if let Err(refused) = control.answers.admit(&signal) {
                return answer::<Signalled>(Err(refused));
            }
            let caller = caller(SIGNAL, peer).await;
            answer(control.answers.signal(signal, caller).await)
        }
        Err(rejection) => senseless(&rejection),
    }
}

async fn reload<A: Answers>(State(control): State<Control<A>>, Extension(peer): Extension<Peer>) -> Response {
    let caller = caller(RELOAD, peer).await;
    answer(control.answers.reload(caller).await)
}

async fn running<A: Answers>(State(control): State<Control<A>>) -> Response {
    answer(control.answers.running().await)
}

async fn audit<A: Answers>(
    State(control): State<Control<A>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => answer(control.answers.audit(query).await),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    }
}

async fn history<A: Answers>(
    State(control): State<Control<A>>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => answer(control.answers.history(query).await),
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    }
}

/// Who asks for a change.
async fn caller(path: &str, Peer { uid, pid, .. }: Peer) -> Caller {
    let caller = tokio::task::spawn_blocking(move || Caller::of_peer(uid, pid)).await;
    let caller = caller.unwrap_or(Caller { uid, pid, ..Caller::default() });
    let Caller { user, program, .. } = &caller;
    info!(path, uid, pid, user, program, "somebody asks for a change");
    caller
}

fn answer<T: Serialize>(result: Result<T, OperatorError>) -> Response {
    match result {
        Ok(answer) => Told(answer).into_response(),
        // It was accepted and is in force; that it is kept is still to be seen.
        Err(OperatorError::Unsaved { answer, .. }) => (StatusCode::ACCEPTED, Told(answer)).into_response(),
        Err(error) => {
            let status = match &error {
                OperatorError::Usage(_) => StatusCode::BAD_REQUEST,
                OperatorError::Refused { .. } => StatusCode::FORBIDDEN,
                OperatorError::NotFound(_) => StatusCode::NOT_FOUND,
                OperatorError::Unsaved { .. } | OperatorError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, Told(error.refusal())).into_response()
        }
    }
}

async fn unknown(uri: Uri) -> Response {
    let message = format!("the daemon knows no {}: is it older than the command line?", uri.path());
    refuse(StatusCode::NOT_FOUND, RefusalCode::Failed, message)
}

async fn wrong_method(uri: Uri) -> Response {
    let message =
        format!("{} does not take this method: what is read takes GET, what changes something POST", uri.path());
    refuse(StatusCode::METHOD_NOT_ALLOWED, RefusalCode::Usage, message)
}

fn failed(error: &anyhow::Error) -> Response {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, RefusalCode::Failed, format!("{error:#}"))
}

fn refuse(status: StatusCode, code: RefusalCode, message: impl Into<String>) -> Response {
    (status, Told(Refusal::new(code, message))).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn what_deceives_is_escaped_in_answers_and_means_the_same() {
        let reason = "sshd: user \u{202e}toor\u{2028}\u{9b}2J";
        let body = Told(reason).into_response().into_body().collect().await.expect("a body").to_bytes();
        assert!(body.is_ascii(), "{body:?}");
        assert_eq!(serde_json::from_slice::<String>(&body).expect("JSON"), reason);
    }
}
