//! What the daemon remembers of the evidence against sources, for whoever asks why. The latest of each source, and the sources heard of last.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use scanguard_common::contact::{ContactKind, Outcome};
use scanguard_common::event::{Answer, Event};
use scanguard_common::score::UNITS_PER_NAT;
use scanguard_common::source::SourceKey;

use crate::api::{Evidence, WhyAnswered, WhyProof, WhySignal, timestamp};
use crate::kernel::clock;

/// First contacts remembered of a source: many times what makes it a suspect.
const MOST_OF_ONE: usize = 32;
/// Sources remembered. With all that is of each some 20 MB.
const MOST_SOURCES: usize = 8192;

/// A shared handle on it.
#[derive(Clone, Default)]
pub(super) struct Memory {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    contacts: HashMap<SourceKey, VecDeque<Event>>,
    /// Answers to suspects.
    answers: HashMap<SourceKey, VecDeque<Event>>,
    /// Decoys that were completed.
    proofs: HashMap<SourceKey, VecDeque<Event>>,
    /// Sources in the order in which they were first heard of.
    order: VecDeque<SourceKey>,
    /// What log tools said, of sources that may have asked for nothing.
    signals: HashMap<SourceKey, VecDeque<WhySignal>>,
    /// Sources in the order in which something was first said of them.
    signal_order: VecDeque<SourceKey>,
}

impl Inner {
    /// What is remembered of a source's contacts. The source that was heard of first makes room for a new one.
    fn contacts_of(&mut self, source: SourceKey) -> &mut VecDeque<Event> {
        let Self { contacts, answers, proofs, order, .. } = self;
        if !contacts.contains_key(&source) {
            order.push_back(source);
            if order.len() > MOST_SOURCES
                && let Some(oldest) = order.pop_front()
            {
                contacts.remove(&oldest);
                answers.remove(&oldest);
                proofs.remove(&oldest);
            }
        }
        contacts.entry(source).or_default()
    }
}

impl Memory {
    /// Remembers a first contact that counts.
    pub(super) fn note(&self, event: &Event) {
        if event.points == 0 {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let known = inner.contacts_of(event.source);
        if known.len() == MOST_OF_ONE {
            known.pop_front();
        }
        // What is urgent is heard before what came a moment earlier.
        let later = known.iter().rev().take_while(|other| other.time_ns > event.time_ns).count();
        known.insert(known.len() - later, *event);
    }

    /// Remembers an answer to a suspect whose contacts are remembered.
    pub(super) fn note_answer(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.contacts.contains_key(&event.source) {
            return;
        }
        let answers = inner.answers.entry(event.source).or_default();
        if answers.len() == MOST_OF_ONE {
            answers.pop_front();
        }
        answers.push_back(*event);
    }

    /// Remembers a completed decoy. (It may be heard before the contacts that led to it, and nobody completes one who is not there.)
    pub(super) fn note_proof(&self, event: &Event) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.contacts_of(event.source);
        let proofs = inner.proofs.entry(event.source).or_default();
        if proofs.len() == MOST_OF_ONE {
            proofs.pop_front();
        }
        proofs.push_back(*event);
    }

    /// Remembers what a log tool said of a source.
    pub(super) fn note_signal(&self, source: SourceKey, signal: WhySignal) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { signals, signal_order, .. } = &mut *inner;
        let known = signals.entry(source).or_insert_with(|| {
            signal_order.push_back(source);
            VecDeque::new()
        });
        if known.len() == MOST_OF_ONE {
            known.pop_front();
        }
        known.push_back(signal);
        if signal_order.len() > MOST_SOURCES
            && let Some(oldest) = signal_order.pop_front()
        {
            signals.remove(&oldest);
        }
    }

    /// What log tools said of a source and is remembered, oldest first.
    pub(super) fn signals_about(&self, source: &SourceKey) -> Vec<WhySignal> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.signals.get(source).into_iter().flatten().cloned().collect()
    }

    /// The decoys that a source completed and that are remembered, oldest first.
    pub(super) fn proofs_of(&self, source: &SourceKey) -> Vec<WhyProof> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.proofs.get(source).into_iter().flatten().map(proof).collect()
    }

    /// The answers to a source that are remembered, oldest first.
    pub(super) fn answers_to(&self, source: &SourceKey) -> Vec<WhyAnswered> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.answers.get(source).into_iter().flatten().map(answered).collect()
    }

    /// What is remembered of a source, oldest first.
    pub(super) fn of(&self, source: &SourceKey) -> Vec<Evidence> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.contacts.get(source).into_iter().flatten().map(evidence).collect()
    }
}

fn proof(event: &Event) -> WhyProof {
    WhyProof {
        time: timestamp(clock::monotonic_to_system(event.time_ns)),
        kind: "decoy".to_owned(),
        proto: ContactKind::from_u8(event.asked).map_or("unknown", ContactKind::label).to_owned(),
        destination: IpAddr::from(event.destination).to_string(),
        port: event.port,
    }
}

fn answered(event: &Event) -> WhyAnswered {
    WhyAnswered {
        time: timestamp(clock::monotonic_to_system(event.time_ns)),
        proto: ContactKind::from_u8(event.asked).map_or("unknown", ContactKind::label).to_owned(),
        destination: IpAddr::from(event.destination).to_string(),
        port: event.port,
        answer: Answer::from_u8(event.answer).map_or("unknown", Answer::label).to_owned(),
    }
}

fn evidence(event: &Event) -> Evidence {
    let nats = |units: u32| f64::from(units) / f64::from(UNITS_PER_NAT);
    Evidence {
        time: timestamp(clock::monotonic_to_system(event.time_ns)),
        proto: ContactKind::from_u8(event.asked).map_or("unknown", ContactKind::label).to_owned(),
        destination: IpAddr::from(event.destination).to_string(),
        port: event.port,
        outcome: Outcome::from_u8(event.outcome).map_or("unknown", Outcome::label).to_owned(),
        step: nats(event.points),
        score: nats(event.score),
        proven: None,
    }
}

#[cfg(test)]
mod tests {
    use scanguard_common::address::Address;

    use super::*;

    fn event(source: u32, port: u16, points: u32) -> Event {
        let address = Address::from(IpAddr::from(source.to_be_bytes()));
        Event {
            time_ns: 0,
            source: SourceKey(address),
            destination: address,
            port,
            kind: 1,
            asked: ContactKind::Tcp as u8,
            class: 0,
            outcome: Outcome::Closed as u8,
            tcp_flags: 2,
            answer: 0,
            score: points,
            points,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    #[test]
    fn the_latest_contacts_that_count_are_remembered() {
        let memory = Memory::default();
        for port in 1..=100 {
            memory.note(&event(7, port, if port % 2 == 0 { 1420 } else { 0 }));
        }
        let found = memory.of(&event(7, 0, 0).source);
        assert_eq!((found.len(), found[0].port, found[31].port), (MOST_OF_ONE, 38, 100));
        assert_eq!(found[31].outcome, "closed");
    }

    #[test]
    fn what_is_heard_too_early_takes_its_place_and_a_proof_needs_no_contacts_before_it() {
        let memory = Memory::default();
        let at = |port, time_ns| Event { time_ns, ..event(7, port, 1420) };
        for (port, time_ns) in [(1, 10), (4, 40), (2, 20), (3, 30), (5, 40)] {
            memory.note(&at(port, time_ns));
        }
        let source = event(7, 0, 0).source;
        assert_eq!(memory.of(&source).iter().map(|found| found.port).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        memory.note_proof(&event(8, 1_000, 0));
        memory.note(&event(8, 1, 1420));
        let source = event(8, 0, 0).source;
        assert_eq!((memory.proofs_of(&source).len(), memory.of(&source).len()), (1, 1));
    }

    #[test]
    fn the_latest_signals_are_remembered_of_the_sources_signalled_last() {
        let (memory, said) = (Memory::default(), |weight| WhySignal { weight, ..WhySignal::default() });
        let sources = u32::try_from(MOST_SOURCES).expect("few enough");
        let source = |number| event(number, 0, 0).source;
        for number in 0..sources + 10 {
            memory.note_signal(source(number), said(1.0));
        }
        for weight in 2..100 {
            memory.note_signal(source(10), said(f64::from(weight)));
        }
        let found = memory.signals_about(&source(10));
        assert_eq!((found.len(), found[0].weight, found[31].weight), (MOST_OF_ONE, 68.0, 99.0));
        assert!(memory.signals_about(&source(9)).is_empty());
        assert_eq!(memory.inner.lock().expect("whole").signals.len(), MOST_SOURCES);
    }

    #[test]
    fn of_many_sources_those_heard_of_first_are_forgotten() {
        let memory = Memory::default();
        let sources = u32::try_from(MOST_SOURCES).expect("few enough");
        for source in 0..sources + 10 {
            memory.note(&event(source, 1, 1420));
        }
        assert!(memory.of(&event(9, 0, 0).source).is_empty());
        assert_eq!(memory.of(&event(10, 0, 0).source).len(), 1);
        assert_eq!(memory.inner.lock().expect("whole").contacts.len(), MOST_SOURCES);
    }
}
