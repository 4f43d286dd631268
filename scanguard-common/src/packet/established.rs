//! The shortest way to the commonest verdicts: a TCP segment of a connection, or a SYN, without tags, IP options or extension headers.

use super::read::Header;
use super::{Packet, Parsed, Shape, tcp_flags};
use crate::address::Address;

const ETHERNET: usize = 14;
const IP4: usize = 20;
const IP6: usize = 40;
const TCP: usize = 20;

/// A TCP segment of a connection (without SYN, and with ACK, or RST without FIN), in the plainest of frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plain(u64);

const IS_ACK: u64 = 1 << 16;
const IS_RESET: u64 = 1 << 17;
const CLAIMED_SHIFT: u32 = 32;

impl Plain {
    #[inline(always)]
    const fn new(destination_port: u16, flags: u8, claimed: usize) -> Self {
        let is_ack = flags & (tcp_flags::ACK | tcp_flags::RST) == tcp_flags::ACK;
        let is_reset = flags & (tcp_flags::ACK | tcp_flags::RST) == tcp_flags::RST;
        let flags = if is_ack { IS_ACK } else { 0 } | if is_reset { IS_RESET } else { 0 };
        Self(destination_port as u64 | flags | (claimed as u64) << CLAIMED_SHIFT)
    }

    /// The port it goes to.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(self) -> u16 {
        self.0 as u16
    }

    /// How long the frame is by what its headers say, in bytes: more where it is padded.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(self) -> usize {
        (self.0 >> CLAIMED_SHIFT) as usize
    }

    /// Whether it has ACK and not RST: a closed port answers it.
    #[inline(always)]
    #[must_use]
    pub const fn is_ack(self) -> bool {
        self.0 & IS_ACK != 0
    }

    /// Whether it resets without ACK: a stack's answer to a segment that acknowledges what was never sent (RFC 9293, section 3.10.7).
    #[inline(always)]
    #[must_use]
    pub const fn is_reset(self) -> bool {
        self.0 & IS_RESET != 0
    }
}

/// The segment, if [`super::parse`] would find one that belongs to a connection in the plainest of frames. Nothing says
/// nothing: the frame may be established all the same.
#[inline(always)]
#[must_use]
pub fn plain_segment<P: Packet>(packet: &P) -> Option<Plain> {
    let header = packet.view::<{ ETHERNET + IP4 + TCP }>(0).map(Header)?;
    match header.be16::<12>() {
        // Version 4 without options, no fragment.
        0x0800 => {
            let plain = header.u8::<ETHERNET>() == 0x45
                && header.be16::<{ ETHERNET + 6 }>() & 0x3fff == 0
                && header.u8::<{ ETHERNET + 9 }>() == super::transport::TCP
                && belongs(
                    header.be16::<{ ETHERNET + 2 }>().saturating_sub(IP4 as u16),
                    header.u8::<{ ETHERNET + IP4 + 12 }>(),
                    header.u8::<{ ETHERNET + IP4 + 13 }>(),
                );
            let port = header.be16::<{ ETHERNET + IP4 + 2 }>();
            let claimed = ETHERNET + usize::from(header.be16::<{ ETHERNET + 2 }>());
            plain.then(|| Plain::new(port, header.u8::<{ ETHERNET + IP4 + 13 }>(), claimed))
        }
        0x86dd => {
            let header = packet.view::<{ ETHERNET + IP6 + TCP }>(0).map(Header)?;
            let plain = header.u8::<ETHERNET>() >> 4 == 6
                && header.u8::<{ ETHERNET + 6 }>() == super::transport::TCP
                && belongs(
                    header.be16::<{ ETHERNET + 4 }>(),
                    header.u8::<{ ETHERNET + IP6 + 12 }>(),
                    header.u8::<{ ETHERNET + IP6 + 13 }>(),
                );
            let port = header.be16::<{ ETHERNET + IP6 + 2 }>();
            let claimed = ETHERNET + IP6 + usize::from(header.be16::<{ ETHERNET + 4 }>());
            plain.then(|| Plain::new(port, header.u8::<{ ETHERNET + IP6 + 13 }>(), claimed))
        }
        _ => None,
    }
}

/// Where a frame goes that [`plain_segment`] told.
#[inline(always)]
#[must_use]
pub fn plain_destination<P: Packet>(packet: &P) -> Address {
    plain_address::<P, { ETHERNET + 16 }, { ETHERNET + 24 }>(packet)
}

/// Where such a frame comes from.
#[inline(always)]
#[must_use]
pub fn plain_source<P: Packet>(packet: &P) -> Address {
    plain_address::<P, { ETHERNET + 12 }, { ETHERNET + 8 }>(packet)
}

#[inline(always)]
fn plain_address<P: Packet, const AT4: usize, const AT6: usize>(packet: &P) -> Address {
    if let Some(header) = packet.view::<{ ETHERNET + IP4 + TCP }>(0).map(Header)
        && header.be16::<12>() == 0x0800
    {
        return Address::from_ipv4_word(header.word32::<AT4>());
    }
    match packet.view::<{ ETHERNET + IP6 + TCP }>(0).map(Header) {
        Some(header) if AT6 == ETHERNET + 8 => {
            Address::from_words([header.word64::<{ ETHERNET + 8 }>(), header.word64::<{ ETHERNET + 16 }>()])
        }
        Some(header) => {
            Address::from_words([header.word64::<{ ETHERNET + 24 }>(), header.word64::<{ ETHERNET + 32 }>()])
        }
        None => Address::default(),
    }
}

/// Reads a SYN in the plainest of frames, as [`super::parse`] does, and says how long the frame is by its headers, in bytes. 0 when it is none, of
/// which nothing is written: it may be a SYN all the same.
#[inline(always)]
#[must_use]
pub fn read_plain_syn<P: Packet>(packet: &P, parsed: &mut Parsed) -> usize {
    let Some(header) = packet.view::<{ ETHERNET + IP4 + TCP }>(0).map(Header) else {
        return 0;
    };
    match header.be16::<12>() {
        0x0800 => {
            let plain = header.u8::<ETHERNET>() == 0x45
                && header.be16::<{ ETHERNET + 6 }>() & 0x3fff == 0
                && header.u8::<{ ETHERNET + 9 }>() == super::transport::TCP
                && asks(
                    header.be16::<{ ETHERNET + 2 }>().saturating_sub(IP4 as u16),
                    header.u8::<{ ETHERNET + IP4 + 12 }>(),
                    header.u8::<{ ETHERNET + IP4 + 13 }>(),
                );
            if !plain {
                return 0;
            }
            parsed.source = Address::from_ipv4_word(header.word32::<{ ETHERNET + 12 }>());
            parsed.destination = Address::from_ipv4_word(header.word32::<{ ETHERNET + 16 }>());
            write_syn(Header(header.tail::<{ ETHERNET + IP4 }, TCP>()), 4, parsed);
            ETHERNET + usize::from(header.be16::<{ ETHERNET + 2 }>())
        }
        0x86dd => {
            let Some(header) = packet.view::<{ ETHERNET + IP6 + TCP }>(0).map(Header) else {
                return 0;
            };
            let plain = header.u8::<ETHERNET>() >> 4 == 6
                && header.u8::<{ ETHERNET + 6 }>() == super::transport::TCP
                && asks(
                    header.be16::<{ ETHERNET + 4 }>(),
                    header.u8::<{ ETHERNET + IP6 + 12 }>(),
                    header.u8::<{ ETHERNET + IP6 + 13 }>(),
                );
            if !plain {
                return 0;
            }
            parsed.source =
                Address::from_words([header.word64::<{ ETHERNET + 8 }>(), header.word64::<{ ETHERNET + 16 }>()]);
            parsed.destination =
                Address::from_words([header.word64::<{ ETHERNET + 24 }>(), header.word64::<{ ETHERNET + 32 }>()]);
            write_syn(Header(header.tail::<{ ETHERNET + IP6 }, TCP>()), 6, parsed);
            ETHERNET + IP6 + usize::from(header.be16::<{ ETHERNET + 4 }>())
        }
        _ => 0,
    }
}

/// All but the addresses.
#[inline(always)]
fn write_syn(tcp: Header<'_, TCP>, version: u8, parsed: &mut Parsed) {
    let header = if version == 4 { IP4 } else { IP6 };
    *parsed = Parsed {
        source: parsed.source,
        destination: parsed.destination,
        source_port: tcp.be16::<0>(),
        destination_port: tcp.be16::<2>(),
        transport_offset: (ETHERNET + header) as u16,
        shape: Shape::Tcp,
        protocol: super::transport::TCP,
        version,
        tcp_flags: tcp.u8::<13>(),
        icmp_type: 0,
        vlan_tags: 0,
        sequence: tcp.word32::<4>(),
        is_odd: 0,
        reserved: 0,
    };
}

/// Whether a segment of `length` bytes, with these bytes at offsets 12 and 13 of its header, is sane and asks for a connection as stacks do.
#[inline(always)]
const fn asks(length: u16, data_offset: u8, flags: u8) -> bool {
    use tcp_flags::{ACK, FIN, RST, SYN};
    let header_length = (data_offset >> 4) as u16 * 4;
    header_length >= TCP as u16 && header_length <= length && flags & (SYN | ACK | RST | FIN) == SYN
}

/// Whether a segment of `length` bytes, with these bytes at offsets 12 and 13 of its header, is sane and established.
#[inline(always)]
const fn belongs(length: u16, data_offset: u8, flags: u8) -> bool {
    let header_length = (data_offset >> 4) as u16 * 4;
    header_length >= TCP as u16
        && header_length <= length
        && flags & tcp_flags::SYN == 0
        && (flags & tcp_flags::ACK != 0 || flags & (tcp_flags::RST | tcp_flags::FIN) == tcp_flags::RST)
}
