//! The aftermath of file sharing: hundreds of peers that still look for a program that is gone.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Result;

use super::{Scenario, scan};
use crate::lab::client::{knock, send};
use crate::lab::plan::{EDGE, EDGE6, OLD_PEER_PORT, peer, peer6};
use crate::lab::stage::Scene;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "p2p-noise",
    about: "no scan: 300 peers knock at one old port by TCP and UDP, again and again",
    play: |setup| scan(setup, "p2p-noise", &Scene::USUAL, |lab| lab.customers.run(knock_all)?),
};

const PEERS: u8 = 250;
const PEERS6: u8 = 50;
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_millis(5);
/// A ping between peers (BEP 5).
const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";

fn knock_all() -> Result<()> {
    let peers = (0..PEERS).map(|number| (IpAddr::from(peer(number)), IpAddr::from(EDGE)));
    let peers6 = (0..PEERS6).map(|number| (IpAddr::from(peer6(number)), IpAddr::from(EDGE6)));
    let peers: Vec<_> = peers.chain(peers6).collect();
    for (from, to) in peers.iter().cycle().take(peers.len() * ROUNDS) {
        knock(*from, (*to, OLD_PEER_PORT).into(), PATIENCE);
        send(*from, (*to, OLD_PEER_PORT).into(), PING)?;
    }
    Ok(())
}
