//! What the host's network looks like, asked over netlink and `/proc`.

mod addresses;
mod ask;
mod changes;
mod diag;
mod filters;
mod firewall;
mod links;
mod listeners;
mod nic;
mod resolvers;
mod routes;
mod settings;
mod stacks;

use std::io;

use tokio::task::JoinHandle;

pub use addresses::{Own, own, own_addresses, own_changes};
pub use changes::Changes;
pub use diag::DiagError;
pub use filters::bpf_filters;
pub use firewall::{TableName, legacy_tables, nft_tables};
pub use links::{LinkInfo, link_changes, links};
pub use listeners::{Listener, Opened, listeners, opened};
pub use nic::{NativeXdp, Nic};
pub use resolvers::resolvers;
pub use routes::{default_route_interfaces, gateways};
pub use settings::{NetSettings, SettingsError};
pub use stacks::{MOST_PREFIXES_ASKED, Stack, stacks};

/// Why the kernel's network configuration is not known.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// A question failed.
    #[error("cannot list {what} over netlink: {source}")]
    List {
        /// What was asked for.
        what: &'static str,
        /// Why.
        source: rtnetlink::Error,
    },
}

/// A netlink socket, closed when dropped.
struct Netlink {
    handle: rtnetlink::Handle,
    driver: JoinHandle<()>,
}

impl Netlink {
    fn open() -> Result<Self, NetError> {
        let (connection, handle, _messages) = rtnetlink::new_connection()?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }

    /// One whose questions the kernel reads to the letter.
    fn open_strict() -> Result<Self, NetError> {
        let (connection, handle, _messages) = rtnetlink::new_connection_with_strict_check()?;
        Ok(Self { handle, driver: tokio::spawn(connection) })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
