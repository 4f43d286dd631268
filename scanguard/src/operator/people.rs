//! Who has worked here: sessions that the kernel counted, folded into what is known, kept, and told to the kernel part.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use scanguard_common::session::SessionRecord;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Known, Origin};
use tracing::{info, warn};

use super::desk::Desk;
use crate::kernel::clock;
use crate::known::Acquainted;
use crate::policy::BlockReason;

/// What the kernel part is told of an end may be so old.
const LATE_NS: u64 = 86_400_000_000_000;

impl Desk {
    /// Tells the kernel part who may come back to restricted ports, of all that is kept.
    pub(super) fn welcome(&mut self, now: SystemTime) -> Result<()> {
        self.forget_strangers(now);
        let known: Vec<_> = self.people.iter().map(|(source, person)| (*source, *person)).collect();
        for (source, person) in known {
            self.tell_known(source, &person, now).context("cannot tell the kernel part who has worked here")?;
        }
        Ok(())
    }

    /// Takes note of what the kernel counted of sessions. [`Self::keep_people`] keeps it.
    pub fn meet(&mut self, records: &[SessionRecord], now: SystemTime) {
        let wall = |ns| seconds(clock::monotonic_to_system(ns).min(now));
        for record in records {
            let was_known = self.is_known(&record.source, now);
            let Some(mut person) = self.people.fold(record, wall) else { continue };
            self.unkept.insert(record.source);
            // What is blocked for a log tool's proof does no work meanwhile: such sessions began before the block.
            if self.is_signalled(&record.source) && self.people.distrust(&record.source, newly_known(now)) {
                person = self.acquainted(&record.source);
            }
            if let Err(error) = self.tell_known(record.source, &person, now) {
                warn!(%error, "the kernel part cannot be told of somebody who has worked here");
            }
            if !was_known && self.is_known(&record.source, now) {
                let source = self.keys().display(record.source).to_string();
                info!(source, "it has worked on a restricted port: those stay open to it");
            }
        }
    }

    /// The same of a reading that was made a while ago. Of a source that was read since, or with which the kernel began anew, it is read again: what
    /// counted already would count twice.
    pub fn meet_late(&mut self, mut records: Vec<SessionRecord>, now: SystemTime) {
        let readings = self.tables.readings();
        records.retain_mut(|record| {
            if !self.people.has_more_than(record) {
                return true;
            }
            let again = readings.sessions_of(&record.source).ok().flatten();
            again.map(|again| *record = again).is_some()
        });
        self.meet(&records, now);
    }

    /// Forgets that a source worked on restricted ports, if that began only lately: a log tool said what it did there, and that was no work.
    pub fn distrust(&mut self, source: &SourceKey, now: SystemTime) {
        match self.tables.readings().sessions_of(source) {
            Ok(record) => self.meet(record.as_slice(), now),
            Err(error) => warn!(%error, "cannot read the sessions of somebody of whom a log tool told"),
        }
        if !self.people.distrust(source, newly_known(now)) {
            return;
        }
        self.unkept.insert(*source);
        info!(
            source = self.named(*source),
            "it is known for less than a day, and a log tool told what it did: it is known no more"
        );
        if let Err(error) = self.tables.remove_known(*source) {
            warn!(%error, "the kernel part cannot be told of somebody who is known no more");
        }
    }

    /// Whether a source is blocked by the policy for a signal.
    fn is_signalled(&self, source: &SourceKey) -> bool {
        let block = self.blocks.get(&self.prefix_of(source));
        block.is_some_and(|block| {
            block.origin == Origin::Controller && block.reason.as_deref() == Some(BlockReason::Signal.label())
        })
    }

    /// Keeps what is news of people since the last time. Not with every session: who guesses passwords has many in a second.
    pub fn keep_people(&mut self) {
        let news: Vec<_> =
            self.unkept.drain().filter_map(|source| self.people.get(&source).map(|person| (source, *person))).collect();
        if !news.is_empty() {
            self.keep(move |store| store.save_known(&news));
        }
    }

    /// What is known of a source.
    #[must_use]
    pub fn acquainted(&self, source: &SourceKey) -> Acquainted {
        self.people.get(source).copied().unwrap_or_default()
    }

    fn is_known(&self, source: &SourceKey, now: SystemTime) -> bool {
        self.acquainted(source).restricted.is_known(seconds(now))
    }

    fn tell_known(&mut self, source: SourceKey, person: &Acquainted, now: SystemTime) -> Result<()> {
        if !person.restricted.is_known(seconds(now)) {
            return Ok(());
        }
        let until = UNIX_EPOCH + Duration::from_secs(person.restricted.until());
        let known = Known { restricted_until_ns: clock::system_to_monotonic(until) };
        let told = self.tables.known(&source).map_or(0, |known| known.restricted_until_ns);
        if known.restricted_until_ns.abs_diff(told) < LATE_NS {
            return Ok(());
        }
        Ok(self.tables.set_known(source, &known)?)
    }

    /// Forgets who was not here for so long.
    pub fn forget_strangers(&mut self, now: SystemTime) {
        let forgotten = self.people.forget(seconds(now));
        if forgotten.is_empty() {
            return;
        }
        for source in &forgotten {
            if let Err(error) = self.tables.remove_known(*source) {
                warn!(%error, "the kernel part cannot be told of somebody who was not here for long");
            }
        }
        self.keep(move |store| store.remove_known(&forgotten));
    }
}

/// Since when somebody is known too shortly to be trusted against what a log tool says: a day. (The first guess of a password is a session with
/// data, too.)
fn newly_known(now: SystemTime) -> u64 {
    const DAY: u64 = 86_400;
    seconds(now).saturating_sub(DAY)
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
