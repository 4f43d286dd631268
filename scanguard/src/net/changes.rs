//! Word from the kernel that something about the network changed.

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
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
    /// Subscribes to what `counts`. Ask how things are after that, so that no change falls between.
    pub(super) fn subscribe(
        groups: &[MulticastGroup],
        counts: fn(&NetlinkPayload<RouteNetlinkMessage>) -> bool,
    ) -> Result<Self, NetError> {
        let (connection, _handle, mut messages) = rtnetlink::new_multicast_connection(groups)?;
        let driver = tokio::spawn(connection);
        // Room for one: many changes before anybody looked are one.
        let (sender, changed) = mpsc::channel(1);
        let forwarder = tokio::spawn(async move {
            // An overrun means that changes were missed: it is not left out.
            while let Some((message, _)) = messages.next().await {
                if !counts(&message.payload) {
                    continue;
                }
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
