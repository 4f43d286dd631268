//! A fast SYN scan of a thousand ports while customers browse.

use std::time::Duration;

use anyhow::Result;

use super::Scenario;
use crate::lab::netns::Netns;
use crate::lab::plan::{EDGE, SCANNED};
use crate::lab::process::Finished;
use crate::lab::report::Report;
use crate::lab::stage::{Setup, Stage};
use crate::lab::tools::Tool;

pub(super) const SCENARIO: Scenario =
    Scenario { name: "syn", about: "nmap -sS of 1,000 ports at full speed while customers browse", play };

const CUSTOMERS: u8 = 10;
/// Once answers stop coming, nmap's congestion control falls to 10 probes a second, and the rest of the thousand takes
/// minutes. This is no slower than what it does by itself while answers come.
const LEAST_RATE: &str = "300";
const SCAN_LIMIT: Duration = Duration::from_secs(60);

fn play(setup: &Setup) -> Result<Report> {
    let stage = Stage::set(setup, CUSTOMERS)?;
    nmap_syn(&stage.lab.scanner)?;
    Ok(stage.calm()?.close(setup)?.report(SCENARIO.name, setup.defender))
}

/// The scan: SYNs to [`SCANNED`] in numerical order, without name lookups, pings or shuffling.
///
/// # Errors
/// When nmap is missing, fails or does not end.
pub fn nmap_syn(scanner: &Netns) -> Result<(String, Finished)> {
    let target = EDGE.to_string();
    let arguments = ["-n", "-Pn", "-r", "-T4", "--min-rate", LEAST_RATE, "-sS", "-p", SCANNED, &target];
    let finished = Tool::Nmap.run(scanner, arguments, SCAN_LIMIT)?.success("nmap")?;
    Ok((format!("nmap {}", arguments.join(" ")), finished))
}
