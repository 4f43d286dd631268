//! Prefixes of addresses.

use ipnetwork::IpNetwork;
use toml::Spanned;
use toml::de::DeValue;

use crate::config::problem::Problems;
use crate::config::value::text;
use crate::prefix::{self, PrefixError};

/// An address, or a prefix without bits set after its end.
pub(super) fn network(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<IpNetwork> {
    let found = text(key, value, problems)?;
    let (reason, meant) = match prefix::parse(found) {
        Ok(network) => return Some(network),
        Err(PrefixError::Neither(_)) => {
            let reason = format!("`{key}`: {found:?} is neither an address nor a prefix");
            let example = "for example \"192.0.2.7\", \"198.51.100.0/24\" or \"2001:db8::/32\"";
            problems.suggest(&value.span(), reason, example);
            return None;
        }
        Err(PrefixError::BitsAfter { bits, meant, .. }) => (format!("has bits set after its first {bits}"), meant),
        Err(PrefixError::Mapped { meant, .. }) => ("is an IPv4 address written as IPv6".to_owned(), meant),
    };
    let suggestion = format!("did you mean \"{}\"?", prefix::show(&meant));
    problems.suggest(&value.span(), format!("`{key}`: {found:?} {reason}"), suggestion);
    None
}
