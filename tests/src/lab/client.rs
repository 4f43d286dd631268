//! Connections from a given address, made by this process. What calls these must be inside the host they start from.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect as connect_socket, socket_with};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n";

/// Opens a connection; `patience` bounds this and every later wait on it.
pub(super) fn connect(from: IpAddr, to: SocketAddr, patience: Duration) -> Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for direction in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, direction, Some(patience))?;
    }
    bind(&socket, &SocketAddr::new(from, 0)).with_context(|| format!("cannot bind to {from}"))?;
    connect_socket(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// One HTTP request and its whole answer.
pub(super) fn exchange(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server closed the connection");
        answer.extend_from_slice(&buffer[..count]);
        if let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer[..head]);
            let field = |line: &'_ str| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned);
            let length = text.lines().find_map(field).context("no length")?;
            if answer.len() >= head + 4 + length.trim().parse::<usize>()? {
                return Ok(());
            }
        }
    }
}

/// One HTTP request over a connection of its own.
pub(super) fn fetch(from: IpAddr, to: SocketAddr, patience: Duration) -> Result<()> {
    exchange(&mut connect(from, to, patience)?)
}

/// Asks for a TCP port and gives up after `patience`; whether it is open.
pub(super) fn knock(from: IpAddr, to: SocketAddr, patience: Duration) -> bool {
    connect(from, to, patience).is_ok()
}

/// Sends a datagram and does not wait for an answer.
pub(super) fn send(from: IpAddr, to: SocketAddr, datagram: &[u8]) -> Result<()> {
    let socket = UdpSocket::bind((from, 0)).with_context(|| format!("cannot bind to {from}"))?;
    socket.send_to(datagram, to).with_context(|| format!("cannot send to {to}"))?;
    Ok(())
}
