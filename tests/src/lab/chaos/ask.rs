//! Requests to a daemon that may die in the middle of one.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

const SOCKET: &str = "/run/scanguard/control.sock";
const PATIENCE: Duration = Duration::from_secs(25);

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// It was answered.
    Answered(u16, Value),
    /// Nobody was there to take it.
    NotDelivered,
    /// It was sent, and whether it was carried out nobody said.
    Unknown,
}

/// Asks for what is read without a body, for a change with one.
pub(super) fn ask(path: &str, body: Option<&Value>) -> Outcome {
    let Ok(mut stream) = UnixStream::connect(SOCKET) else { return Outcome::NotDelivered };
    let request = match body {
        None => format!("GET {path} HTTP/1.1\r\nHost: scanguard\r\n\r\n"),
        Some(body) => {
            let body = body.to_string();
            let length = body.len();
            format!(
                "POST {path} HTTP/1.1\r\nHost: scanguard\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        }
    };
    let mut answer = String::new();
    let exchanged = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| stream.read_to_string(&mut answer));
    let parsed = exchanged.ok().and_then(|_| {
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Outcome::Answered(status, serde_json::from_str(body).ok()?))
    });
    parsed.unwrap_or(Outcome::Unknown)
}
