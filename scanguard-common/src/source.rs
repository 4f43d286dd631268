//! Who sends: from an address on the wire to the key under which a sender is counted.
//!
//! An IPv4 address is its own source. An IPv6 address stands for a prefix (default /64), because one subscriber has at
//! least that many addresses (RFC 6177). Addresses that embed an IPv4 address are that IPv4 address, so that nobody gets
//! a second identity through a translator. Some addresses are never judged at all: see [`KeyRules::source`].

use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::{Address, MAPPED_BITS};
use crate::packet::Parsed;

/// Key of a source: an IPv6 prefix with its host bits zero, or an IPv4 address.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(transparent)]
pub struct SourceKey(pub Address);

/// Most translator prefixes that can be configured beside the well-known one.
pub const MAX_TRANSLATORS: usize = 4;

/// How addresses become sources.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct KeyRules {
    /// Bits of an IPv6 address that make the source.
    pub ipv6_mask: Address,
    /// The /96 prefixes of translators that embed the client's IPv4 address in the last four bytes.
    pub translators: [Address; MAX_TRANSLATORS],
    /// How many of `translators` count.
    pub translator_count: u32,
    /// Whether private ranges are never judged: 0 or 1.
    pub ignore_private: u32,
}

/// 0.0.0.0 unspecified, 127.0.0.0/8 loopback, 224.0.0.0/4 multicast, 255.255.255.255 broadcast (RFC 6890). The rest of
/// 0.0.0.0/8 is judged: Linux takes it for ordinary addresses since 5.3 (96125bf9985a).
#[inline(always)]
const fn is_never_judged4(value: u32) -> bool {
    let first = value >> 24;
    value == 0 || first == 127 || first >> 4 == 0xe || value == u32::MAX
}

const fn address(groups: [u16; 8]) -> Address {
    let [a, b, c, d, e, f, g, h] = groups;
    Address::from_bytes(Ipv6Addr::new(a, b, c, d, e, f, g, h).octets())
}

/// `64:ff9b::/96` (RFC 6052).
const WELL_KNOWN_TRANSLATOR: Address = address([0x64, 0xff9b, 0, 0, 0, 0, 0, 0]);
const ZERO: Address = address([0; 8]);
/// Bits of a translator's prefix, after which the IPv4 address follows (RFC 6052).
const TRANSLATOR_BITS: u8 = 96;

impl KeyRules {
    /// /64 sources, the well-known translator prefix, private ranges judged like others.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ipv6_mask: Address::mask(64),
            translators: [ZERO; MAX_TRANSLATORS],
            translator_count: 0,
            ignore_private: 0,
        }
    }

    /// Sets the prefix length of IPv6 sources, in bits; above 128 counts as 128.
    pub const fn set_ipv6_prefix(&mut self, bits: u8) {
        self.ipv6_mask = Address::mask(bits);
    }

    /// Prefix length of IPv6 sources in bits.
    #[must_use]
    pub const fn ipv6_prefix(&self) -> u8 {
        u128::from_be_bytes(self.ipv6_mask.bytes()).leading_ones() as u8
    }

    /// The source of a packet, or nothing when its sender is never judged: loopback, multicast, broadcast, unspecified,
    /// and private ranges where the rules say so. (Our own addresses are known to the tables.)
    #[inline(always)]
    #[must_use]
    pub fn source(&self, packet: &Parsed) -> Option<SourceKey> {
        self.source_of(packet.source, packet.version)
    }

    /// The same of an address alone, which came in a packet of this IP version.
    #[inline(always)]
    #[must_use]
    pub fn source_of(&self, address: Address, version: u8) -> Option<SourceKey> {
        if version == 4 {
            return self.source4(address);
        }
        // Linux answers what comes over IPv6 from an IPv4-mapped address (tried on 6.18), and from the rest of ::/96, the deprecated
        // IPv4-compatible addresses; not what says it comes from a loopback or multicast address (`ip6_rcv_core`).
        if address.is_mapped() {
            return self.embedded(address, address);
        }
        if is_unspecified_or_loopback(&address) || address.high() >> 56 == 0xff {
            return None;
        }
        if self.translates(&address) {
            return self.embedded(Address::from_ipv4_word(address.last_word()), address);
        }
        if self.ignore_private != 0 && (is_link_local6(&address) || address.high() >> 57 == 0xfc >> 1) {
            return None;
        }
        Some(SourceKey(if is_whole(&address) { address } else { address.masked(&self.ipv6_mask) }))
    }

    /// Whether none of a prefix' addresses is ever a source, for [`Self::source_of`]: a prefix of this length (of 128 bits), IPv4 mapped.
    #[must_use]
    pub fn judges_none_of(&self, prefix: &Address, bits: u8) -> bool {
        let lies_in =
            |(network, length): &(Address, u8)| bits >= *length && prefix.masked(&Address::mask(*length)) == *network;
        if NEVER.iter().any(lies_in) || (self.ignore_private != 0 && PRIVATE.iter().any(lies_in)) {
            return true;
        }
        // What is behind a translator is judged by its IPv4 address, or, where nothing may come from that, by its own.
        let is_translated = bits >= TRANSLATOR_BITS && !prefix.is_mapped() && self.translates(prefix);
        let behind = Address::from_ipv4_word(prefix.last_word());
        let lies_in =
            |(network, length): &(Address, u8)| bits >= *length && behind.masked(&Address::mask(*length)) == *network;
        is_translated && self.ignore_private != 0 && PRIVATE.iter().any(lies_in)
    }

    /// The source of an IPv6 address with an IPv4 address in it. One that is never judged over IPv4 itself, because Linux takes
    /// nothing from it (`ip_route_input_slow`), is judged as the IPv6 address that it is: Linux answers it.
    #[inline(always)]
    fn embedded(&self, ipv4: Address, whole: Address) -> Option<SourceKey> {
        if is_never_judged4(u32::from_be(ipv4.last_word())) {
            Some(SourceKey(whole.masked(&self.ipv6_mask)))
        } else {
            self.source4(ipv4)
        }
    }

    #[inline(always)]
    fn translates(&self, address: &Address) -> bool {
        let mut found = address.is_in_96(&WELL_KNOWN_TRANSLATOR);
        for (position, translator) in self.translators.iter().enumerate() {
            found |= (position as u32) < self.translator_count && address.is_in_96(translator);
        }
        found
    }

    #[inline(always)]
    fn source4(&self, address: Address) -> Option<SourceKey> {
        let value = u32::from_be(address.last_word());
        if is_never_judged4(value) {
            return None;
        }
        if self.ignore_private != 0 && is_private4(value) {
            return None;
        }
        Some(SourceKey(address))
    }

    /// Whether a source and a prefix of this length (of 128 bits) have an address in common, be it one that a translator gives the source.
    #[must_use]
    pub fn overlaps(&self, source: &SourceKey, prefix: &Address, bits: u8) -> bool {
        self.overlaps_itself(source, prefix, bits)
            || self.translations(source).any(|translated| {
                let mask = Address::mask(bits);
                !prefix.is_mapped() && translated.masked(&mask) == prefix.masked(&mask)
            })
    }

    /// The prefixes of 96 bits behind which each IPv4 address stands for an IPv4 source.
    pub fn all_translators(&self) -> impl Iterator<Item = Address> {
        let count = (self.translator_count as usize).min(MAX_TRANSLATORS);
        [WELL_KNOWN_TRANSLATOR].into_iter().chain(self.translators.into_iter().take(count))
    }

    /// The addresses that an IPv4 source has behind translators.
    pub fn translations(&self, source: &SourceKey) -> impl Iterator<Item = Address> {
        let address = source.0;
        let mine = address.is_mapped().then(|| self.all_translators()).into_iter().flatten();
        mine.map(move |translator| {
            let [high, low] = translator.words();
            // The IPv4 address is the last of an address' four words.
            let [_, own] = address.words();
            let last = if cfg!(target_endian = "little") { !0 << 32 } else { (1 << 32) - 1 };
            Address::from_words([high, low & !last | own & last])
        })
    }

    fn overlaps_itself(&self, source: &SourceKey, prefix: &Address, bits: u8) -> bool {
        if bits >= MAPPED_BITS && prefix.is_mapped() && !source.0.is_mapped() {
            return false; // The numbers of ::/64 hold those of IPv4, its addresses do not.
        }
        let source_bits = match self.prefix(*source) {
            (IpAddr::V4(_), length) => length + MAPPED_BITS,
            (IpAddr::V6(_), length) => length,
        };
        let mask = Address::mask(bits.min(source_bits));
        source.0.masked(&mask) == prefix.masked(&mask)
    }

    /// Whether a prefix of this length (of 128 bits) may cover some addresses of a source and not others: it is longer than a
    /// source's own, or holds addresses of a translator, each of which stands for an IPv4 source.
    #[must_use]
    pub fn may_split_sources(&self, prefix: &Address, bits: u8) -> bool {
        if prefix.is_mapped() {
            return false;
        }
        let mask = Address::mask(bits.min(TRANSLATOR_BITS));
        let mut translators = self.all_translators();
        bits > self.ipv6_prefix() || translators.any(|translator| translator.masked(&mask) == prefix.masked(&mask))
    }

    /// The network whose sources are scored together: the /24 of an IPv4 source, the /48 of an IPv6 one, the link of a link-local
    /// one, and of a Teredo one all that use the same server, for the rest of a Teredo address is its client's to choose.
    #[inline(always)]
    #[must_use]
    pub fn network(source: &SourceKey) -> SourceKey {
        let address = source.0;
        let mask = if address.is_mapped() {
            &NETWORK4
        } else if is_whole(&address) {
            &NETWORK_WHOLE
        } else {
            &NETWORK6
        };
        SourceKey(address.masked(mask))
    }

    /// A key of PREFIXES as people write it: `203.0.113.0/24`, `2001:db8:1::/48`.
    #[must_use]
    pub fn display_network(key: SourceKey) -> impl fmt::Display + use<> {
        let address = IpAddr::from(key.0);
        let length = match address {
            IpAddr::V4(_) => NETWORK4_BITS - MAPPED_BITS,
            IpAddr::V6(_) if is_whole(&key.0) => NETWORK_WHOLE_BITS,
            IpAddr::V6(_) => NETWORK6_BITS,
        };
        NetworkWritten { address, length }
    }

    /// The prefix that a key stands for.
    #[must_use]
    pub fn prefix(&self, key: SourceKey) -> (IpAddr, u8) {
        let length = match IpAddr::from(key.0) {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) if is_whole(&key.0) => 128,
            IpAddr::V6(_) => self.ipv6_prefix(),
        };
        (key.0.into(), length)
    }

    /// A key as people write it: `203.0.113.9`, `2001:db8:1::/64`.
    #[must_use]
    pub fn display(&self, key: SourceKey) -> impl fmt::Display + use<> {
        let (address, length) = self.prefix(key);
        Written { address, length }
    }
}

const NETWORK4_BITS: u8 = MAPPED_BITS + 24;
const NETWORK6_BITS: u8 = 48;
/// The prefix of a link, and that of Teredo with its server's address (RFC 4380, section 4).
const NETWORK_WHOLE_BITS: u8 = 64;
const NETWORK4: Address = Address::mask(NETWORK4_BITS);
const NETWORK6: Address = Address::mask(NETWORK6_BITS);
const NETWORK_WHOLE: Address = Address::mask(NETWORK_WHOLE_BITS);

const fn address4(address: [u8; 4]) -> Address {
    Address::from_ipv4_word(u32::from_ne_bytes(address))
}

/// The prefixes none of whose addresses [`KeyRules::source_of`] takes for a source.
const NEVER: [(Address, u8); 6] = [
    (address4([0, 0, 0, 0]), MAPPED_BITS + 32),
    (address4([127, 0, 0, 0]), MAPPED_BITS + 8),
    (address4([224, 0, 0, 0]), MAPPED_BITS + 4),
    (address4([255, 255, 255, 255]), MAPPED_BITS + 32),
    // Unspecified and loopback: :: and ::1.
    (ZERO, 127),
    (address([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8),
];

/// The same of those that it does not take where private ranges are not judged.
const PRIVATE: [(Address, u8); 6] = [
    (address4([10, 0, 0, 0]), MAPPED_BITS + 8),
    (address4([172, 16, 0, 0]), MAPPED_BITS + 12),
    (address4([192, 168, 0, 0]), MAPPED_BITS + 16),
    (address4([169, 254, 0, 0]), MAPPED_BITS + 16),
    (address([0xfc00, 0, 0, 0, 0, 0, 0, 0]), 7),
    (address([0xfe80, 0, 0, 0, 0, 0, 0, 0]), 10),
];

impl Default for KeyRules {
    fn default() -> Self {
        Self::new()
    }
}

struct NetworkWritten {
    address: IpAddr,
    length: u8,
}

impl fmt::Display for NetworkWritten {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

struct Written {
    address: IpAddr,
    length: u8,
}

impl fmt::Display for Written {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { address: IpAddr::V4(address), .. } => address.fmt(formatter),
            Self { address: IpAddr::V6(address), length: 128 } => address.fmt(formatter),
            Self { address, length } => write!(formatter, "{address}/{length}"),
        }
    }
}

/// Whether each address is a source of its own whatever the prefix length: on a link (`fe80::/10`) one prefix is many
/// hosts, and a Teredo /64 (`2001::/32`, RFC 4380) is that of the server, shared by strangers.
#[inline(always)]
const fn is_whole(address: &Address) -> bool {
    is_link_local6(address) || address.high() >> 32 == 0x2001_0000
}

#[inline(always)]
const fn is_unspecified_or_loopback(address: &Address) -> bool {
    let [high, low] = address.words();
    high == 0 && u64::from_be(low) <= 1
}

#[inline(always)]
const fn is_link_local6(address: &Address) -> bool {
    address.high() >> 54 == 0xfe80 >> 6
}

/// RFC 1918 and link-local (RFC 3927).
#[inline(always)]
const fn is_private4(value: u32) -> bool {
    value >> 24 == 10 || value >> 20 == 0xac1 || value >> 16 == 0xc0a8 || value >> 16 == 0xa9fe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(rules: &KeyRules, address: &str) -> Option<String> {
        let address: IpAddr = address.parse().expect("an address");
        let packet =
            Parsed { source: address.into(), version: if address.is_ipv4() { 4 } else { 6 }, ..Parsed::default() };
        rules.source(&packet).map(|key| rules.display(key).to_string())
    }

    #[test]
    fn addresses_become_the_sources_of_the_design() {
        let rules = KeyRules::new();
        let rows = [
            ("203.0.113.9", Some("203.0.113.9")),
            ("192.168.1.10", Some("192.168.1.10")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::/64")),
            ("2001:db8:1:2::", Some("2001:db8:1:2::/64")),
            ("64:ff9b::203.0.113.9", Some("203.0.113.9")),
            ("64:ff9b::127.0.0.1", Some("64:ff9b::/64")),
            ("64:ff9b::255.255.255.255", Some("64:ff9b::/64")),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Some("2001:0:4136:e378:8000:63bf:3fff:fdd2")),
            ("fe80::1", Some("fe80::1")),
            ("::ffff:203.0.113.9", Some("203.0.113.9")),
            ("::ffff:127.0.0.1", Some("::/64")),
            ("::1", None),
            ("::", None),
            ("::9.9.9.9", Some("::/64")),
            ("::2", Some("::/64")),
            ("ff02::1", None),
            ("127.0.0.53", None),
            ("224.0.0.251", None),
            ("255.255.255.255", None),
            ("0.0.0.0", None),
            ("0.1.2.3", Some("0.1.2.3")),
            ("240.0.0.1", Some("240.0.0.1")),
        ];
        for (address, expected) in rows {
            assert_eq!(key(&rules, address).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn prefixes_of_which_nobody_is_judged_are_those_of_whose_addresses_none_is_a_source() {
        let rules = KeyRules::new();
        let private = KeyRules { ignore_private: 1, ..rules };
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let of = |rules: &KeyRules, (text, length)| {
            let (address, bits) = crate::address::prefix(ip(text), length);
            rules.judges_none_of(&address, bits)
        };
        for (prefix, expected) in [
            (("0.0.0.0", 32), true),
            (("0.0.0.0", 8), false),
            (("0.176.0.0", 12), false),
            (("127.0.0.0", 8), true),
            (("126.0.0.0", 7), false),
            (("224.0.0.0", 4), true),
            (("240.0.0.0", 4), false),
            (("::", 127), true),
            (("::", 96), false),
            (("::9.176.0.0", 108), false),
            (("ff02::", 16), true),
            (("64:ff9b::127.0.0.0", 104), false),
            (("64:ff9b::", 96), false),
        ] {
            assert_eq!(of(&rules, prefix), expected, "{prefix:?}");
        }
        // The edges of all of them, each as an address alone.
        for text in [
            "0.0.0.0",
            "0.0.0.1",
            "9.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "11.0.0.0",
            "126.255.255.255",
            "127.0.0.0",
            "127.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.254.0.0",
            "169.254.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.168.0.0",
            "192.168.255.255",
            "192.169.0.0",
            "223.255.255.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.254",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::0.0.255.255",
            "64:ff9b::0.0.0.0",
            "64:ff9b::10.0.0.1",
            "64:ff9b::224.0.0.1",
            "64:ff9b::198.51.100.1",
            "fbff::",
            "fc00::",
            "fdff::1",
            "fe00::",
            "fe7f::1",
            "fe80::",
            "febf::1",
            "fec0::",
            "feff::1",
            "ff00::",
            "ffff::1",
        ] {
            for rules in [&rules, &private] {
                let address = ip(text);
                let version = if address.is_ipv4() { 4 } else { 6 };
                let is_judged = rules.source_of(address.into(), version).is_some();
                let bits = if address.is_ipv4() { 32 } else { 128 };
                assert_eq!(of(rules, (text, bits)), !is_judged, "{text}, {rules:?}");
            }
        }
    }

    #[test]
    fn a_source_overlaps_what_holds_it_and_what_it_holds() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let rows = [
            ("10.1.2.3", ("10.0.0.0", 8), true),
            ("10.1.2.3", ("10.1.2.3", 32), true),
            ("10.1.2.3", ("10.1.2.4", 32), false),
            ("2001:db8:1:2::", ("2001:db8:1:2::5", 128), true),
            ("2001:db8:1:2::", ("2001:db8:1::", 48), true),
            ("2001:db8:1:2::", ("2001:db8:1:3::", 64), false),
            ("::", ("10.0.0.0", 8), false),
            // Behind a translator.
            ("203.0.113.1", ("64:ff9b::203.0.113.1", 128), true),
            ("203.0.113.1", ("64:ff9b::203.0.113.2", 128), false),
            ("203.0.113.1", ("64:ff9b::203.0.113.0", 120), true),
            ("203.0.113.1", ("64:ff9b::", 32), true),
            ("203.0.113.1", ("2001:db8::", 32), false),
            ("2001:db8:1:2::", ("64:ff9b::203.0.113.1", 128), false),
        ];
        for (source, (network, length), expected) in rows {
            let (address, bits) = crate::address::prefix(ip(network), length);
            let overlaps = KeyRules::new().overlaps(&SourceKey(ip(source).into()), &address, bits);
            assert_eq!(overlaps, expected, "{source} {network}/{length}");
        }
    }

    #[test]
    fn networks_are_those_whose_sources_are_scored_together() {
        let network = |address: &str| {
            let key = SourceKey(address.parse::<IpAddr>().expect("an address").into());
            KeyRules::display_network(KeyRules::network(&key)).to_string()
        };
        assert_eq!(network("203.0.113.9"), "203.0.113.0/24");
        assert_eq!(network("2001:db8:1:2::"), "2001:db8:1::/48");
        assert_eq!(network("fe80::1"), "fe80::/64");
        assert_eq!(network("2001:0:4136:e378:8000:63bf:3fff:fdd2"), "2001:0:4136:e378::/64");
    }

    #[test]
    fn configured_translators_and_private_ranges_are_honoured() {
        let mut rules = KeyRules { translator_count: 1, ignore_private: 1, ..KeyRules::new() };
        rules.translators[0] = "2001:db8:64::".parse::<IpAddr>().expect("an address").into();
        assert_eq!(key(&rules, "2001:db8:64::203.0.113.9").as_deref(), Some("203.0.113.9"));
        assert_eq!(key(&rules, "2001:db8:64::10.1.2.3"), None);
        for private in ["10.0.0.1", "172.31.0.1", "192.168.0.1", "169.254.1.1", "fd00::1", "fe80::1"] {
            assert_eq!(key(&rules, private), None, "{private}");
        }
        assert_eq!(key(&rules, "172.32.0.1").as_deref(), Some("172.32.0.1"));
    }

    #[test]
    fn the_prefix_of_ipv6_sources_can_be_set() {
        let mut rules = KeyRules::new();
        for (bits, expected) in [(48, "2001:db8:1::/48"), (56, "2001:db8:1:100::/56"), (128, "2001:db8:1:1ff::9")] {
            rules.set_ipv6_prefix(bits);
            assert_eq!(rules.ipv6_prefix(), bits);
            assert_eq!(key(&rules, "2001:db8:1:1ff::9").as_deref(), Some(expected));
        }
    }
}
