//! A web site: one page, whatever is asked for, and notes of what that was.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::{Shutdown, shutdown};

use super::netns::Netns;

/// A browser opens connections before it knows what for, and says nothing on them.
const PATIENCE: Duration = Duration::from_secs(2);

/// The site. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Site {
    listener: Arc<OwnedFd>,
    asked: Arc<Mutex<Vec<String>>>,
    server: Option<JoinHandle<()>>,
}

impl Site {
    /// Serves a page on an address of `host`.
    pub(super) fn start(host: &Netns, address: SocketAddr, page: String) -> Result<Self> {
        let listener = host.run(|| TcpListener::bind(address))?;
        let listener = listener.with_context(|| format!("cannot serve a page on {address}"))?;
        let ending = Arc::new(OwnedFd::from(listener.try_clone().context("cannot clone a listener")?));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let server = thread::spawn({
            let asked = Arc::clone(&asked);
            move || {
                thread::scope(|scope| {
                    while let Ok((stream, _)) = listener.accept() {
                        let (asked, page) = (&asked, &page);
                        // Who goes away before he has the page does not matter.
                        scope.spawn(move || serve(stream, page, asked));
                    }
                });
            }
        });
        Ok(Self { listener: ending, asked, server: Some(server) })
    }

    /// What followed a word in something that was asked for.
    pub(super) fn told(&self, word: &str) -> Option<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().find_map(|path| path.strip_prefix(word).map(str::to_owned))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Wakes the server; "not connected" is what the kernel says besides.
        let _ = shutdown(&*self.listener, Shutdown::Both);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn serve(mut stream: TcpStream, page: &str, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(()) };
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    if let Some(path) = first.split(' ').nth(1) {
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len())
}
