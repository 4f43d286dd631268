//! The edge as a client: name servers, time servers and web servers answer it, some too late.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::Scenario;
use crate::lab::Lab;
use crate::lab::client::fetch;
use crate::lab::customers::Requests;
use crate::lab::plan::{EDGE, EDGE6, server, server6};
use crate::lab::report::Report;
use crate::lab::responder::{Responder, ask, question};
use crate::lab::services::{Kind, Service};
use crate::lab::stage::{Scene, Setup, Stage};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "outgoing",
    about: "no scan: the edge asks name, time and web servers, some of which answer too late",
    play,
};

const DNS: u16 = 53;
const NTP: u16 = 123;
/// Servers of each kind and family.
const SERVERS: u8 = 2;
/// Questions of one kind of socket to one name server; every [`LATE`]th is answered when the socket is closed.
const QUESTIONS: u16 = 60;
const LATE: u16 = 5;
/// Exchanges with each time server and each web server.
const EXCHANGES: u16 = 20;
/// Ports that Linux gives to no socket by itself (`ip_local_port_range` begins at 32768).
const CHOSEN_PORTS: std::ops::Range<u16> = 10_000..30_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket of the edge.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// It takes datagrams from one server alone.
    connected: bool,
    /// Its port was chosen by the program and not by the kernel.
    chosen_port: bool,
}

const SHAPES: [Shape; 4] = [
    Shape { connected: false, chosen_port: false },
    Shape { connected: false, chosen_port: true },
    Shape { connected: true, chosen_port: false },
    Shape { connected: true, chosen_port: true },
];

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, &Scene::USUAL)?;
    let requests = exchange_all(&stage.lab)?;
    let mut calm = stage.calm()?;
    calm.requests.join(requests);
    Ok(calm.close(setup)?.report(SCENARIO.name, setup.defender))
}

fn exchange_all(lab: &Lab) -> Result<Requests> {
    let world = &lab.customers;
    let addresses = || (0..SERVERS).flat_map(|number| [IpAddr::from(server(number)), server6(number).into()]);
    let servers = |port| addresses().map(move |address| Responder::start(world, (address, port).into()));
    let name_servers = servers(DNS).collect::<Result<Vec<_>>>()?;
    let time_servers = servers(NTP).collect::<Result<Vec<_>>>()?;
    let _web_server = Service::start(world, 80, Kind::Http)?;
    let mut requests = Requests::default();
    lab.edge.run(|| -> Result<()> {
        let mut random = StdRng::seed_from_u64(53);
        for (server, shape) in name_servers.iter().flat_map(|server| SHAPES.map(|shape| (server, shape))) {
            ask_names(server, shape, &mut random, &mut requests)?;
        }
        for server in &time_servers {
            ask_time(server.address(), &mut requests)?;
        }
        for address in addresses() {
            let from = if address.is_ipv4() { EDGE.into() } else { EDGE6.into() };
            for _ in 0..EXCHANGES {
                requests.add(&fetch(from, (address, 80).into(), PATIENCE));
            }
        }
        Ok(())
    })??;
    Ok(requests)
}

/// Each question goes through a socket of its own, as resolvers do.
fn ask_names(server: &Responder, shape: Shape, random: &mut StdRng, requests: &mut Requests) -> Result<()> {
    let mut late = 0;
    for number in 0..QUESTIONS {
        let socket = shape.open(server.address(), random)?;
        let is_late = number % LATE == 0;
        let question = question(number, is_late);
        if is_late {
            shape.send(&socket, server.address(), &question).context("cannot send a question")?;
            late += 1;
        } else {
            requests.add(&ask(&socket, &question, |bytes| shape.send(&socket, server.address(), bytes)));
        }
    }
    server.answer_late(late)
}

/// Both sides use the port of the protocol, as `ntpd` does.
fn ask_time(server: SocketAddr, requests: &mut Requests) -> Result<()> {
    for number in 0..EXCHANGES {
        let socket = UdpSocket::bind((any(server), NTP)).context("cannot bind to the port of NTP")?;
        requests.add(&ask(&socket, &question(number, false), |bytes| socket.send_to(bytes, server)));
    }
    Ok(())
}

impl Shape {
    fn open(self, server: SocketAddr, random: &mut StdRng) -> Result<UdpSocket> {
        let port = if self.chosen_port { random.random_range(CHOSEN_PORTS) } else { 0 };
        let socket = UdpSocket::bind((any(server), port)).with_context(|| format!("cannot bind to port {port}"))?;
        if self.connected {
            socket.connect(server).with_context(|| format!("cannot connect to {server}"))?;
        }
        Ok(socket)
    }

    fn send(self, socket: &UdpSocket, server: SocketAddr, bytes: &[u8]) -> std::io::Result<usize> {
        if self.connected { socket.send(bytes) } else { socket.send_to(bytes, server) }
    }
}

/// The unspecified address of a server's family.
fn any(server: SocketAddr) -> IpAddr {
    if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}
