//! What is done in the machine and asserted, in order.
//!
//! - `install`: boot, the host before the package, the package
//! - `watch`: scanners, while it observes and while it enforces
//! - `people`: guessers beside fail2ban, and those who work there
//! - `service`: restart, crash, hang, reload, stop
//! - `life`: the driver that comes late, reboot, upgrade, remove, purge

mod install;
mod life;
mod people;
mod service;
mod watch;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Form;
use super::guest::Guest;
use super::machine::Machine;
use super::outside::Outside;

/// What a step needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Needs {
    /// Nothing.
    Nothing,
    /// That this earlier step did not fail.
    Step(&'static str),
}

/// A step.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) needs: Needs,
    /// Whether the short form leaves it out.
    pub(super) is_long: bool,
    pub(super) take: fn(&mut Host<'_>) -> Result<String>,
}

const BOOT: &str = "boot";
const INSTALL: &str = "install";
const ENFORCE: &str = "enforce";
const RELOAD: &str = "reload";

const fn step(name: &'static str, needs: Needs, take: fn(&mut Host<'_>) -> Result<String>) -> Step {
    Step { name, needs, is_long: false, take }
}

/// All, in their order.
const STEPS: &[Step] = &[
    step(BOOT, Needs::Nothing, install::boot),
    step("fail2ban", Needs::Step(BOOT), install::fail2ban),
    step(INSTALL, Needs::Step(BOOT), install::install),
    step("native XDP", Needs::Step(INSTALL), install::native),
    step("exposure of the unit", Needs::Step(INSTALL), install::exposure),
    step("scan while observing", Needs::Step(INSTALL), watch::scan_while_observing),
    step(ENFORCE, Needs::Step(INSTALL), watch::enforce),
    step("scan while enforcing", Needs::Step(ENFORCE), watch::scan_while_enforcing),
    step("guessers beside fail2ban", Needs::Step(ENFORCE), people::guessers),
    step("logins by key", Needs::Step(ENFORCE), people::logins),
    step("restart", Needs::Step(ENFORCE), service::restart),
    step("kill -9", Needs::Step(ENFORCE), service::kill),
    step("watchdog", Needs::Step(ENFORCE), service::watchdog),
    step(RELOAD, Needs::Step(ENFORCE), service::reload),
    step("stop and start", Needs::Step(ENFORCE), service::stop),
    step("card that comes late", Needs::Step(ENFORCE), life::late_card),
    step("reboot", Needs::Step(ENFORCE), life::reboot),
    step("same version again", Needs::Step(RELOAD), life::reinstall),
    step("remove", Needs::Step(INSTALL), life::remove),
    step("purge", Needs::Step(INSTALL), life::purge),
];

/// The names of all.
pub(in super::super) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// The steps of a form; of those only these and what they need, if any are named.
pub(super) fn chosen(form: Form, only: &[String]) -> Vec<&'static Step> {
    let mut chosen: Vec<&Step> = Vec::new();
    // From the last one: what a step needs comes before it.
    for step in STEPS.iter().rev().filter(|step| form == Form::Full || !step.is_long) {
        let is_needed = chosen.iter().any(|later| later.needs == Needs::Step(step.name));
        if only.is_empty() || is_needed || only.iter().any(|name| name == step.name) {
            chosen.push(step);
        }
    }
    chosen.reverse();
    chosen
}

/// The machine, and everybody who has to do with it.
pub(super) struct Host<'w> {
    // Dropped in this order: the connection, then the machine.
    pub(super) guest: Guest<'w>,
    pub(super) machine: Machine,
    pub(super) outside: Outside<'w>,
    pub(super) package: PathBuf,
    pub(super) form: Form,
    /// The interface at the edge, once it is known.
    pub(super) interface: String,
}

/// BPF programs, maps and links of scanguard's and of nobody else's, one a line.
const OF_BPF: &str = "(bpftool prog list; bpftool map list; bpftool link list) | grep -iE \
                      'scanguard|name (CONFIG|PORTS|VERDICTS|SOURCES|EVENTS|COUNTERS)\\b' || true";

impl Host<'_> {
    /// What a person would look at after a failure.
    pub(super) fn what_it_says(&self) -> String {
        let script = "systemctl status --no-pager --full scanguard.service run-scanguard_bpf.mount scanguard-detach.service; \
                      journalctl --no-pager -b -n 60 -u scanguard -u scanguard-detach; tail -n 40 /var/log/fail2ban.log; scanguard status; ip -d link; systemctl --failed";
        match self.guest.said(script) {
            Ok(said) if !said.out.is_empty() => format!("{}\n{}", said.out, said.err),
            _ => self.machine.console_end(),
        }
    }

    /// Connects, and connects again after a reboot.
    fn connect(&mut self) -> Result<()> {
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(180);
        let Self { guest, machine, .. } = self;
        guest.connect(LIMIT, || machine.alive())
    }

    /// Has the machine start anew.
    fn reboot(&mut self) -> Result<()> {
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(240);
        let Self { guest, machine, .. } = self;
        guest.reboot(LIMIT, || machine.alive())
    }

    /// `status --json`, which must say that all is well.
    fn healthy(&self) -> Result<Value> {
        let said = self.guest.said("scanguard status --json")?;
        ensure!(said.code == Some(0), "`scanguard status` exits with {:?}: {} {}", said.code, said.out, said.err);
        serde_json::from_str(&said.out).context("`scanguard status --json` is not JSON")
    }

    /// Waits until it is healthy.
    fn wait_until_healthy(&self) -> Result<Value> {
        super::run::wait_for("a healthy status", std::time::Duration::from_secs(60), || self.healthy())
    }

    /// The XDP program at the edge: how it is attached, and its id. As `ip -d link` says: `xdp` native, `xdpgeneric` generic.
    fn xdp(&self) -> Result<Option<(String, u32)>> {
        let links: Value = serde_json::from_str(&self.guest.sh(&format!("ip -j -d link show dev {}", self.interface))?)
            .context("ip's JSON cannot be read")?;
        let xdp = &links[0]["xdp"];
        let Some(id) = xdp["prog"]["id"].as_u64() else { return Ok(None) };
        let mode = match xdp["mode"].as_u64() {
            Some(1) => "native",
            Some(2) => "generic",
            _ => "other",
        };
        Ok(Some((mode.to_owned(), u32::try_from(id).context("an id of 32 bits")?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_after_what_it_needs() {
        for (position, step) in STEPS.iter().enumerate() {
            if let Needs::Step(name) = step.needs {
                assert!(STEPS[..position].iter().any(|earlier| earlier.name == name), "{} needs {name}", step.name);
            }
            assert!(!names()[..position].contains(&step.name), "{} stands twice", step.name);
        }
    }

    #[test]
    fn a_step_that_is_chosen_brings_what_it_needs() {
        let names = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            chosen(Form::Full, &only).iter().map(|step| step.name).collect()
        };
        assert_eq!(names(&["restart"]), [BOOT, INSTALL, ENFORCE, "restart"]);
        assert_eq!(names(&[]).len(), STEPS.len());
    }
}
