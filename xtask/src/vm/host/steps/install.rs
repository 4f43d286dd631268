//! Boot, the host before the package, the package.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::super::outside::Answered;
use super::super::wire::{ADMIN, GUEST};
use super::{Host, OF_BPF};

/// systemd runs and no unit failed.
pub(super) fn boot(host: &mut Host<'_>) -> Result<String> {
    host.connect()?;
    let guest = &host.guest;
    guest.wait("the end of the boot", Duration::from_secs(180), "systemctl is-system-running --wait")?;
    let failed = guest.sh("systemctl list-units --failed --plain --no-legend")?;
    ensure!(failed.is_empty(), "units failed: {failed}");
    let first = guest.sh("cat /proc/1/comm")?;
    ensure!(first == "systemd", "process 1 is {first}");
    let line = guest.sh("ip -4 -o route show default")?;
    let interface = line.split_whitespace().skip_while(|word| *word != "dev").nth(1);
    let interface = interface.with_context(|| format!("no default route: {line}"))?.to_owned();
    let queues = guest.sh(&format!("ethtool -l {interface} | grep -i combined | head -1 | tr -dc 0-9"))?;
    let driver = guest.sh(&format!("ethtool -i {interface} | sed -n 's/^driver: //p'"))?;
    let before = guest.sh(OF_BPF)?;
    ensure!(before.is_empty(), "something of scanguard's is there before it came: {before}");
    let detail = format!("{}, {interface} by {driver} with {queues} queues", guest.sh("uname -r")?);
    host.interface = interface;
    Ok(detail)
}

/// fail2ban with a jail for sshd, as many hosts have it.
pub(super) fn fail2ban(host: &mut Host<'_>) -> Result<String> {
    host.guest.wait("the jail of sshd", Duration::from_secs(90), "fail2ban-client status sshd")?;
    host.guest.sh("fail2ban-client --version")
}

/// The package starts by itself, observes, and takes no ping.
pub(super) fn install(host: &mut Host<'_>) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(240);
    host.guest.copy(&host.package, "/root/scanguard.deb")?;
    let ping = host.outside.ping(ADMIN)?;
    let installed =
        host.guest.sh_within("DEBIAN_FRONTEND=noninteractive apt-get install -y /root/scanguard.deb 2>&1", LIMIT);
    let active = installed.and_then(|said| {
        host.guest.wait("scanguard.service", Duration::from_secs(90), "systemctl is-active scanguard").context(said)
    });
    let answered = ping.stop()?;
    active?;
    let guest = &host.guest;
    let user = guest.sh("ps -o user= -p $(systemctl show --value --property=MainPID scanguard)")?;
    ensure!(user.trim() == "scanguard", "it runs as {user}");
    for (name, expected) in [("Type", "notify"), ("UnitFileState", "enabled"), ("NRestarts", "0")] {
        let is = guest.property(name)?;
        ensure!(is == expected, "{name} of the unit is {is} and not {expected}");
    }
    let status = host.wait_until_healthy()?;
    ensure!(status["mode"] == "observe", "it is in mode {}", status["mode"]);
    let interfaces = status["interfaces"].as_array().context("status has no interfaces")?;
    ensure!(
        interfaces.len() == 1 && interfaces[0]["name"] == *host.interface && interfaces[0]["attached"] == true,
        "it guards {interfaces:?} and not {}",
        host.interface
    );
    ensure!(interfaces[0]["egress"] != "none", "what leaves is not seen: {interfaces:?}");
    let Answered { sent, received } = answered;
    ensure!(received > 0, "{GUEST} answered none of {sent} pings");
    Ok(format!(
        "observes on {} as user scanguard, egress {}; {} of {sent} pings lost while it was installed",
        host.interface,
        interfaces[0]["egress"],
        answered.lost()
    ))
}

/// The driver runs the program, which both `status` and the kernel say.
pub(super) fn native(host: &mut Host<'_>) -> Result<String> {
    let status = host.healthy()?;
    let mode = &status["interfaces"][0]["driver_mode"];
    let (attached, id) = host.xdp()?.context("no XDP program is on the interface")?;
    ensure!(mode == "native" && attached == "native", "status says {mode}, the kernel {attached}");
    Ok(format!("native, program {id}, without anything configured (attach = \"auto\")"))
}

/// systemd's rating of the unit.
pub(super) fn exposure(host: &mut Host<'_>) -> Result<String> {
    let said = host.guest.sh("systemd-analyze security --no-pager --threshold=20 scanguard.service | tail -1")?;
    let level = said.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let level = level.with_context(|| format!("systemd-analyze said: {said}"))?;
    ensure!(level <= 2.0, "systemd-analyze security rates it {level}, more than 2.0");
    Ok(format!("{level} (of 10; lower is better)"))
}
