//! Some hundred ports on which something really listens, on one thread.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, listen, recvfrom, socket_with, sockopt};

use crate::lab::netns::Netns;

/// How long it may take until a port that opens is served.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// Handshakes that wait.
const BACKLOG: i32 = 4_096;
/// What is answered to each datagram.
const ANSWER: &[u8] = b"an answer";

#[derive(Debug, Default)]
struct Sockets {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

/// The ports. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Listeners {
    host: Netns,
    sockets: Arc<Mutex<Sockets>>,
    ended: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Opens these ports of a host, TCP and UDP, IPv4 and IPv6.
    pub(super) fn start(host: &Netns, ports: impl IntoIterator<Item = u16>) -> Result<Self> {
        let sockets = Arc::<Mutex<Sockets>>::default();
        let ended = Arc::<AtomicBool>::default();
        let worker = thread::spawn({
            let (sockets, ended) = (Arc::clone(&sockets), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    serve(&sockets);
                }
            }
        });
        let listeners = Self { host: host.clone(), sockets, ended, worker: Some(worker) };
        for port in ports {
            listeners.open(port)?;
        }
        Ok(listeners)
    }

    /// Opens one more.
    pub(super) fn open(&self, port: u16) -> Result<()> {
        let (tcp, udp) = self
            .host
            .run(|| -> Result<_> { Ok((bound(SocketType::STREAM, port)?, bound(SocketType::DGRAM, port)?)) })?
            .with_context(|| format!("cannot open port {port}"))?;
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.tcp.push(tcp.into());
        sockets.udp.push(udp.into());
        Ok(())
    }
}

fn bound(kind: SocketType, port: u16) -> Result<std::os::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET6, kind, flags, None)?;
    sockopt::set_ipv6_v6only(&socket, false)?;
    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Serves what waits, once.
fn serve(sockets: &Mutex<Sockets>) {
    // Clones, so that a port can open meanwhile.
    let (tcp, udp): (Vec<TcpListener>, Vec<UdpSocket>) = {
        let sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let clones = (
            sockets.tcp.iter().map(TcpListener::try_clone).collect::<Result<_, _>>(),
            sockets.udp.iter().map(UdpSocket::try_clone).collect::<Result<_, _>>(),
        );
        let (Ok(tcp), Ok(udp)) = clones else { return };
        (tcp, udp)
    };
    let count = tcp.len() + udp.len();
    loop {
        let mut waits: Vec<PollFd<'_>> = tcp
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .chain(udp.iter().map(|socket| PollFd::new(socket, PollFlags::IN)))
            .collect();
        let ready = poll(&mut waits, Some(&LOOK)).unwrap_or(0);
        let is_ready: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        for (socket, _) in tcp.iter().zip(&is_ready).filter(|(_, ready)| **ready) {
            while socket.accept().is_ok() {}
        }
        for (socket, _) in udp.iter().zip(&is_ready[tcp.len()..]).filter(|(_, ready)| **ready) {
            answer(socket);
        }
        let now = {
            let sockets = sockets.lock().unwrap_or_else(PoisonError::into_inner);
            sockets.tcp.len() + sockets.udp.len()
        };
        if ready == 0 || now != count {
            return;
        }
    }
}

fn answer(socket: &UdpSocket) {
    let mut buffer = [0; 64];
    // (std's own recv_from cannot tell of whom a message without a sender is.)
    while let Ok((length, _, Some(from))) = recvfrom(socket, &mut buffer[..], RecvFlags::empty()) {
        // Linux takes an answer to `::` for one to itself: there it finds the same port, or another of these, and would go round for ever.
        let is_answer = buffer.get(..length) == Some(ANSWER);
        if let (false, Ok(from)) = (is_answer, SocketAddr::try_from(from)) {
            // Who has port 0 cannot be answered.
            let _ = socket.send_to(ANSWER, from);
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}
