//! What tests of the real daemon ask again and again. It panics where a test is to fail.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Lab;
use crate::lab::defender::Daemon;
use crate::lab::netns::Netns;
use crate::lab::plan::{EDGE, customer};
use crate::lab::process::Finished;
use crate::lab::tools::Tool;

/// How long anything may take that is to happen.
pub const LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a packet may take that comes through.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs a verb of the command line, whatever it exits with.
///
/// # Panics
/// When it cannot be run, or hangs.
#[must_use]
pub fn cli(daemon: &Daemon, arguments: &[&str]) -> Finished {
    daemon.cli(arguments).expect("an answer")
}

/// Runs a verb that must succeed, and reads its JSON.
///
/// # Panics
/// When it fails, or prints none.
pub fn done(daemon: &Daemon, arguments: &[&str]) -> Value {
    daemon.done(arguments).expect("an answer")
}

/// Looks again and again until a condition holds.
///
/// # Panics
/// When it does not within [`LIMIT`].
pub fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    wait_longer_for(what, Duration::ZERO, condition);
}

/// The same for what must not happen before some time is over.
///
/// # Panics
/// When it does not happen within [`LIMIT`] after that time.
pub fn wait_longer_for(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + time + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(LOOK_EVERY);
    }
}

/// A connection to a port of the edge, if there is one to be had.
///
/// # Panics
/// When nobody can be `from`.
#[must_use]
pub fn connect(from: &Netns, port: u16) -> Option<TcpStream> {
    let edge = SocketAddr::new(IpAddr::from(EDGE), port);
    from.run(|| TcpStream::connect_timeout(&edge, PATIENCE).ok()).expect("a namespace")
}

/// Whether a request of this customer is answered: from his own address, with data both ways.
///
/// # Panics
/// When curl cannot be run.
#[must_use]
pub fn serves(lab: &Lab, number: u8) -> bool {
    let (url, from) = (format!("http://{EDGE}/"), customer(number).to_string());
    let request = ["--disable", "-s", "--max-time", "2", "--interface", &from, &url];
    Tool::Curl.run(&lab.customers, request, LIMIT).expect("curl").status.code() == Some(0)
}
