//! The host's own addresses, and word of their changes.

use std::net::IpAddr;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::address::AddressAttribute;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{NetError, Netlink};

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

/// Word that addresses came or went; which ones is for [`own_addresses`] to say. Dropping it ends the subscription.
pub struct AddressChanges {
    changed: mpsc::Receiver<()>,
    driver: JoinHandle<()>,
    forwarder: JoinHandle<()>,
}

impl AddressChanges {
    /// Subscribes. Ask for the addresses after that, so that no change falls between.
    ///
    /// # Errors
    /// When netlink cannot be used.
    pub fn subscribe() -> Result<Self, NetError> {
        let (connection, _handle, mut messages) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])?;
        let driver = tokio::spawn(connection);
        // Room for one: many changes before anybody looked are one.
        let (sender, changed) = mpsc::channel(1);
        let forwarder = tokio::spawn(async move {
            // Any message counts, an overrun among them: it means that changes were missed.
            while messages.next().await.is_some() {
                match sender.try_send(()) {
                    Ok(()) | Err(mpsc::error::TrySendError::Full(())) => {}
                    Err(mpsc::error::TrySendError::Closed(())) => return,
                }
            }
        });
        Ok(Self { changed, driver, forwarder })
    }

    /// Waits for the next change; false when the kernel ended the subscription.
    pub async fn next(&mut self) -> bool {
        self.changed.recv().await.is_some()
    }
}

impl Drop for AddressChanges {
    fn drop(&mut self) {
        self.driver.abort();
        self.forwarder.abort();
    }
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
