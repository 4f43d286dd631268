//! A scan by somebody who meets the retry challenges but completes nothing: what a port answers then is all that it
//! takes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::attacker::{Attacker, CLOSED, claims, few_restricted};
use super::{Found, rows};
use crate::lab::craft::{self, LINUX_OPTIONS, RST, SYN, TCP};
use crate::lab::plan::EDGE;
use crate::lab::report::Scanner;
use crate::lab::stage::Setup;
use crate::lab::wait::patiently;
use crate::lab::wire::{Answer, Says};

/// From one port to the next: three retries a second are what one source gets.
const PACE: Duration = Duration::from_millis(350);
/// How long an answer may take; nothing is between the two.
const PATIENCE: Duration = Duration::from_millis(60);
/// A stack that gets no ACK says it again after a second (RFC 6298 section 2.1).
const AGAIN: Duration = Duration::from_millis(1_300);
/// Restricted ports of which an hour tells.
const TWO: u64 = 2;

/// With the options of Linux.
pub(super) fn run(attacker: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    scan(attacker, &LINUX_OPTIONS)
}

/// Without options: nothing that an answer could do without.
pub(super) fn bare(attacker: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    scan(attacker, &[])
}

/// What the answer to the second SYN looks like, numbers and times aside.
fn look(answer: &Answer) -> String {
    let packet = &answer.packet;
    let header = usize::from(packet[0] & 15) * 4;
    let segment = &packet[header..];
    // What an option says is another matter from connection to connection; which there are is not.
    let mut kinds = Vec::new();
    let mut options = &segment[20..usize::from(segment[12] >> 4) * 4];
    while let Some(kind) = options.first() {
        kinds.push(kind.to_string());
        let length = if *kind < 2 { 1 } else { usize::from(options.get(1).copied().unwrap_or(1)).max(1) };
        options = options.get(length..).unwrap_or_default();
    }
    format!(
        "{} tos {} ttl {} fragment {:02x}{:02x} flags {:02x} window {} options {}",
        answer.says,
        packet[1],
        packet[8],
        packet[6],
        packet[7],
        segment[13],
        u16::from_be_bytes([segment[14], segment[15]]),
        kinds.join(" "),
    )
}

fn scan(attacker: &mut Attacker<'_>, options: &[u8]) -> Result<Found> {
    let from = rows::fresh4();
    attacker.accuse(from)?;
    // His bucket of answers is full again.
    attacker.listen_for(PACE * 4, &mut |_| {})?;
    let restricted = few_restricted();
    let ports: Vec<u16> = CLOSED.skip(40).zip(&restricted).flat_map(|(closed, open)| [closed, *open]).collect();
    let mut looks: BTreeMap<u16, BTreeSet<String>> = BTreeMap::new();
    let mut begun: BTreeMap<u16, u16> = BTreeMap::new();
    for port in &ports {
        let from_port = attacker.own_port();
        begun.insert(from_port, *port);
        let said = one(attacker, from, from_port, *port, options)?;
        looks.insert(*port, said);
    }
    // Who says it again is a stack.
    let mut again: BTreeMap<u16, u64> = BTreeMap::new();
    attacker.listen_for(AGAIN, &mut |answer| {
        if let Some(port) = answer.asker.filter(|_| answer.to == from).and_then(|asker| begun.get(&asker)) {
            *again.entry(*port).or_default() += 1;
        }
    })?;
    for (port, count) in again {
        looks.entry(port).or_default().insert(format!("again {count} times"));
    }
    let closed: BTreeSet<&BTreeSet<String>> =
        looks.iter().filter(|(port, _)| CLOSED.contains(port)).map(|(_, look)| look).collect();
    let told = restricted.iter().filter(|port| !closed.contains(&looks[port])).count() as u64;
    let examples: BTreeSet<String> =
        looks.values().map(|look| look.iter().cloned().collect::<Vec<_>>().join(" / ")).collect();
    ensure!(!looks.is_empty(), "nothing was asked");
    let note = format!("answers looked like: {}", examples.into_iter().collect::<Vec<_>>().join(" | "));
    let scanner = Scanner { probes_sent: ports.len() as u64, restricted_revealed: told, ..Scanner::default() };
    Ok(Found { claims: claims(&[("restricted ports told apart in an hour", TWO, told)]), note, scanner })
}

/// One port: a SYN, the reset that a retry asks for, the SYN again.
fn one(
    attacker: &mut Attacker<'_>,
    from: IpAddr,
    from_port: u16,
    port: u16,
    options: &[u8],
) -> Result<BTreeSet<String>> {
    let sequence = u32::from(from_port) << 14 | 9;
    let segment = |flags, sequence, options: &[u8]| {
        craft::packet(from, EDGE.into(), TCP, craft::tcp(from_port, port, sequence, 0, flags, options, &[]))
    };
    let begun = Instant::now();
    let mut said = BTreeSet::new();
    let mut challenge = None;
    let syn = attacker.tap.framed(&segment(SYN, sequence, options));
    attacker.send(&syn)?;
    attacker.wait_for(PATIENCE, &mut |answer| {
        if answer.to != from || answer.asker != Some(from_port) {
            return false;
        }
        let acknowledged = answer.packet.get(28..32).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        match acknowledged {
            Some(number) if answer.says == Says::SynAck && number != sequence.wrapping_add(1) => {
                challenge = Some(number)
            }
            _ => drop(said.insert(look(&answer))),
        }
        true
    })?;
    if let Some(number) = challenge {
        let reset = attacker.tap.framed(&segment(RST, number, &[]));
        attacker.send(&reset)?;
        attacker.send(&syn)?;
        attacker.wait_for(PATIENCE, &mut |answer| {
            let mine = answer.to == from && answer.asker == Some(from_port);
            if mine {
                said.insert(look(&answer));
            }
            mine
        })?;
    }
    attacker.listen_for(patiently(PACE).saturating_sub(begun.elapsed()), &mut |_| {})?;
    Ok(said)
}
