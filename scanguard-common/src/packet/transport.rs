//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and `ICMPv6` (RFC 4443).

use super::read::Header;
use super::{Packet, Parsed, Shape};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMP6: u8 = 58;

const TCP_HEADER: usize = 20;
/// Up to and with the flags.
const TCP_WITH_FLAGS: usize = 14;
/// The ports, which begin TCP and UDP alike.
const PORTS: usize = 4;
const UDP_HEADER: usize = 8;
/// Type, code, checksum, and of an echo the identifier.
const ICMP_HEADER: usize = 8;

/// A fragment that is not the first, at this offset in bytes.
#[inline(always)]
pub(super) const fn later_fragment(protocol: u8, offset: u16) -> Shape {
    // RFC 3128: with a fragment offset of 8 the flags of the first fragment could be overwritten.
    if protocol == TCP && offset == 8 { Shape::TinyFragment } else { Shape::Fragment }
}

/// Where an IP header says its payload is.
pub(super) struct Payload {
    /// Offset of the first byte from the start of the frame.
    pub(super) start: usize,
    /// Offset after the last byte, not before `start`.
    pub(super) end: usize,
    /// Whether more fragments follow.
    pub(super) first_fragment: bool,
}

/// A first fragment that ends before the flags. Its ports can be read: fragments come in units of 8 bytes.
#[inline(always)]
fn tiny<P: Packet>(packet: &P, payload: &Payload, parsed: &mut Parsed) -> Shape {
    if payload.end - payload.start >= PORTS
        && let Some(header) = packet.view::<PORTS>(payload.start).map(Header)
    {
        parsed.source_port = header.be16::<0>();
        parsed.destination_port = header.be16::<2>();
    }
    Shape::TinyFragment
}

/// Whether a first fragment over IPv6 ends before its transport header does. Linux refuses what it can see to be so (RFC 8200, section
/// 4.5; `ipv6frag_thdr_truncated`).
#[inline(always)]
const fn is_cut(payload: &Payload, parsed: &Parsed) -> bool {
    let needed = match parsed.protocol {
        TCP => TCP_HEADER,
        UDP => UDP_HEADER,
        ICMP6 => ICMP_HEADER,
        _ => 1,
    };
    parsed.version == 6 && payload.first_fragment && payload.end - payload.start < needed
}

/// The transport header of this payload.
#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, payload: &Payload, parsed: &mut Parsed) -> Shape {
    let Payload { start, end, first_fragment } = *payload;
    let room = end - start;
    if is_cut(payload, parsed) {
        return Shape::CutChain;
    }
    match parsed.protocol {
        TCP => {
            let needed = if first_fragment { TCP_WITH_FLAGS } else { TCP_HEADER };
            if room < needed {
                return if first_fragment { tiny(packet, payload, parsed) } else { Shape::Malformed };
            }
            let Some(header) = packet.view::<TCP_WITH_FLAGS>(start).map(Header) else {
                return Shape::Malformed;
            };
            let header_length = usize::from(header.u8::<12>() >> 4) * 4;
            if header_length < TCP_HEADER || (!first_fragment && header_length > room) {
                return Shape::Malformed;
            }
            parsed.source_port = header.be16::<0>();
            parsed.destination_port = header.be16::<2>();
            parsed.tcp_flags = header.u8::<13>();
            parsed.sequence = header.word32::<4>();
            Shape::Tcp
        }
        UDP => {
            if room < UDP_HEADER {
                return Shape::Malformed;
            }
            let Some(header) = packet.view::<UDP_HEADER>(start).map(Header) else {
                return Shape::Malformed;
            };
            parsed.source_port = header.be16::<0>();
            parsed.destination_port = header.be16::<2>();
            Shape::Udp
        }
        ICMP | ICMP6 if (parsed.protocol == ICMP) == (parsed.version == 4) => {
            if room < ICMP_HEADER {
                return Shape::Malformed;
            }
            let Some(header) = packet.view::<ICMP_HEADER>(start).map(Header) else {
                return Shape::Malformed;
            };
            parsed.icmp_type = header.u8::<0>();
            if parsed.is_echo_request() {
                parsed.source_port = header.be16::<4>();
            }
            Shape::Icmp
        }
        _ => Shape::Other,
    }
}
