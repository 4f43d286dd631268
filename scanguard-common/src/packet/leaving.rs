//! What a frame that leaves says of the one it answers.

use super::read::Header;
use super::transport::{ICMP, ICMP6, TCP, UDP};
use super::{Packet, Parsed, Shape, parse_into, tcp_flags};
use crate::event::Answer;

/// Type, code, checksum and an unused word, before the packet that an ICMP error quotes (RFC 792, RFC 4443).
const ICMP_HEADER: usize = 8;
const IP4: usize = 20;
const IP6: usize = 40;
const PORTS: usize = 4;
/// The type that stands for ICMP errors about packets that are too big: that of `ICMPv6`, which nothing has in ICMP.
const TOO_BIG: u8 = 2;
/// Where a quoted packet begins at most: two tags, a chain of extension headers.
const FURTHEST: usize = 256;

/// Reads a frame that leaves: what it answers, and in `parsed` what it is an answer to, as that arrived: from the other side to this one. For an
/// ICMP error that is the packet it quotes.
#[inline(always)]
#[must_use]
pub fn parse_leaving<P: Packet>(packet: &P, parsed: &mut Parsed) -> Answer {
    parse_into(packet, parsed);
    match parsed.shape {
        Shape::Tcp => {
            let answer = of_segment(parsed.tcp_flags);
            turn(parsed);
            answer
        }
        Shape::Udp => {
            turn(parsed);
            Answer::Datagram
        }
        Shape::Icmp if matches!((parsed.version, parsed.icmp_type), (4, 0) | (6, 129)) => {
            turn(parsed);
            Answer::Open
        }
        Shape::Icmp if matches!((parsed.version, parsed.icmp_type), (4, 3) | (6, 1)) => {
            let error = parsed.transport_offset as usize;
            if parsed.version == 4 && is_too_big(packet, error) {
                // No refusal: it says how long packets may be, to connections that exist as well.
                parsed.icmp_type = TOO_BIG;
                return Answer::None;
            }
            let at = error + ICMP_HEADER;
            // Nothing is changed but by a packet that is quoted whole: to whom the error goes matters, too.
            let mut asked = *parsed;
            if at <= FURTHEST && quoted(packet, at, &mut asked) {
                *parsed = asked;
                return Answer::Unreachable;
            }
            Answer::None
        }
        _ => Answer::None,
    }
}

/// Whether an ICMP message of the type destination unreachable is about a packet that is too big (RFC 1191: code 4).
#[inline(always)]
fn is_too_big<P: Packet>(packet: &P, at: usize) -> bool {
    const FRAGMENTATION_NEEDED: u8 = 4;
    at <= FURTHEST && packet.view::<2>(at).map(Header).is_some_and(|header| header.u8::<1>() == FRAGMENTATION_NEEDED)
}

#[inline(always)]
const fn of_segment(flags: u8) -> Answer {
    use tcp_flags::{ACK, FIN, RST, SYN};
    match flags & (SYN | ACK | RST | FIN) {
        flags if flags == SYN | ACK => Answer::Open,
        flags if flags & RST != 0 && flags & SYN == 0 => Answer::Refused,
        _ => Answer::None,
    }
}

/// Makes a packet that leaves the one that it answers.
#[inline(always)]
const fn turn(parsed: &mut Parsed) {
    let Parsed { source, destination, source_port, destination_port, .. } = *parsed;
    (parsed.source, parsed.destination) = (destination, source);
    (parsed.source_port, parsed.destination_port) = (destination_port, source_port);
}

/// Reads the packet that an ICMP error quotes. It must be of the one to whom the error goes.
#[inline(always)]
fn quoted<P: Packet>(packet: &P, at: usize, parsed: &mut Parsed) -> bool {
    use crate::address::Address;
    let receiver = parsed.destination;
    let transport = if parsed.version == 4 {
        let Some(header) = packet.view::<IP4>(at).map(Header) else { return false };
        let version = header.u8::<0>() >> 4;
        let length = usize::from(header.u8::<0>() & 0xf) * 4;
        if version != 4 || length < IP4 || header.be16::<6>() & 0x1fff != 0 {
            return false;
        }
        parsed.source = Address::from_ipv4_word(header.word32::<12>());
        parsed.destination = Address::from_ipv4_word(header.word32::<16>());
        parsed.protocol = header.u8::<9>();
        at + length
    } else {
        let Some(header) = packet.view::<IP6>(at).map(Header) else { return false };
        if header.u8::<0>() >> 4 != 6 {
            return false;
        }
        parsed.source = Address::from_words([header.word64::<8>(), header.word64::<16>()]);
        parsed.destination = Address::from_words([header.word64::<24>(), header.word64::<32>()]);
        parsed.protocol = header.u8::<6>();
        at + IP6
    };
    let Some(header) = packet.view::<PORTS>(transport).map(Header) else { return false };
    parsed.shape = match parsed.protocol {
        TCP => Shape::Tcp,
        UDP => Shape::Udp,
        ICMP | ICMP6 => Shape::Icmp,
        _ => return false,
    };
    (parsed.source_port, parsed.destination_port, parsed.icmp_type) = match parsed.shape {
        Shape::Icmp => (0, 0, header.u8::<0>()),
        _ => (header.be16::<0>(), header.be16::<2>(), 0),
    };
    parsed.source == receiver && (parsed.shape != Shape::Icmp || parsed.is_echo_request())
}
