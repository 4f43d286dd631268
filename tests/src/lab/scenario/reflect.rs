//! Packets in the name of a victim, so that the answers go to him: how many, how long, and what he makes of them.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::proof::{SCENE, syn};
use super::{Scenario, rows};
use crate::lab::Lab;
use crate::lab::forge::{Forged, forge};
use crate::lab::netns::Netns;
use crate::lab::plan::{EDGE, is_open};
use crate::lab::process::{Running, in_memory};
use crate::lab::report::{Reflect, Report};
use crate::lab::stage::{Observations, Scene, Setup, Stage};
use crate::lab::tools::Tool;
use crate::lab::wire::What;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "reflect",
    about: "forged SYNs in the name of a victim with a real stack, without and with a firewall, and of 200 victims, with challenges",
    play: |setup| {
        let kinds = ["closed ports", "bare SYNs", "one closed port", "ssh", "behind a firewall", "200 victims"];
        rows(setup, "reflect", &kinds, |setup, kind| match kind {
            "bare SYNs" => reflect(setup, kind, &CALM, |number| Forged { bare: true, ..any_port(number) }),
            // Whoever resets what he did not ask for lets the same SYN pass, to a decoy or a service.
            "one closed port" => reflect(setup, kind, &CALM, |_| syn(victim(0), 9, 1)),
            "ssh" => reflect(setup, kind, &CALM, |_| syn(victim(0), 22, 1)),
            "behind a firewall" => reflect(setup, kind, &Scene { prepare: put_behind_firewall, ..CALM }, any_port),
            "200 victims" => many(setup, kind),
            _ => reflect(setup, kind, &CALM, any_port),
        })
    },
};

/// A few customers, who are not what this is about.
const CALM: Scene = Scene { customers: 2, least_rounds: 2, pace: Duration::from_millis(250), ..SCENE };
/// Packets a second in one victim's name, and in the names of many.
const RATE: u32 = 3_000;
const RATE_OF_MANY: u32 = 10_000;
/// For so many seconds, and in the short form.
const SECONDS: u32 = 5;
const SHORT_SECONDS: u32 = 1;
const VICTIMS: u8 = 200;
/// Suspects that arise a second: fewer than a storm takes.
const SUSPECTS_A_SECOND: u32 = 50;
/// The limits of answers to one source and to all: so many a second.
const TO_ONE: f64 = 8.0;
const TO_ALL: f64 = 1_000.0;
const LIMIT: Duration = Duration::from_secs(10);

/// A firewall that knows what its host asked for: what belongs to nothing is invalid or new, and goes no further.
const FIREWALL: &str = "
table inet victim {
    counter invalid { }
    chain input {
        type filter hook input priority filter; policy accept;
        ip daddr 198.18.0.7 ct state invalid counter name invalid drop
        ip daddr 198.18.0.7 ct state new drop
    }
}
";

/// Somebody out there, each in a network of his own.
const fn victim(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, number, 7)
}

/// Ports of which nothing is open, again and again: what an open one answers is not scanguard's doing.
fn any_port(number: u32) -> Forged {
    syn(victim(0), (number % 300 + 100) as u16, number)
}

/// What makes a victim a suspect. Without options, so that it is not challenged, whichever of them is the last that it takes.
fn accusing(number: u8, port: u16) -> Forged {
    Forged { bare: true, ..syn(victim(number), port, port.into()) }
}

fn put_behind_firewall(lab: &Lab) -> Result<()> {
    let mut command = Tool::Nft.command(&lab.customers)?;
    command.args(["-f", "-"]);
    Running::start_reading(command, in_memory("nft", FIREWALL)?)?.wait(LIMIT)?.success("nft -f").map(drop)
}

/// What the victim's firewall dropped as invalid, if he has one.
fn invalid(host: &Netns) -> Result<Option<u64>> {
    let listed = Tool::Nft.run(host, ["-j", "list", "counters"], LIMIT)?.success("nft list")?;
    let listed: Value = serde_json::from_str(&listed.stdout).context("cannot read the output of nft -j")?;
    let mut counters = listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["counter"]);
    Ok(counters.find(|counter| counter["name"] == "invalid").and_then(|counter| counter["packets"].as_u64()))
}

/// One kind of SYN in the name of the first victim.
fn reflect(setup: &Setup, name: &str, scene: &Scene, packet: impl Fn(u32) -> Forged + Sync + Send) -> Result<Report> {
    let seconds = if setup.full { SECONDS } else { SHORT_SECONDS };
    watch(setup, name, scene, 1, |lab| {
        // Four failures first, so that the rest is about what a suspect is answered.
        let accuse = (1..=4).map(|port| accusing(0, port));
        lab.scanner.run(|| forge(accuse.chain((0..RATE * seconds).map(packet)), RATE).map(drop))?
    })
}

/// As many victims as it takes for the limit of all answers together; each is a suspect before it begins.
fn many(setup: &Setup, name: &str) -> Result<Report> {
    let seconds = if setup.full { SECONDS } else { SHORT_SECONDS };
    watch(setup, name, &CALM, VICTIMS, |lab| {
        let accuse = (0..VICTIMS).flat_map(|number| (1..=4).map(move |port| accusing(number, port)));
        let flood = (0..RATE_OF_MANY * seconds).map(|number| syn(victim((number % u32::from(VICTIMS)) as u8), 9, 1));
        lab.scanner.run(|| {
            forge(accuse, 4 * SUSPECTS_A_SECOND)?;
            forge(flood, RATE_OF_MANY).map(drop)
        })?
    })
}

fn watch(
    setup: &Setup,
    name: &str,
    scene: &Scene,
    victims: u8,
    forge: impl FnOnce(&Lab) -> Result<()>,
) -> Result<Report> {
    let stage = Stage::set(setup, scene)?;
    forge(&stage.lab)?;
    let dropped = invalid(&stage.lab.customers)?;
    let observations = stage.calm()?.close(setup)?;
    let mut report = observations.report(name, setup.defender);
    let victims: HashSet<IpAddr> = (0..victims).map(|number| victim(number).into()).collect();
    report.special.reflect = Some(Reflect { victim_invalid: dropped, ..count(&observations, &victims) });
    Ok(report)
}

/// What went in and out in the victims' names on the edge's link.
fn count(observations: &Observations, victims: &HashSet<IpAddr>) -> Reflect {
    let mut counted = Reflect::default();
    // What a stack would acknowledge: from whom, from which port, to which port, the number behind the SYN's.
    let mut asked = HashSet::new();
    let (mut begun, mut to_all, mut to_one) = (None, Bucket::of(TO_ALL), HashMap::new());
    for packet in &observations.at_edge {
        let What::Tcp(segment) = packet.what else { continue };
        if victims.contains(&packet.source) && segment.syn {
            begun.get_or_insert(packet.at);
            asked.insert((
                packet.source,
                segment.source_port,
                segment.destination_port,
                segment.sequence.wrapping_add(1),
            ));
            counted.packets_in += 1;
            counted.bytes_in += u64::from(packet.bytes);
        } else if victims.contains(&packet.source) && segment.rst {
            counted.victim_resets += 1;
        } else if packet.source == IpAddr::from(EDGE) && victims.contains(&packet.destination) {
            counted.packets_out += 1;
            counted.bytes_out += u64::from(packet.bytes);
            let (port, by) = (segment.source_port, segment.destination_port);
            let is_stack = is_open(port) && asked.contains(&(packet.destination, by, port, segment.acknowledgement));
            if segment.syn && !is_stack {
                counted.answers += 1;
                let since = packet.at.saturating_sub(begun.unwrap_or(packet.at));
                counted.answers_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
                to_all.fill(packet.at);
                to_one.entry(packet.destination).or_insert_with(|| Bucket::of(TO_ONE)).fill(packet.at);
            }
        }
    }
    counted.burst_to_all = to_all.most.ceil() as u64;
    counted.burst_to_one = to_one.values().map(|bucket| bucket.most).fold(0.0, f64::max).ceil() as u64;
    counted
}

/// A bucket that leaks at a rate: the most that was ever in it is the burst beyond that rate.
struct Bucket {
    rate: f64,
    level: f64,
    most: f64,
    at: Duration,
}

impl Bucket {
    const fn of(rate: f64) -> Self {
        Self { rate, level: 0.0, most: 0.0, at: Duration::ZERO }
    }

    fn fill(&mut self, at: Duration) {
        let leaked = at.saturating_sub(self.at).as_secs_f64() * self.rate;
        (self.level, self.at) = ((self.level - leaked).max(0.0) + 1.0, at);
        self.most = self.most.max(self.level);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_tells_the_burst_beyond_a_rate() {
        let mut bucket = Bucket::of(10.0);
        for tick in 0..100 {
            bucket.fill(Duration::from_millis(100 * tick));
        }
        assert!(bucket.most < 1.01, "{}", bucket.most);
        for _ in 0..5 {
            bucket.fill(Duration::from_secs(20));
        }
        assert!((4.99..5.01).contains(&bucket.most), "{}", bucket.most);
    }
}
