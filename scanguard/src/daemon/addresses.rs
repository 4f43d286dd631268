//! Keeps the kernel part's lists of own addresses true.

use std::fmt::Display;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::kernel::Tables;
use crate::net::{Changes, NetError, Own, own, own_changes};

/// How long to wait for more changes before asking what is there now: they come in flocks.
const FLOCK: Duration = Duration::from_millis(50);
/// How often to ask unbidden, should a change have gone unheard.
const UNBIDDEN: Duration = Duration::from_secs(60);

/// The host's addresses as last told to the kernel part.
pub(super) struct OwnAddresses {
    told: Own,
    changes: Option<Changes>,
    /// What is there is being asked: nothing else waits for it.
    asking: Option<JoinHandle<Result<Own, NetError>>>,
    /// The answer, until it is taken over.
    found: Option<Own>,
    unbidden: tokio::time::Interval,
}

impl OwnAddresses {
    /// Subscribes to changes and tells the kernel part what is there.
    pub(super) async fn follow(tables: &mut Tables) -> anyhow::Result<Self> {
        let changes = own_changes()?;
        let told = own().await?;
        tables.set_own(&told)?;
        let mut unbidden = interval(UNBIDDEN);
        unbidden.set_missed_tick_behavior(MissedTickBehavior::Delay);
        unbidden.reset();
        let Own { addresses, prefixes, groups } = &told;
        info!(count = addresses.len(), prefixes = prefixes.len(), groups = groups.len(), "own addresses are known");
        Ok(Self { told, changes: Some(changes), asking: None, found: None, unbidden })
    }

    /// Waits until it was asked which addresses there are, after they may have changed; [`Self::take_over`] puts it in force. Cancel safe. What
    /// fails is tried again at the next change.
    pub(super) async fn asked(&mut self) {
        loop {
            if let Some(asking) = &mut self.asking {
                let asked = asking.await;
                self.asking = None;
                match asked {
                    Ok(Ok(own)) => {
                        self.found = Some(own);
                        return;
                    }
                    Ok(Err(error)) => warn!(%error, "cannot tell the kernel part of changed addresses"),
                    Err(error) => warn!(%error, "cannot tell the kernel part of changed addresses"),
                }
            }
            self.changed().await;
            self.asking = Some(tokio::spawn(async {
                sleep(FLOCK).await;
                own().await
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
        let Some(own) = self.found.take() else { return };
        if own == self.told {
            return;
        }
        if let Err(error) = tables.set_own(&own) {
            return warn!(%error, "cannot tell the kernel part of changed addresses");
        }
        info!(added = more(&own, &self.told), removed = more(&self.told, &own), "own addresses changed");
        self.told = own;
    }
}

/// What one has more than another.
fn more(one: &Own, other: &Own) -> String {
    fn only<T: Display + PartialEq>(one: &[T], other: &[T]) -> Vec<String> {
        one.iter().filter(|entry| !other.contains(entry)).map(ToString::to_string).collect()
    }
    let (addresses, prefixes) = (only(&one.addresses, &other.addresses), only(&one.prefixes, &other.prefixes));
    [addresses, prefixes, only(&one.groups, &other.groups)].concat().join(" ")
}
