//! The driver that comes late, reboot, upgrade, remove, purge.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::super::run::wait_for;
use super::super::wire::BLOCKED;
use super::service::{carried_over, gone};
use super::{Host, OF_BPF};

const CONFIG: &str = "/etc/scanguard/scanguard.toml";
const START: Duration = Duration::from_secs(90);

/// At boot the driver comes late: it starts without the card, by whatever name the configuration has, says so, and guards it when it comes.
/// By a reboot: a driver that carries connections cannot always be taken away.
pub(super) fn late_card(host: &mut Host<'_>) -> Result<String> {
    const BLACKLIST: &str = "/etc/modprobe.d/late.conf";
    let interface = host.interface.clone();
    host.guest.sh(&format!("echo 'blacklist virtio_net' > {BLACKLIST}; sync"))?;
    host.reboot()?;
    for name in ["auto", interface.as_str()] {
        let guest = &host.guest;
        guest.sh(&format!("sed -i 's|^interfaces = .*|interfaces = [\"{name}\"]|' {CONFIG}"))?;
        if name != "auto" {
            guest.sh_within("systemctl restart scanguard", START).context("a restart without the card")?;
        }
        guest.wait("scanguard.service", START, "systemctl is-active scanguard").context(name.to_owned())?;
        let status = guest.json("status")?;
        let warnings = status["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        ensure!(
            warnings.iter().any(|warning| warning["code"] == "not_attached"),
            "interfaces = [\"{name}\"], and it does not say that it waits: {status}"
        );
    }
    host.guest.sh(&format!("rm {BLACKLIST}; modprobe virtio_net"))?;
    wait_for("the interface guarded", START, || {
        ensure!(host.xdp()?.is_some(), "no program is on {interface}");
        Ok(())
    })?;
    carried_over(host)?;
    Ok(format!(
        "booted without the card it waits (`not_attached`), for `auto` and for {interface}, and guards it when it comes"
    ))
}

/// After a reboot it is there by itself, with what was decided.
pub(super) fn reboot(host: &mut Host<'_>) -> Result<String> {
    host.reboot()?;
    let guest = &host.guest;
    guest.wait("the end of the boot", Duration::from_secs(180), "systemctl is-system-running --wait")?;
    ensure!(guest.property("ActiveState")? == "active", "the service is not active");
    carried_over(host)?;
    let restarts = host.guest.property("NRestarts")?;
    ensure!(restarts == "0", "it took {restarts} restarts");
    let (mode, _) = host.xdp()?.context("no XDP program is on the interface")?;
    Ok(format!("active by itself, {mode}, without a restart; {BLOCKED} is still blocked"))
}

/// The package once more: dpkg restarts the service, and there is no gap.
pub(super) fn reinstall(host: &mut Host<'_>) -> Result<String> {
    let before = host.guest.property("MainPID")?;
    let seen = super::service::without_gap(host, |host| {
        host.guest.sh_within("dpkg -i /root/scanguard.deb 2>&1", Duration::from_secs(240))?;
        super::service::wait_for_another(host, &before, START)
    })?;
    let config = host.guest.sh(&format!("grep -c 192.0.2.77 {CONFIG} || true"))?;
    ensure!(config == "1", "the configuration was overwritten");
    carried_over(host)?;
    Ok(format!("the configuration is kept; {}", seen.detail()))
}

/// Removed: stopped and detached. The configuration and the state stay.
pub(super) fn remove(host: &mut Host<'_>) -> Result<String> {
    host.guest.sh_within("DEBIAN_FRONTEND=noninteractive apt-get remove -y scanguard 2>&1", START)?;
    gone(host)?;
    ensure!(host.outside.browses(BLOCKED)?, "{BLOCKED} is still blocked");
    let unit = host.guest.said("systemctl is-active scanguard")?;
    ensure!(unit.out != "active", "the unit is {}", unit.out);
    host.guest
        .sh(&format!("test -e {CONFIG} && test -e /var/lib/scanguard/state.db && ! test -e /usr/bin/scanguard"))?;
    Ok("stopped and detached; configuration and state are kept".to_owned())
}

/// Purged: nothing is left.
pub(super) fn purge(host: &mut Host<'_>) -> Result<String> {
    let guest = &host.guest;
    guest.sh_within("DEBIAN_FRONTEND=noninteractive apt-get purge -y scanguard 2>&1", START)?;
    let files = guest
        .sh("find / -xdev \\( -path /proc -o -path /sys -o -path /root -o -path /var/log/journal \\) -prune -o \
         -iname '*scanguard*' -print; ls -d /run/scanguard* /sys/fs/bpf/scanguard* 2>/dev/null || true")?;
    ensure!(files.is_empty(), "files are left: {files}");
    let people = guest.sh("getent passwd scanguard; getent group scanguard; true")?;
    ensure!(people.is_empty(), "a user or group is left: {people}");
    let kernel = guest.sh(OF_BPF)?;
    ensure!(kernel.is_empty(), "the kernel still has: {kernel}");
    let failed = guest
        .sh("systemctl list-units --failed --plain --no-legend; systemctl list-unit-files | grep scanguard || true")?;
    ensure!(failed.is_empty(), "systemd still knows: {failed}");
    Ok("no files, user, group, units, maps, programs or links are left".to_owned())
}
