//! How incidents form, and how they become parts of larger ones.

use scanguard_common::source::{KeyRules, SourceKey};

use super::actor::Mark;
use super::crowd::{self, Crowd, Failed, WINDOW};
use super::incident::{Cause, Incident, Kind};
use super::{Change, Incidents, MOST_LISTED, MOST_OPEN, Moment, NEIGHBOURS, RUSH, RUSH_SPAN};

impl Incidents {
    /// Puts a suspect into the incident that it belongs to, or makes it one.
    pub(super) fn accuse(&mut self, source: SourceKey, at: Moment) {
        let slot = self.wider(&source, at).or_else(|| self.going_rush(at));
        if let Some(slot) = slot {
            self.join(source, slot, at);
            return;
        }
        if !self.has_room(at) {
            let slot = self.rush(Cause::Rush, at);
            self.join(source, slot, at);
            return;
        }
        let slot = self.form(Incident::new(Cause::Suspect, Some(source), at));
        self.join(source, slot, at);
        self.meet_neighbours(&source, at);
        if self.suspected.len() >= RUSH && self.young(at).count() >= RUSH {
            self.look_for_campaigns(at);
            if self.young(at).count() >= RUSH {
                self.rush(Cause::Rush, at);
            }
        }
    }

    /// The incident of a network, or the campaign, that a source which failed belongs to.
    pub(super) fn wider(&self, source: &SourceKey, at: Moment) -> Option<u64> {
        let network = self.networks.get(&KeyRules::network(source)).map(|slot| self.place(*slot));
        network.filter(|slot| self.is_open(*slot)).or_else(|| {
            if self.campaigns.is_empty() {
                return None;
            }
            let services = self.actors.get(source)?.services_at(at.ticks);
            let takes_part = |slot: &u64| {
                let campaign = self.open.get(slot);
                let campaign = campaign.filter(|campaign| campaign.closed.is_none());
                campaign.is_some_and(|it| crowd::takes_part(&services, &it.services, it.cause == Cause::Canary))
            };
            self.campaigns.iter().copied().find(takes_part)
        })
    }

    /// Where the rush is that goes on.
    fn going_rush(&self, at: Moment) -> Option<u64> {
        let recent = self.suspected.iter().filter(|ticks| **ticks + RUSH_SPAN > at.ticks).count();
        self.rush.filter(|slot| recent >= RUSH / 2 && self.is_open(*slot))
    }

    pub(super) fn form(&mut self, incident: Incident) -> u64 {
        let slot = self.next_slot;
        self.next_slot += 1;
        self.open.insert(slot, incident);
        slot
    }

    /// Whether one more may form. If need be the one that is closed for longest is closed for good.
    fn has_room(&mut self, at: Moment) -> bool {
        if self.open.len() >= MOST_OPEN {
            let closed = self.open.iter().filter(|(_, incident)| incident.closed.is_some());
            let oldest = closed.min_by_key(|(_, incident)| incident.last.ticks).map(|(slot, _)| *slot);
            self.close_for_good(oldest.as_slice(), at);
        }
        self.open.len() < MOST_OPEN
    }

    /// Whether an incident is there, and not closed.
    fn is_open(&self, slot: u64) -> bool {
        self.open.get(&slot).is_some_and(|incident| incident.closed.is_none())
    }

    /// Makes a source a part of an incident, with what it did before.
    pub(super) fn join(&mut self, source: SourceKey, slot: u64, at: Moment) {
        let has_room = self.listed < MOST_LISTED;
        let Some(incident) = self.open.get_mut(&slot) else { return };
        let actor = self.actors.entry(source);
        actor.slot = Some(slot);
        actor.hear(at);
        self.listed += usize::from(incident.join(source, has_room, at));
        let (marks, untold) = (std::mem::take(&mut actor.marks), std::mem::take(&mut actor.untold));
        if !actor.suspect {
            let failures = marks.iter().filter(|mark| mark.counts).count() as u64;
            incident.totals.before_suspicion += failures + untold.failures;
        }
        if untold.contacts > 0 {
            incident.contacts_untold(source, &untold);
        }
        for Mark { at, asked, port, outcome, counts } in marks {
            incident.contact(source, (asked, port, outcome), counts, at);
        }
    }

    /// Makes one incident of the suspects of a network, if there are enough.
    fn meet_neighbours(&mut self, source: &SourceKey, at: Moment) {
        let network = KeyRules::network(source);
        let neighbours = self.open.values().filter(|incident| is_of(incident, &network)).count();
        if neighbours >= NEIGHBOURS {
            self.network(network, Cause::Neighbours, at);
        }
    }

    /// The incident of a network, made if there is none and there is room, and opened again if it was closed.
    pub(super) fn network(&mut self, network: SourceKey, cause: Cause, at: Moment) -> Option<u64> {
        let known = self.networks.get(&network).map(|slot| self.place(*slot));
        let parts: Vec<u64> =
            self.open.iter().filter(|(_, incident)| is_of(incident, &network)).map(|(slot, _)| *slot).collect();
        let slot = match known.filter(|slot| self.open.contains_key(slot)) {
            Some(slot) => slot,
            None if parts.is_empty() && !self.has_room(at) => return None,
            None => {
                let slot = self.form(Incident::new(cause, Some(network), at));
                self.networks.insert(network, slot);
                slot
            }
        };
        if let Some(incident) = self.open.get_mut(&slot) {
            incident.hear(at);
        }
        self.gathering = true;
        parts.into_iter().for_each(|part| self.absorb(part, slot));
        if self.young(at).count() >= RUSH {
            return Some(self.rush(Cause::Rush, at));
        }
        Some(slot)
    }

    /// Makes one incident of all that came about within a minute.
    pub(super) fn rush(&mut self, cause: Cause, at: Moment) -> u64 {
        let going = self.rush.filter(|slot| self.is_open(*slot));
        let slot = going.unwrap_or_else(|| self.form(Incident::new(cause, None, at)));
        self.rush = Some(slot);
        let parts: Vec<u64> = self.young(at).collect();
        parts.into_iter().for_each(|part| self.absorb(part, slot));
        slot
    }

    /// Incidents of sources and networks that formed within the last minute.
    fn young(&self, at: Moment) -> impl Iterator<Item = u64> {
        let is_young = move |incident: &Incident| {
            incident.cause.kind() != Kind::Campaign && incident.formed.ticks + RUSH_SPAN > at.ticks
        };
        self.open.iter().filter(move |(_, incident)| is_young(incident)).map(|(slot, _)| *slot)
    }

    pub(super) fn look_for_campaigns(&mut self, now: Moment) {
        if !self.failed || (self.looked != 0 && now.ticks < self.looked + 1000) {
            return;
        }
        (self.failed, self.looked) = (false, now.ticks);
        let may_join = |slot: Option<u64>| {
            slot.is_none_or(|slot| {
                let incident = self.open.get(&self.place(slot));
                incident.is_none_or(|incident| {
                    incident.cause == Cause::Suspect && incident.formed.ticks + WINDOW > now.ticks
                })
            })
        };
        let failed = self.actors.iter().filter(|(_, actor)| may_join(actor.slot)).filter_map(|(source, actor)| {
            let services = actor.services_at(now.ticks);
            let is_telling = services.len() >= 2 || services.iter().any(|(_, canary)| *canary);
            is_telling.then_some(Failed { source: *source, suspect: actor.suspect, services })
        });
        let mut failed: Vec<Failed> = failed.collect();
        failed.sort_by_key(|failed| failed.source.0.bytes());
        for crowd in crowd::campaigns(&failed) {
            self.campaign(&crowd, now);
        }
    }

    fn campaign(&mut self, crowd: &Crowd, now: Moment) {
        let Crowd { canary, services, sources } = crowd;
        let as_asked: Vec<_> = services.iter().map(|service| (*service, *canary)).collect();
        let is_same = |slot: &u64| {
            let known = self.open.get(slot);
            known.is_some_and(|it| crowd::takes_part(&as_asked, &it.services, it.cause == Cause::Canary && *canary))
        };
        let slot = match self.campaigns.iter().copied().find(is_same) {
            Some(slot) => slot,
            None if !self.has_room(now) => return,
            None => {
                let cause = if *canary { Cause::Canary } else { Cause::Ports };
                let slot = self.form(Incident::new(cause, None, now));
                self.campaigns.insert(slot);
                slot
            }
        };
        if let Some(incident) = self.open.get_mut(&slot) {
            incident.services.extend(services);
        }
        for source in sources {
            match self.actors.get(source).and_then(|actor| actor.slot).map(|slot| self.place(slot)) {
                Some(part) if self.open.contains_key(&part) => self.absorb(part, slot),
                _ => self.join(*source, slot, now),
            }
        }
    }

    /// Lets those of new networks join that failed before.
    pub(super) fn gather(&mut self) {
        if !std::mem::take(&mut self.gathering) {
            return;
        }
        let is_in_none = |slot: Option<u64>| slot.is_none_or(|slot| !self.open.contains_key(&self.place(slot)));
        let late = self.actors.iter().filter(|(_, actor)| is_in_none(actor.slot) && !actor.marks.is_empty());
        let late = late.filter_map(|(source, actor)| {
            let slot = self.place(*self.networks.get(&KeyRules::network(source))?);
            Some((*source, self.open.contains_key(&slot).then_some(slot)?, actor.marks.last()?.at))
        });
        let late: Vec<_> = late.collect();
        for (source, slot, at) in late {
            self.join(source, slot, at);
        }
    }

    /// Makes an incident a part of another one.
    fn absorb(&mut self, part: u64, whole: u64) {
        if part == whole {
            return;
        }
        let Some(absorbed) = self.open.remove(&part) else { return };
        self.moved.insert(part, whole);
        self.listed -= absorbed.sources.len();
        let Some(incident) = self.open.get_mut(&whole) else { return };
        for (source, _) in absorbed.sources.iter() {
            let has_room = self.listed < MOST_LISTED;
            self.listed += usize::from(incident.join((*source).into(), has_room, absorbed.last));
        }
        incident.totals.sources += absorbed.totals.sources.saturating_sub(absorbed.sources.len() as u64);
        incident.absorb(&absorbed);
        if let Some(id) = absorbed.id {
            // Whoever was told of the part must be able to find the whole.
            let opened = self.open_now(whole, absorbed.last);
            if absorbed.reopened {
                self.changes.push(Change::Reopened(absorbed.head(id)));
            }
            let mut record = absorbed.record(id);
            (record.head.closed, record.head.part_of) = (Some(absorbed.last.wall), opened);
            self.finished.push(record);
            self.changes.extend(opened.map(|whole| Change::Joined { part: id, whole }));
        }
    }
}

/// Whether it is an incident of a source of this network.
fn is_of(incident: &Incident, network: &SourceKey) -> bool {
    let subject = incident.subject.filter(|_| incident.cause == Cause::Suspect && incident.closed.is_none());
    subject.is_some_and(|source| KeyRules::network(&source) == *network)
}
