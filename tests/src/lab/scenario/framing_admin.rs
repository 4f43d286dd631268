//! Somebody forges packets in the name of a person who works on the edge by ssh.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Scenario;
use super::raw::hping3;
use crate::lab::Lab;
use crate::lab::customers::{Requests, Rounds};
use crate::lab::defender::Daemon;
use crate::lab::plan::{ADMIN, EDGE};
use crate::lab::report::Report;
use crate::lab::ssh::{LoggedIn, SshServer, login};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::utmp::Login;
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "framing-admin",
    about: "four, then 10,000 forged SYNs in the name of an administrator who logs in to a real ssh server all the while",
    play,
};

/// Who is logged in is on the allowlist meanwhile; here it is to be seen what holds without that.
const SCENE: Scene = Scene { config: "[safety]\nleases = false\n", without: &[22], ..Scene::USUAL };
const LIMIT: Duration = Duration::from_secs(20);
const LOGINS_EVERY: Duration = Duration::from_millis(200);
/// Logins while packets are forged, at least.
const LOGINS: u64 = 5;

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    let server = SshServer::start(&stage.lab)?;
    let (lab, from, to) = (&stage.lab, IpAddr::from(ADMIN), SocketAddr::from((EDGE, 22)));
    let mut requests = Requests::default();
    // He logs in: that is what the daemon is to know of him.
    requests.add(&login(&lab.customers, from, to));
    let held = LoggedIn::start(&lab.customers, from, to)?;
    let record = Login::write(from, held.pid())?;
    if let Some(daemon) = stage.guard.daemon() {
        wait_until("the daemon to know who is logged in", LIMIT, || {
            Ok(why(daemon, from)?["known"]["by"].as_array().is_some_and(|by| by.iter().any(|by| by == "login")))
        })
        .with_context(|| format!("it says {:?}", why(daemon, from).map(|why| why["known"].to_string())))?;
    }
    // What is seen of a login is known when it is over, too.
    drop(record);
    forge(lab, &["-c", "4", "-i", "u3000"])?;
    requests.add(&login(&lab.customers, from, to));
    let logins = Rounds::start(LOGINS_EVERY, Requests::default(), {
        let host = lab.customers.clone();
        move |_, requests| {
            requests.add(&login(&host, from, to));
            Ok(())
        }
    });
    forge(lab, &["-c", "10000", "-i", "u300"])?;
    logins.wait_for(LOGINS, LIMIT)?;
    requests.join(logins.stop()?);
    if let Some(daemon) = stage.guard.daemon() {
        wait_until("the administrator to be a suspect", LIMIT, || {
            Ok(why(daemon, from)?["verdict"]["level"] == "conceal")
        })?;
    }
    requests.add(&login(&lab.customers, from, to));
    let alive = held.stop()?;
    let mut calm = stage.calm()?;
    server.stop()?;
    calm.requests.join(requests);
    calm.held.established += 1;
    calm.held.broken += u64::from(!alive);
    Ok(calm.close(setup)?.report(SCENARIO.name, setup.defender))
}

/// SYNs to closed ports of the edge in the administrator's name.
fn forge(lab: &Lab, how: &[&str]) -> Result<()> {
    let (admin, edge) = (ADMIN.to_string(), EDGE.to_string());
    hping3(lab, &[&["-S", "-a", &admin, "-p", "++1000"], how, &[&edge]].concat())
}

/// What the daemon says of an address.
pub(super) fn why(daemon: &Daemon, address: IpAddr) -> Result<Value> {
    let told = daemon.cli(&["why", &address.to_string(), "--json"])?.success("scanguard why")?;
    serde_json::from_str(&told.stdout).context("cannot read what the daemon says")
}
