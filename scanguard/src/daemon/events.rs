//! Drains what the kernel part tells as it happens.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::contact::{ContactKind, Outcome};
use scanguard_common::event::{Answer, Event, EventKind};
use scanguard_common::source::{KeyRules, SourceKey};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::decide::Informant;
use super::incidents::Recorder;
use super::memory::Memory;
use super::ports::{Sighting, Sightings};
use crate::kernel::EventStream;
use crate::policy;

/// Events after which other tasks get their turn, however many more there are.
const TURN: u32 = 256;
/// How long what nobody waits for gathers before it is read: the kernel wakes a reader for the first event after he read all, and at 50,000 a second
/// that were as many wakings, which took the processor from those who decide.
const GATHER: Duration = Duration::from_millis(2);

/// Those who are told.
pub(super) struct Hearers {
    pub(super) keys: KeyRules,
    pub(super) sightings: Sightings,
    pub(super) memory: Memory,
    pub(super) informant: Informant,
    pub(super) recorder: Recorder,
    /// Sources whose sessions on restricted ports began or ended.
    pub(super) movements: mpsc::Sender<Moved>,
    /// The score of a block, which a new configuration may change.
    pub(super) cap: Arc<AtomicU32>,
}

/// What became of a session on a restricted port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Moved {
    /// It began.
    Began,
    /// It ended: its source may have worked there.
    Ended(SourceKey),
}

/// How soon a stream is read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Haste {
    /// Each event as it comes: a decision may follow.
    AtOnce,
    /// In batches.
    Gathered,
}

/// Drains the stream until the task is dropped.
pub(super) async fn drain(mut events: EventStream, hearers: Arc<Hearers>, haste: Haste) {
    loop {
        match events.next().await {
            Ok(event) => tell(&event, &hearers),
            Err(error) => {
                // Counting goes on in the kernel; the events lost from now on are counted there too.
                error!(%error, "no more events can be read");
                return;
            }
        }
        let mut in_turn = 1;
        while let Some(event) = events.try_next() {
            tell(&event, &hearers);
            in_turn += 1;
            if in_turn == TURN {
                in_turn = 0;
                tokio::task::yield_now().await;
            }
        }
        if haste == Haste::Gathered {
            sleep(GATHER).await;
        }
    }
}

fn tell(event: &Event, hearers: &Hearers) {
    let Hearers { keys, sightings, memory, informant, recorder, movements, cap } = hearers;
    recorder.note(event);
    let asked = ContactKind::from_u8(event.asked).map_or("unknown", ContactKind::label);
    let outcome = Outcome::from_u8(event.outcome).map_or("unknown", Outcome::label);
    let score = f64::from(event.score) / f64::from(scanguard_common::score::UNITS_PER_NAT);
    match EventKind::from_u8(event.kind) {
        Some(EventKind::Contact) => {
            debug!(
                source = %keys.display(event.source),
                destination = %IpAddr::from(event.destination),
                protocol = asked,
                port = event.port,
                class = PortClass::from_u8(event.class).label(),
                outcome,
                score,
                "contact"
            );
            memory.note(event);
            if event.points > 0 && event.score >= cap.load(Ordering::Relaxed) {
                informant.tell(policy::Event::Eligible { source: event.source }, event.time_ns);
            }
        }
        Some(EventKind::Suspect) => {
            info!(
                source = %keys.display(event.source),
                asked,
                port = event.port,
                outcome,
                score,
                "a source is a suspect: what is not for customers is hidden from it"
            );
            informant.tell(policy::Event::Suspect { source: event.source }, event.time_ns);
        }
        Some(EventKind::PrefixSuspect) => info!(
            network = %KeyRules::display_network(event.source),
            score,
            "sources of a network scan in turn: closed ports are hidden from it"
        ),
        Some(EventKind::Opened) => {
            let protocol = if event.asked == ContactKind::Udp as u8 { Protocol::Udp } else { Protocol::Tcp };
            debug!(
                protocol = protocol.label(),
                port = event.port,
                answer = event.answer,
                "a port thought closed is open"
            );
            let sighting = if event.answer == Answer::None as u8 { Sighting::Socket } else { Sighting::Answer };
            sightings.tell(sighting, protocol, event.port);
        }
        Some(EventKind::OpenedElsewhere) => {
            debug!(
                destination = %IpAddr::from(event.destination),
                protocol = asked,
                port = event.port,
                "a port of a protected network answered"
            );
            sightings.tell(Sighting::Elsewhere, Protocol::Tcp, event.port);
        }
        Some(EventKind::Answered) => {
            debug!(
                source = %keys.display(event.source),
                destination = %IpAddr::from(event.destination),
                protocol = asked,
                port = event.port,
                answer = Answer::from_u8(event.answer).map_or("unknown", Answer::label),
                "a suspect was answered"
            );
            memory.note_answer(event);
        }
        Some(kind @ (EventKind::Session | EventKind::SessionEnd)) => {
            let class = PortClass::from_u8(event.class);
            debug!(
                source = %keys.display(event.source),
                local = %IpAddr::from(event.destination),
                port = event.port,
                class = class.label(),
                ended = kind == EventKind::SessionEnd,
                bytes_in = event.bytes_in,
                bytes_out = event.bytes_out,
                "a session of a suspect, or on a restricted port"
            );
            if class == PortClass::Restricted {
                let ended = kind == EventKind::SessionEnd;
                // A full queue means that all will be looked at soon.
                let _ = movements.try_send(if ended { Moved::Ended(event.source) } else { Moved::Began });
            }
        }
        Some(EventKind::Completed) => {
            info!(
                source = %keys.display(event.source),
                destination = %IpAddr::from(event.destination),
                port = event.port,
                "a source completed a decoy: it is really there"
            );
            memory.note_proof(event);
            informant.tell(policy::Event::Completed { source: event.source, port: event.port }, event.time_ns);
        }
        Some(EventKind::Storm) => warn!(
            "suspects arise faster than real ones do: attempts on closed ports are dropped, whoever makes them, until it is over"
        ),
        None => debug!(kind = event.kind, "an event of a kind this version does not know"),
    }
}
