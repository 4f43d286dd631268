//! Keeps the kernel part's list of own addresses true.

use std::net::IpAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
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
    /// What is there is being asked: nothing else waits for it.
    asking: Option<JoinHandle<Result<Vec<IpAddr>, NetError>>>,
    /// The answer, until it is taken over.
    found: Option<Vec<IpAddr>>,
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
        Ok(Self { told: addresses, changes: Some(changes), asking: None, found: None, unbidden })
    }

    /// Waits until it was asked which addresses there are, after they may have changed; [`Self::take_over`] puts it in force. Cancel safe. What
    /// fails is tried again at the next change.
    pub(super) async fn asked(&mut self) {
        loop {
            if let Some(asking) = &mut self.asking {
                let asked = asking.await;
                self.asking = None;
                match asked {
                    Ok(Ok(addresses)) => {
                        self.found = Some(addresses);
                        return;
                    }
                    Ok(Err(error)) => warn!(%error, "cannot tell the kernel part of changed addresses"),
                    Err(error) => warn!(%error, "cannot tell the kernel part of changed addresses"),
                }
            }
            self.changed().await;
            self.asking = Some(tokio::spawn(async {
                sleep(FLOCK).await;
                own_addresses().await
            }));
        }
    }

    /// Waits until the addresses may have changed. Cancel safe.
    async fn changed(&mut self) {
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

    /// Tells the kernel part what was found, if it is something else than it has.
    pub(super) fn take_over(&mut self, tables: &mut Tables) {
        let Some(addresses) = self.found.take() else { return };
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
