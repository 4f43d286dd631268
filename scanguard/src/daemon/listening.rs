//! Where the daemon listens: the control socket and the metrics.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use nix::unistd::Group;
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use super::view::View;
use crate::config::ports::PortRange;
use crate::config::{Config, Ports};
use crate::control::gate::{self, Gate};
use crate::exit::{ExitStatus, Failure};
use crate::{control, http};

/// TCP ports on which the daemon itself listens: they are for the people who run the host, whatever their addresses are.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnPorts(Vec<u16>);

impl OwnPorts {
    /// Those of its listeners.
    pub(super) fn of(metrics: Option<&TcpListener>) -> Self {
        Self(
            metrics.and_then(|listener| listener.local_addr().ok()).map(|address| address.port()).into_iter().collect(),
        )
    }

    /// What the operator says of ports, with these among the restricted ones. One that he calls public is.
    pub(super) fn restricted_in(&self, ports: &Ports) -> Ports {
        let mut ports = ports.clone();
        ports.restricted_if_open.0.extend(self.0.iter().map(|port| PortRange::tcp(*port)));
        ports
    }
}

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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use scanguard_common::class::{PortClass, Protocol};

    use super::*;
    use crate::net::{Listener, NetSettings};
    use crate::ports::{Observation, PortTracker};

    #[tokio::test]
    async fn what_the_daemon_listens_on_is_restricted_whatever_its_address_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let class = |own: &OwnPorts, text: &str| {
            let config = Config::parse(text.as_bytes()).expect("a valid configuration");
            let mut tracker = PortTracker::new(&own.restricted_in(&config.ports), 0, []);
            let seen = Listener { protocol: Protocol::Tcp, port, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
            tracker.observe(Observation::new(Some([seen]), NetSettings::CAUTIOUS), 1_800_000_000);
            tracker.classes().get(Protocol::Tcp, port)
        };
        let own = OwnPorts::of(Some(&listener));
        assert_eq!(class(&OwnPorts::of(None), ""), PortClass::Public, "somebody else's is as ever");
        assert_eq!(class(&own, ""), PortClass::Restricted);
        assert_eq!(class(&own, "ports.restricted = [22]"), PortClass::Restricted, "also without the shipped list");
        assert_eq!(class(&own, &format!("ports.canary = [{port}]")), PortClass::Restricted);
        assert_eq!(class(&own, &format!("ports.public = [{port}]")), PortClass::Public, "the operator's word");
    }
}
