//! The routes of the control socket.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Json, Router};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::info;

use super::{INCIDENTS, RELOAD, SOURCES, STATUS};
use crate::api::{
    Address, AllowAdd, AllowList, AllowRemove, AllowTest, BlockAdd, BlockList, BlockRemove, Confirm, Incident,
    IncidentList, IncidentsQuery, ModeSet, ModeState, Nothing, PendingApprove, PendingDeny, PendingList, Refusal,
    RefusalCode, Reloaded, SourceList, SourcesQuery, Status, Why,
};
use crate::http::Peer;
use crate::operator::wish::Wish;
use crate::operator::{OperatorError, incidents as told};

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
    fn operate<W: Wish>(&self, wish: W) -> impl Future<Output = Result<W::Answer, OperatorError>> + Send;
    /// Reads the configuration anew.
    fn reload(&self) -> impl Future<Output = Result<Reloaded, OperatorError>> + Send;
}

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

/// The routes, answered by `answers`.
pub fn router<A: Answers>(answers: Arc<A>) -> Router {
    Router::new()
        .route(STATUS, get(status::<A>))
        .route(SOURCES, get(sources::<A>))
        .route(INCIDENTS, get(incidents::<A>))
        .route(&format!("{INCIDENTS}/{{id}}"), get(incident::<A>))
        .route(
            AllowAdd::PATH,
            read::<A, Nothing<AllowList>>().merge(change::<A, AllowAdd>()).layer(DefaultBodyLimit::max(LIST_BYTES)),
        )
        .route(AllowRemove::PATH, change::<A, AllowRemove>().layer(DefaultBodyLimit::max(LIST_BYTES)))
        .route(<Address<AllowTest>>::PATH, read::<A, Address<AllowTest>>())
        .route(BlockAdd::PATH, read::<A, Nothing<BlockList>>().merge(change::<A, BlockAdd>()))
        .route(BlockRemove::PATH, change::<A, BlockRemove>())
        .route(ModeSet::PATH, read::<A, Nothing<ModeState>>().merge(change::<A, ModeSet>()))
        .route(Confirm::PATH, change::<A, Confirm>())
        .route(<Nothing<PendingList>>::PATH, read::<A, Nothing<PendingList>>())
        .route(PendingApprove::PATH, change::<A, PendingApprove>())
        .route(PendingDeny::PATH, change::<A, PendingDeny>())
        .route(<Address<Why>>::PATH, read::<A, Address<Why>>())
        .route(RELOAD, post(reload::<A>))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Control { answers, long_lists: Arc::new(Semaphore::new(LONG_LISTS)) })
}

async fn status<A: Answers>(State(control): State<Control<A>>) -> Response {
    match control.answers.status().await {
        Ok(status) => Json(status).into_response(),
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
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&list)).await;
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
            Ok(list) => Json(list).into_response(),
            Err(error) => failed(&error),
        },
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    }
}

async fn incident<A: Answers>(State(control): State<Control<A>>, id: Result<Path<u64>, PathRejection>) -> Response {
    match id {
        Ok(Path(id)) => match control.answers.incident(id).await {
            Ok(Some(incident)) => Json(incident).into_response(),
            Ok(None) => answer::<()>(Err(told::missing(id))),
            Err(error) => failed(&error),
        },
        Err(rejection) => refuse(StatusCode::BAD_REQUEST, RefusalCode::Usage, rejection.body_text()),
    }
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
        Ok(Query(wish)) => answer(control.answers.operate(wish).await),
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
                info!(path = W::PATH, uid = peer.uid, pid = peer.pid, "somebody asks for a change");
                answer(control.answers.operate(wish).await)
            }
            Err(rejection) => {
                let status = match rejection.status() {
                    // JSON that says something else than what is asked for makes no more sense than what is no JSON.
                    StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                    status => status,
                };
                refuse(status, RefusalCode::Usage, rejection.body_text())
            }
        },
    )
}

async fn reload<A: Answers>(State(control): State<Control<A>>, Extension(peer): Extension<Peer>) -> Response {
    info!(path = RELOAD, uid = peer.uid, pid = peer.pid, "somebody asks for a change");
    answer(control.answers.reload().await)
}

fn answer<T: Serialize>(result: Result<T, OperatorError>) -> Response {
    match result {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => {
            let status = match &error {
                OperatorError::Usage(_) => StatusCode::BAD_REQUEST,
                OperatorError::Refused { .. } => StatusCode::FORBIDDEN,
                OperatorError::NotFound(_) => StatusCode::NOT_FOUND,
                OperatorError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, Json(error.refusal())).into_response()
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
    (status, Json(Refusal::new(code, message))).into_response()
}
