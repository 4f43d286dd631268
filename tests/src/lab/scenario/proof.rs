//! Who proves himself and who does not: scanners that connect, and people in whose names others send.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::framing_admin::why;
use super::nmap::{AT_LEAST, nmap, nmap_connect};
use super::raw::masscan;
use super::{Scenario, rows, scan};
use crate::lab::Lab;
use crate::lab::client::connect;
use crate::lab::defender::Daemon;
use crate::lab::forge::{Forged, forge};
use crate::lab::plan::{EDGE, SCANNER, customer};
use crate::lab::report::{Report, Special};
use crate::lab::stage::{Scene, Setup, Stage};
use crate::lab::wait::wait_until;

/// All hidden ports are challenged.
const CONFIG: &str = "challenge = \"on\"\n";
/// The usual scene with these challenges.
pub(super) const SCENE: Scene = Scene { config: CONFIG, ..Scene::USUAL };
const PATIENCE: [&str; 4] = ["--max-retries", "1", "--max-rtt-timeout", "1s"];

pub(super) const RETURN: Scenario = Scenario {
    name: "return",
    about: "nmap -sS of 40 ports, then -sV of what looked open, with challenges",
    play: |setup| proving(setup, "return", &SCENE, come_back),
};

pub(super) const BANNER_GRAB: Scenario = Scenario {
    name: "banner-grab",
    about: "masscan --banners, and a grabber of banners over its kernel's TCP, with challenges",
    play: |setup| {
        rows(setup, "banner-grab", &["masscan --banners", "connections"], |setup, kind| {
            if kind == "connections" {
                return proving(setup, kind, &SCENE, |lab| lab.scanner.run(|| grab(SCANNER.into()))?);
            }
            // Its SYNs have no options, so that nobody challenges it: it proves nothing and learns nothing.
            scan(setup, kind, &SCENE, |lab| {
                masscan(lab, &["--banners", "--retries", "4", "-p", "1-40,80", &EDGE.to_string()])
            })
        })
    },
};

pub(super) const HARM: Scenario = Scenario {
    name: "proof-of-harm",
    about: "the scans of `return` and `connect` where blocks of public ports need no person, with challenges",
    play: |setup| {
        let scene = Scene { config: "challenge = \"on\"\n[block]\nmax_auto_level = \"block all\"\n", ..SCENE };
        rows(setup, "proof-of-harm", &["return", "connect"], |setup, kind| {
            proving(setup, kind, &scene, |lab| if kind == "connect" { nmap_connect(lab) } else { come_back(lab) })
        })
    },
};

pub(super) const DECOYS: Scenario = Scenario {
    name: "decoys",
    about: "nmap -sS -D with 20 customers as decoys, with challenges",
    play: |setup| {
        let scene = Scene { customers: 20, ..SCENE };
        scan(setup, "decoys", &scene, |lab| {
            let decoys: Vec<String> = (0..20).map(|number| customer(number).to_string()).collect();
            let decoys = format!("{},ME", decoys.join(","));
            let arguments = ["-sS", "-D", &decoys, "-p", "1-100"];
            nmap(&lab.scanner, &[&arguments[..], &PATIENCE, &AT_LEAST].concat(), &EDGE.to_string()).map(drop)
        })
    },
};

pub(super) const NAT_SHARED: Scenario = Scenario {
    name: "nat-shared",
    about: "a scanner by nmap -sT and -sV behind the address of a customer who goes on browsing, with challenges",
    play: |setup| {
        let asked = |daemon: &Daemon| Ok(metric(daemon, "scanguard_pending")? >= 1.0);
        watched(setup, "nat-shared", &SCENE, ("a person to be asked", asked), |lab| {
            let (from, edge) = (customer(0).to_string(), EDGE.to_string());
            let source = ["-S", &from, "-e", crate::lab::plan::UPLINK, "--host-timeout", "30s"];
            nmap(&lab.customers, &[&["-sT", "-p", "1-100"][..], &source, &PATIENCE, &AT_LEAST].concat(), &edge)?;
            // At leisure, so that he proves himself: within the limit of answers, and his stack has the second it takes to ask again. Of
            // 80 ports a good ten become decoys that he completes; four are proof.
            let leisure = ["--max-rate", "10", "--min-rtt-timeout", "2s", "--max-retries", "1"];
            let versions = ["-sV", "--version-intensity", "0", "-p", "1-80"];
            nmap(&lab.customers, &[&versions[..], &source, &leisure].concat(), &edge).map(drop)
        })
    },
};

pub(super) const GUESS: Scenario = Scenario {
    name: "guess",
    about: "1,000,000 forged ACKs with guessed numbers, in the name of a customer who was framed, with challenges",
    play: |setup| {
        scan(setup, "guess", &SCENE, |lab| {
            let mut random = SmallRng::seed_from_u64(1);
            lab.scanner.run(|| {
                forge((1..=40).map(|port| syn(customer(0), port, port.into())), 1_000)?;
                let acks = (0..1_000_000).map(|number| Forged {
                    from_port: 40_000,
                    port: 4 + (number % 16) as u16,
                    sequence: random.random(),
                    acknowledged: Some(random.random()),
                    ..syn(customer(0), 0, 0)
                });
                forge(acks, 300_000).map(drop)
            })?
        })
    },
};

pub(super) const FLOOD: Scenario = Scenario {
    name: "flood",
    about: "SYNs from 1,000,000 forged sources beside a scan by nmap -sS, with challenges",
    play: |setup| {
        scan(setup, "flood", &SCENE, |lab| {
            let mut random = SmallRng::seed_from_u64(2);
            let (scanner, edge) = (lab.scanner.clone(), EDGE.to_string());
            let nmap = thread::spawn(move || {
                nmap(&scanner, &[&["-sS", "-p", "1-300"][..], &PATIENCE, &AT_LEAST].concat(), &edge).map(drop)
            });
            lab.scanner.run(|| {
                let syns = (0..1_000_000_u32).map(|number| {
                    // A million addresses of a network that nobody has here.
                    let from = Ipv4Addr::from(0x6440_0000 | number & 0x000f_ffff);
                    syn(from, random.random_range(1..20), number)
                });
                forge(syns, 300_000).map(drop)
            })??;
            nmap.join().map_err(|_| anyhow::anyhow!("nmap's thread panicked"))?
        })
    },
};

/// A SYN to a port of the edge, as a real stack sends it.
pub(super) fn syn(from: Ipv4Addr, port: u16, number: u32) -> Forged {
    let from_port = 32_768 + (number % 28_000) as u16;
    Forged { from, from_port, port, sequence: number.wrapping_mul(2_654_435_761), acknowledged: None, bare: false }
}

/// A scan by somebody who is really there, until he is blocked.
pub(super) fn proving(
    setup: &Setup,
    name: &str,
    scene: &Scene,
    scan: impl FnOnce(&Lab) -> Result<()>,
) -> Result<Report> {
    let blocked = |daemon: &Daemon| Ok(why(daemon, SCANNER.into())?["verdict"]["level"] == "block");
    watched(setup, name, scene, ("the scanner to be blocked", blocked), scan)
}

/// A scan that proves something, until the daemon has done what there is to do.
fn watched(
    setup: &Setup,
    name: &str,
    scene: &Scene,
    (what, done): (&'static str, impl Fn(&Daemon) -> Result<bool>),
    scan: impl FnOnce(&Lab) -> Result<()>,
) -> Result<Report> {
    let stage = Stage::set(setup, scene)?;
    scan(&stage.lab)?;
    let mut special = Special::default();
    if let Some(daemon) = stage.guard.daemon() {
        wait_until(what, Duration::from_secs(20), || done(daemon))
            .with_context(|| format!("the daemon says {:?}\n{}", why(daemon, SCANNER.into()), daemon.log()))?;
        // Where nobody is blocked nothing was measured.
        special.decision_ms = Some(metric(daemon, "scanguard_decision_seconds_sum")? * 1e3).filter(|took| *took > 0.0);
        special.decoys_completed = Some(completed_decoys(daemon)?);
        special.pending = Some(metric(daemon, "scanguard_pending")? as u64);
    }
    let report = stage.calm()?.close(setup)?.report(name, setup.defender);
    Ok(Report { special, ..report })
}

/// Decoys that were completed, by whomever.
pub(super) fn completed_decoys(daemon: &Daemon) -> Result<u64> {
    let counters = daemon.counters("challenges")?;
    let met = counters.iter().find(|counter| counter["kind"] == "decoy" && counter["result"] == "met");
    met.and_then(|met| met["challenges"].as_u64()).context("a count of decoys")
}

/// What the daemon serves under a name with its labels; 0 if it does not, as long as it counted nothing.
fn metric(daemon: &Daemon, name: &str) -> Result<f64> {
    let metrics = daemon.metrics()?;
    let number = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    number.map_or(Ok(0.0), |number| number.trim().parse().with_context(|| format!("{name} is {number}")))
}

/// Half-open connections first, then what looked open is looked at.
fn come_back(lab: &Lab) -> Result<()> {
    let edge = EDGE.to_string();
    let (_, scanned) = nmap(&lab.scanner, &[&["-sS", "-p", "1-40"][..], &PATIENCE, &AT_LEAST].concat(), &edge)?;
    let open: Vec<&str> = scanned
        .stdout
        .lines()
        .filter(|line| line.contains("/tcp") && line.contains(" open "))
        .filter_map(|line| line.split('/').next())
        .collect();
    ensure!(!open.is_empty(), "nothing looked open:\n{}", scanned.stdout);
    let ports = open.join(",");
    let arguments = ["-sV", "--version-intensity", "0", "--host-timeout", "60s", "-p", &ports];
    nmap(&lab.scanner, &[&arguments[..], &PATIENCE].concat(), &edge).map(drop)
}

/// Connects to many ports at once and reads what they say, as zgrab does.
fn grab(from: IpAddr) -> Result<()> {
    let grabbers: Vec<_> = (1..=40)
        .map(|port| {
            // Threads stay in the host that starts them.
            thread::spawn(move || {
                let Ok(mut stream) = connect(from, SocketAddr::from((EDGE, port)), Duration::from_secs(3)) else {
                    return;
                };
                let _ = stream.write_all(b"\r\n");
                let _ = stream.read(&mut [0; 256]);
            })
        })
        .collect();
    for grabber in grabbers {
        grabber.join().map_err(|_| anyhow::anyhow!("a grabber panicked"))?;
    }
    Ok(())
}
