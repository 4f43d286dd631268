//! What each value of `challenge` gives those whom it meets: the measurement behind its default.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use scanguard_common::challenge::ChallengeMode;

use super::framing_admin::why;
use super::nmap::{AT_LEAST, nmap, nmap_default};
use super::proof::completed_decoys;
use super::raw::hping3;
use super::{Scenario, rows};
use crate::lab::Lab;
use crate::lab::client::{connect, fetch, knock};
use crate::lab::defender::Daemon;
use crate::lab::plan::{EDGE, PUBLIC, RESTRICTED, SCANNER, UPLINK};
use crate::lab::report::{Claim, Report, Row};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "challenge-modes",
    about: "a framed newcomer, a monitor, a half-open and a connecting scanner of nmap's 1,000 ports, with each value of `challenge`",
    play: |setup| {
        let names = ChallengeMode::ALL.map(ChallengeMode::label);
        rows(setup, "challenge-modes", &names, |setup, name| {
            let mode = ChallengeMode::ALL.into_iter().find(|mode| mode.label() == name).context("a mode")?;
            play(setup, mode)
        })
    },
};

/// Who wants to use ssh for the first time, after somebody scanned in this name.
const NEWCOMER: Ipv4Addr = Ipv4Addr::new(198, 18, 71, 1);
/// Who looks every now and then whether services are alive.
const MONITOR: Ipv4Addr = Ipv4Addr::new(198, 18, 72, 1);
/// Who scans by whole connections.
const CONNECTING: Ipv4Addr = Ipv4Addr::new(198, 18, 73, 1);
/// Services that the monitor looks for, all of them gone, beside one that is alive.
const GONE: std::ops::RangeInclusive<u16> = 8101..=8110;
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(30);

/// What a mode may cost and must give: the bounds of the claims, in their order.
const fn bounds(mode: ChallengeMode) -> [u64; 6] {
    match mode {
        ChallengeMode::Off => [1, 0, 0, 0, 0, 1],
        // Of the canaries nmap asks for ten by default.
        ChallengeMode::Canary => [1, 0, 0, 10, 0, 0],
        ChallengeMode::On => [0, 0, 0, 991, 2, 0],
    }
}

fn play(setup: &Setup, mode: ChallengeMode) -> Result<Report> {
    let scene = Scene {
        config: match mode {
            ChallengeMode::Off => "challenge = \"off\"\n",
            ChallengeMode::Canary => "challenge = \"canary\"\n",
            ChallengeMode::On => "challenge = \"on\"\n",
        },
        ..Scene::USUAL
    };
    let stage = Stage::set(setup, &scene)?;
    let daemon = stage.guard.daemon().context("this is about what scanguard does")?;
    let lab = &stage.lab;
    let refused = newcomer(lab, daemon)?;
    let alive = monitor(lab)?;
    let blocked_monitor = is_blocked(daemon, MONITOR)?;
    let half_open = half_open(lab)?;
    let completed = completed_decoys(daemon)?;
    let is_blocked = connecting(lab, daemon, mode)?;
    let note = format!("decoys completed by the connecting scanner: {}", completed_decoys(daemon)? - completed);
    let [most_refused, most_alive, most_monitors, most_open, most_shown, most_free] = bounds(mode);
    let claim = |what: &str, most, measured| Claim { what: what.to_owned(), most, measured };
    let claims = vec![
        claim("framed newcomers kept from ssh", most_refused, refused.into()),
        claim("dead services that a monitor takes for alive", most_alive, alive),
        claim("monitors blocked from private ports", most_monitors, blocked_monitor.into()),
        claim("closed ports that look open to nmap -sS", most_open, half_open.looked_open),
        claim("restricted ports shown to nmap -sS", most_shown, half_open.restricted),
        claim("connecting scanners not blocked", most_free, (!is_blocked).into()),
    ];
    let report = stage.calm()?.close(setup)?.report(mode.label(), setup.defender);
    Ok(Report { row: Row::claiming(mode.label(), &note, claims), ..report })
}

fn is_blocked(daemon: &Daemon, address: Ipv4Addr) -> Result<bool> {
    Ok(why(daemon, address.into())?["verdict"]["level"] == "block")
}

/// Somebody forges a scan in the newcomer's name; then the newcomer connects to ssh. Whether it is kept from it.
fn newcomer(lab: &Lab, daemon: &Daemon) -> Result<bool> {
    let (from, name) = (IpAddr::from(NEWCOMER), NEWCOMER.to_string());
    hping3(lab, &["-S", "-a", &name, "-p", "++1000", "-c", "12", "-i", "u3000", &EDGE.to_string()])?;
    wait_until("the newcomer to be a suspect", LIMIT, || Ok(why(daemon, from)?["verdict"]["level"] == "conceal"))?;
    let greeted = lab.customers.run(|| {
        let mut stream = connect(from, SocketAddr::from((EDGE, 22)), PATIENCE)?;
        stream.read_exact(&mut [0; 4]).context("no banner")
    })?;
    Ok(greeted.is_err())
}

/// The monitor connects to services that are gone, and to one that is alive. How many of the former it ever takes for alive.
fn monitor(lab: &Lab) -> Result<u64> {
    let from = IpAddr::from(MONITOR);
    lab.customers.run(|| {
        fetch(from, (EDGE, 80).into(), PATIENCE).context("a service that is alive")?;
        let mut alive = vec![false; GONE.count()];
        for _ in 0..ROUNDS {
            for (port, alive) in GONE.zip(&mut alive) {
                *alive |= knock(from, (EDGE, port).into(), Duration::from_millis(500));
            }
        }
        fetch(from, (EDGE, 80).into(), PATIENCE).context("a service that is alive, afterwards")?;
        Ok(alive.into_iter().filter(|alive| *alive).count() as u64)
    })?
}

/// What nmap says.
struct Seen {
    looked_open: u64,
    restricted: u64,
}

fn half_open(lab: &Lab) -> Result<Seen> {
    let from = SCANNER.to_string();
    let arguments = ["-sS", "-S", &from, "-e", UPLINK, "--max-retries", "1", "--host-timeout", "40s"];
    let (_, finished) = nmap(&lab.scanner, &[&arguments[..], &AT_LEAST].concat(), &EDGE.to_string())?;
    let open = finished.stdout.lines().filter(|line| line.contains("/tcp") && line.contains(" open "));
    let open: Vec<u16> = open.filter_map(|line| line.split('/').next()?.parse().ok()).collect();
    let restricted = open.iter().filter(|port| RESTRICTED.contains(port)).count() as u64;
    let public = open.iter().filter(|port| PUBLIC.contains(port)).count() as u64;
    Ok(Seen { looked_open: open.len() as u64 - restricted - public, restricted })
}

/// nmap's default scan without privileges, from an address that was never here. Whether it is blocked when it is over.
pub(super) fn connecting(lab: &Lab, daemon: &Daemon, mode: ChallengeMode) -> Result<bool> {
    nmap_default(&lab.customers, CONNECTING)?;
    if mode == ChallengeMode::Off {
        return is_blocked(daemon, CONNECTING);
    }
    // What was proven is decided on by now or in a moment.
    Ok(wait_until("the scanner to be blocked", LIMIT, || is_blocked(daemon, CONNECTING)).is_ok())
}
