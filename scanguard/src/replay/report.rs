//! What came of captures, as JSON has it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use scanguard_common::class::PortClass;
use scanguard_common::contact::{ContactKind, Outcome};
use scanguard_common::event::{Answer, Event, EventKind};
use scanguard_common::score::UNITS_PER_NAT;
use scanguard_common::source::{KeyRules, SourceKey};
use serde::Serialize;

use super::labels::{Label, Score, Totals};
use super::{Moment, Options, Replayed, Tale, protocol_label};
use crate::api::{SCHEMA_VERSION, timestamp};

/// Sources that were close, listed at most.
const CLOSE: usize = 20;
/// Ports that are listed at most.
const PORTS: usize = 50;

/// The whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `observe` or `enforce`.
    pub mode: &'static str,
    /// The score from which a source is concealed, in nats.
    pub conceal_at: f64,
    /// One for each file.
    pub captures: Vec<Capture>,
    /// Scores, with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
}

/// One capture.
#[derive(Clone, Debug, Serialize)]
pub struct Capture {
    /// The file.
    pub file: String,
    /// Scores, with labels.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// Packets in the file.
    pub packets: u64,
    /// Packets of links that are not understood, or longer than any frame.
    pub unreadable: u64,
    /// Why the rest of the file could not be read.
    pub partial: Option<String>,
    /// Whether it was not in the order of time, and was sorted.
    pub sorted: bool,
    /// Packets that came too late to be sorted, taken as if they came then.
    pub late: u64,
    /// When the first packet came.
    pub first: Option<String>,
    /// When the last packet came.
    pub last: Option<String>,
    /// Seconds between.
    pub duration_s: f64,
    /// Packets towards what is guarded.
    pub judged: u64,
    /// Whether no packet came from what is guarded: then silence is all that tells of closed ports.
    pub one_sided: bool,
    /// Sources with at least one new flow.
    pub sources: u64,
    /// Sources that were forgotten for want of room.
    pub forgotten: u64,
    /// Storms of forged suspects.
    pub storms: u64,
    /// Who would be concealed or blocked.
    pub acted: Vec<Source>,
    /// Who came closest of the others.
    pub close: Vec<Source>,
    /// What others than those acted on would have noticed, and they themselves on open ports.
    pub customers: Customers,
    /// Packets by level and reason.
    pub verdicts: Vec<Verdict>,
    /// Ports by outcome of first contacts, those asked most first.
    pub ports: Vec<Port>,
    /// Packets that the kernel judged alike.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Compared>,
    /// All events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventLine>,
}

/// What people would have noticed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Customers {
    /// Packets to open ports that would be hidden or blocked.
    pub noticed: u64,
    /// Sources that sent them.
    pub sources: u64,
    /// Packets to closed ports that a storm would hide.
    pub storm: u64,
}

/// A source.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Its address or prefix.
    pub source: String,
    /// `none`, `conceal` or `block`.
    pub level: &'static str,
    /// Its highest score, in nats.
    pub score: f64,
    /// First contacts.
    pub contacts: u64,
    /// Those that counted against it.
    pub failures: u64,
    /// When it would be concealed.
    pub concealed: Option<At>,
    /// When it would be blocked.
    pub blocked: Option<At>,
    /// Packets that would be hidden or blocked, by reason.
    pub hidden: BTreeMap<&'static str, u64>,
    /// Of those, the ones to open ports.
    pub noticed: u64,
    /// The first contacts that counted.
    pub evidence: Vec<Evidence>,
}

/// A moment.
#[derive(Clone, Debug, Serialize)]
pub struct At {
    /// The packet's place in the file, from 1 on.
    pub packet: u64,
    /// When.
    pub time: String,
    /// Seconds since the capture's first packet.
    pub after_s: f64,
    /// Contacts until then.
    pub contacts: u64,
}

/// A contact that counted.
#[derive(Clone, Debug, Serialize)]
pub struct Evidence {
    /// The packet's place in the file.
    pub packet: u64,
    /// When.
    pub time: String,
    /// Seconds since the capture's first packet.
    pub after_s: f64,
    /// Whom it asked.
    pub destination: IpAddr,
    /// For what: `tcp`, `udp`, `icmp`, …
    pub proto: &'static str,
    /// The port.
    pub port: u16,
    /// What became of it.
    pub outcome: &'static str,
    /// What it added, in nats.
    pub step: f64,
    /// The score then, in nats.
    pub score: f64,
}

/// Packets of a level and reason.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verdict {
    /// `none`, `conceal` or `block`.
    pub level: &'static str,
    /// The reason.
    pub reason: &'static str,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a port was asked.
#[derive(Clone, Debug, Serialize)]
pub struct Port {
    /// `tcp`, `udp` or `icmp`.
    pub proto: &'static str,
    /// The port.
    pub port: u16,
    /// First contacts by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// What the kernel did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Compared {
    /// Packets that it judged as the replay did.
    pub compared: u64,
    /// Packets that it takes no trial of: shorter than a header, or longer than a page.
    pub skipped: u64,
    /// Differences. It is 0, or there is no report.
    pub differences: u64,
}

/// An event.
#[derive(Clone, Debug, Serialize)]
pub struct EventLine {
    /// The packet it came with.
    pub packet: u64,
    /// When.
    pub time: String,
    /// `contact`, `suspect`, …
    pub kind: &'static str,
    /// Who.
    pub source: String,
    /// Whom it asked.
    pub destination: IpAddr,
    /// For what.
    pub proto: &'static str,
    /// The port.
    pub port: u16,
    /// Class of the port.
    pub class: &'static str,
    /// What became of it.
    pub outcome: &'static str,
    /// What was answered.
    pub answer: &'static str,
    /// The score then, in nats.
    pub score: f64,
}

impl Report {
    /// A report on no capture yet.
    #[must_use]
    pub fn new(options: &Options, scored: bool) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            mode: options.config.mode.label(),
            conceal_at: nats(options.config.score.rules().conceal_at),
            captures: Vec::new(),
            totals: scored.then(Totals::default),
        }
    }

    /// Adds one.
    pub fn add(&mut self, path: &Path, replayed: &Replayed, label: Option<&Label>) {
        let score = match (&mut self.totals, label) {
            (Some(totals), Some(label)) => Some(totals.add(label, replayed)),
            _ => None,
        };
        self.captures.push(capture(path, replayed, score));
    }
}

fn capture(path: &Path, replayed: &Replayed, score: Option<Score>) -> Capture {
    let first_ns = replayed.span.map_or(0, |(first_ns, _)| first_ns);
    let (acted, others): (Vec<_>, Vec<_>) = replayed.tales.iter().partition(|(_, tale)| tale.is_acted_on());
    let source = |(source, tale): &(SourceKey, Tale)| one_source(*source, tale, &replayed.keys, first_ns);
    let close = others.into_iter().filter(|(_, tale)| tale.failures > 0).take(CLOSE);
    let noticed: Vec<u64> = replayed.tales.iter().map(|(_, tale)| tale.noticed).filter(|count| *count > 0).collect();
    let storm = replayed.tales.iter().flat_map(|(_, tale)| &tale.dropped);
    let storm = storm.filter(|(reason, _)| *reason == scanguard_common::reason::Reason::Storm);
    let mut ports: Vec<Port> = replayed
        .ports
        .iter()
        .map(|((protocol, port), tale)| Port {
            proto: protocol_label(*protocol),
            port: *port,
            outcomes: Outcome::ALL
                .iter()
                .map(|outcome| (outcome.label(), tale.outcomes[*outcome as usize]))
                .filter(|(_, count)| *count > 0)
                .collect(),
        })
        .collect();
    ports.sort_by_key(|port| std::cmp::Reverse(port.outcomes.values().sum::<u64>()));
    ports.truncate(PORTS);
    Capture {
        file: path.display().to_string(),
        score,
        packets: replayed.ending.frames,
        unreadable: replayed.ending.foreign,
        partial: replayed.ending.broken.clone(),
        sorted: replayed.sorted,
        late: replayed.late,
        first: replayed.span.map(|(first_ns, _)| time(first_ns)),
        last: replayed.span.map(|(_, last_ns)| time(last_ns)),
        duration_s: replayed.span.map_or(0.0, |(first_ns, last_ns)| seconds(last_ns.saturating_sub(first_ns))),
        judged: replayed.judged,
        one_sided: !replayed.has_answers,
        sources: replayed.sources.len() as u64,
        forgotten: replayed.forgotten,
        storms: replayed.storms,
        acted: acted.into_iter().map(source).collect(),
        close: close.map(source).collect(),
        customers: Customers {
            noticed: noticed.iter().sum(),
            sources: noticed.len() as u64,
            storm: storm.map(|(_, count)| count).sum(),
        },
        verdicts: replayed
            .verdicts
            .iter()
            .map(|(level, reason, packets, bytes)| Verdict {
                level: level.label(),
                reason: reason.label(),
                packets: *packets,
                bytes: *bytes,
            })
            .collect(),
        ports,
        kernel: replayed.compared.map(|(compared, skipped)| Compared { compared, skipped, differences: 0 }),
        events: replayed
            .events
            .iter()
            .map(|told| event_line(&told.event, told.packet, told.unix_ns, &replayed.keys))
            .collect(),
    }
}

fn one_source(source: SourceKey, tale: &Tale, keys: &KeyRules, first_ns: u64) -> Source {
    let at = |moment: Moment| At {
        packet: moment.packet,
        time: time(moment.unix_ns),
        after_s: seconds(moment.unix_ns.saturating_sub(first_ns)),
        contacts: moment.contacts,
    };
    let level = match tale {
        tale if tale.blocked.is_some() => "block",
        tale if tale.is_acted_on() => "conceal",
        _ => "none",
    };
    Source {
        source: keys.display(source).to_string(),
        level,
        score: nats(tale.highest),
        contacts: tale.contacts,
        failures: tale.failures,
        concealed: tale.concealed.map(at),
        blocked: tale.blocked.map(at),
        hidden: tale.dropped.iter().map(|(reason, count)| (reason.label(), *count)).collect(),
        noticed: tale.noticed,
        evidence: tale
            .evidence
            .iter()
            .map(|line| Evidence {
                packet: line.at.packet,
                time: time(line.at.unix_ns),
                after_s: seconds(line.at.unix_ns.saturating_sub(first_ns)),
                destination: line.event.destination.into(),
                proto: ContactKind::from_u8(line.event.asked).map_or("unknown", ContactKind::label),
                port: line.event.port,
                outcome: Outcome::from_u8(line.event.outcome).map_or("unknown", Outcome::label),
                step: nats(line.event.points),
                score: nats(line.event.score),
            })
            .collect(),
    }
}

fn event_line(event: &Event, packet: u64, unix_ns: u64, keys: &KeyRules) -> EventLine {
    EventLine {
        packet,
        time: time(unix_ns),
        kind: match EventKind::from_u8(event.kind) {
            Some(EventKind::Contact) => "contact",
            Some(EventKind::Suspect) => "suspect",
            Some(EventKind::PrefixSuspect) => "network_suspect",
            Some(EventKind::Opened | EventKind::OpenedElsewhere) => "opened",
            Some(EventKind::Storm) => "storm",
            Some(EventKind::Answered) => "answered",
            Some(EventKind::Session) => "session",
            Some(EventKind::SessionEnd) => "session_end",
            Some(EventKind::Completed) => "completed",
            None => "unknown",
        },
        source: keys.display(event.source).to_string(),
        destination: event.destination.into(),
        proto: ContactKind::from_u8(event.asked).map_or("unknown", ContactKind::label),
        port: event.port,
        class: PortClass::from_u8(event.class).label(),
        outcome: Outcome::from_u8(event.outcome).map_or("unknown", Outcome::label),
        answer: Answer::from_u8(event.answer).map_or("unknown", Answer::label),
        score: nats(event.score),
    }
}

fn nats(units: u32) -> f64 {
    (f64::from(units) / f64::from(UNITS_PER_NAT) * 1000.0).round() / 1000.0
}

fn seconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 1e3).round() / 1e6
}

fn time(unix_ns: u64) -> String {
    // What a file lies about is shown as the last moment that there is a name for.
    const LAST: u64 = 253_402_300_799;
    timestamp(UNIX_EPOCH + Duration::from_nanos(unix_ns).min(Duration::from_secs(LAST)))
}
