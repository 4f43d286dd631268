//! Ethernet II and IEEE 802.1Q tags.

use super::read::Header;
use super::transport::Payload;
use super::{Packet, Parsed, Shape, ip4, ip6};

/// VLAN tags read before a frame counts as not IP: customer and service tag (IEEE 802.1ad).
pub const MAX_VLAN_TAGS: u8 = 2;

const HEADER: usize = 14;
/// The bits of a tag that number the VLAN.
const VLAN_MASK: u16 = 0x0fff;
const TAG: usize = 4;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
/// Service tag of equipment older than IEEE 802.1ad.
const OLD_SERVICE_VLAN: u16 = 0x9100;

const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, VLAN | SERVICE_VLAN | OLD_SERVICE_VLAN)
}

#[inline(always)]
pub(super) fn parse<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<Payload, Shape> {
    let mut ether_type = Header(packet.view::<HEADER>(0).ok_or(Shape::Malformed)?).be16::<{ HEADER - 2 }>();
    let mut offset = HEADER;
    let mut has_priority_tag = false;
    for _ in 0..MAX_VLAN_TAGS {
        if !is_tag(ether_type) {
            break;
        }
        let tag = Header(packet.view::<TAG>(offset).ok_or(Shape::Malformed)?);
        ether_type = tag.be16::<{ TAG - 2 }>();
        has_priority_tag |= tag.be16::<0>() & VLAN_MASK == 0;
        offset += TAG;
        parsed.vlan_tags += 1;
    }
    if is_tag(ether_type)
        && let Some(tag) = packet.view::<TAG>(offset).map(Header)
        && (has_priority_tag || tag.be16::<0>() & VLAN_MASK == 0)
    {
        return Err(Shape::PriorityTags);
    }
    match ether_type {
        IPV4 => ip4::parse(packet, offset, parsed),
        IPV6 => ip6::parse(packet, offset, parsed),
        _ => Err(Shape::NotIp),
    }
}
