//! The routes of the control socket.

use std::sync::Arc;

use anyhow::Result;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{SOURCES, STATUS};
use crate::api::{Refusal, SourceList, SourcesQuery, Status};

/// Lists of at most this many sources (some 250 bytes each) are not counted as long ones.
const SHORT_LIST: usize = 1000;
/// Long lists made or sent at a time. With a full table of the default size each takes some 130 MB while it is made, and
/// 65 MB until its reader has it.
const LONG_LISTS: usize = 2;

/// Who knows the answers: the daemon, or a test.
pub trait Answers: Send + Sync + 'static {
    /// How the daemon is.
    fn status(&self) -> impl Future<Output = Result<Status>> + Send;
    /// What was counted per source.
    fn sources(&self, query: SourcesQuery) -> impl Future<Output = Result<SourceList>> + Send;
}

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
        Err(rejection) => return refuse(StatusCode::BAD_REQUEST, rejection.body_text()),
    };
    let permit = if (1..=SHORT_LIST).contains(&query.limit) {
        None
    } else {
        Arc::clone(&control.long_lists).acquire_owned().await.ok()
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

async fn unknown(uri: Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, format!("the daemon knows no {}: is it older than the command line?", uri.path()))
}

async fn wrong_method(uri: Uri) -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, format!("{} can only be read (GET)", uri.path()))
}

fn failed(error: &anyhow::Error) -> Response {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    (status, Json(Refusal::new(message))).into_response()
}
