//! What packets are measured, and what they meet.

use std::net::{IpAddr, Ipv4Addr};

use scanguard::kernel::rig::Vary;
use scanguard::kernel::trial::{XDP_DROP, XDP_PASS};
use scanguard_common::packet::tcp_flags::{ACK, FIN, RST};

use super::world::{BLOCKED_BASE, CONTACT_BASE, FRESH_BASE, Fill, KNOWN_BASE, PRIVATE_BASE, SUSPECT_BASE};
use crate::frames::{self, HOST4, HOST6};

/// One kind of packet.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) asked: Asked,
    pub(super) needs: Needs,
    /// The XDP action that it must end with, or the row measures something else.
    pub(super) action: u32,
}

/// In which worlds a row is measured.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Needs {
    /// With nothing in the tables that it does not need, and with full ones.
    Nothing,
    /// There must be verdicts.
    Verdicts,
    /// With a table of sources that is full of others and takes each new one in place of an old one.
    Flood,
    /// The same, with the limit of new sources that is the default.
    Limited,
    /// With a thousand suspects, one block of everything, a protected network, and challenges.
    Guarded,
}

impl Needs {
    pub(super) fn fits(self, fill: Fill) -> bool {
        match (self, fill) {
            (Self::Nothing, Fill::Nothing) | (Self::Verdicts, Fill::Few) | (Self::Flood, Fill::Flooded) => true,
            (Self::Limited, fill) => fill == Fill::Limited,
            (Self::Guarded, fill) => fill == Fill::Guarded,
            (Self::Flood, _) | (_, Fill::Flooded | Fill::Limited | Fill::Guarded) => false,
            (_, Fill::Full) => true,
            (Self::Nothing, Fill::Few) | (Self::Verdicts, Fill::Nothing) => false,
        }
    }
}

/// What a packet asks for, and who sends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// A segment of a connection to a public port.
    Server,
    /// The same over IPv6.
    Server6,
    /// A segment of a connection of this host's own.
    Client,
    /// A segment of a connection to a restricted port.
    Restricted,
    /// A segment of a connection to a host of a network that is protected.
    Protected,
    /// A SYN to a public port of such a host, of a source that asked for it before.
    KnownProtected,
    /// A reset.
    Reset,
    /// A SYN to a public port of a source that asked for it before.
    Known,
    /// The same over IPv6.
    Known6,
    /// A datagram to a public port of a source that asked for it before.
    Datagram,
    /// A SYN to a public port of a source seen for the first time: one of a million.
    Fresh,
    /// A SYN to a closed port that the source did not ask for before; it asked for another.
    FirstContact,
    /// The same of a source seen for the first time.
    FreshContact,
    /// A SYN to a closed port that the source asked for before.
    Again,
    /// A SYN to a closed port of a suspect; suspects are not challenged.
    Concealed,
    /// A SYN to a public port of a source that is blocked from all.
    Blocked,
    /// A SYN to a restricted port of a source that is blocked from private ports.
    BlockedPrivate,
    /// A SYN to a public port of a source that is blocked from private ports.
    SparedPublic,
    /// A segment with illegal flags that the source sent before.
    Illegal,
    /// An ICMP echo request.
    Echo,
    /// A SYN-ACK.
    SynAck,
    /// A later fragment.
    Fragment,
    /// An ARP request.
    Arp,
}

pub(super) const PUBLIC: u16 = 443;
pub(super) const RESTRICTED: u16 = 22;
/// A host of the network that is protected.
pub(super) const PROTECTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// An ephemeral port.
const CLIENT: u16 = 45_000;

const fn row(name: &'static str, asked: Asked, needs: Needs, action: u32) -> Row {
    Row { name, asked, needs, action }
}

/// All of them.
pub(super) const ROWS: [Row; 26] = [
    row("established_server", Asked::Server, Needs::Nothing, XDP_PASS),
    row("established_client", Asked::Client, Needs::Nothing, XDP_PASS),
    row("established_ipv6", Asked::Server6, Needs::Nothing, XDP_PASS),
    row("established_restricted", Asked::Restricted, Needs::Nothing, XDP_PASS),
    row("established_server", Asked::Server, Needs::Guarded, XDP_PASS),
    row("established_restricted", Asked::Restricted, Needs::Guarded, XDP_PASS),
    row("established_protected", Asked::Protected, Needs::Guarded, XDP_PASS),
    row("known_syn_protected", Asked::KnownProtected, Needs::Guarded, XDP_PASS),
    row("reset", Asked::Reset, Needs::Nothing, XDP_PASS),
    row("known_syn", Asked::Known, Needs::Nothing, XDP_PASS),
    row("known_syn_ipv6", Asked::Known6, Needs::Nothing, XDP_PASS),
    row("known_datagram", Asked::Datagram, Needs::Nothing, XDP_PASS),
    row("new_source", Asked::Fresh, Needs::Flood, XDP_PASS),
    row("new_source_in_flood", Asked::Fresh, Needs::Limited, XDP_PASS),
    row("first_contact", Asked::FirstContact, Needs::Nothing, XDP_PASS),
    row("first_contact_new_source", Asked::FreshContact, Needs::Flood, XDP_PASS),
    row("closed_again", Asked::Again, Needs::Nothing, XDP_PASS),
    row("concealed", Asked::Concealed, Needs::Nothing, XDP_DROP),
    row("blocked", Asked::Blocked, Needs::Verdicts, XDP_DROP),
    row("blocked_private", Asked::BlockedPrivate, Needs::Verdicts, XDP_DROP),
    row("blocked_private_public", Asked::SparedPublic, Needs::Verdicts, XDP_PASS),
    row("illegal_flags", Asked::Illegal, Needs::Nothing, XDP_PASS),
    row("echo", Asked::Echo, Needs::Nothing, XDP_PASS),
    row("syn_ack", Asked::SynAck, Needs::Nothing, XDP_PASS),
    row("fragment", Asked::Fragment, Needs::Nothing, XDP_PASS),
    row("arp", Asked::Arp, Needs::Nothing, XDP_PASS),
];

/// Those of xdp-filter: name, entries, what is asked, how it ends.
pub(super) const FILTER: [(&str, Fill, Asked, u32); 4] = [
    ("pass", Fill::Nothing, Asked::Known, XDP_PASS),
    ("drop", Fill::Few, Asked::Blocked, XDP_DROP),
    ("pass", Fill::Full, Asked::Known, XDP_PASS),
    ("drop", Fill::Full, Asked::Blocked, XDP_DROP),
];

impl Asked {
    /// The frame, of which the source is written over.
    pub(super) fn frame(self) -> Vec<u8> {
        let from = Ipv4Addr::new(10, 0, 0, 1);
        let (from6, to6): (IpAddr, IpAddr) = ("2001:db8::1".parse().expect("an address"), HOST6.into());
        let closed = *frames::CLOSED.start();
        match self {
            Self::Server => frames::segment(from, PUBLIC, ACK),
            Self::Server6 => with_flags(frames::asking_tcp(from6, to6, PUBLIC), ACK),
            Self::Restricted => frames::segment(from, RESTRICTED, ACK),
            Self::Protected => with_flags(frames::asking_tcp(from.into(), PROTECTED.into(), PUBLIC), ACK),
            Self::KnownProtected => frames::asking_tcp(from.into(), PROTECTED.into(), PUBLIC),
            Self::Client => frames::segment(from, CLIENT, ACK),
            Self::Reset => frames::segment(from, PUBLIC, RST),
            Self::Known | Self::Fresh | Self::Blocked | Self::SparedPublic => frames::syn(from, PUBLIC),
            Self::Known6 => frames::asking_tcp(from6, to6, PUBLIC),
            Self::Datagram => frames::asking_udp(from.into(), HOST4.into(), PUBLIC),
            Self::FirstContact | Self::FreshContact | Self::Again | Self::Concealed => frames::syn(from, closed),
            Self::BlockedPrivate => frames::syn(from, RESTRICTED),
            Self::Illegal => frames::segment(from, PUBLIC, FIN),
            Self::Echo => named("IPv4 ping"),
            Self::SynAck => named("SYN-ACK"),
            Self::Fragment => named("later fragment"),
            Self::Arp => named("ARP"),
        }
    }

    /// The sources.
    pub(super) fn vary(self, fill: Fill) -> Vary {
        let known = Vary { base: KNOWN_BASE, ..Vary::sources4(fill.sources()) };
        match self {
            Self::Server6 | Self::Known6 => Vary { base: KNOWN_BASE, ..Vary::sources6(fill.sources()) },
            Self::Fresh => Vary { base: FRESH_BASE, ..Vary::sources4(1 << 20) },
            // Each of a network of its own: of one that many scan together the whole network would be a suspect.
            Self::FirstContact => Vary { base: CONTACT_BASE, shift: 8, ..Vary::sources4(fill.contacts()) },
            Self::Again => Vary { base: CONTACT_BASE | 1, shift: 8, ..Vary::sources4(fill.contacts()) },
            Self::FreshContact => Vary { base: FRESH_BASE << 1, ..Vary::sources4(1 << 20) },
            Self::Concealed => Vary { base: SUSPECT_BASE, shift: 8, ..Vary::sources4(64) },
            Self::Blocked => Vary { base: BLOCKED_BASE, ..Vary::sources4(fill.verdicts()) },
            Self::BlockedPrivate | Self::SparedPublic => Vary { base: PRIVATE_BASE, ..Vary::sources4(64) },
            _ => known,
        }
    }

    /// Runs of a round.
    pub(super) fn runs(self, fill: Fill) -> u32 {
        match self {
            Self::FirstContact => fill.contacts(),
            Self::FreshContact => 8_192,
            _ => 100_000,
        }
    }
}

fn named(name: &str) -> Vec<u8> {
    frames::table().into_iter().find(|row| row.shows == name).expect("a row of the table of frames").frame
}

fn with_flags(mut frame: Vec<u8>, flags: u8) -> Vec<u8> {
    let at = frame.len() - 20 + 13;
    frame[at] = flags;
    frame
}
