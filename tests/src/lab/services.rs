//! What listens on the edge: small, but really there.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, Shutdown, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::netns::Netns;
use super::plan::{PUBLIC, RESTRICTED};

/// Most connections of one service at a time; more are closed at once.
const MOST_CONNECTIONS: usize = 512;
/// A client that says nothing for so long is disconnected.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest request head that is read.
const LONGEST_HEAD: usize = 8 * 1024;
const PAGE: &str = "Hello from the edge of the laboratory.\n";

/// How a service speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// HTTP/1.1 with keep-alive, in the clear on every port: counting needs connections, not certificates.
    Http,
    /// Says this once and then listens.
    Banner(&'static str),
}

impl Kind {
    /// What usually runs on a port.
    #[must_use]
    pub fn of(port: u16) -> Self {
        match port {
            22 => Self::Banner("SSH-2.0-OpenSSH_9.2p1 lab\r\n"),
            3306 => Self::Banner("\x4a\0\0\0\x0a8.0.36-lab\0"),
            6379 => Self::Banner("-NOAUTH Authentication required.\r\n"),
            5432 => Self::Banner(""),
            _ => Self::Http,
        }
    }
}

/// A listener on one port, IPv4 and IPv6. Dropping it closes the port and its connections.
#[derive(Debug)]
pub struct Service {
    port: u16,
    listener: Arc<TcpListener>,
    connections: Arc<Mutex<Connections>>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Connections {
    closing: bool,
    next: u64,
    open: HashMap<u64, TcpStream>,
}

impl Service {
    /// Starts listening inside `host`; returns when the port is open.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(host: &Netns, port: u16, kind: Kind) -> Result<Self> {
        let listener = host
            .run(|| dual_stack(port))?
            .with_context(|| format!("cannot listen on port {port} of {}", host.name()))?;
        let listener = Arc::new(TcpListener::from(listener));
        let connections = Arc::<Mutex<Connections>>::default();
        let acceptor = thread::spawn({
            let (listener, connections) = (Arc::clone(&listener), Arc::clone(&connections));
            move || accept(&listener, &connections, kind)
        });
        Ok(Self { port, listener, connections, acceptor: Some(acceptor) })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All services of the plan, but for those on some ports.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn all(host: &Netns, but: &[u16]) -> Result<Vec<Self>> {
        let ports = PUBLIC.into_iter().chain(RESTRICTED).filter(|port| !but.contains(port));
        ports.map(|port| Self::start(host, port, Kind::of(port))).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let streams = {
            let mut connections = lock(&self.connections);
            connections.closing = true;
            std::mem::take(&mut connections.open)
        };
        // Wakes the acceptor and the connections, which then end. "Not connected" is what we want.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        for stream in streams.into_values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn dual_stack(port: u16) -> Result<OwnedFd, rustix::io::Errno> {
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    listen(&socket, 1024)?;
    Ok(socket)
}

fn accept(listener: &TcpListener, connections: &Mutex<Connections>, kind: Kind) {
    thread::scope(|scope| {
        while let Ok((stream, _)) = listener.accept() {
            let Some(number) = register(connections, &stream) else { continue };
            scope.spawn(move || {
                // A client that goes away is not this side's business.
                let _ = serve(stream, kind);
                lock(connections).open.remove(&number);
            });
        }
    });
}

fn register(connections: &Mutex<Connections>, stream: &TcpStream) -> Option<u64> {
    let mut connections = lock(connections);
    if connections.closing || connections.open.len() >= MOST_CONNECTIONS {
        return None;
    }
    let number = connections.next;
    connections.next += 1;
    connections.open.insert(number, stream.try_clone().ok()?);
    Some(number)
}

fn serve(mut stream: TcpStream, kind: Kind) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 2048];
    match kind {
        Kind::Banner(text) => {
            stream.write_all(text.as_bytes())?;
            while stream.read(&mut buffer)? > 0 {}
            Ok(())
        }
        Kind::Http => {
            let mut head = Vec::new();
            while head.len() < LONGEST_HEAD {
                let count = stream.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                head.extend_from_slice(&buffer[..count]);
                if head.ends_with(b"\r\n\r\n") {
                    let close = String::from_utf8_lossy(&head).to_ascii_lowercase().contains("\r\nconnection: close");
                    stream.write_all(page(close).as_bytes())?;
                    if close {
                        return Ok(());
                    }
                    head.clear();
                }
            }
            Ok(())
        }
    }
}

fn page(close: bool) -> String {
    let connection = if close { "Connection: close\r\n" } else { "" };
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{connection}\r\n{PAGE}", PAGE.len())
}

fn lock(connections: &Mutex<Connections>) -> std::sync::MutexGuard<'_, Connections> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}
