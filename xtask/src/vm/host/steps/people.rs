//! Guessers beside fail2ban, and those who work there.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::super::run::wait_for;
use super::super::wire::{ADMIN, COLLEAGUE, guesser};
use super::Host;

/// Both bans: in nftables by fail2ban's own action, and by ours. The package brings the action; a mere reload adds none to a jail.
const JAIL: &str = "printf '[sshd]\\naction = %%(action_)s\\n         scanguard\\n' > /etc/fail2ban/jail.d/sshd.local && \
                    fail2ban-client reload --restart sshd";

/// Every guesser is banned by fail2ban and known to scanguard; nobody else is acted on.
pub(super) fn guessers(host: &mut Host<'_>) -> Result<String> {
    const AT_A_TIME: usize = 6;
    const LIMIT: Duration = Duration::from_secs(120);
    host.guest.sh("test -e /etc/fail2ban/action.d/scanguard.conf")?;
    host.guest.sh(JAIL)?;
    let all: Vec<Ipv4Addr> = (0..host.form.guessers()).map(guesser).collect();
    host.outside.guess(&all, AT_A_TIME)?;
    let guest = &host.guest;
    wait_for("a ban of every guesser by fail2ban", LIMIT, || {
        missing(&all, &guest.sh("fail2ban-client get sshd banip")?)
    })?;
    wait_for("a ban of every guesser in nftables", LIMIT, || missing(&all, &guest.sh("nft list ruleset")?))?;
    let blocks = wait_for("a block of every guesser", LIMIT, || {
        let list = guest.json("block list")?;
        let prefixes = prefixes(&list);
        missing(&all, &prefixes.join("\n"))?;
        Ok(list)
    })?;
    for ours in [ADMIN, COLLEAGUE] {
        ensure!(!prefixes(&blocks).contains(&ours.to_string()), "{ours} is blocked");
        let why = guest.json(&format!("why {ours}"))?;
        ensure!(why["verdict"]["level"] == "none", "{ours} is acted on: {}", why["verdict"]);
    }
    host.healthy()?;
    let automatic = blocks["entries"]
        .as_array()
        .map_or(0, |entries| entries.iter().filter(|entry| entry["scope"] == "private").count());
    Ok(format!(
        "{} guessers banned by fail2ban in nftables; {automatic} blocked from private ports by scanguard",
        all.len()
    ))
}

/// Who works here gets in, listed or not, from a new connection.
pub(super) fn logins(host: &mut Host<'_>) -> Result<String> {
    for from in [ADMIN, COLLEAGUE] {
        host.outside.login(from, "true")?;
        ensure!(host.outside.browses(from)?, "{from} gets no page");
    }
    let why = host.guest.json(&format!("why {COLLEAGUE}"))?;
    ensure!(why["verdict"]["level"] == "none", "{COLLEAGUE} is acted on: {}", why["verdict"]);
    Ok(format!("{ADMIN} (on the allowlist) and {COLLEAGUE} (on no list) log in by key"))
}

fn prefixes(list: &serde_json::Value) -> Vec<String> {
    let entries = list["entries"].as_array().map_or(&[][..], Vec::as_slice);
    let prefix = |entry: &serde_json::Value| Some(entry["source"].as_str()?.trim_end_matches("/32").to_owned());
    entries.iter().filter_map(prefix).collect()
}

/// An error that names who is not in a text.
fn missing(all: &[Ipv4Addr], text: &str) -> Result<()> {
    let is_there = |address: &Ipv4Addr| {
        let name = address.to_string();
        text.split(|char: char| !char.is_ascii_digit() && char != '.').any(|word| word == name)
    };
    let missing: Vec<String> = all.iter().filter(|address| !is_there(address)).map(Ipv4Addr::to_string).collect();
    let first = missing.first();
    first
        .map_or(Ok(()), |first| Err(anyhow::anyhow!("{} of {} are missing: {first}", missing.len(), all.len())))
        .context("not all of them")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_not_found_within_another() {
        let all = [guesser(0), guesser(9)];
        assert!(missing(&all, "203.0.113.1, 203.0.113.10").is_ok());
        let error = missing(&all, "{ 203.0.113.10, 203.0.113.100 }").expect_err("one is missing");
        assert!(format!("{error:#}").contains("1 of 2 are missing: 203.0.113.1"), "{error:#}");
    }
}
