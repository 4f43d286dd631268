//! Whoever has the source code: attacks that look at what is answered and go on accordingly, each with the bound that
//! it is to meet.
//!
//! Rows of a world share its hosts, its customers and its daemon; each attacker has an address of its own in a
//! network of its own, from which only what the row sends comes. Attacks that take hours are played against the
//! kernel part's own code with a clock of their own (`clock`).

mod abuse;
mod attacker;
mod clock;
mod half_open;
mod probes;
mod rows;

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Scenario;
use crate::lab::Lab;
use crate::lab::plan::UPLINK;
use crate::lab::report::{Claim, Counts, Customers, Report, Row, SCHEMA_VERSION, Scanner, Special};
use crate::lab::stage::{Scene, Setup, Stage};
use attacker::{Attacker, BASE, TABLES};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "adversary",
    about: "attacks by somebody who knows the source code, each with its bound (SCANGUARD_ADVERSARY plays those \
           whose names contain it)",
    play,
};

/// Which rows are played: those whose names contain this; all without it.
const ONLY: &str = "SCANGUARD_ADVERSARY";

/// An attack.
struct Attack {
    name: &'static str,
    note: &'static str,
    run: fn(&mut Attacker<'_>, &Setup) -> Result<Found>,
}

/// What came of it.
#[derive(Default)]
struct Found {
    claims: Vec<Claim>,
    /// What else is to be known.
    note: String,
    scanner: Scanner,
}

/// Attacks on one daemon.
struct World {
    /// What the configuration says before its tables.
    config: &'static str,
    /// What it says behind those.
    tables: &'static str,
    attacks: &'static [Attack],
}

/// Customers who are there all the while.
const SCENE: Scene =
    Scene { customers: 2, pace: Duration::from_millis(250), least_rounds: 2, config: "", without: &[], prepare };

fn play(setup: &Setup) -> Result<Report> {
    let only = std::env::var(ONLY).unwrap_or_default();
    let mut rows = Vec::new();
    for World { config, tables, attacks } in rows::WORLDS.iter().chain([&abuse::KNOWN, &abuse::DEFAULTS]) {
        let chosen: Vec<&Attack> = attacks.iter().filter(|attack| attack.name.contains(&only)).collect();
        if chosen.is_empty() {
            continue;
        }
        let config: &'static str = Box::leak(format!("{BASE}{config}{TABLES}{tables}").into_boxed_str());
        let stage = Stage::set(setup, &Scene { config, ..SCENE })?;
        let mut found = Vec::new();
        {
            let mut attacker = Attacker::enter(&stage)?;
            for attack in chosen {
                attacker.frames = 0;
                let came = (attack.run)(&mut attacker, setup).with_context(|| format!("in the row {}", attack.name))?;
                found.push((attack, came, attacker.frames));
            }
        }
        let observed = stage.calm()?.close(setup)?.report(SCENARIO.name, setup.defender);
        for (position, (attack, came, frames)) in found.into_iter().enumerate() {
            // Customers were there for all rows of a world: they are in the first of them.
            let count = observed.customers.count;
            let customers = if position == 0 { observed.customers } else { Customers { count, ..Default::default() } };
            rows.push(row(setup, attack.name, attack.note, came, frames, customers));
        }
    }
    for (name, note, run) in clock::ATTACKS {
        if name.contains(&only) {
            rows.push(row(setup, name, note, run()?, 0, Customers::default()));
        }
    }
    Report::over(SCENARIO.name, rows).context("no row has such a name")
}

fn row(setup: &Setup, name: &str, note: &str, came: Found, frames: u64, customers: Customers) -> Report {
    let Found { claims, note: more, scanner } = came;
    let note = [note, &more].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    let row = Row { frames: Some(frames), ..Row::claiming(name, &note, claims) };
    Report {
        schema_version: SCHEMA_VERSION,
        scenario: name.to_owned(),
        defender: setup.defender.name().to_owned(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        duration_s: 0.0,
        scanner,
        customers,
        verdicts: Vec::new(),
        wire: Counts::default(),
        counted: None,
        special: Special::default(),
        row,
        rows: Vec::new(),
    }
}

/// Nothing limits or repeats what the edge's stack says: limits would hide from the attacker what scanguard does not.
fn prepare(lab: &Lab) -> Result<()> {
    lab.edge.sysctl(&[
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv4/icmp_ratemask", "0"),
        ("ipv4/icmp_msgs_per_sec", "10000000"),
        ("ipv4/icmp_msgs_burst", "10000000"),
        ("ipv6/icmp/ratelimit", "0"),
        ("ipv4/icmp_echo_ignore_broadcasts", "0"),
        ("ipv4/tcp_fastopen", "1539"),
        // Nobody waits half a minute.
        ("ipv4/ipfrag_time", "1"),
        ("ipv6/ip6frag_time", "1"),
    ])?;
    // A group that daemons of a local network are in.
    let words = ["addr", "add", "224.0.0.251", "dev", UPLINK, "autojoin"];
    crate::lab::tools::Tool::Ip.run(&lab.edge, words, Duration::from_secs(10)).map(drop)
}
