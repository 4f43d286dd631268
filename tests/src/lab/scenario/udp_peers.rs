//! Datagrams that go on while the other side is under a verdict: questions of the edge, QUIC, a tunnel.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::framing_admin::why;
use super::raw::hping3;
use super::{Scenario, rows};
use crate::lab::Lab;
use crate::lab::customers::Requests;
use crate::lab::plan::{EDGE, server};
use crate::lab::report::Report;
use crate::lab::responder::{Responder, ask, question};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "udp-peers",
    about: "no scan: name servers, QUIC and a tunnel go on while the other side is concealed, blocked from private ports, from all",
    play: |setup| rows(setup, SCENARIO.name, &VARIANTS, play),
};

const VARIANTS: [&str; 3] = ["conceal", "block private", "block all"];
const DNS: u16 = 53;
const QUIC: u16 = 443;
/// The port of WireGuard.
const TUNNEL: u16 = 51_820;
/// Exchanges of each kind before there is a verdict, and with it.
const BEFORE: u16 = 5;
const AFTER: u16 = 60;
const LIMIT: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);
/// The other side, of all three.
const PEER: Ipv4Addr = server(0);

fn play(setup: &Setup, verdict: &'static str) -> Result<Report> {
    let stage = Stage::set(setup, &Scene::USUAL)?;
    let mut peers = Peers::start(&stage.lab)?;
    let mut requests = Requests::default();
    for number in 0..BEFORE {
        peers.exchange(&stage.lab, number, &mut requests)?;
    }
    decide(&stage, verdict)?;
    let broken = requests.failed;
    for number in BEFORE..BEFORE + AFTER {
        peers.exchange(&stage.lab, number, &mut requests)?;
    }
    let mut calm = stage.calm()?;
    calm.held.established += peers.flows();
    calm.held.broken += (requests.failed - broken).min(peers.flows());
    calm.requests.join(requests);
    Ok(calm.close(setup)?.report(verdict, setup.defender))
}

/// Brings the other side under a verdict.
fn decide(stage: &Stage, verdict: &str) -> Result<()> {
    let Some(daemon) = stage.guard.daemon() else { return Ok(()) };
    let peer = PEER.to_string();
    let scope = match verdict {
        "conceal" => {
            let edge = EDGE.to_string();
            hping3(&stage.lab, &["-S", "-a", &peer, "-p", "++1000", "-c", "6", "-i", "u3000", &edge])?;
            return wait_until("the peer to be a suspect", LIMIT, || {
                Ok(why(daemon, PEER.into())?["verdict"]["level"] == "conceal")
            });
        }
        "block private" => "private",
        "block all" => "all",
        other => bail!("there is no verdict {other}"),
    };
    daemon.cli(&["block", "add", &peer, "--scope", scope, "--for", "10m"])?.success("scanguard block add").map(drop)
}

/// Both ends of everything.
struct Peers {
    /// Of the world, asked by the edge.
    name_server: Responder,
    /// Of the edge, asked from the world; and the flow that goes on with it.
    quic: (Responder, UdpSocket),
    /// The edge's end and the other.
    tunnel: [UdpSocket; 2],
}

impl Peers {
    fn start(lab: &Lab) -> Result<Self> {
        let bound = |host: &crate::lab::netns::Netns, address: SocketAddr| -> Result<UdpSocket> {
            let socket = host.run(|| UdpSocket::bind(address))?.with_context(|| format!("cannot bind to {address}"))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let tunnel = [bound(&lab.edge, (EDGE, TUNNEL).into())?, bound(&lab.customers, (PEER, TUNNEL).into())?];
        let client = bound(&lab.customers, (PEER, 0).into())?;
        Ok(Self {
            name_server: Responder::start(&lab.customers, (PEER, DNS).into())?,
            quic: (Responder::start(&lab.edge, (EDGE, QUIC).into())?, client),
            tunnel,
        })
    }

    /// Flows that go on from before the verdict: QUIC, and the tunnel.
    #[expect(clippy::unused_self, reason = "they are these")]
    const fn flows(&self) -> u64 {
        2
    }

    /// One exchange of each kind.
    fn exchange(&mut self, lab: &Lab, number: u16, requests: &mut Requests) -> Result<()> {
        // Recursive resolvers ask each question from a port of its own, and take the answer from anybody.
        let asking = lab.edge.run(|| UdpSocket::bind((EDGE, 0)))?.context("cannot have a socket")?;
        let question = question(number, false);
        requests.add(&ask(&asking, &question, |bytes| asking.send_to(bytes, self.name_server.address())));
        let (server, client) = &self.quic;
        requests.add(&ask(client, &question, |bytes| client.send_to(bytes, server.address())));
        let [edge, peer] = &self.tunnel;
        // Either side begins, in turn.
        let (one, other) = if number.is_multiple_of(2) { (edge, peer) } else { (peer, edge) };
        requests.add(&pass(one, other, number).and_then(|()| pass(other, one, number)));
        Ok(())
    }
}

/// Something through the tunnel, as one packet of it.
fn pass(from: &UdpSocket, to: &UdpSocket, number: u16) -> Result<()> {
    // Type 4, transport data; a counter (the protocol's paper, section 5.4.6).
    let packet = [&[4, 0, 0, 0][..], &number.to_be_bytes()].concat();
    from.send_to(&packet, to.local_addr()?).context("cannot send through the tunnel")?;
    let mut buffer = [0; 64];
    let (length, sender) = to.recv_from(&mut buffer).context("nothing came through the tunnel")?;
    ensure!(buffer[..length] == packet && sender == from.local_addr()?, "something else came");
    Ok(())
}
