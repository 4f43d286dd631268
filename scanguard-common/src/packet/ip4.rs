//! IPv4 (RFC 791).

use super::read::Header;
use super::transport::{self, Payload};
use super::{Packet, Parsed, Shape};
use crate::address::Address;

const MIN_HEADER: usize = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;
/// Bytes in which fragments are numbered.
const UNIT: usize = 8;

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, offset: usize, parsed: &mut Parsed) -> Result<Payload, Shape> {
    let header = Header(packet.view::<MIN_HEADER>(offset).ok_or(Shape::Malformed)?);
    let header_length = usize::from(header.u8::<0>() & 0x0f) * 4;
    if header.u8::<0>() >> 4 != 4 || header_length < MIN_HEADER {
        return Err(Shape::Malformed);
    }
    parsed.version = 4;
    parsed.protocol = header.u8::<9>();
    parsed.source = Address::from_ipv4_word(header.word32::<12>());
    parsed.destination = Address::from_ipv4_word(header.word32::<16>());
    let total = usize::from(header.be16::<2>());
    // BIG TCP: a segment above 65,535 bytes that the kernel put together has a total length of 0
    // (Linux commit b1a78b9b9886).
    let end = if total == 0 { packet.len() } else { offset + total };
    let start = offset + header_length;
    if start > end {
        return Err(Shape::Malformed);
    }
    parsed.transport_offset = start as u16;

    let fragment = header.be16::<6>();
    let fragment_offset = (fragment & OFFSET_MASK) * 8;
    parsed.is_odd = u32::from(header_length != MIN_HEADER || fragment & (OFFSET_MASK | MORE_FRAGMENTS) != 0);
    if fragment_offset != 0 {
        return Err(transport::later_fragment(parsed.protocol, fragment_offset));
    }
    let first_fragment = fragment & MORE_FRAGMENTS != 0;
    // Of a fragment that others follow Linux takes no more than whole units of eight bytes (`ip_frag_queue`).
    let end = if first_fragment { start + ((end - start) & !(UNIT - 1)) } else { end };
    Ok(Payload { start, end, first_fragment })
}
