//! Every kind of scan that the usual tools know, each against a defender that has seen nothing yet: after how many probes
//! is it concealed, if at all? `docs/detection.md` has the table.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::nmap::{AT_LEAST, nmap};
use super::raw::{hping3, masscan, zmap};
use super::{Scenario, rows, scan};
use crate::lab::Lab;
use crate::lab::plan::{EDGE, EDGE_MORE, EDGE6};
use crate::lab::stage::Scene;
use crate::lab::tools::Tool;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "kinds",
    about: "every kind of scan of nmap, masscan, zmap and hping3, each against a fresh edge",
    play: |setup| rows(setup, "kinds", KINDS, |setup, kind| scan(setup, kind, &SCENE, |lab| run(lab, kind))),
};

/// What a person would type, without what only this network and its speed need. `EDGE`, `EDGE6` and `EDGES` stand for the
/// edge's addresses.
const KINDS: &[&str] = &[
    "nmap -sS -p 1-40,80 EDGE",
    "nmap -sT -p 1-40,80 EDGE",
    "nmap -sA -p 1-40 EDGE",
    "nmap -sW -p 1-40 EDGE",
    "nmap -sM -p 1-40 EDGE",
    "nmap -sN -p 1-40 EDGE",
    "nmap -sF -p 1-40 EDGE",
    "nmap -sX -p 1-40 EDGE",
    "nmap -sS --scanflags SYNFIN -p 1-40 EDGE",
    "nmap -sS --scanflags SYNRST -p 1-40 EDGE",
    "nmap -sS --scanflags PSH -p 1-40 EDGE",
    "nmap -sU -p 1-40 EDGE",
    "nmap -sO -p 100-139 EDGE",
    "nmap -sY -p 1-40 EDGE",
    "nmap -sZ -p 1-40 EDGE",
    "nmap -sV --version-intensity 0 -p 1-40,80 EDGE",
    "nmap -O --max-os-tries 1 -p 1,80 EDGE",
    "nmap -sS -f -p 1-40 EDGE",
    "nmap -sS --mtu 8 -p 1-40 EDGE",
    "nmap -sS -ff -p 1-40 EDGE",
    "nmap -sS -D 100.64.7.7,100.64.8.8,ME -p 1-40 EDGE",
    "nmap -sS -g 53 -p 1-40 EDGE",
    "nmap -sU -g 53 -p 1-40 EDGE",
    "nmap -sU -g 53 -p 1025-1064 EDGE",
    "nmap -sS -p 40000-40039 EDGE",
    "nmap -sU -p 40000-40039 EDGE",
    "nmap -sA -p 40000-40039 EDGE",
    "nmap -sS --badsum -p 1-40 EDGE",
    "nmap -sS --data-length 20 -p 1-40 EDGE",
    "nmap -6 -sS -p 1-40,80 EDGE6",
    "nmap -6 -sU -p 1-40 EDGE6",
    "nmap -sS -p 22,3306,5432,6379,9200 EDGE",
    "nmap -sS -p 25,110,143,465,587,993,995,8080,8443 EDGE",
    "nmap -sn -PE EDGES",
    "nmap -sn -PP EDGES",
    "nmap -sn -PM EDGES",
    "masscan -p 1-40,80 EDGE",
    "masscan --banners -p 1-40,80 EDGE",
    "masscan -pU:1-40 EDGE",
    "zmap -M tcp_synscan -p 23 EDGES",
    "zmap -M tcp_synscan -p 23 EDGE",
    "zmap -M udp -p 161 EDGES",
    "zmap -M icmp_echoscan EDGES",
    "hping3 -S -p ++1 EDGE",
    "hping3 -A -p ++1 EDGE",
    "hping3 -F -p ++1 EDGE",
    "hping3 -X -p ++1 EDGE",
    "hping3 -Y -p ++1 EDGE",
    "hping3 -p ++1 EDGE",
    "hping3 -2 -p ++1 EDGE",
    "hping3 -1 EDGE",
    "hping3 -0 -H 200 EDGE",
    "hping3 --scan 1-40 -S EDGE",
];

/// As after the first minutes of a daemon, which by then knows what left.
const CONFIG: &str = "[ports]\nlearning = \"0s\"\n";

/// Two customers, who make sure that nobody else is hurt; what takes time here is the scan.
const SCENE: Scene =
    Scene { customers: 2, pace: Duration::from_millis(100), least_rounds: 2, config: CONFIG, without: &[], prepare };

const LIMIT: Duration = Duration::from_secs(60);

fn prepare(lab: &Lab) -> Result<()> {
    // Otherwise the kernel answers one datagram a second: it would be the kernel that hides ports, not the defender.
    lab.edge.sysctl(&[("ipv4/icmp_ratemask", "0")])?;
    lab.add_edge_addresses()
}

fn run(lab: &Lab, kind: &str) -> Result<()> {
    let (edge, edge6) = (EDGE.to_string(), EDGE6.to_string());
    let place = |word| match word {
        "EDGE" => &edge,
        "EDGE6" => &edge6,
        "EDGES" => EDGE_MORE,
        word => word,
    };
    let words: Vec<&str> = kind.split(' ').map(place).collect();
    let [tool, arguments @ .., target] = &words[..] else { bail!("a kind is a tool, what it does, and to whom") };
    match *tool {
        // -Pn, as all other scans have it, would leave nothing of it.
        "nmap" if arguments.contains(&"-sn") => {
            let arguments = [&["-n", "-T4"], arguments, &[target]].concat();
            Tool::Nmap.run(&lab.scanner, arguments, LIMIT)?.success("nmap").map(drop)
        }
        "nmap" => {
            let patience = ["--max-retries", "1", "--max-rtt-timeout", "100ms"];
            nmap(&lab.scanner, &[arguments, &patience, &AT_LEAST].concat(), target).map(drop)
        }
        "masscan" => masscan(lab, &words[1..]),
        "zmap" => zmap(lab, &words[1..]),
        "hping3" if arguments.contains(&"--scan") => hping3(lab, &words[1..]),
        "hping3" => hping3(lab, &[&["-i", "u3300", "-c", "40"], &words[1..]].concat()),
        tool => bail!("no kind of scan is run with {tool}"),
    }
    .with_context(|| format!("cannot run {kind}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_names_its_tool_and_ends_with_its_target_and_none_comes_twice() {
        for kind in KINDS {
            let words: Vec<&str> = kind.split(' ').collect();
            assert!(["nmap", "masscan", "zmap", "hping3"].contains(&words[0]), "{kind}");
            assert!(["EDGE", "EDGE6", "EDGES"].contains(&words[words.len() - 1]), "{kind}");
        }
        assert_eq!(KINDS.iter().collect::<BTreeSet<_>>().len(), KINDS.len());
    }
}
