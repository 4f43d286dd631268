//! TCP fast open: data in the first packet, which anybody can forge where cookies are not asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::{PacketBuilder, TcpOptionElement};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recv, sendto, socket_with, sockopt,
};

use super::Scenario;
use super::framing_admin::why;
use crate::lab::Lab;
use crate::lab::plan::{EDGE, customer};
use crate::lab::report::Report;
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tfo",
    about: "forged SYNs with data under TCP fast open, in an innocent's name, to public and restricted ports",
    play,
};

/// In whose name: nobody who would answer.
const INNOCENT: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 7);
const PORTS: [u16; 2] = [80, 22];
/// Forged packets to each port.
const FORGED: u16 = 20;
const LIMIT: Duration = Duration::from_secs(10);
/// Sessions of a customer with fast open.
const SESSIONS: u16 = 3;

/// 1: clients may; 2: servers do; 0x200: servers take data without a cookie; 0x400: all listeners (Documentation/networking/ip-sysctl.rst).
const SCENE: Scene = Scene {
    prepare: |lab| {
        lab.customers.sysctl(&[("ipv4/tcp_fastopen", "5")])?;
        lab.edge.sysctl(&[("ipv4/tcp_fastopen", "1539")])
    },
    ..Scene::USUAL
};

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    for number in 0..FORGED {
        for port in PORTS {
            forge(&stage.lab, number, port)?;
        }
    }
    // One who means it: his handshakes are completed.
    let from = customer(0);
    for _ in 0..SESSIONS {
        fetch(&stage.lab, from)?;
    }
    if let Some(daemon) = stage.guard.daemon() {
        wait_until("all forged packets to be counted", LIMIT, || {
            let attempts = why(daemon, INNOCENT.into())?["attempts"].as_u64().unwrap_or(0);
            Ok(attempts >= u64::from(FORGED) * PORTS.len() as u64)
        })?;
        wait_until("a customer's sessions to be counted", LIMIT, || Ok(sessions(&why(daemon, from.into())?) > 0))?;
        let innocent = why(daemon, INNOCENT.into())?;
        ensure!(sessions(&innocent) == 0, "forged packets count as sessions: {}", innocent["sessions"]);
        ensure!(innocent["known"]["sessions"] == 0, "forged packets make known: {}", innocent["known"]);
    }
    ensure!(children(&stage.lab)? > 0, "no forged packet opened a socket: this shows nothing");
    Ok(stage.calm()?.close(setup)?.report(SCENARIO.name, setup.defender))
}

/// Handshakes that the daemon counts as completed.
fn sessions(why: &serde_json::Value) -> u64 {
    why["sessions"].as_array().into_iter().flatten().filter_map(|sessions| sessions["sessions"].as_u64()).sum()
}

/// A SYN with data, from the scanner's host in the innocent's name. It needs no cookie: the edge takes data without one.
fn forge(lab: &Lab, number: u16, port: u16) -> Result<()> {
    let options = [TcpOptionElement::MaximumSegmentSize(1460)];
    let mut packet = Vec::new();
    PacketBuilder::ipv4(INNOCENT.octets(), EDGE.octets(), 64)
        .tcp(20_000 + number, port, u32::from(number) << 16, 64_000)
        .syn()
        .options(&options)
        .context("cannot write options")?
        .write(&mut packet, b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n")
        .context("cannot write a packet")?;
    lab.scanner.run(|| -> Result<()> {
        // IPPROTO_RAW: the packet is written whole, its header too (raw(7)).
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
        let to = SocketAddr::V4(SocketAddrV4::new(EDGE, 0));
        sendto(&socket, &packet, SendFlags::empty(), &to).context("cannot send a forged packet")?;
        Ok(())
    })?
}

/// A request with its first bytes in the SYN, by the kernel's own client.
fn fetch(lab: &Lab, from: Ipv4Addr) -> Result<()> {
    lab.customers.run(|| -> Result<()> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LIMIT))?;
        bind(&socket, &SocketAddr::from((IpAddr::from(from), 0)))?;
        // MSG_FASTOPEN, which connects (include/linux/socket.h).
        const FASTOPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);
        let to = SocketAddr::from((EDGE, 80));
        sendto(&socket, b"GET / HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n", FASTOPEN, &to)
            .context("cannot connect with fast open")?;
        let mut answer = [0; 1024];
        let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty()).context("no answer")?;
        ensure!(answer[..length].starts_with(b"HTTP/1.1 200"), "another answer");
        Ok(())
    })?
}

/// Sockets that packets with data opened on the edge before any handshake was completed (`TCPFastOpenPassive` of /proc/net/netstat).
fn children(lab: &Lab) -> Result<u64> {
    let netstat =
        lab.edge.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?.context("no statistics")?;
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:")).map(|line| line.split(' '));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let opened = names.zip(values).find(|(name, _)| *name == "TCPFastOpenPassive");
    opened.and_then(|(_, value)| value.parse().ok()).context("no count of sockets opened by data")
}
