//! The shortest way to the commonest verdict: a TCP segment of a connection, without tags, options or extension headers.

use super::read::Header;
use super::{Packet, tcp_flags};

const ETHERNET: usize = 14;
const IP4: usize = 20;
const IP6: usize = 40;
const TCP: usize = 20;

/// A TCP segment of a connection (without SYN, and with ACK, or RST without FIN), in the plainest of frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plain(u32);

const IS_ACK: u32 = 1 << 16;
const IS_RESET: u32 = 1 << 17;

impl Plain {
    #[inline(always)]
    const fn new(destination_port: u16, flags: u8) -> Self {
        let is_ack = flags & (tcp_flags::ACK | tcp_flags::RST) == tcp_flags::ACK;
        let is_reset = flags & (tcp_flags::ACK | tcp_flags::RST) == tcp_flags::RST;
        Self(destination_port as u32 | if is_ack { IS_ACK } else { 0 } | if is_reset { IS_RESET } else { 0 })
    }

    /// The port it goes to.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(self) -> u16 {
        self.0 as u16
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
            plain.then(|| Plain::new(port, header.u8::<{ ETHERNET + IP4 + 13 }>()))
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
            plain.then(|| Plain::new(port, header.u8::<{ ETHERNET + IP6 + 13 }>()))
        }
        _ => None,
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
