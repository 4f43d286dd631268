//! Connections that stay open and in use during a whole run.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::pace::Rounds;
use crate::lab::Lab;
use crate::lab::plan::{EDGE, EDGE6, PUBLIC, customer, customer6};

/// Silence of this length is a broken connection: about what TCP needs for a few retransmissions.
const PATIENCE: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(100);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n";

/// What became of the sessions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Sessions that were opened before the run's events.
    pub established: u64,
    /// Of these, how many broke.
    pub broken: u64,
}

/// Sessions of some customers, exchanging a request and an answer ten times a second over one connection each.
#[derive(Debug)]
pub struct Sessions {
    rounds: Rounds<(Vec<TcpStream>, Held)>,
}

impl Sessions {
    /// Opens a session of every third customer, over IPv4 and IPv6 and to the public ports in turn.
    ///
    /// # Errors
    /// When one cannot be opened: nothing is going on yet that could hinder it.
    pub fn open(lab: &Lab) -> Result<Self> {
        let streams = lab.customers.run(|| {
            (0..lab.customer_count)
                .step_by(3)
                .enumerate()
                .map(|(position, number)| {
                    let port = PUBLIC[position % PUBLIC.len()];
                    let (from, to): (IpAddr, IpAddr) = if position % 4 < 2 {
                        (customer(number).into(), EDGE.into())
                    } else {
                        (customer6(number).into(), EDGE6.into())
                    };
                    open(from, (to, port).into()).with_context(|| format!("cannot open a session from {from}"))
                })
                .collect::<Result<Vec<_>>>()
        })??;
        let held = Held { established: streams.len() as u64, broken: 0 };
        let rounds = Rounds::start(EVERY, (streams, held), |_, (streams, held)| {
            streams.retain_mut(|stream| exchange(stream).is_ok());
            held.broken = held.established - streams.len() as u64;
            Ok(())
        });
        Ok(Self { rounds })
    }

    /// Uses every session once more, closes them and tells what became of them.
    ///
    /// # Errors
    /// When the thread that used them failed.
    pub fn close(self) -> Result<Held> {
        let (mut streams, mut held) = self.rounds.stop()?;
        streams.retain_mut(|stream| exchange(stream).is_ok());
        held.broken = held.established - streams.len() as u64;
        Ok(held)
    }
}

fn open(from: IpAddr, to: SocketAddr) -> Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    for direction in [Timeout::Recv, Timeout::Send] {
        set_socket_timeout(&socket, direction, Some(PATIENCE))?;
    }
    bind(&socket, &SocketAddr::new(from, 0))?;
    connect(&socket, &to)?;
    let mut stream = TcpStream::from(socket);
    exchange(&mut stream)?;
    Ok(stream)
}

/// One request and its whole answer.
fn exchange(stream: &mut TcpStream) -> Result<()> {
    stream.write_all(REQUEST)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        anyhow::ensure!(count > 0, "the edge closed the connection");
        answer.extend_from_slice(&buffer[..count]);
        if let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&answer[..head]);
            let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).context("no length")?;
            if answer.len() >= head + 4 + length.trim().parse::<usize>()? {
                return Ok(());
            }
        }
    }
}
