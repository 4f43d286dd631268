//! The shortest way to the commonest verdict: a TCP segment of a connection, without tags, options or extension headers.

use super::read::Header;
use super::{Packet, tcp_flags};

const ETHERNET: usize = 14;
const IP4: usize = 20;
const IP6: usize = 40;
const TCP: usize = 20;

/// Whether [`super::parse`] would find a TCP segment that belongs to a connection (without SYN, and with ACK, or RST without
/// FIN), in the plainest of frames. False says nothing: the frame may be established all the same.
#[inline(always)]
#[must_use]
pub fn is_plainly_established<P: Packet>(packet: &P) -> bool {
    let Some(header) = packet.view::<{ ETHERNET + IP4 + TCP }>(0).map(Header) else {
        return false;
    };
    match header.be16::<12>() {
        // Version 4 without options, no fragment.
        0x0800 => {
            header.u8::<ETHERNET>() == 0x45
                && header.be16::<{ ETHERNET + 6 }>() & 0x3fff == 0
                && header.u8::<{ ETHERNET + 9 }>() == super::transport::TCP
                && belongs(
                    header.be16::<{ ETHERNET + 2 }>().saturating_sub(IP4 as u16),
                    header.u8::<{ ETHERNET + IP4 + 12 }>(),
                    header.u8::<{ ETHERNET + IP4 + 13 }>(),
                )
        }
        0x86dd => {
            let Some(header) = packet.view::<{ ETHERNET + IP6 + TCP }>(0).map(Header) else {
                return false;
            };
            header.u8::<ETHERNET>() >> 4 == 6
                && header.u8::<{ ETHERNET + 6 }>() == super::transport::TCP
                && belongs(
                    header.be16::<{ ETHERNET + 4 }>(),
                    header.u8::<{ ETHERNET + IP6 + 12 }>(),
                    header.u8::<{ ETHERNET + IP6 + 13 }>(),
                )
        }
        _ => false,
    }
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
