//! Addresses and prefixes as people write them.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use scanguard_common::address::MAPPED_BITS;

/// Why a text is no prefix.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PrefixError {
    /// Neither an address nor a prefix.
    #[error(
        "{0:?} is neither an address nor a prefix; for example 192.0.2.7, 198.51.100.0/24, 2001:db8::1 or 2001:db8::/32"
    )]
    Neither(String),
    /// Bits are set after the prefix' end.
    #[error("{text:?} has bits set after its first {bits}: did you mean {}?", show(meant))]
    BitsAfter {
        /// What was written.
        text: String,
        /// The prefix length.
        bits: u8,
        /// What was probably meant.
        meant: IpNetwork,
    },
    /// IPv4 in the clothes of IPv6.
    #[error("{text:?} is an IPv4 address written as IPv6: did you mean {}?", show(meant))]
    Mapped {
        /// What was written.
        text: String,
        /// What was probably meant.
        meant: IpNetwork,
    },
}

impl PrefixError {
    /// What was probably meant.
    #[must_use]
    pub const fn meant(&self) -> Option<&IpNetwork> {
        match self {
            Self::Neither(_) => None,
            Self::BitsAfter { meant, .. } | Self::Mapped { meant, .. } => Some(meant),
        }
    }
}

/// An address, or a prefix without bits set after its end.
///
/// # Errors
/// When the text is something else.
pub fn parse(text: &str) -> Result<IpNetwork, PrefixError> {
    let network: IpNetwork = text.trim().parse().map_err(|_| PrefixError::Neither(text.to_owned()))?;
    if let Some(meant) = mapped(&network) {
        return Err(PrefixError::Mapped { text: text.to_owned(), meant });
    }
    let bits = network.prefix();
    match IpNetwork::new(network.network(), bits) {
        Ok(meant) if meant != network => Err(PrefixError::BitsAfter { text: text.to_owned(), bits, meant }),
        _ => Ok(network),
    }
}

/// A prefix as a person writes it: without its length if it is one address.
#[must_use]
pub fn show(network: &IpNetwork) -> String {
    let whole = if network.is_ipv4() { 32 } else { 128 };
    if network.prefix() == whole { network.ip().to_string() } else { network.to_string() }
}

/// The IPv4 prefix that an IPv6 one stands for.
fn mapped(network: &IpNetwork) -> Option<IpNetwork> {
    let IpNetwork::V6(found) = network else { return None };
    let (address, bits) = (found.network().to_ipv4_mapped()?, found.prefix().checked_sub(MAPPED_BITS)?);
    IpNetwork::new(IpAddr::V4(address), bits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_again() {
        for text in ["192.0.2.7", "198.51.100.0/24", "2001:db8::1", "2001:db8::/32", "0.0.0.0/0", "::/0"] {
            assert_eq!(parse(text).map(|network| show(&network)).as_deref(), Ok(text));
        }
        assert_eq!(parse(" 192.0.2.7/32 ").map(|network| show(&network)).as_deref(), Ok("192.0.2.7"));
    }

    #[test]
    fn slips_are_told_with_what_was_meant() {
        for (text, meant) in [
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ] {
            let error = parse(text).expect_err("a slip");
            assert_eq!(error.meant().map(show).as_deref(), Some(meant));
            assert!(error.to_string().ends_with(&format!("did you mean {meant}?")), "{error}");
        }
        for text in ["", "example.org", "192.0.2", "192.0.2.1/33", "2001:db8::/129", "1.2.3.4/24/8"] {
            assert!(matches!(parse(text), Err(PrefixError::Neither(_))), "{text}");
        }
    }
}
