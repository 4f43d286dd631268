//! What a packet asks of this host.

use crate::class::{PortClass, Protocol};
use crate::config::KernelConfig;
use crate::contact::{ContactKind, Outcome};
use crate::packet::Parsed;
use crate::reason::Reason;

/// What a packet asks for, of those that ask for anything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A TCP connection.
    #[default]
    Syn = 0,
    /// The same with FIN or RST, as no stack does.
    IllegalSyn = 1,
    /// A TCP segment with illegal flags and without SYN: it asks what the port answers.
    Illegal = 2,
    /// A TCP segment with ACK to a port that should be closed: it asks the same.
    AckProbe = 3,
    /// A UDP datagram.
    Datagram = 4,
    /// An ICMP echo.
    Echo = 5,
    /// TCP whose flags hide in another fragment.
    TinyFragment = 6,
    /// IPv6 with too many extension headers.
    LongChain = 7,
    /// An IP protocol that is not handled here.
    Protocol = 8,
    /// A UDP datagram that may be a late answer to one of ours.
    Answer = 9,
    /// The first fragment of an IPv6 packet, without its whole header chain.
    CutChain = 10,
}

impl Kind {
    /// Whether it is a new flow.
    #[inline(always)]
    pub(super) const fn is_attempt(self) -> bool {
        matches!(self, Self::Syn | Self::IllegalSyn | Self::Datagram | Self::Answer | Self::Echo)
    }

    /// Whether a socket may show that it belongs to a connection.
    #[inline(always)]
    pub(super) const fn may_belong(self) -> bool {
        matches!(self, Self::Illegal | Self::AckProbe | Self::Datagram | Self::Answer)
    }

    /// The protocol of the port it asks for.
    #[inline(always)]
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Datagram | Self::Answer => Protocol::Udp,
            Self::Echo => Protocol::Icmp,
            _ => Protocol::Tcp,
        }
    }

    /// Why it passes when nothing is held against it.
    #[inline(always)]
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Syn | Self::Datagram | Self::Answer | Self::Echo => Reason::NewFlow,
            Self::IllegalSyn | Self::Illegal => Reason::IllegalFlags,
            Self::AckProbe => Reason::AckProbe,
            Self::TinyFragment => Reason::TinyFragment,
            Self::LongChain => Reason::LongChain,
            Self::CutChain => Reason::Fragment,
            Self::Protocol => Reason::OtherProtocol,
        }
    }

    /// What a contact of this kind is.
    #[inline(always)]
    pub(super) const fn contact(self) -> ContactKind {
        match self {
            Self::Syn | Self::AckProbe => ContactKind::Tcp,
            Self::IllegalSyn | Self::Illegal => ContactKind::Illegal,
            Self::Datagram => ContactKind::Udp,
            Self::Answer => ContactKind::Answer,
            Self::Echo => ContactKind::Icmp,
            Self::TinyFragment => ContactKind::Fragment,
            Self::LongChain | Self::CutChain => ContactKind::Chain,
            Self::Protocol => ContactKind::Protocol,
        }
    }

    /// The port asked for, or what stands in its place.
    #[inline(always)]
    pub(super) const fn port(self, parsed: &Parsed) -> u16 {
        match self {
            Self::Protocol => parsed.protocol as u16,
            Self::LongChain => 0,
            Self::CutChain => 1,
            _ => parsed.destination_port,
        }
    }

    /// Whether it asks for a port whose class counts.
    #[inline(always)]
    pub(super) const fn has_port(self, parsed: &Parsed) -> bool {
        match self {
            Self::Echo | Self::LongChain | Self::CutChain | Self::Protocol | Self::Answer => false,
            // The fragment at offset 8 has no ports.
            Self::TinyFragment => parsed.destination_port != 0,
            _ => true,
        }
    }

    /// What becomes of a contact with a port of this class, `closed` if verified.
    #[inline(always)]
    pub(super) const fn outcome(self, class: PortClass, closed: bool) -> Outcome {
        match self {
            Self::Syn | Self::Datagram => match class {
                PortClass::Public => Outcome::Public,
                PortClass::Restricted => Outcome::Restricted,
                PortClass::Canary if closed => Outcome::Canary,
                PortClass::Closed if closed => Outcome::Closed,
                _ => Outcome::Unknown,
            },
            Self::IllegalSyn | Self::Illegal => Outcome::IllegalFlags,
            // Worth what a SYN to it is, whichever came first.
            Self::AckProbe if closed && matches!(class, PortClass::Canary) => Outcome::Canary,
            Self::AckProbe if closed => Outcome::AckProbe,
            Self::AckProbe if matches!(class, PortClass::Restricted) => Outcome::Restricted,
            // To an address of a protected network that never answered.
            Self::Echo if closed => Outcome::Closed,
            Self::AckProbe | Self::Echo | Self::Answer => Outcome::Unknown,
            Self::TinyFragment => Outcome::TinyFragment,
            Self::LongChain => Outcome::LongChain,
            Self::CutChain => Outcome::CutChain,
            Self::Protocol => Outcome::Protocol,
        }
    }

    /// Why a suspect does not get it, if so.
    #[inline(always)]
    pub(super) const fn hidden(self, class: PortClass, closed: bool) -> Option<Reason> {
        let asked = match class {
            PortClass::Restricted => Reason::HiddenRestricted,
            PortClass::Canary if closed => Reason::HiddenCanary,
            PortClass::Closed if closed => Reason::HiddenClosed,
            _ => return if self.is_malformed() { Some(Reason::HiddenProtocol) } else { None },
        };
        match self {
            Self::Syn | Self::IllegalSyn | Self::Datagram | Self::Echo => Some(asked),
            // To an open port it belongs to a connection of which this host has no socket; but to restricted ones it is looked at
            // only where it is to be hidden.
            Self::AckProbe if !closed && !matches!(class, PortClass::Restricted) => None,
            Self::Illegal | Self::AckProbe | Self::TinyFragment => Some(Reason::HiddenProbe),
            Self::LongChain | Self::CutChain | Self::Protocol | Self::Answer => None, // They have no port.
        }
    }

    /// Whether nothing of ours answers it but the stack, to say so.
    #[inline(always)]
    const fn is_malformed(self) -> bool {
        matches!(self, Self::LongChain | Self::CutChain | Self::Protocol)
    }

    /// Why it is dropped whoever sends it, if so: what it asks for cannot be read here, and Linux might read it.
    #[inline(always)]
    pub(super) const fn refused(self) -> Option<Reason> {
        match self {
            Self::LongChain => Some(Reason::OverlongChain),
            Self::CutChain => Some(Reason::CutChain),
            _ => None,
        }
    }

    /// Whether it is evidence against its source whatever port it asks for.
    #[inline(always)]
    pub(super) const fn is_illegal(self) -> bool {
        matches!(
            self,
            Self::IllegalSyn | Self::Illegal | Self::TinyFragment | Self::LongChain | Self::CutChain | Self::Protocol
        )
    }
}

/// Whether a datagram may be the answer to one of ours whose socket is gone, as long as it is not known what left: it arrives where our own
/// sockets live, or comes from a service to an ordinary port. (Resolvers choose their ports from 1024 up, whatever the ephemeral
/// range is.)
#[inline(always)]
pub(super) const fn may_be_answer(parsed: &Parsed, config: &KernelConfig, now_ns: u64) -> bool {
    const WELL_KNOWN: u16 = 1024;
    let to = parsed.destination_port;
    !config.knows_what_left(now_ns)
        && (config.is_ephemeral(to) || (parsed.source_port < WELL_KNOWN && to >= WELL_KNOWN))
}

/// Whether an IP protocol other than TCP, UDP and ICMP is in ordinary use between hosts: tunnels, IPsec, routing, SCTP. (Numbers
/// of the IANA registry "Protocol Numbers".)
#[inline(always)]
pub(super) const fn is_common_protocol(number: u8) -> bool {
    const IGMP: u8 = 2;
    const IP_IN_IP: u8 = 4;
    const IP6_IN_IP: u8 = 41;
    const GRE: u8 = 47;
    const ESP: u8 = 50;
    const AH: u8 = 51;
    const NO_NEXT_HEADER: u8 = 59;
    const EIGRP: u8 = 88;
    const OSPF: u8 = 89;
    const ETHER_IP: u8 = 97;
    const PIM: u8 = 103;
    const VRRP: u8 = 112;
    const L2TP: u8 = 115;
    const SCTP: u8 = 132;
    const UDP_LITE: u8 = 136;
    const MPLS: u8 = 137;
    matches!(
        number,
        IGMP | IP_IN_IP
            | IP6_IN_IP
            | GRE
            | ESP
            | AH
            | NO_NEXT_HEADER
            | EIGRP
            | OSPF
            | ETHER_IP
            | PIM
            | VRRP
            | L2TP
            | SCTP
            | UDP_LITE
            | MPLS
    )
}

/// Whether an ICMP message asks for an answer: echo (8), timestamp (13), information (15) and address mask (17) requests (RFC 792, RFC 950),
/// of `ICMPv6` echo (128) and node information (139, RFC 4620).
#[inline(always)]
pub(super) const fn is_query(parsed: &Parsed) -> bool {
    matches!((parsed.version, parsed.icmp_type), (4, 8 | 13 | 15 | 17) | (6, 128 | 139))
}

/// Whether an IP protocol is spoken between the routers of a link, and needs no flow: IGMP, EIGRP, OSPF, PIM, VRRP.
#[inline(always)]
pub(super) const fn belongs_to_links(number: u8) -> bool {
    matches!(number, 2 | 88 | 89 | 103 | 112)
}
