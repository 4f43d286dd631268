//! Why a packet was passed or dropped: one append-only list of number, label and sentence.
//!
//! Numbers are positions in kernel counters and stored events, labels are metric labels: neither ever changes or is
//! used twice. A new reason goes to the end, and `docs/metrics.md` lists it.

use crate::labelled::labelled;

labelled! {
    /// Why a packet was passed or dropped.
    Reason;
    #[default]
    NotIp = 0, "not_ip", "Neither IPv4 nor IPv6: ARP, LLDP, or more than two VLAN tags.";
    Malformed = 1, "malformed", "The headers are cut short or contradict each other.";
    Established = 2, "established", "TCP without SYN and with ACK or RST: part of a connection.";
    NewFlow = 3, "new_flow", "A connection attempt: TCP SYN without ACK, unasked UDP, ICMP echo request.";
    SpecialSource = 4, "special_source", "An attempt from an address that is never judged: loopback, multicast, broadcast, unspecified, our own, or a private range the configuration exempts.";
    SynAck = 5, "syn_ack", "TCP SYN with ACK: the answer to a connection of ours, never evidence.";
    IcmpMessage = 6, "icmp_message", "ICMP other than an echo request: errors, replies, neighbour discovery.";
    Fragment = 7, "fragment", "A later fragment; the first one carried the ports.";
    IllegalFlags = 8, "illegal_flags", "A TCP segment with flags no stack sends: NULL, XMAS, SYN+FIN, SYN+RST, FIN without ACK.";
    TinyFragment = 9, "tiny_fragment", "TCP cut so that its flags hide in a later fragment (RFC 1858).";
    LongChain = 10, "long_chain", "IPv6 with more extension headers than anyone needs.";
    OtherProtocol = 11, "other_protocol", "An IP protocol that is not TCP, UDP or ICMP.";
    UdpEstablished = 12, "udp_established", "UDP that answers something we sent: of a flow that left in the last 180 s, or for a connected socket.";
    SourcesFull = 13, "sources_full", "An attempt that could not be counted per source: the table took no entry.";
    AckProbe = 14, "ack_probe", "A TCP segment with ACK that belongs to no connection, to a closed port.";
    Allowed = 15, "allowed", "It would be hidden, but its source is on the allowlist.";
    HiddenRestricted = 16, "hidden_restricted", "A suspect asked for a restricted port on which it has never worked.";
    HiddenCanary = 17, "hidden_canary", "A suspect asked for a canary port.";
    HiddenClosed = 18, "hidden_closed", "A suspect asked for a closed port.";
    HiddenProbe = 19, "hidden_probe", "A suspect sent a segment of no connection (illegal flags, ACK, a tiny fragment) to a port that is hidden from it.";
    HiddenProtocol = 20, "hidden_protocol", "A suspect asked for an IP protocol that is not handled here, or sent an over-long chain of extension headers.";
    HiddenNetwork = 21, "hidden_network", "A closed port was asked for from a network (/24, /48) whose addresses scan in turn.";
    Storm = 22, "storm", "An attempt on a closed port while suspects arise faster than real ones do.";
    BlockedPrivate = 23, "blocked_private", "A source under block private asked for a port that is not public.";
    BlockedAll = 24, "blocked_all", "A new flow or probe of a source under block all.";
    BlockedHard = 25, "blocked_hard", "A packet of an established flow, or of none, of a source under a hard block.";
    Retried = 26, "retried", "A suspect's SYN to a restricted port that came again after a challenge: a real stack is behind its address.";
    DecoyCompleted = 27, "decoy_completed", "The ACK that completes a decoy: it belongs to no connection.";
    HiddenMalformed = 28, "hidden_malformed", "A suspect's packet whose headers are cut short or contradict each other.";
    CutChain = 29, "cut_chain", "A first IPv6 fragment that does not hold its whole header chain (RFC 7112, section 5): dropped for everybody.";
    OverlongChain = 30, "overlong_chain", "More than eight IPv6 extension headers (RFC 8504, section 5.3): dropped for everybody.";
    PriorityTags = 31, "priority_tags", "More than two VLAN tags, with a priority tag (VLAN 0) among the first three: dropped for everybody.";
    Lockdown = 32, "lockdown", "A port that a lockdown closes was asked for, and the source is not one of those whom it lets through.";
}

impl Reason {
    /// The level at which it is a reason.
    #[must_use]
    pub const fn level(self) -> Level {
        match self {
            Self::HiddenRestricted
            | Self::HiddenCanary
            | Self::HiddenClosed
            | Self::HiddenProbe
            | Self::HiddenProtocol
            | Self::HiddenNetwork
            | Self::HiddenMalformed
            | Self::DecoyCompleted
            | Self::CutChain
            | Self::OverlongChain
            | Self::PriorityTags
            | Self::Lockdown
            | Self::Storm => Level::Conceal,
            Self::BlockedPrivate | Self::BlockedAll | Self::BlockedHard => Level::Block,
            _ => Level::None,
        }
    }
}

/// Room kept for reasons in the counter layout; raising it is a new layout of the COUNTERS map.
pub const REASON_SLOTS: usize = 64;

const _: () = assert!(Reason::ALL.len() <= REASON_SLOTS);

/// How a source is treated now.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Level {
    /// Everything passes.
    None = 0,
    /// Closed and canary ports, and restricted ports it never worked on, are hidden.
    Conceal = 1,
    /// Dropped, within the verdict's scope.
    Block = 2,
}

impl Level {
    /// How many levels there are.
    pub const COUNT: usize = 3;

    /// All levels, lowest first.
    pub const ALL: [Self; Self::COUNT] = [Self::None, Self::Conceal, Self::Block];

    /// The level with this number; what is not one is `None`, which harms nobody.
    #[must_use]
    pub const fn from_u8(number: u8) -> Self {
        match number {
            1 => Self::Conceal,
            2 => Self::Block,
            _ => Self::None,
        }
    }

    /// The name in metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Conceal => "conceal",
            Self::Block => "block",
        }
    }
}

/// Whether verdicts of our own are carried out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Mode {
    /// Nothing is dropped; what would have been is counted.
    Observe = 0,
    /// Verdicts are carried out.
    Enforce = 1,
}

impl Mode {
    /// How many modes there are.
    pub const COUNT: usize = 2;

    /// All modes.
    pub const ALL: [Self; Self::COUNT] = [Self::Observe, Self::Enforce];

    /// The mode with this number; what is not one is `Observe`, which drops nothing.
    #[inline(always)]
    #[must_use]
    pub const fn from_u32(number: u32) -> Self {
        match number {
            1 => Self::Enforce,
            _ => Self::Observe,
        }
    }

    /// The name in metrics, JSON and the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Mode, Reason};

    #[test]
    fn numbers_are_positions_and_come_back() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(usize::from(*reason as u8), position);
            assert_eq!(Reason::from_u8(*reason as u8), Some(*reason));
        }
        for level in Level::ALL {
            assert_eq!(Level::from_u8(level as u8), level);
        }
        for mode in Mode::ALL {
            assert_eq!(Mode::from_u32(mode as u32), mode);
        }
    }

    #[test]
    fn labels_are_distinct_metric_labels_and_sentences_end() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.label()), "{reason:?}");
            assert!(reason.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{reason:?}");
            assert!(reason.sentence().ends_with('.'), "{reason:?}");
        }
    }
}
