//! A network behind the edge: its hosts have customers, and somebody looks which hosts there are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recv, sendto, socket_with,
};

use super::raw::masscan;
use super::{Scenario, rows};
use crate::lab::Lab;
use crate::lab::client::fetch;
use crate::lab::customers::{Requests, Rounds, Sessions};
use crate::lab::plan::{BEHIND, INSIDE, behind, customer};
use crate::lab::report::Report;
use crate::lab::responder::{Responder, ask, question};
use crate::lab::services::{Kind, Service};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::tools::Tool;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "gateway",
    about: "sweeps of a /24 behind the edge: for port 80, for port 22, by ping, for a UDP port; its hosts have customers",
    play: |setup| rows(setup, SCENARIO.name, &VARIANTS, play),
};

const VARIANTS: [&str; 4] = ["masscan -p80", "nmap -sS -p22", "nmap -sn -PE", "nmap -sU -p161"];
const SSH: u16 = 22;
const HTTP: u16 = 80;
const DNS: u16 = 53;
const EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(30);
const ROUNDS: u64 = 4;
/// Sessions that are held open.
const SESSIONS: usize = 3;

const SCENE: Scene = Scene {
    // It is in the edge's hands when learning is over; here it is from the start.
    config: "[ports]\nlearning = \"0s\"\nprotect = [\"198.51.101.0/24\"]\n",
    prepare: |lab| {
        lab.put_inside(&format!("{}/24", behind(1)), INSIDE.map(|number| format!("{}/24", behind(number))))?;
        lab.route_behind()
    },
    ..Scene::USUAL
};

fn play(setup: &Setup, sweep: &'static str) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    let lab = &stage.lab;
    let services = [HTTP, SSH].map(|port| Service::start(&lab.inside, port, Kind::of(port)));
    let services = services.into_iter().collect::<Result<Vec<_>>>()?;
    let names = INSIDE.map(|number| Responder::start(&lab.inside, (behind(number), DNS).into()));
    let names = names.into_iter().collect::<Result<Vec<_>>>()?;
    let ends = INSIDE
        .iter()
        .take(SESSIONS)
        .zip(0..)
        .map(|(host, number)| (customer(number).into(), (behind(*host), HTTP).into()))
        .collect();
    let (customers, held) = (visit(lab), Sessions::between(lab, ends)?);
    customers.wait_for(1, LIMIT)?;
    match sweep {
        "masscan -p80" => masscan(lab, &["-p", "80", BEHIND])?,
        "nmap -sS -p22" => nmap(lab, &["-Pn", "-sS", "-p", "22"])?,
        "nmap -sn -PE" => nmap(lab, &["-sn", "-PE"])?,
        "nmap -sU -p161" => nmap(lab, &["-Pn", "-sU", "-p", "161"])?,
        other => bail!("there is no sweep {other}"),
    }
    customers.wait_for(ROUNDS, LIMIT)?;
    let requests = customers.stop()?;
    let held = held.close()?;
    let mut calm = stage.calm()?;
    drop((services, names));
    calm.requests.join(requests);
    calm.held.established += held.established;
    calm.held.broken += held.broken;
    Ok(calm.close(setup)?.report(sweep, setup.defender))
}

/// A sweep of the whole network, each address asked once.
fn nmap(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let how = ["-n", "-r", "-T4", "--max-retries", "0", "--min-rate", "200"];
    let arguments = [&how[..], arguments, &[BEHIND]].concat();
    Tool::Nmap.run(&lab.scanner, arguments, LIMIT)?.success("nmap").map(drop)
}

/// Every customer uses all hosts, in every way.
fn visit(lab: &Lab) -> Rounds<Requests> {
    let (host, customers) = (lab.customers.clone(), lab.customer_count);
    Rounds::start(EVERY, Requests::default(), move |round, requests| {
        host.run(|| {
            for number in 0..customers {
                let from = customer(number);
                for to in INSIDE.map(behind) {
                    requests.add(&fetch(from.into(), (to, HTTP).into(), PATIENCE));
                    requests.add(&ask_name(from.into(), (to, DNS).into(), round as u16));
                    requests.add(&ping(from, to, u16::from(number)));
                }
            }
        })
    })
}

fn ask_name(from: IpAddr, to: SocketAddr, number: u16) -> Result<()> {
    let socket = UdpSocket::bind((from, 0)).context("cannot have a socket")?;
    ask(&socket, &question(number, false), |bytes| socket.send_to(bytes, to))
}

/// An echo request, and its reply.
fn ping(from: Ipv4Addr, to: Ipv4Addr, number: u16) -> Result<()> {
    const IP_HEADER: usize = 20;
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::ICMP))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    let echo = IcmpEchoHeader { id: 0x5347, seq: number };
    let request = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), &[]).to_bytes();
    sendto(&socket, &request, SendFlags::empty(), &SocketAddr::from((to, 0))).context("cannot send an echo request")?;
    // Such a socket hears all ICMP for its address.
    loop {
        let mut packet = [0; 256];
        let (length, _) = recv(&socket, &mut packet[..], RecvFlags::empty()).context("no echo reply")?;
        ensure!(length >= IP_HEADER, "a packet without a header");
        let is_from = packet[12..16] == to.octets();
        let header = Icmpv4Header::from_slice(&packet[IP_HEADER..length]);
        if is_from && header.is_ok_and(|(header, _)| header.icmp_type == Icmpv4Type::EchoReply(echo)) {
            return Ok(());
        }
    }
}
