//! Scanners, while it observes and while it enforces.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::super::run::wait_for;
use super::super::wire::{ADMIN, BLOCKED, COLLEAGUE, LATER_SCANNER, SCANNER};
use super::Host;

/// Ports of nmap's thousand that are closed on this host: all but ssh and the web server.
const CLOSED: usize = 998;
/// Ports that a scanner learns about before it is concealed, and what is in flight then.
const LEARNT: usize = 5;

/// A scanner sees everything, and is counted.
pub(super) fn scan_while_observing(host: &mut Host<'_>) -> Result<String> {
    let scan = host.outside.scan(SCANNER)?;
    ensure!(scan.open == [22, 80], "open ports seen: {:?}", scan.open);
    ensure!(scan.closed + 2 >= CLOSED, "only {} closed ports seen", scan.closed);
    let status = host.healthy()?;
    let would_drop = status["packets"]["would_drop"].as_u64().unwrap_or_default();
    ensure!(would_drop > 900, "only {would_drop} packets would be dropped by enforcing");
    ensure!(status["packets"]["dropped"] == 0, "it dropped {} packets", status["packets"]["dropped"]);
    let why = host.guest.json(&format!("why {SCANNER}"))?;
    ensure!(why["verdict"]["level"] == "conceal", "{SCANNER} is not concealed: {}", why["verdict"]);
    Ok(format!("{} closed and 2 open ports seen; enforcing would have dropped {would_drop} packets", scan.closed))
}

/// With a net, confirmed from a new login. An operator's block is in force, and the administrator is on the allowlist.
pub(super) fn enforce(host: &mut Host<'_>) -> Result<String> {
    let guest = &host.guest;
    guest.sh(&format!("scanguard allow add {ADMIN} --comment administrator"))?;
    guest.sh("scanguard mode enforce --confirm 5m")?;
    let confirmed = host.outside.login(ADMIN, "scanguard confirm")?;
    let status = host.wait_until_healthy()?;
    ensure!(status["mode"] == "enforce", "it is in mode {}", status["mode"]);
    let warnings = status["warnings"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(warnings.iter().all(|warning| warning["code"] != "unconfirmed"), "it is not confirmed: {confirmed}");
    ensure!(host.outside.browses(BLOCKED)?, "{BLOCKED} gets no page before it is blocked");
    host.guest.sh(&format!("scanguard block add {BLOCKED} --for 12h --reason test"))?;
    ensure!(!host.outside.browses(BLOCKED)?, "{BLOCKED} gets a page though it is blocked");
    ensure!(host.outside.browses(COLLEAGUE)?, "{COLLEAGUE} gets no page");
    Ok(format!("confirmed by a new login from {ADMIN}; {BLOCKED} is blocked, {COLLEAGUE} gets his page"))
}

/// A scanner sees what is public, and the few closed ports by which it gave itself away.
pub(super) fn scan_while_enforcing(host: &mut Host<'_>) -> Result<String> {
    let scan = host.outside.scan(LATER_SCANNER)?;
    ensure!(scan.open.contains(&80), "the web server is hidden: {scan:?}");
    ensure!(!scan.open.contains(&22), "ssh is not hidden: {scan:?}");
    ensure!(scan.closed <= LEARNT, "{} closed ports seen", scan.closed);
    let hidden = CLOSED - scan.closed;
    wait_for("the scanner in `why`", Duration::from_secs(10), || {
        let why = host.guest.json(&format!("why {LATER_SCANNER}"))?;
        let level = why["verdict"]["level"].as_str().unwrap_or_default().to_owned();
        ensure!(level == "conceal" || level == "block", "{LATER_SCANNER} is treated as {level}");
        Ok(())
    })?;
    Ok(format!(
        "{hidden} of {CLOSED} closed ports hidden, {} seen closed; ssh hidden; {} looked open: {:?}",
        scan.closed,
        scan.open.len(),
        scan.open
    ))
}
