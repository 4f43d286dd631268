//! Sources of which something is remembered, whether they are in an incident or not.

use std::collections::HashMap;

use scanguard_common::contact::{ContactKind, Outcome};
use scanguard_common::source::SourceKey;

use super::crowd::{MOST_SERVICES, WINDOW};
use super::heard::{Moment, Service, service};
use super::incident::SourceTally;

/// Sources remembered; beyond that those heard of least lately are forgotten.
pub const MOST_ACTORS: usize = 32_768;
/// Contacts of a source that are remembered before it is in an incident. Who makes more is a suspect.
const MOST_MARKS: usize = 8;

/// A contact that was made before its source was in an incident.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) at: Moment,
    pub(super) asked: ContactKind,
    pub(super) port: u16,
    pub(super) outcome: Outcome,
    pub(super) counts: bool,
}

/// What is remembered of a source.
#[derive(Clone, Debug, Default)]
pub(super) struct Actor {
    /// Its incident: a place in the table of those that are open.
    pub(super) slot: Option<u64>,
    /// Whether it was a suspect at some time since it is remembered.
    pub(super) suspect: bool,
    /// Contacts that no incident has yet.
    pub(super) marks: Vec<Mark>,
    /// Of contacts that no incident has yet, those that are not among `marks` any more.
    pub(super) untold: SourceTally,
    /// What it failed on, when last, and whether that was a canary port.
    services: Vec<(Service, u64, bool)>,
    last_ticks: u64,
}

impl Actor {
    pub(super) fn hear(&mut self, at: Moment) {
        self.last_ticks = self.last_ticks.max(at.ticks);
    }

    /// Remembers what it failed on.
    pub(super) fn fail(&mut self, asked: ContactKind, port: u16, outcome: Outcome, at: Moment) {
        let Some(service) = service(asked, port, outcome) else { return };
        let canary = outcome == Outcome::Canary;
        if let Some((_, ticks, was_canary)) = self.services.iter_mut().find(|(known, ..)| *known == service) {
            (*ticks, *was_canary) = ((*ticks).max(at.ticks), *was_canary || canary);
            return;
        }
        if self.services.len() == MOST_SERVICES
            && let Some(oldest) = (0..MOST_SERVICES).min_by_key(|place| self.services[*place].1)
        {
            self.services.swap_remove(oldest);
        }
        self.services.push((service, at.ticks, canary));
    }

    /// Remembers a contact that no incident has yet.
    pub(super) fn mark(&mut self, mark: Mark) {
        if self.marks.len() == MOST_MARKS {
            let Mark { at, counts, .. } = self.marks.remove(0);
            let first = if self.untold.contacts == 0 { at.wall } else { self.untold.first.min(at.wall) };
            self.untold = SourceTally {
                contacts: self.untold.contacts + 1,
                failures: self.untold.failures + u64::from(counts),
                first,
                last: self.untold.last.max(at.wall),
                session: 0,
            };
        }
        self.marks.push(mark);
    }

    /// What it failed on lately.
    pub(super) fn services_at(&self, ticks: u64) -> Vec<(Service, bool)> {
        let recent = self.services.iter().filter(|(_, at, _)| at + WINDOW >= ticks);
        recent.map(|(service, _, canary)| (*service, *canary)).collect()
    }
}

/// The sources, by their keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Actors {
    actors: HashMap<SourceKey, Actor>,
}

impl Actors {
    pub(super) fn get(&self, source: &SourceKey) -> Option<&Actor> {
        self.actors.get(source)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&SourceKey, &Actor)> {
        self.actors.iter()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.actors.len()
    }

    /// What is remembered of a source, from now on if nothing was.
    pub(super) fn entry(&mut self, source: SourceKey) -> &mut Actor {
        if self.actors.len() >= MOST_ACTORS && !self.actors.contains_key(&source) {
            self.make_room();
        }
        self.actors.entry(source).or_default()
    }

    /// Forgets those that are in no incident and of which nothing was heard since.
    pub(super) fn forget_before(&mut self, ticks: u64) {
        self.actors.retain(|_, actor| actor.slot.is_some() || actor.last_ticks >= ticks);
    }

    /// Takes sources out of incidents that are no more.
    pub(super) fn release(&mut self, is_gone: impl Fn(u64) -> bool) {
        for actor in self.actors.values_mut() {
            if actor.slot.is_some_and(&is_gone) {
                actor.slot = None;
            }
        }
    }

    /// Forgets the eighth of which least lately was heard; first of all of those in no incident, if these are an eighth.
    fn make_room(&mut self) {
        const EIGHTH: usize = MOST_ACTORS / 8;
        let ages = |actors: &HashMap<SourceKey, Actor>, free: bool| -> Vec<u64> {
            actors.values().filter(|actor| !free || actor.slot.is_none()).map(|actor| actor.last_ticks).collect()
        };
        let mut free_only = true;
        let mut times = ages(&self.actors, true);
        if times.len() < EIGHTH {
            (free_only, times) = (false, ages(&self.actors, false));
        }
        let (_, limit, _) = times.select_nth_unstable(EIGHTH - 1);
        let (limit, mut most) = (*limit, EIGHTH);
        self.actors.retain(|_, actor| {
            let goes = most > 0 && actor.last_ticks <= limit && (!free_only || actor.slot.is_none());
            most -= usize::from(goes);
            !goes
        });
    }
}
