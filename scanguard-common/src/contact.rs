//! First contacts: has a source asked for this (destination, protocol, port) before?
//!
//! Each source has a set of 256 bits; a contact is one of them, chosen by a keyed hash, so that nobody outside can aim
//! at collisions. Ports of one service family are one contact, because clients try them in turn on their own.

use crate::address::Address;
use crate::hash::siphash13;
use crate::labelled::labelled;

labelled! {
    /// What became of a contact.
    Outcome;
    #[default]
    Unknown = 0, "unknown", "Nothing is known of the port, or it is not closed for certain: neutral.";
    Public = 1, "public", "A public port.";
    Restricted = 2, "restricted", "A restricted port.";
    Canary = 3, "canary", "A canary port, verified to be closed.";
    Closed = 4, "closed", "A port verified to be closed.";
    IllegalFlags = 5, "illegal_flags", "TCP flags that no stack sends, to any port of ours.";
    TinyFragment = 6, "tiny_fragment", "TCP cut so that its flags hide.";
    LongChain = 7, "long_chain", "More IPv6 extension headers than anyone needs.";
    AckProbe = 8, "ack_probe", "TCP with ACK that belongs to no connection, to a port verified to be closed.";
    Protocol = 9, "protocol", "An IP protocol that is not handled here.";
    CutChain = 10, "cut_chain", "A first IPv6 fragment that does not hold its whole header chain (RFC 7112).";
}

impl Outcome {
    /// Whether it tells of which class a port is that is hidden from suspects.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_private_port(self) -> bool {
        matches!(self, Self::Restricted | Self::Canary | Self::Closed | Self::AckProbe)
    }
}

/// What kind of thing is asked for: kinds never share a contact, so that the order of packets cannot decide which of two
/// different pieces of evidence counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum ContactKind {
    /// A TCP port, asked with a SYN or an ACK.
    Tcp = 0,
    /// A UDP port.
    Udp = 1,
    /// An ICMP echo.
    Icmp = 2,
    /// A TCP port, asked with illegal flags.
    Illegal = 3,
    /// A TCP port, asked in tiny fragments.
    Fragment = 4,
    /// A chain of extension headers.
    Chain = 5,
    /// An IP protocol, whose number stands in the port's place.
    Protocol = 6,
    /// A UDP port, perhaps not asked for but answered.
    Answer = 7,
}

impl ContactKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Tcp),
            1 => Some(Self::Udp),
            2 => Some(Self::Icmp),
            3 => Some(Self::Illegal),
            4 => Some(Self::Fragment),
            5 => Some(Self::Chain),
            6 => Some(Self::Protocol),
            7 => Some(Self::Answer),
            _ => None,
        }
    }

    /// The name in logs and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Illegal => "tcp with illegal flags",
            Self::Fragment => "tcp in tiny fragments",
            Self::Chain => "extension headers",
            Self::Protocol => "ip protocol",
            Self::Answer => "udp, perhaps an answer",
        }
    }

    /// Whether the number asked for is a port, of which families exist.
    const fn has_ports(self) -> bool {
        !matches!(self, Self::Icmp | Self::Chain | Self::Protocol)
    }
}

/// A bit of a source's 256-bit contact set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ContactBit(u8);

impl ContactBit {
    /// The bit of a destination, kind and port.
    #[inline(always)]
    #[must_use]
    pub fn of(key: &[u64; 2], destination: &Address, kind: ContactKind, port: u16) -> Self {
        let [high, low] = destination.words();
        let port = if kind.has_ports() { family(port) } else { port };
        let what = (u64::from(kind as u8) << 16) | u64::from(port);
        Self(siphash13(key, [high, low, what]) as u8)
    }

    /// Which of the set's four words.
    #[inline(always)]
    pub(crate) const fn word(self) -> usize {
        (self.0 >> 6) as usize
    }

    /// The bit within the word.
    #[inline(always)]
    pub(crate) const fn mask(self) -> u64 {
        1 << (self.0 & 63)
    }
}

/// The port that stands for a service family: mail clients discover their servers by trying, browsers try both schemes
/// and the alternative ports, telephones both transports.
#[inline(always)]
#[must_use]
pub const fn family(port: u16) -> u16 {
    match port {
        25 | 110 | 143 | 465 | 587 | 993 | 995 => 25,
        80 | 443 | 8080 | 8443 => 80,
        5060 | 5061 => 5060,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_hash_is_siphash_1_3(key: [u64; 2], words: [u64; 3]) {
            let mut reference = siphasher::sip::SipHasher13::new_with_keys(key[0], key[1]);
            for word in words {
                reference.write(&word.to_le_bytes());
            }
            prop_assert_eq!(siphash13(&key, words), reference.finish());
        }
    }

    #[test]
    fn ports_of_one_service_family_are_one_contact() {
        let bit = |kind, port| ContactBit::of(&[1, 2], &Address::from_words([7; 2]), kind, port);
        for family in [&[25, 110, 143, 465, 587, 993, 995][..], &[80, 443, 8080, 8443], &[5060, 5061]] {
            for port in family {
                assert_eq!(bit(ContactKind::Tcp, *port), bit(ContactKind::Tcp, family[0]), "{port}");
            }
        }
        let distinct: std::collections::HashSet<u8> = (1..1000).map(|port| bit(ContactKind::Tcp, port).0).collect();
        assert!(distinct.len() > 240, "1,000 ports fill nearly all of 256 bits, not {}", distinct.len());
    }
}
