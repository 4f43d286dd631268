//! Scanners that write their packets themselves and remember nothing of what they sent.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Scenario, scan};
use crate::lab::Lab;
use crate::lab::plan::{EDGE, EDGE_MORE, SCANNED, SCANNER, SWEPT, UPLINK};
use crate::lab::process::Running;
use crate::lab::stage::Scene;
use crate::lab::tools::Tool;
use crate::lab::wait::wait_until;

const LIMIT: Duration = Duration::from_secs(30);
/// A port where nothing is expected to answer.
const DISCARD: u16 = 9;

/// All ports of one address, in masscan's own order.
pub(super) const MASSCAN: Scenario = Scenario {
    name: "masscan",
    about: "masscan of 1,000 ports, 1,000 packets a second, in its shuffled order",
    play: |setup| {
        // With its seed the first listener is the 19th port asked for, and the first restricted one the 123rd.
        scan(setup, "masscan", &Scene::USUAL, |lab| masscan(lab, &["-p", SCANNED, &EDGE.to_string()]))
    },
};

/// One port of many addresses: what zmap is made for.
pub(super) const ZMAP: Scenario = Scenario {
    name: "zmap",
    about: "zmap of one closed port on 64 addresses of the edge",
    play: |setup| {
        let many_addresses = Scene { prepare: |lab| lab.add_edge_addresses(), ..Scene::USUAL };
        scan(setup, "zmap", &many_addresses, |lab| zmap(lab, &["-p", &SWEPT.to_string(), EDGE_MORE]))
    },
};

/// A crafter of packets, counting ports up.
pub(super) const HPING3: Scenario = Scenario {
    name: "hping3",
    about: "hping3 -S of 300 ports, 300 a second",
    play: |setup| {
        scan(setup, "hping3", &Scene::USUAL, |lab| {
            hping3(lab, &["-S", "-p", "++1", "-i", "u3300", "-c", "300", &EDGE.to_string()])
        })
    },
};

/// masscan with these arguments, always in the same order.
pub(super) fn masscan(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let (gateway, from) = (lab.scanner_gateway()?, SCANNER.to_string());
    let order = ["--seed", "1", "--rate", "1000", "--wait", "1"];
    let link = ["-e", UPLINK, "--adapter-ip", &from, "--router-mac", &gateway];
    let mut masscan = Tool::Masscan.command(&lab.scanner)?;
    masscan.args(order).args(link).args(arguments);
    let mut masscan = Running::start(masscan)?;
    // It looks at the time when a packet arrives: on a link as silent as ours it would never end.
    let noise = lab.router.run(|| UdpSocket::bind("0.0.0.0:0"))?.context("cannot have a socket")?;
    wait_until("masscan to end", LIMIT, || {
        noise.send_to(b"noise", (SCANNER, DISCARD)).context("cannot send to the scanner")?;
        Ok(masscan.exited()?.is_some())
    })?;
    masscan.wait(LIMIT)?.success("masscan").map(drop)
}

/// zmap with these arguments, always in the same order.
pub(super) fn zmap(lab: &Lab, arguments: &[&str]) -> Result<()> {
    let (gateway, from) = (lab.scanner_gateway()?, SCANNER.to_string());
    // Its usual list of networks to leave out has those of this laboratory.
    let networks = ["-C", "/dev/null", "-b", "/dev/null"];
    let order = ["--seed=1", "--sender-threads=1", "--rate=100", "--cooldown-time=1"];
    let link = ["-i", UPLINK, "-S", &from, "-G", &gateway];
    let output = ["--output-file=/dev/null", "--quiet", "--disable-syslog"];
    let arguments = [&order[..], &link, &output, &networks, arguments].concat();
    Tool::Zmap.run(&lab.scanner, arguments, LIMIT)?.success("zmap").map(drop)
}

/// hping3 with these arguments. It exits with 1 when a probe had no answer, which is no error here.
pub(super) fn hping3(lab: &Lab, arguments: &[&str]) -> Result<()> {
    Tool::Hping3.run(&lab.scanner, [&["-n", "-q", "-I", UPLINK], arguments].concat(), LIMIT).map(drop)
}
