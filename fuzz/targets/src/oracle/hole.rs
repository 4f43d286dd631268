//! Holes that were closed, put back: with each the oracle must find something, or it would not have found the hole.
//!
//! They are made at the edge of a host, with nothing of the datapath changed: what is tested is what runs. (Two more, half-open scans through
//! challenges and tags, need a connection's timing or the same link, and are rows of the laboratory.)

use std::net::IpAddr;

use super::wire::{RST, SYN};
use super::{ACK, Segment, TCP, UDP, read};

/// A hole that is put back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hole {
    /// Datagrams to ports of clients count as contacts, so that later failures are no first ones.
    NeutralContacts,
    /// Resets leave whoever they go to.
    AckAnswers,
    /// More than eight extension headers are no bar.
    LongChains,
    /// Nor is a header chain that goes on in the next fragment.
    CutChains,
    /// In a storm nobody is scored for closed ports.
    StormCloak,
    /// A flood of forged suspects washes out real ones.
    WashedOut,
    /// Link-local and Teredo addresses are of no network.
    NoNetworks,
    /// `::/96` is never judged.
    Compatible,
    /// A datagram of ours from whatever port frees all that its receiver sends.
    FreshPorts,
    /// A lockdown lets in what asks for its ports.
    Unlocked,
}

impl Hole {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NeutralContacts,
        Self::AckAnswers,
        Self::LongChains,
        Self::CutChains,
        Self::StormCloak,
        Self::WashedOut,
        Self::NoNetworks,
        Self::Compatible,
        Self::FreshPorts,
        Self::Unlocked,
    ];
}

/// Whether an address is IPv4-compatible.
pub(super) fn is_compatible(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[..6] == [0; 6])
}

/// Whether an address is of a link, or of a Teredo client.
pub(super) fn is_whole(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if matches!(address.segments(), [0xfe80, ..] | [0x2001, 0, ..]))
}

/// What a chain of extension headers is like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Chain {
    /// None, or one that is read.
    Fine,
    Long,
    /// It goes on in another fragment.
    Cut,
}

/// Reads the chain of a frame.
pub(super) fn chain(frame: &[u8]) -> Chain {
    let Some((IpAddr::V6(_), _, mut next, mut at)) = read(frame) else { return Chain::Fine };
    let (mut count, mut is_first) = (0, false);
    while matches!(next, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
        count += 1;
        if count > 8 {
            return Chain::Long;
        }
        let Some(header) = frame.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
            return if is_first { Chain::Cut } else { Chain::Fine };
        };
        at += match next {
            44 => 8,
            51 => usize::from(header[1]) * 4 + 8,
            _ => usize::from(header[1]) * 8 + 8,
        };
        if next == 44 {
            if header[2] != 0 || header[3] & !7 != 0 {
                return Chain::Fine;
            }
            is_first |= header[3] & 1 != 0;
        }
        next = header[0];
    }
    let needed = match next {
        TCP => 20,
        UDP | 58 => 8,
        _ => 1,
    };
    if is_first && at + needed > frame.len() { Chain::Cut } else { Chain::Fine }
}

/// Whether a frame of the stack's is a reset of what never was.
pub(super) fn is_reset(frame: &[u8]) -> bool {
    segment(frame).is_some_and(|segment| segment.flags & (RST | ACK | SYN) == RST)
}

/// The port that a plain SYN asks for.
pub(super) fn syn_to(frame: &[u8]) -> Option<u16> {
    segment(frame).filter(|segment| segment.flags & (SYN | ACK | RST) == SYN).map(|segment| segment.to)
}

fn segment(frame: &[u8]) -> Option<Segment> {
    let (_, _, protocol, at) = read(frame)?;
    (protocol == TCP).then(|| frame.get(at..).and_then(Segment::read))?
}
