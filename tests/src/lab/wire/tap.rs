//! A socket on a link that sends frames as they are, and reads what the host at the other end sends.
//!
//! Unlike a [`Capture`](super::Capture) it is read while the run goes on: what comes next may depend on what was
//! answered.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netdevice, recv, send, socket_with, sockopt,
};
use serde_json::Value;

use crate::lab::Lab;
use crate::lab::craft::{self, Checksum, ETHERNET};
use crate::lab::netns::Netns;
use crate::lab::plan::{TO_EDGE, UPLINK};
use crate::lab::tools::Tool;
use crate::lab::wait::patiently;

/// Bytes of what is not read yet: some ten thousand answers.
const ROOM: usize = 64 << 20;
/// Longest frame.
const LONGEST: usize = 65_550;

/// `struct sockaddr_ll` (packet(7)), for all protocols on one link.
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    index: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

/// `AF_PACKET` and `ETH_P_ALL` of `linux/if_ether.h`.
const PACKET: u16 = 17;
const ALL: u16 = 3;

// SAFETY: the pointer is to a whole `sockaddr_ll`, which lives until the call returns.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, call: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        call(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

/// The socket. It answers ARP and neighbour solicitations of the other end for whatever address: whoever sends here
/// may have any.
#[derive(Debug)]
pub struct Tap {
    socket: OwnedFd,
    /// The link-layer address of this end.
    pub mac: [u8; 6],
    /// That of the other one.
    pub peer: [u8; 6],
    buffer: Vec<u8>,
    waiting: VecDeque<Vec<u8>>,
}

impl Tap {
    /// Opens it on a link of `host`; `mac` and `peer` are the link-layer addresses of its ends.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(host: &Netns, link: &str, mac: [u8; 6], peer: [u8; 6]) -> Result<Self> {
        let socket = host.run(|| -> Result<OwnedFd> {
            let socket = socket_with(
                AddressFamily::PACKET,
                SocketType::RAW,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                None,
            )?;
            let index = netdevice::name_to_index(&socket, link)?;
            sockopt::set_socket_recv_buffer_size_force(&socket, ROOM)?;
            let index = i32::try_from(index)?;
            let all = LinkAddress {
                family: PACKET,
                protocol: ALL.to_be(),
                index,
                hardware: 0,
                kind: 0,
                length: 0,
                address: [0; 8],
            };
            bind(&socket, &all)?;
            Ok(socket)
        })?;
        let socket = socket.with_context(|| format!("cannot open a packet socket on {link}"))?;
        Ok(Self { socket, mac, peer, buffer: vec![0; LONGEST], waiting: VecDeque::new() })
    }

    /// Opens it at the router's end of the edge's link: whoever is on the same link as the edge.
    ///
    /// # Errors
    /// When the kernel refuses, or `ip` does not tell the addresses.
    pub fn beside_edge(lab: &Lab) -> Result<Self> {
        let [mac, peer] = [mac(&lab.router, TO_EDGE)?, mac(&lab.edge, UPLINK)?];
        Self::open(&lab.router, TO_EDGE, mac, peer)
    }

    /// Puts a frame on the link.
    ///
    /// # Errors
    /// When the kernel does not take it: longer than the link's packets may be, or shorter than an Ethernet header.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let end = Instant::now() + patiently(Duration::from_secs(5));
        loop {
            match send(&self.socket, frame, SendFlags::empty()) {
                Ok(_) => return Ok(()),
                // The link's queue is full for a moment, which the kernel does not tell the end of.
                Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) if Instant::now() < end => {
                    std::thread::sleep(Duration::from_micros(100));
                }
                Err(error) => return Err(error).context("cannot send a frame"),
            }
        }
    }

    /// Puts the Ethernet header of this link before an IP packet, and that on the link.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_packet(&self, packet: &[u8]) -> Result<()> {
        self.send(&self.framed(packet))
    }

    /// An IP packet as a frame to the other end.
    #[must_use]
    pub fn framed(&self, packet: &[u8]) -> Vec<u8> {
        craft::framed(self.peer, self.mac, packet)
    }

    /// The next frame of the other end, if there is one by then.
    ///
    /// # Errors
    /// When the link is gone.
    pub fn receive(&mut self, by: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            self.drain()?;
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(Some(frame));
            }
            let left = by.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for frames"),
            }
        }
    }

    /// Takes what has come by now out of the kernel, and answers what asks for link-layer addresses.
    fn drain(&mut self) -> Result<()> {
        loop {
            let (_, length) = match recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok(got) => got,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error).context("cannot read frames"),
            };
            let frame = &self.buffer[..length.min(self.buffer.len())];
            // What this host itself puts on the link is seen too.
            if frame.len() < ETHERNET || frame[6..12] != self.peer {
                continue;
            }
            if let Some(answer) = self.resolved(frame) {
                self.send(&answer)?;
                continue;
            }
            self.waiting.push_back(frame.to_vec());
        }
    }

    /// The answer to a question for a link-layer address; this host's own addresses are its kernel's business.
    fn resolved(&self, frame: &[u8]) -> Option<Vec<u8>> {
        match frame {
            // ARP: Ethernet, IPv4, a request (RFC 826).
            _ if frame.len() >= 42 && frame[12..22] == [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] => {
                let target: [u8; 4] = frame[38..42].try_into().ok()?;
                (!is_routers4(target)).then(|| {
                    let mut reply = frame[..42].to_vec();
                    reply[..6].copy_from_slice(&self.peer);
                    reply[6..12].copy_from_slice(&self.mac);
                    reply[21] = 2;
                    reply[22..28].copy_from_slice(&self.mac);
                    reply[28..32].copy_from_slice(&target);
                    reply[32..38].copy_from_slice(&frame[22..28]);
                    reply[38..42].copy_from_slice(&frame[28..32]);
                    reply
                })
            }
            // A neighbour solicitation (RFC 4861 section 4.3).
            _ if frame.len() >= 78 && frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame[54] == 135 => {
                let asker: [u8; 16] = frame[22..38].try_into().ok()?;
                let target: [u8; 16] = frame[62..78].try_into().ok()?;
                if is_routers6(target) || asker == [0; 16] {
                    return None;
                }
                // Solicited, override; with the option that tells the address.
                let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
                message.extend(target);
                message.extend([2, 1]);
                message.extend(self.mac);
                let (from, to) = (IpAddr::from(Ipv6Addr::from(target)), IpAddr::from(Ipv6Addr::from(asker)));
                craft::sum_transport(58, from, to, &mut message, Checksum::Right);
                let mut packet = craft::ip6(from, to, 58, &message);
                packet[7] = 255;
                Some(self.framed(&packet))
            }
            _ => None,
        }
    }
}

/// The link-layer address of a link.
fn mac(host: &Netns, link: &str) -> Result<[u8; 6]> {
    let shown = Tool::Ip.run(host, ["-j", "link", "show", "dev", link], Duration::from_secs(10))?.success("ip")?;
    let links: Value = serde_json::from_str(&shown.stdout).context("cannot read the output of ip -j")?;
    let text = links[0]["address"].as_str().context("the link has no address")?;
    let bytes: Vec<u8> = text.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    <[u8; 6]>::try_from(bytes).ok().with_context(|| format!("{text} is no link-layer address"))
}

/// Whether it is the router's own address, for which its kernel answers.
fn is_routers4(address: [u8; 4]) -> bool {
    Ipv4Addr::from(address) == Ipv4Addr::new(192, 0, 2, 1)
}

fn is_routers6(address: [u8; 16]) -> bool {
    Ipv6Addr::from(address) == Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1)
}
