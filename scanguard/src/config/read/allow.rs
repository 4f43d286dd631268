//! Prefixes of addresses.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use toml::Spanned;
use toml::de::DeValue;

use crate::config::document::prefix;
use crate::config::problem::Problems;
use crate::config::value::text;

/// Bits of the prefix under which IPv6 writes IPv4 addresses (RFC 4291, 2.5.5.2).
const MAPPED: u8 = 96;

/// An address, or a prefix without bits set after its end.
pub(super) fn network(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<IpNetwork> {
    let found = text(key, value, problems)?;
    let Ok(network) = found.parse::<IpNetwork>() else {
        let reason = format!("`{key}`: {found:?} is neither an address nor a prefix");
        problems.suggest(&value.span(), reason, "for example \"192.0.2.7\", \"198.51.100.0/24\" or \"2001:db8::/32\"");
        return None;
    };
    let mut complain = |reason: &str, right: IpNetwork| {
        let suggestion = format!("did you mean \"{}\"?", prefix(&right));
        problems.suggest(&value.span(), format!("`{key}`: {found:?} {reason}"), suggestion);
        None
    };
    if let Some(mapped) = mapped(&network) {
        return complain("is an IPv4 address written as IPv6", mapped);
    }
    let bits = network.prefix();
    match IpNetwork::new(network.network(), bits) {
        Ok(whole) if whole != network => complain(&format!("has bits set after its first {bits}"), whole),
        _ => Some(network),
    }
}

/// The IPv4 prefix that an IPv6 one stands for.
fn mapped(network: &IpNetwork) -> Option<IpNetwork> {
    let IpNetwork::V6(found) = network else { return None };
    let (address, bits) = (found.network().to_ipv4_mapped()?, found.prefix().checked_sub(MAPPED)?);
    IpNetwork::new(IpAddr::V4(address), bits).ok()
}
