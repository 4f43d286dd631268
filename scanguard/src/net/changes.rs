//! Word from the kernel that something about the network changed.

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::NetError;

/// Word that something of a kind changed; what it is now is to be asked for. Dropping it ends the subscription.
pub struct Changes {
    changed: mpsc::Receiver<()>,
    driver: JoinHandle<()>,
    forwarder: JoinHandle<()>,
}

impl Changes {
    /// Subscribes. Ask how things are after that, so that no change falls between.
    pub(super) fn subscribe(groups: &[MulticastGroup]) -> Result<Self, NetError> {
        let (connection, _handle, mut messages) = rtnetlink::new_multicast_connection(groups)?;
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

impl Drop for Changes {
    fn drop(&mut self) {
        self.driver.abort();
        self.forwarder.abort();
    }
}
