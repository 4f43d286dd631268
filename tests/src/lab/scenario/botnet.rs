//! Many sources that each ask too little to be suspects: bots of one campaign, and customers of a service that is gone.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::proof::syn;
use super::{Scenario, rows};
use crate::lab::defender::Daemon;
use crate::lab::forge::forge;
use crate::lab::plan::OLD_PEER_PORT;
use crate::lab::report::{Incidents, Report, Special};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

/// How many sources there are, each in a network of its own.
const SOURCES: u32 = 500;
/// What each bot asks for.
const PORTS: [u16; 3] = [23, 2323, 5555];
const A_SECOND: u32 = 250;
const LIMIT: Duration = Duration::from_secs(20);

pub(super) const SCENARIO: Scenario = Scenario {
    name: "botnet",
    about: "500 sources ask for the same three closed ports and are one incident; 500 that ask for one port are none",
    play: |setup| {
        rows(setup, "botnet", &["three ports each", "one port each"], |setup, kind| match kind {
            "one port each" => swarm(setup, kind, &[OLD_PEER_PORT]),
            _ => swarm(setup, kind, &PORTS),
        })
    },
};

/// Everybody asks for these ports, all for the first of them before anybody asks for the next.
fn swarm(setup: &Setup, name: &str, ports: &[u16]) -> Result<Report> {
    let stage = Stage::set(setup, &Scene::USUAL)?;
    stage.lab.scanner.run(|| {
        let probes = ports.iter().flat_map(|port| (0..SOURCES).map(move |number| syn(bot(number), *port, number)));
        forge(probes, A_SECOND)
    })??;
    let mut special = Special::default();
    if let Some(daemon) = stage.guard.daemon() {
        let asked = ports.len() as u64 * u64::from(SOURCES);
        wait_until("the daemon to have heard of all of it", LIMIT, || Ok(closed_contacts(daemon)? >= asked))?;
        if ports.len() > 1 {
            wait_until("an incident of all of them", LIMIT, || {
                let listed = listed(daemon)?;
                Ok(listed["incidents"][0]["totals"]["contacts"].as_u64() >= Some(asked))
            })
            .with_context(|| daemon.log())?;
        }
        special.incidents = Some(seen(daemon)?);
    }
    let report = stage.calm()?.close(setup)?.report(name, setup.defender);
    Ok(Report { special, ..report })
}

/// Address of a bot: a network of its own, of those that nobody has here.
const fn bot(number: u32) -> Ipv4Addr {
    let [_, high, low, _] = (number << 8).to_be_bytes();
    Ipv4Addr::new(100, 64 + high, low, 7)
}

/// First contacts with closed ports that the kernel part counted.
fn closed_contacts(daemon: &Daemon) -> Result<u64> {
    let counters = daemon.counters("contacts")?;
    let closed = counters.iter().find(|counter| counter["outcome"] == "closed");
    closed.and_then(|closed| closed["contacts"].as_u64()).context("a count of contacts")
}

/// What `scanguard incidents list` says.
fn listed(daemon: &Daemon) -> Result<Value> {
    let listed = daemon.cli(&["incidents", "list", "--limit", "0", "--json"])?.success("scanguard incidents list")?;
    serde_json::from_str(&listed.stdout).context("cannot read the list of incidents")
}

fn seen(daemon: &Daemon) -> Result<Incidents> {
    let listed = listed(daemon)?;
    let incidents = listed["incidents"].as_array().context("a list of incidents")?;
    let sum = |field: &str| incidents.iter().filter_map(|incident| incident["totals"][field].as_u64()).sum();
    Ok(Incidents {
        listed: incidents.len() as u64,
        campaigns: incidents.iter().filter(|incident| incident["kind"] == "campaign").count() as u64,
        sources: sum("sources"),
        contacts: sum("contacts"),
        alarms: daemon.log().matches("an incident opens").count() as u64,
    })
}
