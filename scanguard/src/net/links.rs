//! The host's interfaces, and word of their changes.

use futures_util::TryStreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::link::LinkAttribute;

use super::{Changes, NetError, Netlink};

/// An interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkInfo {
    /// Its index, which it keeps when it is renamed.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The longest packet it sends, in bytes.
    pub mtu: u32,
}

/// All interfaces of this network namespace.
///
/// # Errors
/// When netlink cannot be used.
pub async fn links() -> Result<Vec<LinkInfo>, NetError> {
    let netlink = Netlink::open()?;
    let mut messages = netlink.handle.link().get().execute();
    let mut links = Vec::new();
    while let Some(link) = messages.try_next().await.map_err(|source| NetError::List { what: "interfaces", source })? {
        let mut info = LinkInfo { index: link.header.index, name: String::new(), mtu: 0 };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => info.name = name,
                LinkAttribute::Mtu(mtu) => info.mtu = mtu,
                _ => {}
            }
        }
        links.push(info);
    }
    Ok(links)
}

/// Word that interfaces or routes came, went or changed.
///
/// # Errors
/// When netlink cannot be used.
pub fn link_changes() -> Result<Changes, NetError> {
    Changes::subscribe(&[MulticastGroup::Link, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route], |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_among_the_interfaces() {
        let links = links().await.expect("netlink needs no rights to read");
        assert!(links.iter().any(|link| link.name == "lo" && link.index == 1), "{links:?}");
    }
}
