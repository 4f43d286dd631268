//! Packets in the name of a customer, who must notice nothing of it.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::framing_admin::why;
use super::proof::{SCENE, completed_decoys, syn};
use super::{Scenario, rows};
use crate::lab::client::{connect, fetch, knock};
use crate::lab::customers::Requests;
use crate::lab::forge::{Forged, forge};
use crate::lab::netns::Netns;
use crate::lab::plan::{EDGE, customer};
use crate::lab::report::Report;
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

pub(super) const FRAMING: Scenario = Scenario {
    name: "framing",
    about: "10,000 forged SYNs and ACKs in the name of a customer, at 60, 3,000 and 10,000 a second, who then works on a restricted port",
    play: |setup| {
        rows(setup, "framing", &["60 a second", "3000 a second", "10000 a second"], |setup, kind| {
            let rate = kind.split(' ').next().and_then(|rate| rate.parse().ok()).context("a rate")?;
            frame_customer(setup, kind, rate)
        })
    },
};

pub(super) const MISTAKE: Scenario = Scenario {
    name: "honest-mistake",
    about: "four forged SYNs in the name of a customer, who then asks for a closed 443 or 8443 himself, with challenges",
    play: |setup| {
        rows(setup, "honest-mistake", &["443", "8443"], |setup, port| match port {
            "443" => mistake(setup, port, 443, &Scene { without: &[443], ..SCENE }),
            _ => mistake(setup, port, 8443, &SCENE),
        })
    },
};

const LIMIT: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(5);
/// Packets that are forged at each rate, of which every fourth is an ACK.
const FORGED: u32 = 10_000;
/// Where the full number takes minutes, for so long in the short form.
const SHORT_S: u32 = 5;

/// Packets in a customer's name, who browses all the while and holds a session open, and connects to a restricted port when it is over.
fn frame_customer(setup: &Setup, name: &str, rate: u32) -> Result<Report> {
    let stage = Stage::set(setup, &SCENE)?;
    let (lab, framed) = (&stage.lab, customer(0));
    let mut random = SmallRng::seed_from_u64(3);
    lab.scanner.run(|| {
        let count = if setup.full { FORGED } else { FORGED.min(rate * SHORT_S) };
        let segments = (0..count).map(|number| {
            let segment = syn(framed, (number % 900 + 100) as u16, number);
            if number % 4 == 3 { Forged { acknowledged: Some(random.random()), ..segment } } else { segment }
        });
        forge(segments, rate)
    })??;
    if let Some(daemon) = stage.guard.daemon() {
        wait_until("the framed customer to be a suspect", LIMIT, || {
            Ok(why(daemon, framed.into())?["verdict"]["level"] == "conceal")
        })?;
    }
    let mut requests = Requests::default();
    let begun = Instant::now();
    requests.add(&greeted(&lab.customers, framed.into()));
    let reached = begun.elapsed();
    let mut calm = stage.calm()?;
    calm.requests.join(requests);
    let mut report = calm.close(setup)?.report(name, setup.defender);
    report.special.restricted_after_ms = u64::try_from(reached.as_millis()).ok();
    Ok(report)
}

/// Connects to ssh and reads what it says first.
fn greeted(host: &Netns, from: IpAddr) -> Result<()> {
    host.run(|| {
        let mut stream = connect(from, SocketAddr::from((EDGE, 22)), Duration::from_secs(20))?;
        let mut banner = [0; 4];
        stream.read_exact(&mut banner).context("no banner")?;
        ensure!(&banner == b"SSH-", "the server says {banner:?}");
        Ok(())
    })?
}

/// A customer is made a suspect by as few packets as that takes. Then he asks for a port that clients fall back to, as one who types
/// `https://` does, and for what there is.
fn mistake(setup: &Setup, name: &str, port: u16, scene: &Scene) -> Result<Report> {
    let stage = Stage::set(setup, scene)?;
    let (lab, framed) = (&stage.lab, IpAddr::from(customer(0)));
    lab.scanner.run(|| forge((1..=4).map(|port| syn(customer(0), port, port.into())), 1_000))??;
    if let Some(daemon) = stage.guard.daemon() {
        wait_until("the framed customer to be a suspect", LIMIT, || {
            Ok(why(daemon, framed)?["verdict"]["level"] == "conceal")
        })?;
    }
    let mut requests = Requests::default();
    lab.customers.run(|| {
        // It is closed, so it is no failure that he gets nowhere.
        knock(framed, (EDGE, port).into(), Duration::from_secs(2));
        requests.add(&fetch(framed, (EDGE, 80).into(), PATIENCE));
    })?;
    let completed = stage.guard.daemon().map(completed_decoys).transpose()?;
    let mut calm = stage.calm()?;
    calm.requests.join(requests);
    let mut report = calm.close(setup)?.report(name, setup.defender);
    report.special.decoys_completed = completed;
    Ok(report)
}
