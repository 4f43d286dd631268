//! What honest programs do that asks for closed ports.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;

use super::pace::Rounds;
use crate::lab::Lab;
use crate::lab::client::{knock, send};
use crate::lab::plan::{ALTERNATIVE_WEB, DEAD_PORT, EDGE, EDGE6, MAIL, customer, customer6};

const EVERY: Duration = Duration::from_millis(500);
/// How long a closed port is given to say so.
const PATIENCE: Duration = Duration::from_millis(20);
/// The long header of a first QUIC packet (RFC 9000 section 17.2), which is at least 1,200 bytes long.
const QUIC_INITIAL: [u8; 1200] = {
    let mut packet = [0; 1200];
    packet[0] = 0xc0;
    packet[4] = 1;
    packet
};

/// What a program tries, in vain.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// It tries the same dead port again and again.
    DeadPort,
    /// A mail program looks for the server's ports.
    MailDiscovery,
    /// A browser tries the alternative ports, and HTTP/3.
    OtherWebPorts,
}

impl Habit {
    /// The habit of a customer: a few customers have one each.
    const fn of(customer: u8) -> Option<Self> {
        match customer {
            0..5 => Some(Self::DeadPort),
            5..10 => Some(Self::MailDiscovery),
            10..15 => Some(Self::OtherWebPorts),
            _ => None,
        }
    }

    fn follow(self, from: IpAddr, to: IpAddr) -> Result<()> {
        let ports: &[u16] = match self {
            Self::DeadPort => &[DEAD_PORT],
            Self::MailDiscovery => &MAIL,
            Self::OtherWebPorts => &ALTERNATIVE_WEB,
        };
        for port in ports {
            knock(from, (to, *port).into(), PATIENCE);
        }
        if matches!(self, Self::OtherWebPorts) {
            send(from, SocketAddr::new(to, 443), &QUIC_INITIAL)?;
        }
        Ok(())
    }
}

/// Some customers following their habits, again and again, over IPv4 and IPv6.
#[derive(Debug)]
pub struct Habits {
    rounds: Rounds<()>,
}

impl Habits {
    /// Starts them.
    #[must_use]
    pub fn start(lab: &Lab) -> Self {
        let (host, count) = (lab.customers.clone(), lab.customer_count);
        let rounds = Rounds::start(EVERY, (), move |_, ()| {
            host.run(|| {
                for (number, habit) in (0..count).filter_map(|number| Some((number, Habit::of(number)?))) {
                    habit.follow(customer(number).into(), EDGE.into())?;
                    habit.follow(customer6(number).into(), EDGE6.into())?;
                }
                Ok(())
            })?
        });
        Self { rounds }
    }

    /// Ends them.
    ///
    /// # Errors
    /// When a socket could not be had.
    pub fn stop(self) -> Result<()> {
        self.rounds.stop()
    }
}
