//! Services in a container behind the edge: by DNAT, and by a proxy in user space.

use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Scenario;
use super::framing_admin::why;
use super::nmap::nmap_syn;
use crate::lab::Lab;
use crate::lab::client::{fetch, knock};
use crate::lab::customers::{Requests, Rounds, Sessions};
use crate::lab::plan::{ADMIN, BRIDGE, CONTAINER, EDGE, customer};
use crate::lab::process::{Running, in_memory};
use crate::lab::report::Report;
use crate::lab::responder::{Responder, ask, question};
use crate::lab::services::{Kind, Service};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "containers",
    about: "nmap -sS while customers use services of a container, by DNAT and by a proxy; then the container restarts",
    play,
};

const HTTP: u16 = 80;
const DATABASE: u16 = 5432;
const DNS: u16 = 53;
/// The edge's ports for them.
const PUBLISHED_HTTP: u16 = 8080;
const PUBLISHED_DNS: u16 = 5353;
const PROXY: u16 = 8443;
const EVERY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(20);
/// Rounds of requests before and after the restart, at least.
const ROUNDS: u64 = 5;
/// Sessions that are held open.
const SESSIONS: u8 = 3;

const SCENE: Scene = Scene { config: "[ports]\nlearning = \"0s\"\n", without: &[DATABASE], prepare, ..Scene::USUAL };

fn prepare(lab: &Lab) -> Result<()> {
    lab.put_inside(&format!("{BRIDGE}/24"), [format!("{CONTAINER}/24")])?;
    let rules = format!(
        "table ip nat {{\n chain prerouting {{\n type nat hook prerouting priority dstnat;\n \
         ip daddr {EDGE} tcp dport {PUBLISHED_HTTP} dnat to {CONTAINER}:{HTTP}\n \
         ip daddr {EDGE} tcp dport {DATABASE} dnat to {CONTAINER}:{DATABASE}\n \
         ip daddr {EDGE} udp dport {PUBLISHED_DNS} dnat to {CONTAINER}:{DNS}\n }}\n}}\n"
    );
    let mut command = Tool::Nft.command(&lab.edge)?;
    command.args(["-f", "-"]);
    Running::start_reading(command, in_memory("nft", &rules)?)?.wait(LIMIT)?.success("nft").map(drop)
}

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    let lab = &stage.lab;
    let http = Service::start(&lab.inside, HTTP, Kind::Http)?;
    let database = Service::start(&lab.inside, DATABASE, Kind::of(DATABASE))?;
    let names = Responder::start(&lab.inside, (CONTAINER, DNS).into())?;
    let proxy = Proxy::start(lab)?;
    let mut requests = Requests::default();
    // Somebody who works with the database: by that it is known to be open, to him alone.
    let is_open = lab.customers.run(|| knock(ADMIN.into(), (EDGE, DATABASE).into(), PATIENCE))?;
    requests.add(&if is_open { Ok(()) } else { Err(anyhow::anyhow!("the database does not answer")) });

    if let Some(daemon) = stage.guard.daemon() {
        // He asked for nothing else: what counts is the session with the container, whose answer left translated.
        wait_until("a session with a container to count", LIMIT, || {
            Ok(why(daemon, ADMIN.into())?["sessions"][0]["sessions"].as_u64() >= Some(1))
        })?;
    }

    let ends = (0..SESSIONS).map(|number| (customer(number).into(), (EDGE, PUBLISHED_HTTP).into())).collect();
    let (customers, held) = (visit(lab), Sessions::between(lab, ends)?);
    nmap_syn(&lab.scanner)?;
    customers.wait_for(ROUNDS, LIMIT)?;
    requests.join(customers.stop()?);
    let held = held.close()?;

    // Whoever comes in between is refused, and comes again.
    drop(http);
    lab.customers.run(|| {
        for number in 0..lab.customer_count {
            knock(customer(number).into(), (EDGE, PUBLISHED_HTTP).into(), PATIENCE);
        }
    })?;
    let http = Service::start(&lab.inside, HTTP, Kind::Http)?;
    let customers = visit(lab);
    customers.wait_for(ROUNDS, LIMIT)?;
    requests.join(customers.stop()?);

    let mut calm = stage.calm()?;
    proxy.stop();
    drop((http, database, names));
    calm.requests.join(requests);
    calm.held.established += held.established;
    calm.held.broken += held.broken;
    Ok(calm.close(setup)?.report(SCENARIO.name, setup.defender))
}

/// Every customer uses all that is published, again and again.
fn visit(lab: &Lab) -> Rounds<Requests> {
    let (host, customers) = (lab.customers.clone(), lab.customer_count);
    Rounds::start(EVERY, Requests::default(), move |round, requests| {
        host.run(|| {
            for number in 0..customers {
                let from = IpAddr::from(customer(number));
                requests.add(&fetch(from, (EDGE, PUBLISHED_HTTP).into(), PATIENCE));
                requests.add(&fetch(from, (EDGE, PROXY).into(), PATIENCE));
                requests.add(&ask_name(from, round as u16));
            }
        })
    })
}

fn ask_name(from: IpAddr, number: u16) -> Result<()> {
    let socket = UdpSocket::bind((from, 0)).context("cannot have a socket")?;
    ask(&socket, &question(number, false), |bytes| socket.send_to(bytes, (EDGE, PUBLISHED_DNS)))
}

/// A proxy in user space, as Docker has one: the container sees the bridge's address, and not who really comes.
struct Proxy {
    listener: Arc<TcpListener>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    fn start(lab: &Lab) -> Result<Self> {
        let listener = lab.edge.run(|| TcpListener::bind((EDGE, PROXY)))?.context("cannot listen as a proxy")?;
        let listener = Arc::new(listener);
        let edge = lab.edge.clone();
        let acceptor = thread::spawn({
            let listener = Arc::clone(&listener);
            move || {
                while let Ok((client, _)) = listener.accept() {
                    let edge = edge.clone();
                    // A connection that fails is the client's to complain of.
                    thread::spawn(move || drop(edge.run(|| relay(client))));
                }
            }
        });
        Ok(Self { listener, acceptor })
    }

    fn stop(self) {
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        let _ = self.acceptor.join();
    }
}

/// Copies both ways until both ends are through.
fn relay(client: TcpStream) -> io::Result<()> {
    let server = TcpStream::connect(SocketAddr::from((CONTAINER, HTTP)))?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut server, mut client) = (server, client);
    io::copy(&mut server, &mut client)?;
    client.flush()?;
    let _ = client.shutdown(Shutdown::Both);
    let _ = up.join();
    Ok(())
}
