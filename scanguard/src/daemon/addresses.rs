//! Keeps the kernel part's list of own addresses true.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::kernel::Tables;
use crate::net::{Changes, NetError, address_changes, own_addresses};

/// How long to wait for more changes before asking what is there now: they come in flocks.
const FLOCK: Duration = Duration::from_millis(50);
/// How often to ask unbidden, should a change have gone unheard.
const UNBIDDEN: Duration = Duration::from_secs(60);

/// The host's addresses as last told to the kernel part.
pub(super) struct OwnAddresses {
    told: Vec<IpAddr>,
    changes: Option<Changes>,
    unbidden: tokio::time::Interval,
}

impl OwnAddresses {
    /// Subscribes to changes and tells the kernel part what is there.
    pub(super) async fn follow(tables: &mut Tables) -> anyhow::Result<Self> {
        let changes = address_changes()?;
        let addresses = own_addresses().await?;
        tables.set_own_addresses(&addresses)?;
        let mut unbidden = interval(UNBIDDEN);
        unbidden.set_missed_tick_behavior(MissedTickBehavior::Delay);
        unbidden.reset();
        info!(count = addresses.len(), "own addresses are known");
        Ok(Self { told: addresses, changes: Some(changes), unbidden })
    }

    /// Waits until the addresses may have changed. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let Some(changes) = &mut self.changes else {
            self.unbidden.tick().await;
            return;
        };
        tokio::select! {
            subscribed = changes.next() => if !subscribed {
                warn!("the kernel no longer tells of address changes; asking every {UNBIDDEN:?} instead");
                self.changes = None;
            },
            _ = self.unbidden.tick() => {}
        }
    }

    /// Asks what is there and tells the kernel part if it is something else. What fails is tried again at the next change.
    pub(super) async fn refresh(&mut self, tables: &mut Tables) {
        sleep(FLOCK).await;
        let addresses = match own_addresses().await {
            Ok(addresses) => addresses,
            Err(error @ (NetError::Socket(_) | NetError::List { .. })) => {
                return warn!(%error, "cannot tell the kernel part of changed addresses");
            }
        };
        if addresses == self.told {
            return;
        }
        let only = |one: &[IpAddr], other: &[IpAddr]| -> Vec<String> {
            one.iter().filter(|address| !other.contains(address)).map(IpAddr::to_string).collect()
        };
        match tables.set_own_addresses(&addresses) {
            Ok(()) => info!(
                added = only(&addresses, &self.told).join(" "),
                removed = only(&self.told, &addresses).join(" "),
                "own addresses changed"
            ),
            Err(error) => return warn!(%error, "cannot tell the kernel part of changed addresses"),
        }
        self.told = addresses;
    }
}
