//! Values that a shell offers on TAB: what there is on this host, and what the daemon knows. In bounded time, and silently nothing where it
//! cannot be asked.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use tokio::runtime::Builder;
use tokio::time::timeout;

use crate::api::{AllowList, BlockList, IncidentsQuery, Nothing, PendingList, SourcesQuery};
use crate::config::DEFAULT_SOCKET;
use crate::config::file::load;
use crate::control::client::{AskError, Client};

/// How long a shell waits for the daemon at most.
const PATIENCE: Duration = Duration::from_millis(700);
/// Sources and incidents that are offered.
const MOST: usize = 50;

/// The interfaces of this host, and `auto`.
pub(super) fn interfaces() -> Vec<CompletionCandidate> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names.push("auto".to_owned());
    named(names)
}

/// What is blocked.
pub(super) fn blocked() -> Vec<CompletionCandidate> {
    let list = ask(async |client: &Client| client.operate(&Nothing::<BlockList>::default()).await);
    named(list.into_iter().flat_map(|list| list.entries).map(|entry| entry.source))
}

/// What an operator put on the allowlist.
pub(super) fn allowed() -> Vec<CompletionCandidate> {
    let list = ask(async |client: &Client| client.operate(&Nothing::<AllowList>::default()).await);
    let entries = list.into_iter().flat_map(|list| list.entries).filter(|entry| entry.source == "operator");
    named(entries.map(|entry| entry.prefix))
}

/// Sources that wait for a person.
pub(super) fn pending() -> Vec<CompletionCandidate> {
    let list = ask(async |client: &Client| client.operate(&Nothing::<PendingList>::default()).await);
    named(list.into_iter().flat_map(|list| list.entries).map(|entry| entry.source))
}

/// The sources that asked most.
pub(super) fn sources() -> Vec<CompletionCandidate> {
    let query = SourcesQuery { limit: MOST, ..SourcesQuery::default() };
    let list = ask(async |client: &Client| client.sources(query).await);
    named(list.into_iter().flat_map(|list| list.sources).map(|source| source.source))
}

/// The numbers of the latest incidents, with whose they are.
pub(super) fn incidents() -> Vec<CompletionCandidate> {
    let query = IncidentsQuery { limit: MOST, ..IncidentsQuery::default() };
    let list = ask(async |client: &Client| client.incidents(query).await);
    let candidate = |incident: crate::api::IncidentSummary| {
        let whose = incident.subject.unwrap_or(incident.kind);
        CompletionCandidate::new(incident.id.to_string()).help(Some(whose.into()))
    };
    list.into_iter().flat_map(|list| list.incidents).map(candidate).collect()
}

fn named(names: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// What the daemon answers; nothing where there is none, it may not be asked, or it takes long.
fn ask<T>(question: impl AsyncFnOnce(&Client) -> Result<T, AskError>) -> Option<T> {
    let client = Client::new(&socket(std::env::args_os()));
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { timeout(PATIENCE, question(&client)).await }).ok()?.ok()
}

/// The socket: what the line says so far, or the configuration.
fn socket(arguments: impl IntoIterator<Item = OsString>) -> PathBuf {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let value = |option: &str| {
        let position = arguments.iter().position(|argument| argument == option)?;
        arguments.get(position + 1).map(PathBuf::from)
    };
    value("--socket").unwrap_or_else(|| {
        let config = load(value("--config").as_deref());
        config.map_or_else(|_| DEFAULT_SOCKET.into(), |loaded| loaded.config.control_socket)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_the_one_that_the_line_names() {
        let line = |text: &str| socket(text.split(' ').map(OsString::from));
        assert_eq!(line("scanguard -- scanguard unban --socket /a/b.sock 203"), PathBuf::from("/a/b.sock"));
        assert_eq!(line("scanguard -- scanguard unban --config /none.toml"), PathBuf::from(DEFAULT_SOCKET));
    }
}
