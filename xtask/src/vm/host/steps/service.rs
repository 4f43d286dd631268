//! Restart, crash, hang, reload, stop: what systemd does to it, and what the network sees meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::super::run::wait_for;
use super::super::wire::{ADMIN, BLOCKED, COLLEAGUE};
use super::Host;

/// What is seen while something happens to the daemon.
pub(super) struct Seen {
    lost: u32,
    pings: u32,
    knocks: u32,
}

impl Seen {
    pub(super) fn detail(&self) -> String {
        let Self { lost, pings, knocks } = self;
        format!("{lost} of {pings} pings lost; none of {knocks} SYNs of a blocked source answered")
    }
}

/// Does something that must leave no gap: a blocked source asks all the time and is never answered, and somebody else's pings are.
pub(super) fn without_gap(host: &Host<'_>, what: impl FnOnce(&Host<'_>) -> Result<()>) -> Result<Seen> {
    let (ping, knock) = (host.outside.ping(COLLEAGUE)?, host.outside.knock(BLOCKED)?);
    let done = what(host);
    let (pings, knocks) = (ping.stop()?, knock.stop()?);
    done?;
    ensure!(knocks.sent > 0 && pings.received > 0, "nothing was seen: {pings:?}, {knocks:?}");
    ensure!(knocks.received == 0, "{} SYNs of the blocked {BLOCKED} were answered", knocks.received);
    ensure!(pings.lost() <= 1, "{} of {} pings were lost", pings.lost(), pings.sent);
    let (attached, _) = host.xdp()?.context("no XDP program is on the interface")?;
    ensure!(attached == "native", "it is attached as {attached}");
    Ok(Seen { lost: pings.lost(), pings: pings.sent, knocks: knocks.sent })
}

/// What was decided is still decided: block, allowlist, mode.
pub(super) fn carried_over(host: &Host<'_>) -> Result<()> {
    let status = host.wait_until_healthy()?;
    ensure!(status["mode"] == "enforce", "it is in mode {}", status["mode"]);
    let lists = [("block list", "source", BLOCKED), ("allow list", "prefix", ADMIN)];
    for (verb, key, address) in lists {
        let list = host.guest.json(verb)?;
        let entries = list["entries"].as_array().with_context(|| format!("{verb} has no entries: {list}"))?;
        let is_it = |entry: &serde_json::Value| {
            entry[key].as_str().is_some_and(|text| text.trim_end_matches("/32") == address.to_string())
        };
        ensure!(entries.iter().any(is_it), "`scanguard {verb}` does not name {address}: {list}");
    }
    ensure!(!host.outside.browses(BLOCKED)?, "{BLOCKED} gets a page though it is blocked");
    ensure!(host.outside.browses(COLLEAGUE)?, "{COLLEAGUE} gets no page");
    Ok(())
}

/// Waits until another process is the daemon and ready.
pub(super) fn wait_for_another(host: &Host<'_>, before: &str, limit: Duration) -> Result<()> {
    wait_for("another daemon", limit, || {
        let (active, now) = (host.guest.property("ActiveState")?, host.guest.property("MainPID")?);
        ensure!(active == "active" && now != before && now != "0", "{active}, process {now}, before {before}");
        Ok(())
    })
}

/// Another process takes over, and nothing passes meanwhile that should not.
pub(super) fn restart(host: &mut Host<'_>) -> Result<String> {
    let before = host.guest.property("MainPID")?;
    let seen = without_gap(host, |host| {
        host.guest.sh_within("systemctl restart scanguard", Duration::from_secs(90))?;
        wait_for_another(host, &before, Duration::from_secs(30))
    })?;
    carried_over(host)?;
    Ok(seen.detail())
}

/// systemd starts it again after a crash.
pub(super) fn kill(host: &mut Host<'_>) -> Result<String> {
    let before = host.guest.property("MainPID")?;
    let seen = without_gap(host, |host| {
        host.guest.sh("systemctl kill --signal=KILL --kill-whom=main scanguard")?;
        wait_for_another(host, &before, Duration::from_secs(90))
    })?;
    carried_over(host)?;
    Ok(seen.detail())
}

/// A daemon that hangs is ended and started again.
pub(super) fn watchdog(host: &mut Host<'_>) -> Result<String> {
    let (before, given) = (host.guest.property("MainPID")?, host.guest.property("WatchdogUSec")?);
    let seen = without_gap(host, |host| {
        host.guest.sh(&format!("kill -STOP {before}"))?;
        wait_for_another(host, &before, Duration::from_secs(240))
    })?;
    let log = host.guest.sh("journalctl --no-pager -b -u scanguard --grep 'Watchdog timeout' | tail -1")?;
    ensure!(log.contains("Watchdog timeout"), "systemd tells of no watchdog");
    carried_over(host)?;
    Ok(format!("stopped, started anew by the watchdog of {given}; {}", seen.detail()))
}

/// The configuration is read again, by the same process.
pub(super) fn reload(host: &mut Host<'_>) -> Result<String> {
    const CONFIG: &str = "/etc/scanguard/scanguard.toml";
    let before = host.guest.property("MainPID")?;
    let guest = &host.guest;
    guest.sh(&format!("sed -i 's|^allow = .*|allow = [\"192.0.2.77\"]|' {CONFIG} && scanguard config check"))?;
    guest.sh("systemctl reload scanguard")?;
    wait_for("the new entry of the allowlist", Duration::from_secs(20), || {
        let list = guest.json("allow list")?.to_string();
        ensure!(list.contains("192.0.2.77"), "the allowlist is {list}");
        Ok(())
    })?;
    ensure!(guest.property("MainPID")? == before, "another process runs");
    carried_over(host)?;
    Ok("an entry of the configuration's allowlist is in force".to_owned())
}

/// `stop` takes the filter away, `start` brings it back.
pub(super) fn stop(host: &mut Host<'_>) -> Result<String> {
    host.guest.sh("systemctl stop scanguard")?;
    gone(host)?;
    ensure!(host.outside.browses(BLOCKED)?, "{BLOCKED} is still blocked");
    host.guest.sh_within("systemctl start scanguard", Duration::from_secs(90))?;
    carried_over(host)?;
    Ok(format!("without it {BLOCKED} got its page, with it no more"))
}

/// Nothing of it is on the interface, and nothing is pinned.
pub(super) fn gone(host: &Host<'_>) -> Result<()> {
    wait_for("the end of the filter", Duration::from_secs(20), || {
        let xdp = host.xdp()?;
        ensure!(xdp.is_none(), "a program is still on the interface: {xdp:?}");
        let mounts = host.guest.sh("grep scanguard_bpf /proc/mounts || true")?;
        ensure!(mounts.is_empty(), "the pins are still mounted: {mounts}");
        let left = host.guest.sh(super::OF_BPF)?;
        ensure!(left.is_empty(), "the kernel still has: {left}");
        Ok(())
    })
}
