//! IPv6 (RFC 8200) and its extension headers.

use super::read::Header;
use super::transport::{self, Payload};
use super::{Packet, Parsed, Shape};
use crate::address::Address;

/// Extension headers read before the chain counts as over-long. RFC 8200 section 4.1 recommends at most one of each of
/// six kinds and two destination options.
pub const MAX_EXTENSION_HEADERS: usize = 8;

const HEADER: usize = 40;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, offset: usize, parsed: &mut Parsed) -> Result<Payload, Shape> {
    let header = Header(packet.view::<HEADER>(offset).ok_or(Shape::Malformed)?);
    if header.u8::<0>() >> 4 != 6 {
        return Err(Shape::Malformed);
    }
    parsed.version = 6;
    parsed.source = Address::from_words([header.word64::<8>(), header.word64::<16>()]);
    parsed.destination = Address::from_words([header.word64::<24>(), header.word64::<32>()]);
    let payload = usize::from(header.be16::<4>());
    // A jumbogram (RFC 2675) has a payload length of 0; so has what BIG TCP put together.
    let end = if payload == 0 { packet.len() } else { offset + HEADER + payload };

    let mut chain =
        Chain { start: offset + HEADER, end, next: header.u8::<6>(), first_fragment: false, shape: Shape::Other };
    if is_extension(chain.next) {
        parsed.is_odd = 1;
        walk(packet, &mut chain);
    }
    parsed.protocol = chain.next;
    if chain.shape != Shape::Other {
        return Err(chain.shape);
    }
    parsed.transport_offset = chain.start as u16;
    Ok(Payload { start: chain.start, end, first_fragment: chain.first_fragment })
}

/// A chain of extension headers on its way to the transport header.
struct Chain {
    start: usize,
    end: usize,
    next: u8,
    first_fragment: bool,
    /// `Other` while there is nothing to say.
    shape: Shape,
}

impl Chain {
    /// What a chain is that ends before the transport header.
    #[inline(always)]
    const fn cut_short(&self) -> Shape {
        if self.first_fragment { Shape::CutChain } else { Shape::Malformed }
    }
}

/// Steps over the extension headers. A function of its own in the kernel, where its loop is unrolled and would not fit on
/// the stack beside the rest.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn walk<P: Packet>(packet: &P, chain: &mut Chain) {
    for _ in 0..MAX_EXTENSION_HEADERS {
        let extension = packet.view::<4>(chain.start).map(Header);
        let (Some(extension), true) = (extension, chain.start + 4 <= chain.end) else {
            chain.shape = chain.cut_short();
            return;
        };
        let this = chain.next;
        chain.next = extension.u8::<0>();
        let units = usize::from(extension.u8::<1>());
        chain.start += match this {
            AUTHENTICATION => units * 4 + 8,
            FRAGMENT => 8,
            _ => units * 8 + 8,
        };
        if this == FRAGMENT {
            let field = extension.be16::<2>();
            if field & !7 != 0 {
                chain.shape = transport::later_fragment(chain.next, field & !7);
                return;
            }
            // Also of a whole packet within: Linux puts the outer fragments together first.
            chain.first_fragment |= field & 1 != 0;
        }
        if chain.start > chain.end {
            chain.shape = chain.cut_short();
            return;
        }
        if !is_extension(chain.next) {
            return;
        }
    }
    chain.shape = Shape::LongChain;
}

#[inline(always)]
const fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6
    )
}
