//! Scans by nmap while customers browse.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::proof::{SCENE, proving};
use super::{Scenario, rows, scan};
use crate::lab::Lab;
use crate::lab::netns::Netns;
use crate::lab::plan::{EDGE, EDGE6, SCANNED, SCANNED_FEW, SCANNED_UDP, UPLINK};
use crate::lab::process::Finished;
use crate::lab::stage::Scene;
use crate::lab::tools::Tool;

/// A fast scan of half-open connections: what comparisons start from.
pub(super) const SYN: Scenario = Scenario {
    name: "syn",
    about: "nmap -sS of 1,000 ports at full speed while customers browse",
    play: |setup| scan(setup, "syn", &Scene::USUAL, |lab| nmap_syn(&lab.scanner).map(drop)),
};

/// Below the rates that meters look at.
pub(super) const SLOW: Scenario = Scenario {
    name: "slow",
    about: "nmap -sS of 200 ports, 10 a second",
    play: |setup| {
        scan(setup, "slow", &Scene::USUAL, |lab| {
            // Retries would be as slow: the scan would take as long again for each.
            let pace = ["--min-rate", "10", "--max-rate", "10", "--max-retries", "0"];
            nmap(&lab.scanner, &[&["-sS", "-p", SCANNED_FEW], &pace[..]].concat(), &EDGE.to_string()).map(drop)
        })
    },
};

/// What nmap does without privileges: whole connections, by its kernel.
pub(super) const CONNECT: Scenario = Scenario {
    name: "connect",
    about: "nmap -sT of 1,000 ports, with challenges",
    play: |setup| proving(setup, "connect", &SCENE, nmap_connect),
};

/// Segments that belong to no connection: filters that look for SYNs alone do not see them.
pub(super) const STEALTH: Scenario = Scenario {
    name: "stealth",
    about: "nmap -sF, -sN, -sX, -sM, -sW and -sA, each of 200 ports",
    play: |setup| {
        rows(setup, "stealth", &["-sF", "-sN", "-sX", "-sM", "-sW", "-sA"], |setup, kind| {
            scan(setup, kind, &BRIEF, |lab| {
                let arguments = [kind, "-p", SCANNED_FEW, "--max-retries", "1"];
                nmap(&lab.scanner, &[&arguments[..], &AT_LEAST].concat(), &EDGE.to_string()).map(drop)
            })
        })
    },
};

/// SYNs in pieces, of which the first may be too small for the flags.
pub(super) const FRAGMENTS: Scenario = Scenario {
    name: "fragments",
    about: "nmap -sS of 200 ports in fragments of 8 bytes (-f, --mtu 8) and of 16 (-ff)",
    play: |setup| {
        rows(setup, "fragments", &["-f", "--mtu 8", "-ff"], |setup, kind| {
            scan(setup, kind, &BRIEF, |lab| {
                let kind: Vec<&str> = kind.split(' ').collect();
                let arguments = ["-sS", "-p", SCANNED_FEW, "--max-retries", "1"];
                nmap(&lab.scanner, &[&kind, &arguments[..], &AT_LEAST].concat(), &EDGE.to_string()).map(drop)
            })
        })
    },
};

/// Datagrams to closed ports, which the stack answers by ICMP.
pub(super) const UDP: Scenario = Scenario {
    name: "udp",
    about: "nmap -sU of 100 closed ports",
    play: |setup| {
        // Otherwise the kernel answers one a second, which protects better than any filter, but not on every system.
        let unlimited = Scene { prepare: |lab| lab.edge.sysctl(&[("ipv4/icmp_ratemask", "0")]), ..Scene::USUAL };
        scan(setup, "udp", &unlimited, |lab| {
            let arguments = ["-sU", "-p", SCANNED_UDP, "--max-retries", "1"];
            nmap(&lab.scanner, &[&arguments[..], &AT_LEAST].concat(), &EDGE.to_string()).map(drop)
        })
    },
};

/// The fast scan over IPv6.
pub(super) const IPV6: Scenario = Scenario {
    name: "ipv6",
    about: "nmap -6 -sS of 1,000 ports at full speed",
    play: |setup| {
        scan(setup, "ipv6", &Scene::USUAL, |lab| {
            nmap(&lab.scanner, &[&["-6", "-sS", "-p", SCANNED], &AT_LEAST[..]].concat(), &EDGE6.to_string()).map(drop)
        })
    },
};

/// Once answers stop coming, nmap's congestion control falls to 10 probes a second, and the rest of a thousand takes
/// minutes. This is no slower than what it does by itself while answers come.
pub(super) const AT_LEAST: [&str; 2] = ["--min-rate", "300"];
/// One of several variants.
const BRIEF: Scene = Scene { pace: Duration::from_millis(250), least_rounds: 4, ..Scene::USUAL };
const LIMIT: Duration = Duration::from_secs(60);

/// The scan: SYNs to [`SCANNED`] in numerical order, without name lookups, pings or shuffling.
///
/// # Errors
/// When nmap is missing, fails or does not end.
pub fn nmap_syn(scanner: &Netns) -> Result<(String, Finished)> {
    nmap(scanner, &[&AT_LEAST[..], &["-sS", "-p", SCANNED]].concat(), &EDGE.to_string())
}

/// The scan by whole connections.
pub(super) fn nmap_connect(lab: &Lab) -> Result<()> {
    let arguments = ["-sT", "-p", SCANNED, "--max-retries", "1", "--max-rtt-timeout", "100ms"];
    nmap(&lab.scanner, &[&arguments[..], &AT_LEAST].concat(), &EDGE.to_string()).map(drop)
}

/// The scan by whole connections of nmap's own 1,000 ports in its own order, from an address of `host`. How it waits is said, because by
/// itself it takes minutes where answers stop.
///
/// # Errors
/// When nmap is missing, fails or does not end.
pub fn nmap_default(host: &Netns, from: Ipv4Addr) -> Result<(String, Finished)> {
    let (from, edge) = (from.to_string(), EDGE.to_string());
    let shown = ["-n", "-Pn", "-T4", "-sT", "--max-retries", "1", AT_LEAST[0], AT_LEAST[1], &edge];
    let arguments = [&shown[..shown.len() - 1], &["-S", &from, "-e", UPLINK, &edge]].concat();
    let finished = Tool::Nmap.run(host, &arguments, LIMIT)?.success("nmap")?;
    Ok((format!("nmap {}", shown.join(" ")), finished))
}

/// The command line as a person would type it, and what came of it.
pub(super) fn nmap(scanner: &Netns, arguments: &[&str], target: &str) -> Result<(String, Finished)> {
    let arguments = [&["-n", "-Pn", "-r", "-T4"], arguments, &[target]].concat();
    let finished = Tool::Nmap.run(scanner, &arguments, LIMIT)?.success("nmap")?;
    Ok((format!("nmap {}", arguments.join(" ")), finished))
}
