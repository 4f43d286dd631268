//! A scan that goes on while the daemon is killed, stays away, and another one takes over.

use std::mem;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::Scenario;
use super::raw::hping3;
use crate::lab::Lab;
use crate::lab::customers::{Held, Requests};
use crate::lab::defender::{Daemon, Guard, Judgement};
use crate::lab::plan::{EDGE, SCANNER, UPLINK, is_edge};
use crate::lab::process::Running;
use crate::lab::report::Report;
use crate::lab::stage::{Observations, Passed, Scene, Setup, Stage};
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;
use crate::lab::wire::{Seen, What};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "kill",
    about: "hping3 -S, 300 ports a second, while the daemon is killed (-9), is away, and a new one takes over",
    play: |setup| Ok(kill(setup)?.report),
};

/// What of the run is told apart: the scan's beginning, while the daemon watches, without one, while another one takes over, and after.
const PHASES: [&str; 5] = ["begins", "watched", "alone", "taken over", "watched again"];
/// Probes of each phase that has no other end.
const PROBES: u64 = 600;
/// More than are sent until all is over: two minutes of them.
const MOST_PROBES: &str = "36000";
/// Customers make requests at all times, so that none of them misses the moment.
const SCENE: Scene = Scene { pace: Duration::from_millis(100), config: KEPT, ..Scene::USUAL };
const KEPT: &str = "keep = true\n";
const LIMIT: Duration = Duration::from_secs(30);

/// What the run showed.
#[derive(Debug)]
pub struct Outage {
    /// The numbers, with a row for each phase. The customers are those of the whole run, and in no row.
    pub report: Report,
    /// What passed the edge's link from the first customer to the last, and what was counted of it by the kernel part, whoever watched
    /// over it. Nothing where no daemon protects the edge.
    pub passed: Option<Passed>,
    /// TCP segments towards the edge in the recording of the same link. Nobody sent any before the first customer.
    pub segments: u64,
    /// Answers of the edge to the scanner after it became a suspect: packets on the scanner's own link. It asked for no public port.
    pub answers_to_suspect: u64,
}

/// Plays it. With another defender than scanguard's daemon nothing is killed.
///
/// # Errors
/// As [`Scenario::play`].
pub fn kill(setup: &Setup) -> Result<Outage> {
    let mut stage = Stage::set(setup, &SCENE)?;
    let began = since_epoch()?;
    hping3(&stage.lab, &["-S", "-p", "++1", "-i", "u3300", "-c", "40", &EDGE.to_string()])?;
    if let Some(daemon) = stage.guard.daemon() {
        wait_until("the daemon to call the scanner a suspect", LIMIT, || {
            Ok(daemon.judgement()?.verdicts.iter().any(|verdict| verdict.source == SCANNER.to_string()))
        })?;
    }
    let mut starts = vec![began, since_epoch()?];
    let mut scan = Tool::Hping3.command(&stage.lab.scanner)?;
    // Ports that are open, or that clients have, are not among those that it comes to.
    let ports = ["-S", "-p", "++10000", "-i", "u3300", "-c", MOST_PROBES];
    scan.args(["-n", "-q", "-I", UPLINK]).args(ports).arg(EDGE.to_string());
    let mut scan = Running::start(scan)?;
    wait_for_probes(&stage.lab)?;
    starts.extend(replace(&mut stage, setup)?);
    wait_for_probes(&stage.lab)?;
    ensure!(scan.exited()?.is_none(), "hping3 ended before everything else");
    scan.stop(Signal::INT, LIMIT)?;

    let before = stage.before.clone();
    let calm = stage.calm()?;
    let after = calm.guard.daemon().map(|daemon| Passed::until_now(&calm.lab, daemon)).transpose()?;
    let observations = calm.close(setup)?;
    let mut report = observations.report(SCENARIO.name, setup.defender);
    report.rows = rows(&observations, &starts, setup);
    let to_edge = |packet: &&Seen| is_edge(packet.destination) && matches!(packet.what, What::Tcp(_));
    let is_answer = |packet: &&Seen| packet.at >= starts[1] && is_edge(packet.source) && is_scanner(packet);
    Ok(Outage {
        report,
        passed: after.zip(before).map(|(after, before)| after.since(&before)),
        segments: observations.at_edge.iter().filter(to_edge).count() as u64,
        answers_to_suspect: observations.at_scanner.iter().filter(is_answer).count() as u64,
    })
}

/// Kills the daemon, waits a good while, and starts another one. Returns when each of this began, and when it was over.
fn replace(stage: &mut Stage, setup: &Setup) -> Result<Vec<Duration>> {
    let guard = mem::replace(&mut stage.guard, Guard::None);
    let Guard::Scanguard(daemon) = guard else {
        stage.guard = guard;
        return Ok(Vec::new());
    };
    let killed = since_epoch()?;
    daemon.end(Signal::KILL)?;
    wait_for_probes(&stage.lab)?;
    let returning = since_epoch()?;
    // The one before was told to keep by its configuration, this one by an option.
    let config = format!("mode = \"{}\"\n", setup.mode.label());
    let daemon = Daemon::start_with(&stage.lab.edge, &setup.scanguard, &config, &["--keep"])?;
    stage.guard = Guard::Scanguard(Box::new(daemon));
    Ok(vec![killed, returning, since_epoch()?])
}

/// Waits until the scanner has sent a good many more.
fn wait_for_probes(lab: &Lab) -> Result<()> {
    let sent = || {
        let shown = Tool::Ip.run(&lab.scanner, ["-s", "-j", "link", "show", "dev", UPLINK], LIMIT)?.success("ip")?;
        let links: Value = serde_json::from_str(&shown.stdout).context("cannot read the output of ip -j")?;
        links[0]["stats64"]["tx"]["packets"].as_u64().context("the link has no statistics")
    };
    let before = sent()?;
    wait_until("the scan to go on", LIMIT, || Ok(sent()? >= before + PROBES))
}

/// What the scanner asked and learnt in each phase, by the moments at which they began.
fn rows(whole: &Observations, starts: &[Duration], setup: &Setup) -> Vec<Report> {
    let ends = starts.iter().skip(1).copied().chain([Duration::MAX]);
    let phases = PHASES.into_iter().zip(starts.iter().zip(ends));
    let row = |(phase, (start, end)): (&str, (&Duration, Duration))| {
        let within = |packets: &[Seen]| {
            packets.iter().filter(|packet| (*start..end).contains(&packet.at) && is_scanner(packet)).cloned().collect()
        };
        let observations = Observations {
            customer_count: whole.customer_count,
            requests: Requests::default(),
            held: Held::default(),
            duration: if end == Duration::MAX { Duration::ZERO } else { end.saturating_sub(*start) },
            at_edge: within(&whole.at_edge),
            at_scanner: within(&whole.at_scanner),
            asked_until_hidden: None,
            judgement: Judgement::default(),
        };
        observations.report(phase, setup.defender)
    };
    phases.map(row).collect()
}

/// Whether a packet is from the scanner or for it.
fn is_scanner(packet: &Seen) -> bool {
    let scanner = IpAddr::from(SCANNER);
    packet.source == scanner || packet.destination == scanner
}

/// The time as recordings have it.
fn since_epoch() -> Result<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).context("the clock of this machine is before 1970")
}
