//! The recipe for nftables that is handed around: a meter of new connections per source, and a set of who exceeded it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Judgement;
use crate::lab::netns::Netns;
use crate::lab::plan::role;
use crate::lab::process::{Running, in_memory};
use crate::lab::report::Verdict;
use crate::lab::tools::Tool;

const LIMIT: Duration = Duration::from_secs(10);
const SETS: [&str; 2] = ["blocked4", "blocked6"];

const RULES: &str = "
table inet guard {
    set blocked4 { type ipv4_addr; flags dynamic,timeout; timeout 10m; size 65536; }
    set blocked6 { type ipv6_addr; flags dynamic,timeout; timeout 10m; size 65536; }
    set meter4 { type ipv4_addr; flags dynamic,timeout; timeout 1m; size 65536; }
    set meter6 { type ipv6_addr; flags dynamic,timeout; timeout 1m; size 65536; }
    chain input {
        type filter hook input priority filter; policy accept;
        ip saddr @blocked4 drop
        ip6 saddr @blocked6 drop
        tcp flags & (fin | syn | rst | ack) == syn jump new
    }
    chain new {
        add @meter4 { ip saddr limit rate over 20/second burst 50 packets } add @blocked4 { ip saddr } drop
        add @meter6 { ip6 saddr limit rate over 20/second burst 50 packets } add @blocked6 { ip6 saddr } drop
    }
}
";

pub(super) fn install(edge: &Netns) -> Result<()> {
    let mut command = Tool::Nft.command(edge)?;
    command.args(["-f", "-"]);
    Running::start_reading(command, in_memory("nft", RULES)?)?.wait(LIMIT)?.success("nft -f")?;
    Ok(())
}

pub(super) fn judgement(edge: &Netns) -> Result<Judgement> {
    let mut verdicts = Vec::new();
    for set in SETS {
        let listed = Tool::Nft.run(edge, ["-j", "list", "set", "inet", "guard", set], LIMIT)?.success("nft list")?;
        let listed: Value = serde_json::from_str(&listed.stdout).context("cannot read the output of nft -j")?;
        let sets =
            listed["nftables"].as_array().into_iter().flatten().filter_map(|entry| entry["set"]["elem"].as_array());
        for element in sets.flatten() {
            let address = element["elem"]["val"].as_str().context("nft lists an element without an address")?;
            verdicts.push(Verdict {
                source: address.to_owned(),
                role: role(address.parse::<IpAddr>().with_context(|| format!("nft lists {address}"))?),
                level: "block".to_owned(),
                scope: Some("all".to_owned()),
                reason: Some("meter".to_owned()),
                after_ms: None,
            });
        }
    }
    Ok(Judgement { verdicts, counted: None })
}
