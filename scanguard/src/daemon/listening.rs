//! Where the daemon listens: the control socket and the metrics.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use nix::unistd::Group;
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use super::view::View;
use crate::config::Config;
use crate::control::gate::{self, Gate};
use crate::exit::{ExitStatus, Failure};
use crate::{control, http};

/// Answers on the control socket those who may ask.
pub(super) async fn serve_control(listener: UnixListener, view: Arc<View>, gate: Gate) {
    http::serve(listener, gate::guard(control::server::router(view), gate)).await;
}

/// The number of a group that the configuration names.
pub(super) fn group_named(name: &str) -> Result<u32, Failure> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => {
            let message = format!(
                "there is no group {name:?}, which `group` in [control] names: `groupadd --system {name}` makes one"
            );
            Err(Failure::message(ExitStatus::Usage, message))
        }
        Err(error) => Err(anyhow!("cannot look up the group {name:?}: {error}").into()),
    }
}

/// Where metrics are served, if they are.
pub(super) async fn metrics_listener(config: &Config) -> Result<Option<TcpListener>> {
    let Some(address) = config.metrics_listen else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot serve metrics on {address}: choose another address with `listen` in [metrics], or \"off\"")
    })?;
    if !address.ip().is_loopback() {
        warn!(%address, "metrics are served beyond this host, without a password");
    }
    Ok(Some(listener))
}
