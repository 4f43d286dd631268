//! Packets with somebody else's address in them, written by hand.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use etherparse::{PacketBuilder, TcpOptionElement};
use rustix::net::{AddressFamily, Protocol, RawProtocol, SendFlags, SocketFlags, SocketType, sendto, socket_with};

use super::plan::EDGE;

/// `IPPROTO_RAW`: what is sent has its own IP header.
const RAW: u32 = 255;
/// How often a second it is looked, at most, whether it is too soon for more: what is sent in between comes at once.
const LOOKS: u32 = 2_000;

/// A TCP segment to the edge, as the stack of a customer's Linux would send it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forged {
    pub(crate) from: Ipv4Addr,
    pub(crate) from_port: u16,
    pub(crate) port: u16,
    pub(crate) sequence: u32,
    /// None in a SYN.
    pub(crate) acknowledged: Option<u32>,
    /// Without TCP options, as crafters of packets send it.
    pub(crate) bare: bool,
}

/// Sends them, at most so many a second. The calling thread must be in the host that they leave from.
pub(crate) fn forge(segments: impl IntoIterator<Item = Forged>, a_second: u32) -> Result<u64> {
    let socket = raw_socket()?;
    let (begun, mut sent) = (Instant::now(), 0_u32);
    for segment in segments {
        let packet = packet(&segment)?;
        let to = SocketAddrV4::new(EDGE, 0);
        // A full queue of the link is no reason to stop: the next one finds room.
        let _ = sendto(&socket, &packet, SendFlags::empty(), &to);
        sent += 1;
        if sent.is_multiple_of((a_second / LOOKS).max(1)) {
            let due = Duration::from_secs_f64(f64::from(sent) / f64::from(a_second));
            thread::sleep(due.saturating_sub(begun.elapsed()));
        }
    }
    Ok(sent.into())
}

fn raw_socket() -> Result<OwnedFd> {
    let raw = RawProtocol::new(RAW).map(Protocol::from_raw);
    socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, raw).context("cannot have a raw socket")
}

/// What Linux says of itself: 64 hops, and in a SYN a window of 44 segments of Ethernet, these options in this order, and windows in
/// units of 2^7 (`tcp_select_initial_window`); in an ACK the time alone. A scanner is as many hops away as a customer here.
fn packet(segment: &Forged) -> Result<Vec<u8>> {
    let Forged { from, from_port, port, sequence, acknowledged, bare } = *segment;
    let time = TcpOptionElement::Timestamp(sequence, 0);
    let (window, options) = match acknowledged {
        _ if bare => (64_240, vec![]),
        Some(_) => (502, vec![TcpOptionElement::Noop, TcpOptionElement::Noop, time]),
        None => {
            let selective = TcpOptionElement::SelectiveAcknowledgementPermitted;
            let scale = TcpOptionElement::WindowScale(7);
            (64_240, vec![TcpOptionElement::MaximumSegmentSize(1_460), selective, time, TcpOptionElement::Noop, scale])
        }
    };
    let tcp = PacketBuilder::ipv4(from.octets(), EDGE.octets(), 64).tcp(from_port, port, sequence, window);
    let tcp = match acknowledged {
        Some(acknowledged) => tcp.ack(acknowledged),
        None => tcp.syn(),
    };
    let mut packet = Vec::with_capacity(64);
    tcp.options(&options)?.write(&mut packet, &[])?;
    Ok(packet)
}
