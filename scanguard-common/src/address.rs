//! An IP address as tables and packets have it: 16 bytes in network order, IPv4 mapped into IPv6.
//!
//! Held as two words and not as bytes, because the BPF compiler moves bytes one at a time.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv6 address, or an IPv4 address mapped into IPv6 (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
#[derive(Clone, Copy, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Address {
    /// The bytes as they stand in a header, eight at a time.
    words: [u64; 2],
}

/// What the last four bytes of the second word are masked with to leave the first four.
const FIRST_HALF: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);

impl Address {
    /// The address whose bytes in network order lie in these words as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// The IPv4 address whose bytes in network order lie in this word as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_ipv4_word(word: u32) -> Self {
        // The word becomes the last four bytes of the second word.
        let low = if cfg!(target_endian = "little") { (word as u64) << 32 } else { word as u64 };
        Self { words: [0, MAPPED | low] }
    }

    /// The address of these bytes, in network order.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let value = u128::from_be_bytes(bytes);
        Self { words: [((value >> 64) as u64).to_be(), (value as u64).to_be()] }
    }

    /// The bytes in network order.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 16] {
        (((u64::from_be(self.words[0]) as u128) << 64) | u64::from_be(self.words[1]) as u128).to_be_bytes()
    }

    /// The words as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        self.words
    }

    /// The last four bytes, as in memory: of a mapped address the IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn last_word(&self) -> u32 {
        if cfg!(target_endian = "little") { (self.words[1] >> 32) as u32 } else { self.words[1] as u32 }
    }

    /// Whether an IPv4 address is mapped into it.
    #[inline(always)]
    #[must_use]
    pub const fn is_mapped(&self) -> bool {
        self.words[0] == 0 && self.words[1] & FIRST_HALF == MAPPED
    }

    /// Whether the first 12 bytes are those of `prefix`, a /96.
    #[inline(always)]
    #[must_use]
    pub const fn is_in_96(&self, prefix: &Self) -> bool {
        self.words[0] == prefix.words[0] && self.words[1] & FIRST_HALF == prefix.words[1] & FIRST_HALF
    }

    /// The bits that are set in `mask` too.
    #[inline(always)]
    #[must_use]
    pub const fn masked(&self, mask: &Self) -> Self {
        Self { words: [self.words[0] & mask.words[0], self.words[1] & mask.words[1]] }
    }

    /// Whether it is an address of many by itself: IPv4 multicast (`224.0.0.0/4`), the limited broadcast address, IPv6 multicast
    /// (`ff00::/8`).
    #[inline(always)]
    #[must_use]
    pub const fn is_multicast(&self) -> bool {
        if self.is_mapped() {
            let value = u32::from_be(self.last_word());
            return value >> 28 == 0xe || value == u32::MAX;
        }
        self.high() >> 56 == 0xff
    }

    /// The first eight bytes as a number: its highest byte is the address' first.
    #[inline(always)]
    #[must_use]
    pub const fn high(&self) -> u64 {
        u64::from_be(self.words[0])
    }

    /// One of 64 bits, for a filter of sets of addresses: the set's filter has the bits of all its members.
    #[inline(always)]
    #[must_use]
    pub const fn filter_bit(&self) -> u64 {
        // The last byte tells hosts of a network apart, the ones before it networks.
        let mixed = self.words[1] ^ (self.words[1] >> 32) ^ self.words[0] ^ (self.words[0] >> 32);
        let folded = mixed ^ (mixed >> 16);
        1 << ((folded ^ (folded >> 8)) & 63)
    }

    /// A mask of this many leading bits; above 128 counts as 128.
    #[must_use]
    pub const fn mask(bits: u8) -> Self {
        let mask = match bits {
            0 => 0,
            1..=127 => u128::MAX << (128 - bits as u32),
            _ => u128::MAX,
        };
        Self::from_bytes(mask.to_be_bytes())
    }
}

/// Bits by which the mapped form of an IPv4 prefix is longer than people count.
pub const MAPPED_BITS: u8 = 96;

/// A prefix as tables have it: in network order, mapped if it is IPv4, with its length of 128 bits.
#[must_use]
pub fn prefix(network: IpAddr, length: u8) -> (Address, u8) {
    (network.into(), if network.is_ipv4() { length + MAPPED_BITS } else { length })
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::from_ipv4_word(u32::from_ne_bytes(address.octets())),
            IpAddr::V6(address) => Self::from_bytes(address.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        if address.is_mapped() {
            Self::V4(Ipv4Addr::from(address.last_word().to_ne_bytes()))
        } else {
            Self::V6(Ipv6Addr::from(address.bytes()))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(formatter)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_value_through_words_and_bytes() {
        for text in ["203.0.113.9", "2001:db8:1:2:3:4:5:6", "::1", "64:ff9b::1.2.3.4"] {
            let address: IpAddr = text.parse().expect("an address");
            let packed = Address::from(address);
            assert_eq!(IpAddr::from(packed), address, "{text}");
            assert_eq!(Address::from_bytes(packed.bytes()), packed, "{text}");
            let in_memory: [u8; 16] = zerocopy::transmute!(packed);
            assert_eq!(in_memory, packed.bytes(), "{text}: the words lie in memory as the bytes do");
            assert_eq!(packed.last_word().to_ne_bytes(), in_memory[12..], "{text}");
        }
    }

    #[test]
    fn multicast_and_the_limited_broadcast_address_are_told_by_their_first_bits() {
        for (text, expected) in [
            ("224.0.0.251", true),
            ("239.255.255.250", true),
            ("255.255.255.255", true),
            ("ff02::1", true),
            ("ff05::101", true),
            ("223.255.255.255", false),
            ("240.0.0.1", false),
            ("192.0.2.255", false),
            ("fe80::1", false),
            ("::ff02", false),
        ] {
            assert_eq!(Address::from(text.parse::<IpAddr>().expect("an address")).is_multicast(), expected, "{text}");
        }
    }

    #[test]
    fn masks_leave_the_leading_bits() {
        let address = Address::from("2001:db8:1:1ff::9".parse::<IpAddr>().expect("an address"));
        for (bits, expected) in [(0, "::"), (48, "2001:db8:1::"), (56, "2001:db8:1:100::"), (128, "2001:db8:1:1ff::9")]
        {
            assert_eq!(address.masked(&Address::mask(bits)).to_string(), expected);
        }
    }
}
