//! Connections that stay open and in use during a whole run.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::pace::Rounds;
use crate::lab::Lab;
use crate::lab::client::{connect, exchange};
use crate::lab::plan::{EDGE, EDGE6, customer, customer6};

/// Silence of this length is a broken connection: about what TCP needs for a few retransmissions.
const PATIENCE: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(100);

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
    /// Opens a session of every third customer, over IPv4 and IPv6 and to these ports in turn.
    ///
    /// # Errors
    /// When one cannot be opened: nothing is going on yet that could hinder it.
    pub fn open(lab: &Lab, ports: &[u16]) -> Result<Self> {
        let ends = (0..lab.customer_count).step_by(3).enumerate().map(|(position, number)| {
            let port = ports[position % ports.len()];
            if position % 4 < 2 {
                (customer(number).into(), (EDGE, port).into())
            } else {
                (customer6(number).into(), (EDGE6, port).into())
            }
        });
        Self::between(lab, ends.collect())
    }

    /// Opens sessions from these addresses of the customers' host to these.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn between(lab: &Lab, ends: Vec<(IpAddr, SocketAddr)>) -> Result<Self> {
        let streams = lab.customers.run(|| {
            let open =
                |(from, to)| open(from, to).with_context(|| format!("cannot open a session from {from} to {to}"));
            ends.into_iter().map(open).collect::<Result<Vec<_>>>()
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
    let mut stream = connect(from, to, PATIENCE)?;
    exchange(&mut stream)?;
    Ok(stream)
}
