//! What the bytes of a frame say: Ethernet, up to two VLAN tags, IPv4 or IPv6, and the transport header.
//!
//! [`parse`] never fails: a frame it can make nothing of has a [`Shape`] that says so. Bounds are those of the frame and
//! of the IP header's own length, whichever is less, so that Ethernet padding is never read as a transport header.
//! Nothing is allocated and every loop is bounded, which the BPF verifier demands and a fuzzer likes.

mod established;
mod ethernet;
mod ip4;
mod ip6;
mod leaving;
mod read;
pub mod reply;
mod transport;

pub use established::{Plain, plain_destination, plain_segment, plain_source, read_plain_syn};
pub use ethernet::MAX_VLAN_TAGS;
pub use ip6::MAX_EXTENSION_HEADERS;
pub use leaving::parse_leaving;

use crate::address::Address;

/// Where the bytes of a frame are.
pub trait Packet {
    /// The `N` bytes at `offset`, or nothing when the frame is shorter.
    ///
    /// A view and not a copy: copies of headers would fill the kernel's 512 bytes of stack.
    fn view<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// Length of the frame in bytes, all fragments of a multi-buffer frame included.
    fn len(&self) -> usize;

    /// The same, of a frame whose headers claim that many bytes. Where asking for the length costs something, it need not be asked for when they
    /// are all there.
    #[inline(always)]
    fn len_of(&self, _claimed: usize) -> usize {
        self.len()
    }

    /// Whether the frame has no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// TCP header flags, the byte at offset 13 of the header (RFC 9293 section 3.1).
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// What kind of thing a frame is, as far as the filter cares.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Shape {
    /// Neither IPv4 nor IPv6.
    #[default]
    NotIp = 0,
    /// Headers cut short or contradicting each other.
    Malformed = 1,
    /// TCP with its flags.
    Tcp = 2,
    /// UDP with its ports.
    Udp = 3,
    /// ICMP or `ICMPv6` with its type.
    Icmp = 4,
    /// A later fragment.
    Fragment = 5,
    /// TCP cut so that its flags hide: a first fragment with less than 14 bytes of it, or a fragment at offset 8.
    TinyFragment = 6,
    /// More IPv6 extension headers than [`MAX_EXTENSION_HEADERS`].
    LongChain = 7,
    /// Another IP protocol.
    Other = 8,
    /// The first fragment of an IPv6 packet, without its whole header chain: what it asks for hides in another one (RFC 7112).
    CutChain = 9,
    /// More than [`MAX_VLAN_TAGS`] tags, with a priority tag (VLAN 0) among the first of them: Linux takes priority tags off one by
    /// one, however many there are (`__netif_receive_skb_core`).
    PriorityTags = 10,
}

/// A frame, read.
///
/// Fields that its [`Shape`] has no use for are zero.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Parsed {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// Source port, host order; of ICMP echo its identifier.
    pub source_port: u16,
    /// Destination port, host order; 0 for ICMP.
    pub destination_port: u16,
    /// Offset of the transport header from the start of the frame.
    pub transport_offset: u16,
    /// What it is.
    pub shape: Shape,
    /// IP protocol number of the transport header.
    pub protocol: u8,
    /// IP version: 4, 6, or 0 when there is none.
    pub version: u8,
    /// TCP flags ([`tcp_flags`]).
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// VLAN tags in the frame, 0 to [`MAX_VLAN_TAGS`].
    pub vlan_tags: u8,
    /// TCP sequence number, as it lies in the header.
    pub sequence: u32,
    /// Whether it is more than an Ethernet frame with an IP header and a transport header: a fragment, or with IP options or extension
    /// headers. 0 or 1; a word, as what follows, because LLVM writes single bytes one at a time.
    pub is_odd: u32,
    /// Zero. Where a struct has padding, LLVM copies registers that were never set, which the BPF verifier refuses.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Parsed>() == 56, "no padding");

/// Words of [`Parsed::words`].
pub const PARSED_WORDS: usize = 7;

impl Parsed {
    /// All of it packed, for comparing what two readers made of a frame.
    #[must_use]
    pub const fn words(&self) -> [u64; PARSED_WORDS] {
        let Self { source, destination, source_port, destination_port, transport_offset, .. } = *self;
        let Self { shape, protocol, version, tcp_flags, icmp_type, vlan_tags, sequence, is_odd, .. } = *self;
        let numbers = [source_port as u64, destination_port as u64, transport_offset as u64];
        let bytes = [shape as u8, protocol, version, tcp_flags, icmp_type, vlan_tags, is_odd as u8, 0];
        [
            source.words()[0],
            source.words()[1],
            destination.words()[0],
            destination.words()[1],
            numbers[0] | numbers[1] << 16 | numbers[2] << 32,
            u64::from_le_bytes(bytes),
            sequence as u64,
        ]
    }

    /// Whether this asks for an ICMP echo (type 8, of `ICMPv6` 128).
    #[inline(always)]
    #[must_use]
    pub const fn is_echo_request(&self) -> bool {
        matches!((self.version, self.icmp_type), (4, 8) | (6, 128))
    }
}

/// Reads a frame from its Ethernet header on.
#[inline(always)]
#[must_use]
pub fn parse<P: Packet>(packet: &P) -> Parsed {
    let mut parsed = Parsed::default();
    parse_into(packet, &mut parsed);
    parsed
}

/// The same, in place: in the kernel there is no room for a copy.
#[inline(always)]
pub fn parse_into<P: Packet>(packet: &P, parsed: &mut Parsed) {
    *parsed = Parsed::default();
    parsed.shape = match ethernet::parse(packet, parsed) {
        Ok(payload) => transport::parse(packet, &payload, parsed),
        Err(shape) => shape,
    };
}
