//! Whoever forges packets in a peer's name must not break what comes in fragments: large datagrams, tunnels, pings.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RawProtocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto,
    socket_with,
};

use super::framing_admin::why;
use super::proof::syn;
use super::{Scenario, rows};
use crate::lab::craft::{self, Checksum};
use crate::lab::customers::Requests;
use crate::lab::forge::forge;
use crate::lab::netns::Netns;
use crate::lab::plan::{EDGE, server};
use crate::lab::report::Report;
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "framing-fragments",
    about: "no scan: a peer's datagrams, ESP, GRE and pings, all in fragments, go on when four SYNs were forged \
           in its name, or it is blocked",
    play: |setup| rows(setup, SCENARIO.name, &VARIANTS, play),
};

const VARIANTS: [&str; 3] = ["forged SYNs", "block private", "block all"];
/// The peer; others have the scenario `udp-peers`.
const PEER: Ipv4Addr = server(7);
/// The port of NFS, at the peer's end: the edge mounts from it.
const NFS: u16 = 2_049;
/// Ports of a flow that the peer began before, to a service of the edge.
const SERVICE: u16 = 4_500;
/// Longer than two packets of Ethernet.
const LENGTH: usize = 4_000;
const GRE: u8 = 47;
const ESP: u8 = 50;
const ROUNDS: u16 = 40;
const BEFORE: u16 = 3;
const PATIENCE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(20);

/// Challenges are off: there is nothing to answer them.
const SCENE: Scene = Scene { customers: 4, config: "challenge = \"off\"\n", ..Scene::USUAL };

fn play(setup: &Setup, how: &'static str) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    let peers = Peers::meet(&stage)?;
    let mut requests = Requests::default();
    for number in 0..BEFORE {
        peers.exchange(number, true, &mut requests);
    }
    frame(&stage, how)?;
    let broken = requests.failed;
    // Under a block of everything pings are not answered, and that is what it is for.
    let pings = how != "block all";
    for number in BEFORE..ROUNDS {
        peers.exchange(number, pings, &mut requests);
    }
    let mut calm = stage.calm()?;
    calm.held.established += Peers::FLOWS;
    calm.held.broken += (requests.failed - broken).min(Peers::FLOWS);
    calm.requests.join(requests);
    Ok(calm.close(setup)?.report(how, setup.defender))
}

fn frame(stage: &Stage, how: &str) -> Result<()> {
    let scope = match how {
        "forged SYNs" => {
            stage.lab.scanner.run(|| forge((1..=4).map(|port| syn(PEER, port, port.into())), 1_000))??;
            let Some(daemon) = stage.guard.daemon() else { return Ok(()) };
            return wait_until("the peer to be a suspect", LIMIT, || {
                Ok(why(daemon, PEER.into())?["verdict"]["level"] == "conceal")
            });
        }
        "block private" => "private",
        "block all" => "all",
        other => bail!("there is no way {other}"),
    };
    let Some(daemon) = stage.guard.daemon() else { return Ok(()) };
    daemon
        .cli(&["block", "add", &PEER.to_string(), "--scope", scope, "--for", "10m"])?
        .success("scanguard block add")
        .map(drop)
}

/// Both ends of everything.
struct Peers {
    nfs: [UdpSocket; 2],
    service: [UdpSocket; 2],
    gre: [OwnedFd; 2],
    esp: [OwnedFd; 2],
    ping: OwnedFd,
}

impl Peers {
    /// Flows that go on from before.
    const FLOWS: u64 = 4;

    fn meet(stage: &Stage) -> Result<Self> {
        let (edge, peer) = (&stage.lab.edge, &stage.lab.customers);
        Ok(Self {
            nfs: [datagrams(edge, EDGE, 871)?, datagrams(peer, PEER, NFS)?],
            service: [datagrams(edge, EDGE, SERVICE)?, datagrams(peer, PEER, SERVICE)?],
            gre: [raw(edge, EDGE, GRE)?, raw(peer, PEER, GRE)?],
            esp: [raw(edge, EDGE, ESP)?, raw(peer, PEER, ESP)?],
            ping: raw(peer, PEER, craft::ICMP)?,
        })
    }

    /// One exchange of each kind.
    fn exchange(&self, number: u16, pings: bool, requests: &mut Requests) {
        let content: Vec<u8> = (0..LENGTH).map(|at| (at as u16 ^ number) as u8).collect();
        let outcomes = [
            // The edge asks, then either side in turn.
            answered(&self.nfs[0], &self.nfs[1], &content).context("NFS"),
            match number.is_multiple_of(2) {
                _ if number == 0 => answered(&self.service[1], &self.service[0], &content),
                true => answered(&self.service[0], &self.service[1], &content),
                false => answered(&self.service[1], &self.service[0], &content),
            }
            .context("datagrams of a service"),
            exchanged(&self.gre, GRE, &content, number).context("GRE"),
            exchanged(&self.esp, ESP, &content, number).context("ESP"),
        ];
        outcomes.iter().for_each(|outcome| requests.add(outcome));
        if pings {
            requests.add(&pinged(&self.ping, &content, number).context("ping"));
        }
    }
}

fn datagrams(host: &Netns, address: Ipv4Addr, port: u16) -> Result<UdpSocket> {
    let socket = host.run(|| UdpSocket::bind((address, port)))?;
    let socket = socket.with_context(|| format!("cannot bind to port {port} of {}", host.name()))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn raw(host: &Netns, address: Ipv4Addr, protocol: u8) -> Result<OwnedFd> {
    host.run(|| -> Result<OwnedFd> {
        let protocol = RawProtocol::new(protocol.into()).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddr::from((IpAddr::from(address), 0)))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(socket)
    })?
    .with_context(|| format!("cannot have a raw socket on {}", host.name()))
}

/// There and back.
fn answered(from: &UdpSocket, to: &UdpSocket, content: &[u8]) -> Result<()> {
    let mut buffer = vec![0; 2 * LENGTH];
    from.send_to(content, to.local_addr()?)?;
    let (length, sender) = to.recv_from(&mut buffer).context("the question did not arrive")?;
    ensure!(buffer[..length] == *content, "something else arrived");
    to.send_to(content, sender)?;
    let (length, _) = from.recv_from(&mut buffer).context("the answer did not arrive")?;
    ensure!(buffer[..length] == *content, "something else came back");
    Ok(())
}

/// From the edge, whose packets show that it wants them, and back.
fn exchanged(ends: &[OwnedFd; 2], protocol: u8, content: &[u8], number: u16) -> Result<()> {
    // The header of GRE without options; of ESP an index and a number.
    let mut packet = if protocol == GRE { vec![0, 0, 8, 0] } else { vec![0, 0, 16, 1, 0, 0] };
    packet.extend(number.to_be_bytes());
    packet.extend(content);
    let [edge, peer] = ends;
    for (from, to, address) in [(edge, peer, PEER), (peer, edge, EDGE)] {
        sendto(from, &packet, SendFlags::empty(), &SocketAddrV4::new(address, 0))?;
        arrives(to, &packet).with_context(|| format!("nothing arrived at {address}"))?;
    }
    Ok(())
}

/// Waits for a packet with this content; others may come before.
fn arrives(socket: &OwnedFd, content: &[u8]) -> Result<()> {
    let mut buffer = vec![0; 4 * LENGTH];
    loop {
        let (_, length) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        // Raw sockets show the IPv4 header (raw(7)).
        if buffer[..length].ends_with(content) {
            return Ok(());
        }
    }
}

fn pinged(socket: &OwnedFd, content: &[u8], number: u16) -> Result<()> {
    let [high, low] = number.to_be_bytes();
    let mut request = craft::icmp(8, 0, [7, 7, high, low], content);
    craft::sum_transport(craft::ICMP, PEER.into(), EDGE.into(), &mut request, Checksum::Right);
    sendto(socket, &request, SendFlags::empty(), &SocketAddrV4::new(EDGE, 0))?;
    // All but type and checksum come back.
    arrives(socket, &request[4..]).context("no echo")
}
