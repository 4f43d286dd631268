//! A page of somebody else's makes a customer's browser connect to closed ports: a real stack, and nobody's fault.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Scenario;
use super::proof::{SCENE, completed_decoys};
use crate::lab::Lab;
use crate::lab::client::fetch;
use crate::lab::customers::Requests;
use crate::lab::plan::{EDGE, PUBLIC, SCANNER, UPLINK, customer};
use crate::lab::process::Running;
use crate::lab::report::{Report, Steered};
use crate::lab::site::Site;
use crate::lab::stage::{Observations, Scene, Setup, Stage};
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;
use crate::lab::wire::What;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "browser-steering",
    about: "a page makes a customer's Chromium connect to 40 closed ports, then he asks for a public one, with challenges",
    play,
};

/// Closed ports to which browsers do not connect: they are on the Fetch standard's list of bad ports.
const FORBIDDEN: [u16; 20] = [1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 23, 37, 42, 43, 53, 77, 79, 87, 95, 101];
/// Closed ports to which they do.
const ALLOWED: [u16; 20] = [2, 3, 4, 5, 81, 82, 83, 84, 85, 86, 88, 89, 90, 1024, 2000, 3000, 5000, 8000, 8081, 9000];
/// Milliseconds for which the page waits for a port.
const PAGE_PATIENCE_MS: u32 = 6_000;
const LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);
/// Private to the laboratory, like all of `/run`.
const PROFILE: &str = "/run/browser";
/// What the script asks its own site for when it is done, followed by what became of the public port.
const DONE: &str = "/done?";

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, &Scene { prepare: be_the_customer, ..SCENE })?;
    let (lab, steered) = (&stage.lab, IpAddr::from(customer(0)));
    let site = Site::start(&lab.scanner, (SCANNER, 80).into(), page())?;
    let browser = browse(lab, &format!("http://{SCANNER}/"))?;
    wait_until("the page's script to end", LIMIT, || Ok(site.told(DONE).is_some()))
        .with_context(|| format!("the browser says {}", browser.stderr()))?;
    let public = site.told(DONE).context("the script ended")?;
    drop((browser, site));
    let mut requests = Requests::default();
    requests.add(&Ok(public).and_then(|public| {
        ensure!(public == "opaque", "his browser says of the public port: {public}");
        Ok(())
    }));
    lab.customers.run(|| {
        for port in PUBLIC {
            requests.add(&fetch(steered, (EDGE, port).into(), PATIENCE));
        }
    })?;
    let completed = stage.guard.daemon().map(completed_decoys).transpose()?;
    let mut calm = stage.calm()?;
    calm.requests.join(requests);
    let observations = calm.close(setup)?;
    let mut report = observations.report(SCENARIO.name, setup.defender);
    report.special.decoys_completed = completed;
    report.special.steered = Some(connected(&observations));
    Ok(report)
}

/// What does not choose an address towards the edge, as a browser does not, has the first customer's.
fn be_the_customer(lab: &Lab) -> Result<()> {
    let (edge, from) = (EDGE.to_string(), customer(0).to_string());
    let route = ["route", "add", &edge, "via", "198.51.100.1", "dev", UPLINK, "src", &from];
    Tool::Ip.run(&lab.customers, route, LIMIT)?.success("ip route").map(drop)
}

/// Connects to all the ports at once, half of them as pictures, waits for what comes of it, and asks for a public one.
fn page() -> String {
    let ports: Vec<String> = ports().map(|port| port.to_string()).collect();
    format!(
        "<!doctype html><title>A page</title><script>
        const at = port => `http://{EDGE}:${{port}}/`, patience = {PAGE_PATIENCE_MS};
        const fetched = port => fetch(at(port), {{mode: 'no-cors', signal: AbortSignal.timeout(patience)}})
            .then(answer => answer.type, error => error.name);
        const shown = port => new Promise(done => {{
            const image = new Image();
            image.onload = image.onerror = done;
            setTimeout(done, patience);
            image.src = at(port);
        }});
        Promise.all([{ports}].map((port, number) => (number % 2 ? shown : fetched)(port)))
            .then(() => fetched({public}))
            .then(public => fetch('{DONE}' + public));
        </script>",
        ports = ports.join(","),
        public = PUBLIC[0],
    )
}

/// Those that browsers connect to and those that they do not, in turn by twos: each kind is fetched and shown.
fn ports() -> impl Iterator<Item = u16> {
    ALLOWED.chunks(2).zip(FORBIDDEN.chunks(2)).flat_map(|(allowed, forbidden)| [allowed, forbidden].concat())
}

fn browse(lab: &Lab, url: &str) -> Result<Running> {
    fs::create_dir_all(PROFILE).context("cannot make a folder for the browser")?;
    let mut browser = Tool::Chromium.command(&lab.customers)?;
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]);
    browser.args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    browser.arg(format!("--user-data-dir={PROFILE}/profile")).env("HOME", PROFILE);
    // A page that is dumped is waited for; one that is debugged is just shown.
    browser.args(["--remote-debugging-port=0", url]);
    Running::start(browser)
}

/// Which of the ports the browser asked for, on the edge's link.
fn connected(observations: &Observations) -> Steered {
    let told: BTreeSet<u16> = ports().collect();
    let asked: BTreeSet<u16> = observations
        .at_edge
        .iter()
        .filter(|packet| packet.source == IpAddr::from(customer(0)))
        .filter_map(|packet| match packet.what {
            What::Tcp(segment) if segment.syn && !segment.ack => Some(segment.destination_port),
            _ => None,
        })
        .filter(|port| told.contains(port))
        .collect();
    Steered {
        told: told.len() as u64,
        connected: asked.len() as u64,
        forbidden_connected: asked.iter().filter(|port| FORBIDDEN.contains(port)).count() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::is_open;

    #[test]
    fn the_page_tells_the_browser_forty_closed_ports() {
        assert_eq!(ports().collect::<BTreeSet<_>>().len(), 40);
        assert!(ports().all(|port| !is_open(port)));
    }
}
