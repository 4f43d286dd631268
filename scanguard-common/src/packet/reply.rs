//! Answers to TCP segments, byte by byte: which frames may be answered, and what the answer looks like.
//!
//! An answer is a whole frame of its own, with checksums from scratch, never longer than what it answers.

use super::read::Header;
use super::{MAX_VLAN_TAGS, Packet, Parsed, Shape};
use crate::address::Address;
use crate::challenge::Nic;

const ETHERNET: usize = 14;
const TAG: usize = 4;
const IP4: usize = 20;
const IP6: usize = 40;
const TCP: usize = 20;
const MSS_OPTION: usize = 4;
const MSS_KIND: u8 = 2;
/// The longest TCP header.
const LONGEST_TCP: usize = 60;
/// The shortest frame on a wire, without its check sequence.
const SHORTEST_FRAME: usize = 60;

/// Bytes that the longest answer needs.
pub const REPLY_BYTES: usize = ETHERNET + MAX_VLAN_TAGS as usize * TAG + IP6 + TCP + MSS_OPTION + 2;

/// What is answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum ReplyKind {
    /// Nothing.
    #[default]
    None = 0,
    /// A SYN-ACK.
    SynAck = 1,
    /// A reset.
    Reset = 2,
}

/// A TCP segment that may be answered, and the answer.
///
/// In the kernel it is part of the case: what is on the stack the verifier follows value by value.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C)]
pub struct Reply {
    /// Sequence number of the segment.
    pub sequence: u32,
    /// Acknowledgement number of the segment.
    pub acknowledged: u32,
    /// Sequence number of the answer.
    pub reply_sequence: u32,
    /// Acknowledgement number of the answer; of a reset none.
    pub reply_acknowledged: u32,
    /// What is answered.
    pub kind: ReplyKind,
    /// Whether there is room for an option: the segment's header had one.
    pub has_room: bool,
    /// Whether the checksum of the answer is left to hardware, as that of the segment was.
    pub is_partial: bool,
    /// Whether the segment's checksum is that of all of it, and not left to hardware.
    pub is_summed: bool,
    /// Whether its options begin with the maximum segment size, as those of SYNs of common stacks do.
    pub has_mss: bool,
    /// Zero.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<Reply>() == 24, "no padding");

/// Reads what an answer needs of a TCP segment without data, and says whether a stack would answer it: it is for this interface, in one
/// piece, without IP options, and its checksums are right. Of a segment that never was on a wire (from another namespace, or another machine on
/// the same host) the TCP checksum is that of the pseudo-header alone (`CHECKSUM_PARTIAL` of Linux).
#[inline(always)]
pub fn examine<P: Packet>(frame: &P, parsed: &Parsed, nic: &Nic, reply: &mut Reply) -> bool {
    // Not all of it: what is read is written below, and to write zeros is a call that costs stack.
    reply.kind = ReplyKind::None;
    if parsed.shape as u8 != Shape::Tcp as u8 || (parsed.vlan_tags == 0 && nic.tagged_only != 0) {
        return false;
    }
    match (parsed.vlan_tags, parsed.version) {
        (0, 4) => examine_at::<P, ETHERNET, { ETHERNET + IP4 }>(frame, parsed, nic, reply),
        (1, 4) => examine_at::<P, { ETHERNET + TAG }, { ETHERNET + TAG + IP4 }>(frame, parsed, nic, reply),
        (2, 4) => examine_at::<P, { ETHERNET + 2 * TAG }, { ETHERNET + 2 * TAG + IP4 }>(frame, parsed, nic, reply),
        (0, 6) => examine_at::<P, ETHERNET, { ETHERNET + IP6 }>(frame, parsed, nic, reply),
        (1, 6) => examine_at::<P, { ETHERNET + TAG }, { ETHERNET + TAG + IP6 }>(frame, parsed, nic, reply),
        (2, 6) => examine_at::<P, { ETHERNET + 2 * TAG }, { ETHERNET + 2 * TAG + IP6 }>(frame, parsed, nic, reply),
        _ => false,
    }
}

#[inline(always)]
fn examine_at<P: Packet, const NETWORK: usize, const TRANSPORT: usize>(
    frame: &P,
    parsed: &Parsed,
    nic: &Nic,
    reply: &mut Reply,
) -> bool {
    if parsed.transport_offset as usize != TRANSPORT {
        return false; // IP options or extension headers.
    }
    let Some(ethernet) = frame.view::<12>(0) else { return false };
    let mac = &nic.mac;
    let is_ours = ethernet[0] == mac[0]
        && ethernet[1] == mac[1]
        && ethernet[2] == mac[2]
        && ethernet[3] == mac[3]
        && ethernet[4] == mac[4]
        && ethernet[5] == mac[5];
    // Neither to a group nor from one.
    if !is_ours || ethernet[0] & 1 != 0 || ethernet[6] & 1 != 0 {
        return false;
    }
    let length = if TRANSPORT - NETWORK == IP4 {
        let Some(ip) = frame.view::<IP4>(NETWORK).map(Header) else { return false };
        let mut sum = 0;
        macro_rules! add {
            ($($at:literal)+) => { $(sum += u32::from(ip.be16::<$at>());)+ };
        }
        add!(0 2 4 6 8 10 12 14 16 18);
        if fold(sum) != 0xffff || ip.be16::<6>() & 0x3fff != 0 {
            return false;
        }
        usize::from(ip.be16::<2>()).saturating_sub(IP4)
    } else {
        let Some(ip) = frame.view::<IP6>(NETWORK).map(Header) else { return false };
        usize::from(ip.be16::<4>())
    };
    let Some(tcp) = frame.view::<TCP>(TRANSPORT).map(Header) else { return false };
    let header = usize::from(tcp.u8::<12>() >> 4) * 4;
    if length != header || !(TCP..=LONGEST_TCP).contains(&length) || frame.len() < TRANSPORT + length {
        return false; // With data there is more to sum up than is worth it: no client sends any so early, but by TCP fast open.
    }
    let pseudo = pseudo_header(parsed, length);
    // Each length by itself: over a length that is only known when it runs, LLVM makes pointers of which the verifier loses track.
    let summed = match length {
        20 => sum_of::<P, 20>(frame, TRANSPORT),
        24 => sum_of::<P, 24>(frame, TRANSPORT),
        28 => sum_of::<P, 28>(frame, TRANSPORT),
        32 => sum_of::<P, 32>(frame, TRANSPORT),
        36 => sum_of::<P, 36>(frame, TRANSPORT),
        40 => sum_of::<P, 40>(frame, TRANSPORT),
        44 => sum_of::<P, 44>(frame, TRANSPORT),
        48 => sum_of::<P, 48>(frame, TRANSPORT),
        52 => sum_of::<P, 52>(frame, TRANSPORT),
        56 => sum_of::<P, 56>(frame, TRANSPORT),
        _ => sum_of::<P, LONGEST_TCP>(frame, TRANSPORT),
    };
    if summed == CUT_SHORT {
        return false;
    }
    let sum = pseudo + summed;
    let checksum = tcp.be16::<16>();
    reply.is_partial = fold(sum) != 0xffff;
    if reply.is_partial && u32::from(checksum) != fold(pseudo) {
        return false;
    }
    reply.is_summed = !reply.is_partial;
    reply.is_partial = reply.is_partial && nic.generic != 0;
    reply.has_mss = frame.view::<{ TCP + MSS_OPTION }>(TRANSPORT).is_some_and(|segment| {
        length >= TCP + MSS_OPTION && segment[TCP] == MSS_KIND && segment[TCP + 1] == MSS_OPTION as u8
    });
    reply.has_room = length >= TCP + MSS_OPTION;
    reply.sequence = u32::from(tcp.be16::<4>()) << 16 | u32::from(tcp.be16::<6>());
    reply.acknowledged = u32::from(tcp.be16::<8>()) << 16 | u32::from(tcp.be16::<10>());
    true
}

/// What [`sum_of`] says where the frame has not so many bytes.
const CUT_SHORT: u32 = u32::MAX;

/// The ones' complement sum of so many bytes, folded to 16 bits.
#[inline(always)]
fn sum_of<P: Packet, const N: usize>(frame: &P, at: usize) -> u32 {
    let Some(bytes) = frame.view::<N>(at) else { return CUT_SHORT };
    let (mut sum, mut place) = (0_u64, 0);
    while place < N {
        sum += u32::from_ne_bytes([bytes[place], bytes[place + 1], bytes[place + 2], bytes[place + 3]]) as u64;
        place += 4;
    }
    let halves = (sum & 0xffff_ffff) + (sum >> 32);
    let word = fold(((halves & 0xffff_ffff) + (halves >> 32)) as u32) as u16;
    // Words in any order of bytes add up to the same, in that order (RFC 1071, section 2).
    u32::from(u16::from_be(word))
}

/// Writes the answer to a frame and returns its length; 0 where there is none. `to` holds zeros.
#[inline(always)]
pub fn compose<P: Packet>(frame: &P, parsed: &Parsed, reply: &Reply, to: &mut [u8; REPLY_BYTES]) -> usize {
    if reply.kind as u8 == ReplyKind::None as u8 {
        return 0;
    }
    match (parsed.vlan_tags, parsed.version) {
        (0, 4) => compose_at::<P, ETHERNET, { ETHERNET + IP4 }>(frame, parsed, reply, to),
        (1, 4) => compose_at::<P, { ETHERNET + TAG }, { ETHERNET + TAG + IP4 }>(frame, parsed, reply, to),
        (2, 4) => compose_at::<P, { ETHERNET + 2 * TAG }, { ETHERNET + 2 * TAG + IP4 }>(frame, parsed, reply, to),
        (0, 6) => compose_at::<P, ETHERNET, { ETHERNET + IP6 }>(frame, parsed, reply, to),
        (1, 6) => compose_at::<P, { ETHERNET + TAG }, { ETHERNET + TAG + IP6 }>(frame, parsed, reply, to),
        (2, 6) => compose_at::<P, { ETHERNET + 2 * TAG }, { ETHERNET + 2 * TAG + IP6 }>(frame, parsed, reply, to),
        _ => 0,
    }
}

#[inline(always)]
fn compose_at<P: Packet, const NETWORK: usize, const TRANSPORT: usize>(
    frame: &P,
    parsed: &Parsed,
    reply: &Reply,
    to: &mut [u8; REPLY_BYTES],
) -> usize {
    use super::tcp_flags::{ACK, RST, SYN};
    let Some(link) = frame.view::<NETWORK>(0) else { return 0 };
    let mut at = 0;
    while at < NETWORK {
        to[at] = link[if at < 6 {
            at + 6
        } else if at < 12 {
            at - 6
        } else {
            at
        }];
        at += 1;
    }
    let is_reset = reply.kind as u8 == ReplyKind::Reset as u8;
    let has_option = reply.has_room && !is_reset;
    let tcp_length = if has_option { TCP + MSS_OPTION } else { TCP };
    let (from, target) = (parsed.destination.bytes(), parsed.source.bytes());
    let is_ip4 = TRANSPORT - NETWORK == IP4;
    if is_ip4 {
        // Version 4, no service, do not fragment, identification 0 (RFC 6864), 64 hops: as Linux answers a SYN.
        const TTL_AND_TCP: u16 = 64 << 8 | 6;
        let total = (IP4 + tcp_length) as u16;
        let words = [0x4500, total, 0, 0x4000, TTL_AND_TCP, 0];
        let mut sum = address_sum(&parsed.source) + address_sum(&parsed.destination);
        let mut word = 0;
        while word < words.len() {
            sum += words[word] as u32;
            put16(to, NETWORK + 2 * word, words[word]);
            word += 1;
        }
        put16(to, NETWORK + 10, !fold(sum) as u16);
        let mut byte = 0;
        while byte < 4 {
            to[NETWORK + 12 + byte] = from[12 + byte];
            to[NETWORK + 16 + byte] = target[12 + byte];
            byte += 1;
        }
    } else {
        put16(to, NETWORK, 0x6000);
        put16(to, NETWORK + 4, tcp_length as u16);
        put16(to, NETWORK + 6, 6 << 8 | 64);
        let mut byte = 0;
        while byte < 16 {
            to[NETWORK + 8 + byte] = from[byte];
            to[NETWORK + 24 + byte] = target[byte];
            byte += 1;
        }
    }
    // The window of a Linux server without timestamps, as many whole segments as fit (`tcp_select_initial_window`); a reset has none.
    let full_window = if is_ip4 { 44 * 1_460 } else { 45 * 1_440 };
    const MSS_KIND_AND_LENGTH: u16 = 0x0204;
    let (flags, window, acknowledged) =
        if is_reset { (RST, 0, 0) } else { (SYN | ACK, full_window, reply.reply_acknowledged) };
    let mss = if is_ip4 { 1_460 } else { 1_440 };
    let options = if has_option { [MSS_KIND_AND_LENGTH, mss] } else { [0; 2] };
    let words = [
        parsed.destination_port,
        parsed.source_port,
        (reply.reply_sequence >> 16) as u16,
        reply.reply_sequence as u16,
        (acknowledged >> 16) as u16,
        acknowledged as u16,
        (tcp_length as u16 / 4) << 12 | flags as u16,
        window,
        0,
        0,
        options[0],
        options[1],
    ];
    let pseudo = pseudo_header(parsed, tcp_length);
    let mut sum = pseudo;
    let mut word = 0;
    while word < words.len() {
        sum += words[word] as u32;
        put16(to, TRANSPORT + 2 * word, words[word]);
        word += 1;
    }
    let checksum = if reply.is_partial { fold(pseudo) } else { !fold(sum) };
    put16(to, TRANSPORT + 16, checksum as u16);
    let length = TRANSPORT + tcp_length;
    // What filled the frame up to the shortest one is needed again.
    if length < SHORTEST_FRAME && frame.len() >= SHORTEST_FRAME { SHORTEST_FRAME } else { length }
}

/// Writes the TCP header of a SYN as it is to reach a service that a suspect is let through to, and returns its length; 0 where there is
/// none. It has the maximum segment size and no other option, and asks for no ECN: so the service's answer has what that of a decoy has.
#[inline(always)]
pub fn compose_plain_syn<P: Packet>(frame: &P, parsed: &Parsed, reply: &Reply, to: &mut [u8; REPLY_BYTES]) -> usize {
    /// RFC 9293, section 3.2: no operation.
    const NOP: u8 = 1;
    /// ECN-Echo and Congestion Window Reduced (RFC 3168).
    const ECN: u8 = 0xc0;
    const KEPT: usize = TCP + MSS_OPTION;
    // Of frames that are answered, it lies behind two tags and an IPv6 header at most: the verifier needs to be told.
    const FURTHEST: usize = 63;
    let Some(segment) = frame.view::<KEPT>(parsed.transport_offset as usize & FURTHEST) else { return 0 };
    let length = usize::from(segment[12] >> 4) * 4;
    if !reply.has_mss || !(KEPT..=LONGEST_TCP).contains(&length) {
        return 0;
    }
    let mut sum = pseudo_header(parsed, length);
    let mut at = 0;
    while at < LONGEST_TCP {
        let byte = match at {
            13 => segment[13] & !ECN,
            16 | 17 if reply.is_summed => 0,
            _ if at < KEPT => segment[at],
            _ => NOP,
        };
        to[at] = byte;
        if at < KEPT {
            sum += if at % 2 == 0 { u32::from(byte) << 8 } else { u32::from(byte) };
        }
        at += 1;
    }
    if reply.is_summed {
        sum += (length - KEPT) as u32 / 2 * (u32::from(NOP) << 8 | u32::from(NOP));
        put16(to, 16, !fold(sum) as u16);
    }
    length
}

#[inline(always)]
const fn put16(to: &mut [u8; REPLY_BYTES], at: usize, word: u16) {
    let [high, low] = word.to_be_bytes();
    to[at] = high;
    to[at + 1] = low;
}

/// The sum over the pseudo-header of TCP (RFC 9293, section 3.1; RFC 8200, section 8.1). The prefix of a mapped address adds 0xffff, which
/// is nothing in this arithmetic.
#[inline(always)]
fn pseudo_header(parsed: &Parsed, tcp_length: usize) -> u32 {
    const TCP_PROTOCOL: u32 = 6;
    address_sum(&parsed.source) + address_sum(&parsed.destination) + TCP_PROTOCOL + tcp_length as u32
}

#[inline(always)]
fn address_sum(address: &Address) -> u32 {
    let bytes = address.bytes();
    let (mut sum, mut at) = (0, 0);
    while at < 16 {
        sum += (bytes[at] as u32) << 8 | bytes[at + 1] as u32;
        at += 2;
    }
    sum
}

/// A ones' complement sum in 16 bits (RFC 1071).
#[inline(always)]
const fn fold(sum: u32) -> u32 {
    let once = (sum & 0xffff) + (sum >> 16);
    (once & 0xffff) + (once >> 16)
}
