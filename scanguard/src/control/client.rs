//! Asks the daemon.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{AUDIT, CONFIG, HISTORY, INCIDENTS, RELOAD, SIGNAL, SOURCES, STATUS};
use crate::api::{
    AuditList, AuditQuery, BlockHistory, HistoryQuery, Incident, IncidentList, IncidentsQuery, Refusal, Reloaded,
    RunningConfig, Signal, Signalled, SourceList, SourcesQuery, Status,
};
use crate::operator::OperatorError;
use crate::operator::wish::{Kind, Wish};

/// Longest time for a whole answer: a full table of sources takes the daemon a second or two.
const ANSWER_TIME: Duration = Duration::from_secs(25);
/// How long to wait where the socket's queue is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);
/// Longest answer: some four million sources.
const ANSWER_BYTES: usize = 1 << 30;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "no daemon answers on {}: {why}. Start one with `sudo scanguard run -i INTERFACE`, or name the socket of a running \
         one with --socket PATH", socket.display()
    )]
    NoDaemon {
        /// Where it was looked for.
        socket: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// This user may not ask.
    #[error("you may not talk to the daemon on {}: use sudo, or join the group of that socket", .0.display())]
    NotAllowed(PathBuf),
    /// It took too long.
    #[error("the daemon on {} did not answer within {} s", .0.display(), ANSWER_TIME.as_secs())]
    TooSlow(PathBuf),
    /// The daemon said no.
    #[error("{0}")]
    Refused(OperatorError),
    /// What came is no answer.
    #[error("what came from {} is not an answer of scanguard: {why}", socket.display())]
    Garbled {
        /// Where it came from.
        socket: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Asks the daemon behind a socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the daemon behind this socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// How the daemon is.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn status(&self) -> Result<Status, AskError> {
        self.get(STATUS).await
    }

    /// What was counted per source.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn sources(&self, query: SourcesQuery) -> Result<SourceList, AskError> {
        let SourcesQuery { sort, limit } = query;
        let sort =
            clap::ValueEnum::to_possible_value(&sort).map(|value| value.get_name().to_owned()).unwrap_or_default();
        self.get(&format!("{SOURCES}?sort={sort}&limit={limit}")).await
    }

    /// The latest incidents.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn incidents(&self, query: IncidentsQuery) -> Result<IncidentList, AskError> {
        let query = serde_urlencoded::to_string(query).map_err(|error| self.garbled(error))?;
        self.get(&format!("{INCIDENTS}?{query}")).await
    }

    /// All of an incident.
    ///
    /// # Errors
    /// When there is no answer, or no such incident.
    pub async fn incident(&self, id: u64) -> Result<Incident, AskError> {
        self.get(&format!("{INCIDENTS}/{id}")).await
    }

    /// Who asked for what.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditList, AskError> {
        let query = serde_urlencoded::to_string(query).map_err(|error| self.garbled(error))?;
        self.get(&format!("{AUDIT}?{query}")).await
    }

    /// When blocks began, changed and ended.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn history(&self, query: &HistoryQuery) -> Result<BlockHistory, AskError> {
        let query = serde_urlencoded::to_string(query).map_err(|error| self.garbled(error))?;
        self.get(&format!("{HISTORY}?{query}")).await
    }

    /// Asks for something to be done.
    ///
    /// # Errors
    /// When there is no answer, or it is no.
    pub async fn operate<W: Wish>(&self, wish: &W) -> Result<W::Answer, AskError> {
        match W::KIND {
            Kind::Read => {
                let query = serde_urlencoded::to_string(wish).map_err(|error| self.garbled(error))?;
                self.get(&format!("{}?{query}", W::PATH)).await
            }
            Kind::Change => {
                let body = serde_json::to_vec(wish).map_err(|error| self.garbled(error))?;
                self.ask(Method::POST, W::PATH, body).await
            }
        }
    }

    /// Asks to read the configuration anew.
    ///
    /// # Errors
    /// When there is no answer, or the configuration is wrong.
    pub async fn reload(&self) -> Result<Reloaded, AskError> {
        self.ask(Method::POST, RELOAD, Vec::new()).await
    }

    /// The settings in force.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn running(&self) -> Result<RunningConfig, AskError> {
        self.get(CONFIG).await
    }

    /// Says what a source did.
    ///
    /// # Errors
    /// When there is no answer, or it makes no sense.
    pub async fn signal(&self, signal: &Signal) -> Result<Signalled, AskError> {
        let body = serde_json::to_vec(signal).map_err(|error| self.garbled(error))?;
        self.ask(Method::POST, SIGNAL, body).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.ask(Method::GET, path, Vec::new()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T, AskError> {
        let (status, body) = timeout(ANSWER_TIME, self.fetch(method, path, body))
            .await
            .map_err(|_| AskError::TooSlow(self.socket.clone()))??;
        if status == StatusCode::ACCEPTED {
            let unsaved = serde_json::from_slice(&body).ok().and_then(OperatorError::from_unsaved);
            return Err(unsaved.map_or_else(|| self.garbled(status), AskError::Refused));
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.garbled(error));
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => Err(AskError::Refused(refusal.into())),
            Err(_) => Err(self.garbled(status)),
        }
    }

    /// Connects. With a thousand others in the socket's queue it may be full for a moment.
    async fn connect(&self) -> Result<UnixStream, AskError> {
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_PAUSE).await,
                Err(error) => return Err(self.unreachable(&error)),
            }
        }
    }

    async fn fetch(&self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), AskError> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.garbled(error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "scanguard")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::new(body.into()))
            .map_err(|error| self.garbled(error))?;
        let answer = sender.send_request(request).await.map_err(|error| self.garbled(error))?;
        let status = answer.status();
        let body =
            Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.map_err(|error| self.garbled(error))?;
        connection.abort();
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, error: &std::io::Error) -> AskError {
        let why = match error.kind() {
            ErrorKind::PermissionDenied => return AskError::NotAllowed(self.socket.clone()),
            ErrorKind::NotFound => "there is no such socket".to_owned(),
            ErrorKind::ConnectionRefused => "the socket is there, but its daemon is gone".to_owned(),
            _ => error.to_string(),
        };
        AskError::NoDaemon { socket: self.socket.clone(), why }
    }

    fn garbled(&self, why: impl ToString) -> AskError {
        AskError::Garbled { socket: self.socket.clone(), why: why.to_string() }
    }
}
