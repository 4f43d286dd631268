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
//! | `forming` | how incidents form, and become parts of larger ones |
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
mod forming;
mod heard;
pub mod incident;
mod rows;
#[cfg(test)]
mod tests;
pub mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use scanguard_common::contact::Outcome;
use scanguard_common::reason::Mode;
use scanguard_common::source::SourceKey;

pub use actor::MOST_ACTORS;
use actor::{Actors, Mark};
pub use heard::{Deed, Heard, Moment};
use incident::Incident;
pub use incident::{
    AnswerKey, Brief, Cause, DeedTally, Head, Kind, PortKey, Record, SessionKey, SessionTally, SourceTally, Totals,
};

/// After so many milliseconds in which nothing of it was heard an incident is closed. What its sources do later opens it again, …
pub const QUIET: u64 = 3_600_000;
/// … until so many milliseconds after it formed: then it is closed for good, and what goes on is a new one.
pub const LONGEST: u64 = 24 * 3_600_000;
/// An incident of one source opens so many milliseconds after the source became a suspect.
pub const SETTLE: u64 = 5_000;
/// Suspects of one network at once that make an incident of the network.
pub const NEIGHBOURS: usize = 4;
/// Incidents of sources and networks that may form within [`RUSH_SPAN`]; more are one.
pub const RUSH: usize = 64;
/// See [`RUSH`]; milliseconds.
pub const RUSH_SPAN: u64 = 60_000;
/// Incidents that are open, or may be opened again; where there is no room for more the latter are closed for good.
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
    /// One was closed, for now or for good.
    Closed(Head),
    /// Something was heard of one that was closed.
    Reopened(Head),
}

/// All incidents that are open or may be opened again, and what may become some.
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
    /// Whether the mode is observe: what is done is not carried out.
    observes: bool,
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
    /// Begins with those that were open before, or may be opened again. `next_id` is higher than any number that was given.
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

    /// Takes note of the mode in which happens what is heard next.
    pub const fn set_mode(&mut self, mode: Mode) {
        self.observes = matches!(mode, Mode::Observe);
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
                    self.tell_done(slot, deed("conceal", "network"), at);
                }
            }
            Heard::Storm => {
                let slot = self.rush(Cause::Storm, at);
                self.tell_done(slot, deed("storm", "storm"), at);
            }
            Heard::Answered { source, asked, port, answer } => {
                self.of(&source, |incident| incident.answered(asked, port, answer, at));
            }
            Heard::Session { source, class, port } => self.of(&source, |incident| incident.session(class, port, at)),
            Heard::SessionEnd { source, class, port, bytes_in, bytes_out } => {
                self.of(&source, |incident| incident.session_end(class, port, [bytes_in, bytes_out], at));
            }
            Heard::Met { source } => self.of(&source, |incident| incident.met(source, at)),
            Heard::Completed { source, .. } => self.of(&source, |incident| incident.completed(at)),
            Heard::Done { source, ref deed } => {
                let deed = self.as_done(deed.clone());
                self.of(&source, |incident| incident.done(&deed, at));
            }
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

    /// Those that are open or may be opened again, the latest first.
    #[must_use]
    pub fn heads(&self) -> Vec<Brief> {
        let told =
            |incident: &Incident| incident.id.map(|id| Brief { head: incident.head(id), ports: incident.most_asked() });
        let mut heads: Vec<_> = self.open.values().filter_map(told).collect();
        heads.sort_by_key(|brief| std::cmp::Reverse(brief.head.id));
        heads
    }

    /// All of one that is open or may be opened again.
    #[must_use]
    pub fn record(&self, id: u64) -> Option<Record> {
        self.open.values().find(|incident| incident.id == Some(id)).map(|incident| incident.record(id))
    }

    /// The incident that a source is in, and that is open or may be opened again.
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
        self.open.values().filter(|incident| incident.id.is_some() && incident.closed.is_none()).count()
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
        let is_signalled = outcome == Outcome::Unknown;
        // The kernel part suspects nobody for what it knows nothing of: a signal did.
        let done = self.as_done(deed("conceal", if is_signalled { "signal" } else { outcome.label() }));
        self.of(&source, |incident| {
            incident.suspected(source, at);
            if !was_suspect && !is_signalled {
                // The contact that made it one was hidden already.
                let before = &mut incident.totals.before_suspicion;
                *before = before.saturating_sub(1);
            }
            incident.done(&done, at);
        });
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

    /// Closes what was quiet, for good what is old.
    fn close_quiet(&mut self, now: Moment) {
        for incident in self.open.values_mut() {
            let Some(id) = incident.id else { continue };
            if std::mem::take(&mut incident.reopened) {
                self.changes.push(Change::Reopened(incident.head(id)));
            }
            if incident.closed.is_none() && incident.last.ticks + QUIET <= now.ticks {
                (incident.closed, incident.changed) = (Some(now.wall), true);
                self.changes.push(Change::Closed(incident.head(id)));
            }
        }
        let old: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, incident)| incident.formed.ticks + LONGEST <= now.ticks)
            .map(|(slot, _)| *slot)
            .collect();
        self.close_for_good(&old, now);
    }

    fn close_for_good(&mut self, over: &[u64], now: Moment) {
        for slot in over {
            let Some(mut incident) = self.open.remove(slot) else { continue };
            self.listed -= incident.sources.len();
            self.campaigns.remove(slot);
            if let Some(id) = incident.id {
                let was_open = incident.closed.is_none();
                incident.closed.get_or_insert(now.wall);
                let record = incident.take_changed(id);
                if was_open {
                    self.changes.push(Change::Closed(record.head));
                }
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

    /// A deed as it is in the mode of now.
    fn as_done(&self, deed: Deed) -> Deed {
        if self.observes { deed.in_observe() } else { deed }
    }

    fn tell_done(&mut self, slot: u64, deed: Deed, at: Moment) {
        let deed = &self.as_done(deed);
        if let Some(incident) = self.incident(slot) {
            incident.done(deed, at);
        }
    }
}

const fn deed(action: &'static str, reason: &'static str) -> Deed {
    use std::borrow::Cow::Borrowed;
    Deed { action: Borrowed(action), scope: Borrowed(""), reason: Borrowed(reason) }
}
