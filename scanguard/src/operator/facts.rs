//! What must be known of the host before something is blocked.

use std::net::IpAddr;

use tracing::warn;

use crate::config::Safety;
use crate::logins::{How, Login, Seen};
use crate::net::{Own, gateways, own, resolvers};
use crate::safety::Facts;

/// Looks around. What cannot be found out is said and left out.
pub async fn gather(safety: &Safety, also_logged_in: &[IpAddr]) -> Facts {
    let watcher = safety.logins.clone();
    let of_files = tokio::task::spawn_blocking(move || (watcher.look(), resolvers())).await;
    let (Seen { mut logins, unseen }, resolvers) = of_files.unwrap_or_default();
    if let Some(reason) = unseen {
        warn!(reason, "some who are logged in are not seen, and so not protected from being blocked");
    }
    logins.extend(also_logged_in.iter().map(|address| Login {
        address: address.to_canonical(),
        user: None,
        how: How::Environment,
    }));
    let Own { addresses, prefixes, .. } = known("own addresses", own().await);
    Facts {
        own: addresses,
        own_prefixes: prefixes,
        gateways: known("gateways", gateways().await),
        resolvers,
        logins,
        shortest_ipv4: safety.shortest_ipv4,
        shortest_ipv6: safety.shortest_ipv6,
    }
}

fn known<T: Default, E: std::fmt::Display>(what: &str, found: Result<T, E>) -> T {
    found.unwrap_or_else(|error| {
        warn!(%error, "{what} are not known, and so not protected from being blocked");
        T::default()
    })
}
