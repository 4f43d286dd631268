//! Somebody who writes his packets himself, sees every answer, and goes on accordingly.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::super::listeners::Listeners;
use super::probes::Probe;
use crate::lab::Lab;
use crate::lab::craft::{self, SYN, TCP, UDP};
use crate::lab::defender::Daemon;
use crate::lab::plan::{EDGE, EDGE6, PUBLIC, RESTRICTED, is_open};
use crate::lab::report::Claim;
use crate::lab::stage::Stage;
use crate::lab::wait::patiently;
use crate::lab::wire::{Answer, Says, Tap, read_answer};

/// Closed ports that are asked for, TCP and UDP: 298 of them, as in the attacks that this began with.
pub(super) const CLOSED: std::ops::Range<u16> = 1_000..1_298;
/// Further restricted ports, TCP and UDP, on which something listens.
pub(super) const MORE_RESTRICTED: std::ops::Range<u16> = 6_100..6_120;
/// A UDP service for everybody.
pub(super) const PUBLIC_UDP: u16 = 8_100;
/// Closed ports that nobody asks for but to become a suspect.
const ACCUSING: u16 = 1_500;

/// Who is on the allowlist, to see that all that was sent before has been judged.
const SENTINEL: IpAddr = IpAddr::V4(Ipv4Addr::new(99, 99, 99, 99));
/// Services of threads have answered by then.
const SILENCE: Duration = Duration::from_millis(8);
const LIMIT: Duration = Duration::from_secs(30);

/// What all rows have in their configuration, without tables.
pub(super) const BASE: &str = "allow = [\"99.99.99.99\"]\n";
/// As above, the tables.
pub(super) const TABLES: &str =
    "[ports]\nlearning = \"0s\"\nrestricted = [\"default\", \"6100-6119\", \"6100-6119/udp\"]\n";

/// What ports answered, each with all that it said.
#[derive(Clone, Debug, Default)]
pub(super) struct Learnt {
    said: BTreeMap<u16, BTreeSet<Says>>,
    asked: BTreeSet<u16>,
    /// The closed port that was asked for last.
    last_closed: Option<u16>,
}

impl Learnt {
    pub(super) fn join(&mut self, other: Self) {
        let Self { said, asked, last_closed } = other;
        for (port, says) in said {
            self.said.entry(port).or_default().extend(says);
        }
        self.asked.extend(asked);
        self.last_closed = last_closed.or(self.last_closed);
    }

    pub(super) fn of(&self, port: u16) -> BTreeSet<Says> {
        self.said.get(&port).cloned().unwrap_or_default()
    }

    fn count(&self, mut which: impl FnMut(u16) -> bool) -> u64 {
        self.said.keys().filter(|port| which(**port)).count() as u64
    }

    /// Closed ports that answered.
    pub(super) fn closed(&self) -> u64 {
        self.count(is_closed)
    }

    /// Restricted ports that answered otherwise than the closed one that was asked for last: that one is hidden if
    /// any is.
    pub(super) fn restricted(&self) -> u64 {
        let hidden = self.last_closed.map(|port| self.of(port)).unwrap_or_default();
        let asked = self.asked.iter().filter(|port| is_restricted(**port));
        asked.filter(|port| self.of(**port) != hidden).count() as u64
    }

    /// What one of those said, and what the hidden one said.
    pub(super) fn difference(&self) -> Option<String> {
        let hidden = self.last_closed.map(|port| self.of(port)).unwrap_or_default();
        let text = |says: &BTreeSet<Says>| {
            let texts: Vec<String> = says.iter().map(Says::to_string).collect();
            if texts.is_empty() { "nothing".to_owned() } else { texts.join(" and ") }
        };
        let asked = self.asked.iter().filter(|port| is_restricted(**port));
        let port = asked.copied().find(|port| self.of(*port) != hidden)?;
        Some(format!("{port} {}, {} {}", text(&self.of(port)), self.last_closed.unwrap_or_default(), text(&hidden)))
    }

    /// Public ports that answered.
    pub(super) fn public(&self) -> u64 {
        self.count(|port| PUBLIC.contains(&port))
    }

    /// All that answered.
    pub(super) fn answered(&self) -> u64 {
        self.said.len() as u64
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked.len() as u64
    }
}

pub(super) fn is_restricted(port: u16) -> bool {
    RESTRICTED.contains(&port) || MORE_RESTRICTED.contains(&port)
}

pub(super) fn is_closed(port: u16) -> bool {
    !is_open(port) && !is_restricted(port) && port != PUBLIC_UDP
}

/// Ports in an order that mixes what is behind them once a few closed ones were asked for.
pub(super) fn mixed() -> Vec<u16> {
    let (first, rest) = (CLOSED.take(20), CLOSED.skip(20));
    let mut open = RESTRICTED.into_iter().chain(PUBLIC).chain(MORE_RESTRICTED.take(5));
    let mut ports: Vec<u16> = first.collect();
    for (position, port) in rest.enumerate() {
        ports.push(port);
        if position % 20 == 7 {
            ports.extend(open.next());
        }
    }
    ports.extend(open);
    // So that what is hidden is known in the end.
    ports.push(CLOSED.end);
    ports
}

/// The restricted ports among those.
pub(super) fn few_restricted() -> Vec<u16> {
    RESTRICTED.into_iter().chain(MORE_RESTRICTED.take(5)).collect()
}

/// What a row claims, with what it found.
pub(super) fn claims(found: &[(&str, u64, u64)]) -> Vec<Claim> {
    found
        .iter()
        .map(|(what, most, measured)| Claim { what: (*what).to_owned(), most: *most, measured: *measured })
        .collect()
}

/// Failed contacts that are answered before suspicion, and one more: two of them may fall together in the set of 256
/// bits, whose key is another one each time (docs/detection.md).
pub(super) const THREE: u64 = 3 + 1;
/// The same of restricted ports, each worth half as much.
pub(super) const SIX: u64 = 6 + 1;

/// The usual claims about a scan by somebody whom nobody suspects yet.
pub(super) fn at_most_three(learnt: &Learnt) -> Vec<Claim> {
    claims(&[
        ("closed ports answered", THREE, learnt.closed()),
        ("restricted ports told apart", 0, learnt.restricted()),
    ])
}

/// The same for somebody who is a suspect, or blocked from private ports.
pub(super) fn nothing_hidden(learnt: &Learnt) -> Vec<Claim> {
    claims(&[("closed ports answered", 0, learnt.closed()), ("restricted ports told apart", 0, learnt.restricted())])
}

/// The attacker, on a stage with customers.
pub(super) struct Attacker<'a> {
    pub(super) stage: &'a Stage,
    pub(super) tap: Tap,
    pub(super) frames: u64,
    next_port: u16,
    _listeners: Listeners,
}

impl<'a> Attacker<'a> {
    pub(super) fn enter(stage: &'a Stage) -> Result<Self> {
        let ports = MORE_RESTRICTED.chain([PUBLIC_UDP]);
        let listeners = Listeners::start(&stage.lab.edge, ports)?;
        let tap = Tap::beside_edge(&stage.lab)?;
        let mut attacker = Self { stage, tap, frames: 0, next_port: 10_000, _listeners: listeners };
        attacker.settle(&mut |_| {})?;
        Ok(attacker)
    }

    pub(super) fn lab(&self) -> &Lab {
        &self.stage.lab
    }

    pub(super) fn daemon(&self) -> Option<&Daemon> {
        self.stage.guard.daemon()
    }

    /// A port to send from, another one each time.
    pub(super) fn own_port(&mut self) -> u16 {
        self.next_port = if self.next_port >= 60_000 { 10_000 } else { self.next_port + 1 };
        self.next_port
    }

    pub(super) fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.frames += 1;
        self.tap.send(frame)
    }

    /// Hands out what is answered until somebody who is always answered is, and then until all is silent.
    pub(super) fn settle(&mut self, hear: &mut dyn FnMut(Answer)) -> Result<()> {
        let port = self.own_port();
        let packet =
            craft::packet(SENTINEL, EDGE.into(), TCP, craft::tcp(port, 80, 1, 0, SYN, &craft::MSS_OPTION, &[]));
        let limit = Instant::now() + patiently(LIMIT);
        'asked: loop {
            self.tap.send_packet(&packet)?;
            let by = Instant::now() + patiently(Duration::from_millis(500));
            while let Some(frame) = self.tap.receive(by)? {
                let Some(answer) = read_answer(&frame) else { continue };
                if answer.to == SENTINEL {
                    if answer.asker == Some(port) {
                        break 'asked;
                    }
                    continue;
                }
                hear(answer);
            }
            ensure!(Instant::now() < limit, "the edge answers nobody any more");
        }
        self.listen(SILENCE, hear)
    }

    /// Hands out what is answered until nothing was for so long.
    pub(super) fn listen(&mut self, silence: Duration, hear: &mut dyn FnMut(Answer)) -> Result<()> {
        let mut by = Instant::now() + patiently(silence);
        while let Some(frame) = self.tap.receive(by)? {
            let Some(answer) = read_answer(&frame) else { continue };
            // Customers go on all the while.
            if answer.to == SENTINEL || crate::lab::plan::role(answer.to) == crate::lab::plan::Role::Customer {
                continue;
            }
            hear(answer);
            by = Instant::now() + patiently(silence);
        }
        Ok(())
    }

    /// Hands out what is answered within so long.
    pub(super) fn listen_for(&mut self, span: Duration, hear: &mut dyn FnMut(Answer)) -> Result<()> {
        self.wait_for(span, &mut |answer| {
            hear(answer);
            false
        })
    }

    /// The same until one is what was waited for.
    pub(super) fn wait_for(&mut self, span: Duration, is_it: &mut dyn FnMut(Answer) -> bool) -> Result<()> {
        let by = Instant::now() + patiently(span);
        while let Some(frame) = self.tap.receive(by)? {
            if read_answer(&frame).is_some_and(|answer| answer.to != SENTINEL && is_it(answer)) {
                break;
            }
        }
        Ok(())
    }

    /// Asks for each port, one packet or group of packets each, and tells what they answered.
    pub(super) fn sweep(
        &mut self,
        from: IpAddr,
        ports: impl IntoIterator<Item = u16>,
        write: &dyn Fn(&Probe) -> Vec<Vec<u8>>,
    ) -> Result<Learnt> {
        let to = if from.is_ipv4() { EDGE.into() } else { EDGE6.into() };
        self.sweep_to(from, to, ports, write)
    }

    /// The same of another address of the edge.
    pub(super) fn sweep_to(
        &mut self,
        from: IpAddr,
        to: IpAddr,
        ports: impl IntoIterator<Item = u16>,
        write: &dyn Fn(&Probe) -> Vec<Vec<u8>>,
    ) -> Result<Learnt> {
        let mut learnt = Learnt::default();
        let mut asked = HashMap::new();
        let mut heard: Vec<Answer> = Vec::new();
        for port in ports {
            let from_port = self.own_port();
            asked.insert(from_port, port);
            learnt.asked.insert(port);
            if is_closed(port) {
                learnt.last_closed = Some(port);
            }
            let probe = Probe { from, to, from_port, port, mac: self.tap.mac, peer: self.tap.peer };
            for frame in write(&probe) {
                self.send(&frame)?;
            }
        }
        self.settle(&mut |answer| heard.push(answer))?;
        for answer in heard.into_iter().filter(|answer| answer.to == from) {
            let port = match answer.asker {
                Some(from_port) => asked.get(&from_port).copied(),
                // An error that quotes too little; replies to pings are no answer to a question about a port.
                None if matches!(answer.says, Says::Error { .. }) && asked.len() == 1 => asked.values().next().copied(),
                None => None,
            };
            if let Some(port) = port {
                learnt.said.entry(port).or_default().insert(answer.says);
            }
        }
        Ok(learnt)
    }

    /// Everything that is sent to an address for these frames.
    pub(super) fn answers_to(&mut self, from: IpAddr, frames: &[Vec<u8>]) -> Result<Vec<Answer>> {
        for frame in frames {
            self.send(frame)?;
        }
        let mut heard = Vec::new();
        self.settle(&mut |answer| {
            if answer.to == from {
                heard.push(answer);
            }
        })?;
        Ok(heard)
    }

    /// Makes a suspect of an address, by as few SYNs as that takes and one more.
    pub(super) fn accuse(&mut self, from: IpAddr) -> Result<()> {
        self.sweep(from, ACCUSING..ACCUSING + 5, &super::probes::syn).map(drop)
    }

    /// Blocks an address.
    pub(super) fn block(&self, who: &str, scope: &str) -> Result<()> {
        self.cli(&["block", "add", who, "--scope", scope, "--for", "1h", "--force"])
    }

    /// A verb of the command line that must succeed, where there is a daemon.
    pub(super) fn cli(&self, words: &[&str]) -> Result<()> {
        let Some(daemon) = self.daemon() else { return Ok(()) };
        let what = words.join(" ");
        daemon.cli(words)?.success(&format!("scanguard {what}")).map(drop).context("the operator cannot do that")
    }

    /// Datagrams to ports of clients, which are worth nothing.
    pub(super) fn neutral_datagrams(&mut self, from: IpAddr, count: u16) -> Result<()> {
        let to: IpAddr = if from.is_ipv4() { EDGE.into() } else { EDGE6.into() };
        for number in 0..count {
            let packet = craft::packet(from, to, UDP, craft::udp(5_000, 32_768 + number, b"nothing"));
            let frame = self.tap.framed(&packet);
            self.send(&frame)?;
        }
        self.settle(&mut |_| {})
    }
}
