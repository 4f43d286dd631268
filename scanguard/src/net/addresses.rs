//! The host's own addresses, and word of their changes.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::address::AddressAttribute;

use super::{Changes, NetError, Netlink};

/// All addresses of this network namespace, loopback's among them, each once.
///
/// # Errors
/// When netlink cannot be used.
pub async fn own_addresses() -> Result<Vec<IpAddr>, NetError> {
    let netlink = Netlink::open()?;
    let mut messages = netlink.handle.address().get().execute();
    let mut addresses = Vec::new();
    while let Some(message) =
        messages.try_next().await.map_err(|source| NetError::List { what: "addresses", source })?
    {
        addresses.extend(local(&message.attributes));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// On a point-to-point link `IFA_ADDRESS` is the peer and `IFA_LOCAL` ours; IPv6 has `IFA_ADDRESS` alone
/// (rtnetlink(7), `include/uapi/linux/if_addr.h`).
fn local(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let mut found = None;
    for attribute in attributes {
        match attribute {
            AddressAttribute::Local(address) => return Some(*address),
            AddressAttribute::Address(address) => found = Some(*address),
            _ => {}
        }
    }
    found
}

/// Word that addresses came or went; which ones is for [`own_addresses`] to say.
///
/// # Errors
/// When netlink cannot be used.
pub fn address_changes() -> Result<Changes, NetError> {
    Changes::subscribe(&[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_an_own_address() {
        let addresses = own_addresses().await.expect("netlink needs no rights to read");
        // A namespace whose loopback is down has no addresses at all.
        assert!(addresses.is_empty() || addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
    }

    #[test]
    fn of_a_point_to_point_link_the_near_end_is_ours() {
        let [near, far]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(local(&[AddressAttribute::Address(far), AddressAttribute::Local(near)]), Some(near));
        assert_eq!(local(&[AddressAttribute::Address(near)]), Some(near));
        assert_eq!(local(&[]), None);
    }
}
