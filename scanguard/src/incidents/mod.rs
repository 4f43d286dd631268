//! Incidents: scans as a person thinks of them. One source, or many that belong together; what they asked for, what they were answered, what
//! was done.
//!
//! Nothing here reads a clock, a file or a map: [`Incidents::hear`] takes what happened and when, [`Incidents::tick`] says what opened and
//! closed, [`Incidents::take_changed`] what is to be kept. Nothing here decides about anybody either: incidents are told, and never lead
//! to a block.
//!
//! | module | does |
//! |---|---|
//! | `heard` | what incidents are made of |
//! | [`incident`] | one of them, in bounded tables |
//! | `actor` | what is remembered of sources, in an incident or not |
//! | [`crowd`] | what tells a campaign from a crowd of customers |
//! | `rows` | tables that know what changed |
//! | [`told`] | incidents as the command line gets them |
//!
//! A suspect makes an incident, and so does a network that is a suspect as a whole, or has [`NEIGHBOURS`] suspects at once. Campaigns are looked
//! for once a second ([`crowd`]), among suspects and all others that failed. What turns out to be a part of something larger joins it. So that it
//! does before anybody is alarmed, an incident of one source opens [`SETTLE`] after its suspicion, and if more than [`RUSH`] would open within a
//! minute they are one: who forges addresses cannot make thousands of them.

mod actor;
pub mod crowd;
mod heard;
pub mod incident;
mod rows;
#[cfg(test)]
mod tests;
pub mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use scanguard_common::contact::Outcome;
use scanguard_common::source::{KeyRules, SourceKey};

pub use actor::MOST_ACTORS;
use actor::{Actors, Mark};
use crowd::{Crowd, Failed, WINDOW};
pub use heard::{Deed, Heard, Moment};
use incident::Incident;
pub use incident::{
    AnswerKey, Brief, Cause, DeedTally, Head, Kind, PortKey, Record, SessionKey, SessionTally, SourceTally, Totals,
};

/// After so many milliseconds in which nothing of it was heard an incident is closed.
pub const QUIET: u64 = 3_600_000;
/// It is closed after so many milliseconds in any case; what goes on is a new one.
pub const LONGEST: u64 = 24 * 3_600_000;
/// An incident of one source opens so many milliseconds after the source became a suspect.
pub const SETTLE: u64 = 5_000;
/// Suspects of one network at once that make an incident of the network.
pub const NEIGHBOURS: usize = 4;
/// Incidents of sources and networks that may form within [`RUSH_SPAN`]; more are one.
pub const RUSH: usize = 64;
/// See [`RUSH`]; milliseconds.
pub const RUSH_SPAN: u64 = 60_000;
/// Incidents that may be open at once.
pub const MOST_OPEN: usize = 1024;
/// Sources listed in all open incidents together.
pub const MOST_LISTED: usize = 65_536;
/// For so many milliseconds a source that failed is remembered, to be in the incident that it may become a part of: as long as evidence adds up.
const REMEMBERED: u64 = 6 * 3_600_000;
/// Contacts with so many sources tell what a campaign that was kept asks for.
const ASKED_FOR: u64 = crowd::LINK as u64;

/// Something that a person may want to hear.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// An incident opened, with what is known of it already.
    Opened(Brief),
    /// One turned out to be a part of another one.
    Joined {
        /// The part.
        part: u64,
        /// The whole.
        whole: u64,
    },
    /// One was closed.
    Closed(Head),
}

/// All incidents that are open, and what may become some.
#[derive(Clone, Debug, Default)]
pub struct Incidents {
    next_id: u64,
    next_slot: u64,
    open: BTreeMap<u64, Incident>,
    actors: Actors,
    /// Sources listed in all that are open.
    listed: usize,
    /// Campaigns for ports.
    campaigns: BTreeSet<u64>,
    /// Networks that have an incident.
    networks: HashMap<SourceKey, u64>,
    /// Incidents that joined another one.
    moved: HashMap<u64, u64>,
    /// What suspects join that come faster than they can be told of.
    rush: Option<u64>,
    /// When the latest suspects came.
    suspected: VecDeque<u64>,
    /// Whether somebody failed since campaigns were last looked for.
    failed: bool,
    looked: u64,
    /// Networks whose sources of before are yet to join.
    gathering: bool,
    finished: Vec<Record>,
    changes: Vec<Change>,
    opened: BTreeMap<Kind, u64>,
}

impl Incidents {
    /// Begins with those that were open before. `next_id` is higher than any number that was given.
    pub fn restore(records: impl IntoIterator<Item = Record>, next_id: u64, now: Moment) -> Self {
        let mut incidents = Self { next_id, ..Self::default() };
        for record in records.into_iter().take(MOST_OPEN) {
            let slot = incidents.next_slot;
            incidents.next_slot += 1;
            let (cause, subject) = (record.head.cause, record.head.subject);
            for (source, _) in &record.sources {
                let actor = incidents.actors.entry(*source);
                actor.slot = Some(slot);
                actor.suspect = cause.kind() != Kind::Campaign;
                actor.hear(now);
            }
            let mut incident = Incident::restored(record, now);
            if let (Kind::Network, Some(network)) = (cause.kind(), subject) {
                incidents.networks.insert(network, slot);
            }
            if matches!(cause, Cause::Ports | Cause::Canary) {
                incident.services = incident.asked_for(ASKED_FOR);
                incidents.campaigns.insert(slot);
            }
            incidents.listed += incident.sources.len();
            incidents.open.insert(slot, incident);
        }
        incidents
    }

    /// Takes note of something.
    pub fn hear(&mut self, heard: &Heard, at: Moment) {
        match *heard {
            Heard::Contact { source, asked, port, outcome, counts } => {
                self.contact(source, Mark { at, asked, port, outcome, counts });
            }
            Heard::Suspect { source, outcome } => self.suspect(source, outcome, at),
            Heard::Network { network } => {
                if let Some(slot) = self.network(network, Cause::Network, at) {
                    self.tell_done(slot, &deed("conceal", "network"), at);
                }
            }
            Heard::Storm => {
                let slot = self.rush(Cause::Storm, at);
                self.tell_done(slot, &deed("storm", "storm"), at);
            }
            Heard::Answered { source, asked, port, answer } => {
                self.of(&source, |incident| incident.answered(asked, port, answer, at));
            }
            Heard::Session { source, class, port } => self.of(&source, |incident| incident.session(class, port, at)),
            Heard::SessionEnd { source, class, port, bytes_in, bytes_out } => {
                self.of(&source, |incident| incident.session_end(class, port, [bytes_in, bytes_out], at));
            }
            Heard::Completed { source, .. } => self.of(&source, |incident| incident.completed(at)),
            Heard::Done { source, ref deed } => self.of(&source, |incident| incident.done(deed, at)),
        }
    }

    /// Notes that so many events were lost: what is open may be larger than it says.
    pub fn lose(&mut self, events: u64) {
        for incident in self.open.values_mut() {
            incident.totals.events_lost = incident.totals.events_lost.saturating_add(events);
            incident.changed = true;
        }
    }

    /// What changed by now. To be called about once a second.
    pub fn tick(&mut self, now: Moment) -> Vec<Change> {
        self.suspected.retain(|ticks| ticks + RUSH_SPAN > now.ticks);
        self.look_for_campaigns(now);
        self.gather();
        self.open_settled(now);
        self.close_quiet(now);
        self.actors.forget_before(now.ticks.saturating_sub(REMEMBERED));
        std::mem::take(&mut self.changes)
    }

    /// What is to be kept of those that changed since this was last called: the rows that are new, with sums that replace earlier ones.
    pub fn take_changed(&mut self) -> Vec<Record> {
        let mut changed = std::mem::take(&mut self.finished);
        let open = self.open.values_mut().filter(|incident| incident.changed);
        changed.extend(open.filter_map(|incident| incident.id.map(|id| incident.take_changed(id))));
        changed
    }

    /// Those that are open, the latest first.
    #[must_use]
    pub fn heads(&self) -> Vec<Brief> {
        let told =
            |incident: &Incident| incident.id.map(|id| Brief { head: incident.head(id), ports: incident.most_asked() });
        let mut heads: Vec<_> = self.open.values().filter_map(told).collect();
        heads.sort_by_key(|brief| std::cmp::Reverse(brief.head.id));
        heads
    }

    /// All of one that is open.
    #[must_use]
    pub fn record(&self, id: u64) -> Option<Record> {
        self.open.values().find(|incident| incident.id == Some(id)).map(|incident| incident.record(id))
    }

    /// The open incident that a source is in.
    #[must_use]
    pub fn of_source(&self, source: &SourceKey) -> Option<u64> {
        let slot = self.actors.get(source)?.slot?;
        self.open.get(&self.place(slot))?.id
    }

    /// Incidents opened since the start, by kind.
    #[must_use]
    pub fn opened(&self) -> Vec<(Kind, u64)> {
        Kind::ALL.iter().map(|kind| (*kind, self.opened.get(kind).copied().unwrap_or(0))).collect()
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.values().filter(|incident| incident.id.is_some()).count()
    }

    fn contact(&mut self, source: SourceKey, mark: Mark) {
        let Mark { at, asked, port, outcome, counts } = mark;
        if !counts && self.actors.get(&source).is_none() {
            return; // A customer.
        }
        let actor = self.actors.entry(source);
        actor.hear(at);
        if counts {
            actor.fail(asked, port, outcome, at);
        }
        let (slot, was_suspect) = (actor.slot, actor.suspect);
        if let Some(incident) = slot.and_then(|slot| self.incident(slot)) {
            incident.totals.before_suspicion += u64::from(counts && !was_suspect);
            incident.contact(source, (asked, port, outcome), counts, at);
            return;
        }
        let actor = self.actors.entry(source);
        (actor.slot, self.failed) = (None, self.failed || counts);
        actor.mark(mark);
        if counts {
            if was_suspect {
                self.accuse(source, at);
            } else if let Some(slot) = self.wider(&source, at) {
                self.join(source, slot, at);
            }
        }
    }

    fn suspect(&mut self, source: SourceKey, outcome: Outcome, at: Moment) {
        let actor = self.actors.entry(source);
        actor.hear(at);
        let slot = actor.slot;
        self.suspected.push_back(at.ticks);
        if self.suspected.len() > RUSH {
            self.suspected.pop_front();
        }
        let is_in_one = slot.is_some_and(|slot| self.incident(slot).is_some());
        if !is_in_one {
            self.accuse(source, at);
        }
        let actor = self.actors.entry(source);
        let was_suspect = std::mem::replace(&mut actor.suspect, true);
        self.of(&source, |incident| {
            incident.hear(at);
            if !was_suspect {
                // The contact that made it one was hidden already.
                let before = &mut incident.totals.before_suspicion;
                *before = before.saturating_sub(1);
            }
            incident.done(&deed("conceal", outcome.label()), at);
        });
    }

    /// Puts a suspect into the incident that it belongs to, or makes it one.
    fn accuse(&mut self, source: SourceKey, at: Moment) {
        let slot = self.wider(&source, at).or_else(|| self.going_rush(at));
        if let Some(slot) = slot {
            self.join(source, slot, at);
            return;
        }
        if self.open.len() >= MOST_OPEN {
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
    fn wider(&self, source: &SourceKey, at: Moment) -> Option<u64> {
        let network =
            KeyRules::network(source).and_then(|network| self.networks.get(&network)).map(|slot| self.place(*slot));
        network.filter(|slot| self.open.contains_key(slot)).or_else(|| {
            if self.campaigns.is_empty() {
                return None;
            }
            let services = self.actors.get(source)?.services_at(at.ticks);
            let takes_part = |slot: &u64| {
                let campaign = self.open.get(slot);
                campaign.is_some_and(|it| crowd::takes_part(&services, &it.services, it.cause == Cause::Canary))
            };
            self.campaigns.iter().copied().find(takes_part)
        })
    }

    /// Where the rush is that goes on.
    fn going_rush(&self, at: Moment) -> Option<u64> {
        let recent = self.suspected.iter().filter(|ticks| **ticks + RUSH_SPAN > at.ticks).count();
        self.rush.filter(|slot| recent >= RUSH / 2 && self.open.contains_key(slot))
    }

    fn form(&mut self, incident: Incident) -> u64 {
        let slot = self.next_slot;
        self.next_slot += 1;
        self.open.insert(slot, incident);
        slot
    }

    /// Makes a source a part of an incident, with what it did before.
    fn join(&mut self, source: SourceKey, slot: u64, at: Moment) {
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
        let Some(network) = KeyRules::network(source) else { return };
        let neighbours = self.open.values().filter(|incident| is_of(incident, &network)).count();
        if neighbours >= NEIGHBOURS {
            self.network(network, Cause::Neighbours, at);
        }
    }

    /// The incident of a network, made if there is none and there is room.
    fn network(&mut self, network: SourceKey, cause: Cause, at: Moment) -> Option<u64> {
        if let Some(slot) = self.networks.get(&network).map(|slot| self.place(*slot))
            && self.open.contains_key(&slot)
        {
            return Some(slot);
        }
        let parts: Vec<u64> =
            self.open.iter().filter(|(_, incident)| is_of(incident, &network)).map(|(slot, _)| *slot).collect();
        if self.open.len() >= MOST_OPEN && parts.is_empty() {
            return None;
        }
        let slot = self.form(Incident::new(cause, Some(network), at));
        self.networks.insert(network, slot);
        self.gathering = true;
        parts.into_iter().for_each(|part| self.absorb(part, slot));
        if self.young(at).count() >= RUSH {
            return Some(self.rush(Cause::Rush, at));
        }
        Some(slot)
    }

    /// Makes one incident of all that came about within a minute.
    fn rush(&mut self, cause: Cause, at: Moment) -> u64 {
        let going = self.rush.filter(|slot| self.open.contains_key(slot));
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

    fn look_for_campaigns(&mut self, now: Moment) {
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
            None if self.open.len() >= MOST_OPEN => return,
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
    fn gather(&mut self) {
        if !std::mem::take(&mut self.gathering) {
            return;
        }
        let is_in_none = |slot: Option<u64>| slot.is_none_or(|slot| !self.open.contains_key(&self.place(slot)));
        let late = self.actors.iter().filter(|(_, actor)| is_in_none(actor.slot) && !actor.marks.is_empty());
        let late = late.filter_map(|(source, actor)| {
            let slot = self.place(*self.networks.get(&KeyRules::network(source)?)?);
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
            let mut record = absorbed.record(id);
            (record.head.closed, record.head.part_of) = (Some(absorbed.last.wall), opened);
            self.finished.push(record);
            self.changes.extend(opened.map(|whole| Change::Joined { part: id, whole }));
        }
    }

    fn open_settled(&mut self, now: Moment) {
        let settled = self.open.iter().filter(|(_, incident)| {
            let settles = if incident.cause == Cause::Suspect { SETTLE } else { 0 };
            incident.id.is_none() && incident.formed.ticks + settles <= now.ticks
        });
        let settled: Vec<u64> = settled.map(|(slot, _)| *slot).collect();
        for slot in settled {
            self.open_now(slot, now);
        }
        // What formed together with its first sources is told with them.
        for change in &mut self.changes {
            if let Change::Opened(Brief { head, ports }) = change
                && let Some(incident) = self.open.values().find(|incident| incident.id == Some(head.id))
            {
                (*head, *ports) = (incident.head(head.id), incident.most_asked());
            }
        }
    }

    /// Gives an incident its number, if it has none yet.
    fn open_now(&mut self, slot: u64, now: Moment) -> Option<u64> {
        let incident = self.open.get_mut(&slot)?;
        if let Some(id) = incident.id {
            return Some(id);
        }
        let id = self.next_id.max(1);
        self.next_id = id + 1;
        incident.open(id, now);
        *self.opened.entry(incident.cause.kind()).or_default() += 1;
        self.changes.push(Change::Opened(Brief { head: incident.head(id), ports: incident.most_asked() }));
        Some(id)
    }

    fn close_quiet(&mut self, now: Moment) {
        let is_over = |incident: &Incident| {
            incident.last.ticks + QUIET <= now.ticks || incident.formed.ticks + LONGEST <= now.ticks
        };
        let over: Vec<u64> =
            self.open.iter().filter(|(_, incident)| is_over(incident)).map(|(slot, _)| *slot).collect();
        for slot in &over {
            let Some(mut incident) = self.open.remove(slot) else { continue };
            self.listed -= incident.sources.len();
            self.campaigns.remove(slot);
            if let Some(id) = incident.id {
                let mut record = incident.take_changed(id);
                record.head.closed = Some(now.wall);
                self.changes.push(Change::Closed(record.head));
                self.finished.push(record);
            }
        }
        if !over.is_empty() {
            let Self { open, actors, networks, moved, .. } = self;
            let place = |slot: u64| {
                let mut place = slot;
                while let Some(next) = moved.get(&place) {
                    place = *next;
                }
                place
            };
            actors.release(|slot| !open.contains_key(&place(slot)));
            networks.retain(|_, slot| open.contains_key(&place(*slot)));
            let gone: BTreeSet<u64> = moved.keys().copied().filter(|slot| !open.contains_key(&place(*slot))).collect();
            moved.retain(|slot, _| !gone.contains(slot));
        }
    }

    /// Where an incident is now that may have joined another one.
    fn place(&self, slot: u64) -> u64 {
        let mut place = slot;
        while let Some(next) = self.moved.get(&place) {
            place = *next;
        }
        place
    }

    fn incident(&mut self, slot: u64) -> Option<&mut Incident> {
        let place = self.place(slot);
        self.open.get_mut(&place)
    }

    /// Does something to the incident that a source is in, if it is in one.
    fn of(&mut self, source: &SourceKey, change: impl FnOnce(&mut Incident)) {
        let Some(slot) = self.actors.get(source).and_then(|actor| actor.slot) else { return };
        if let Some(incident) = self.incident(slot) {
            change(incident);
        }
    }

    fn tell_done(&mut self, slot: u64, deed: &Deed, at: Moment) {
        if let Some(incident) = self.incident(slot) {
            incident.done(deed, at);
        }
    }
}

/// Whether it is an incident of a source of this network.
fn is_of(incident: &Incident, network: &SourceKey) -> bool {
    let subject = incident.subject.filter(|_| incident.cause == Cause::Suspect);
    subject.and_then(|source| KeyRules::network(&source)) == Some(*network)
}

const fn deed(action: &'static str, reason: &'static str) -> Deed {
    use std::borrow::Cow::Borrowed;
    Deed { action: Borrowed(action), scope: Borrowed(""), reason: Borrowed(reason) }
}
