//! Who has worked here and who is known: sessions that the kernel counted, folded into what is known, logins that were seen, and what
//! operators said; kept, and told to the kernel part.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use scanguard_common::session::SessionRecord;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Known, Origin};
use tracing::{info, warn};

use super::desk::Desk;
use crate::kernel::clock::ClockStep;
use crate::kernel::{NEVER_NS, clock};
use crate::known::{Acquainted, Candidate};
use crate::logins::{How, Login};
use crate::policy::BlockReason;

/// What the kernel part is told of an end that moves with each login or session may be so old.
const LATE_NS: u64 = 86_400_000_000_000;

impl Desk {
    /// Tells the kernel part who may come back to restricted ports, of all that is kept. Whom it knows and the file does not is known no more, unless
    /// the file was lost.
    pub(super) fn welcome(&mut self, now: SystemTime) -> Result<()> {
        self.forget_strangers(now);
        let known: Vec<SourceKey> = self.people.all_known(seconds(now)).collect();
        for source in known {
            self.tell_known(source, now).context("cannot tell the kernel part who is known")?;
        }
        if self.archive.remembers() {
            let told: Vec<SourceKey> = self.tables.decided().all_known().map(|(source, _)| source).collect();
            for source in told {
                self.tell_known(source, now).context("cannot tell the kernel part who is known no more")?;
            }
        }
        Ok(())
    }

    /// Takes note of what the kernel counted of sessions. [`Self::keep_people`] keeps it.
    pub fn meet(&mut self, records: &[SessionRecord], now: SystemTime) {
        let wall = |ns| seconds(clock::monotonic_to_system(ns).min(now));
        for record in records {
            if !self.people.is_news(record) {
                continue;
            }
            let was_known = self.is_known(&record.source, now);
            let failed = self.failed(&record.source, now);
            if self.people.fold(record, failed, wall).is_none() {
                continue;
            }
            self.unkept.insert(record.source);
            // What is blocked for a log tool's proof does no work meanwhile: such sessions began before the block.
            if self.is_signalled(&record.source) {
                self.people.distrust(&record.source, newly_known(now), seconds(now));
            }
            self.tell_of(&record.source, was_known, "it had long sessions on a restricted port on several days", now);
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
        // What failed since their sessions.
        let on_trial: Vec<SourceKey> = self.people.on_trial(seconds(now)).collect();
        for source in on_trial {
            let failed = self.failed(&source, now);
            self.fail(&source, failed);
        }
    }

    /// Takes note of those who are logged in. A record of utmp is one of a login program's word: where sessions are counted, it must have one.
    pub fn meet_logged_in(&mut self, logins: &[Login], counts_sessions: bool, now: SystemTime) {
        for login in logins {
            let address = login.address.into();
            let version = if login.address.is_ipv4() { 4 } else { 6 };
            let Some(source) = self.keys().source_of(address, version) else { continue };
            if self.tables.is_own(&address) {
                continue;
            }
            let has_session = || match self.tables.readings().sessions_of(&source) {
                Ok(record) => record.is_some_and(|record| record.public.sessions + record.restricted.sessions > 0),
                Err(error) => {
                    warn!(%error, "cannot read the sessions of somebody who is logged in");
                    false
                }
            };
            if login.how == How::Utmp && counts_sessions && !has_session() {
                continue;
            }
            let was_known = self.is_known(&source, now);
            if self.people.log_in(source, seconds(now)).is_some() {
                self.unkept.insert(source);
                self.tell_of(&source, was_known, "somebody is logged in from there", now);
            }
        }
    }

    /// A contact of a source failed, or a log tool told of it without proof: anybody may have made that in its name.
    pub fn fail(&mut self, source: &SourceKey, at: u64) {
        if self.people.fail(source, at) {
            self.unkept.insert(*source);
        }
    }

    /// The same of what failed just now.
    pub fn fail_now(&mut self, source: &SourceKey, now: SystemTime) {
        self.fail(source, seconds(now));
    }

    /// When a contact of a source last failed, in seconds since 1970; 0 for never.
    fn failed(&self, source: &SourceKey, now: SystemTime) -> u64 {
        let record = self.tables.readings().source(source).unwrap_or_else(|error| {
            warn!(%error, "cannot read whether contacts of a source failed");
            None
        });
        let failed_ns = record.and_then(|record| record.failed_ns(clock::monotonic_coarse_ns()));
        failed_ns.map_or(0, |ns| seconds(clock::monotonic_to_system(ns).min(now)))
    }

    /// Forgets that a source worked on restricted ports, if that began only lately, and that it had long sessions there lately: a log tool said what
    /// it did there, and that was no work.
    pub fn distrust(&mut self, source: &SourceKey, now: SystemTime) {
        match self.tables.readings().sessions_of(source) {
            Ok(record) => self.meet(record.as_slice(), now),
            Err(error) => warn!(%error, "cannot read the sessions of somebody of whom a log tool told"),
        }
        let was_known = self.is_known(source, now);
        if !self.people.distrust(source, newly_known(now), seconds(now)) {
            return;
        }
        self.unkept.insert(*source);
        if was_known && !self.is_known(source, now) {
            info!(
                source = self.named(*source),
                "a log tool told what it did, and it is known by nothing but sessions near that: it is known no more"
            );
        }
        if let Err(error) = self.tell_known(*source, now) {
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

    /// What is known of a source by what it did.
    #[must_use]
    pub fn acquainted(&self, source: &SourceKey) -> Acquainted {
        self.people.get(source).copied().unwrap_or_default()
    }

    /// Clients whose sessions are too short to make them known, and who may be worth adding: not those whom an operator blocks.
    pub(super) fn candidates(&self, now: SystemTime) -> Vec<Candidate> {
        let is_blocked = |source: &SourceKey| {
            self.blocks.covering(self.prefix_of(source)).any(|(_, block)| block.origin == Origin::Operator)
        };
        self.people.candidates(seconds(now), is_blocked)
    }

    pub(super) fn is_known(&self, source: &SourceKey, now: SystemTime) -> bool {
        self.people.until(source) > seconds(now)
    }

    /// Tells the kernel part of a source, and the log if it is known now and was not.
    fn tell_of(&mut self, source: &SourceKey, was_known: bool, by: &str, now: SystemTime) {
        if let Err(error) = self.tell_known(*source, now) {
            warn!(%error, "the kernel part cannot be told of somebody who is known");
        }
        if !was_known && self.is_known(source, now) {
            info!(source = self.named(*source), by, "it is known: restricted ports stay open to it");
        }
    }

    /// Brings what the kernel part has of a source up to date.
    pub(super) fn tell_known(&mut self, source: SourceKey, now: SystemTime) -> Result<()> {
        let told = self.tables.known(&source);
        let until = self.people.until(&source);
        if until <= seconds(now) {
            if told.is_some() {
                self.tables.remove_known(source)?;
            }
            return Ok(());
        }
        // (Far beyond any calendar it is for ever.)
        let until_ns = UNIX_EPOCH
            .checked_add(Duration::from_secs(until))
            .filter(|_| until != u64::MAX)
            .map_or(NEVER_NS, clock::system_to_monotonic);
        let late_ns = if self.people.added(&source).is_some() { 0 } else { LATE_NS };
        if told.is_some_and(|told| told.restricted_until_ns.abs_diff(until_ns) <= late_ns) {
            return Ok(());
        }
        Ok(self.tables.set_known(source, &Known { restricted_until_ns: until_ns })?)
    }

    /// Forgets who was not here for so long.
    pub fn forget_strangers(&mut self, now: SystemTime) {
        let forgotten = self.people.forget(seconds(now));
        if forgotten.is_empty() {
            return;
        }
        for source in &forgotten {
            if let Err(error) = self.tell_known(*source, now) {
                warn!(%error, "the kernel part cannot be told of somebody who was not here for long");
            }
        }
        self.keep(move |store| store.remove_known(&forgotten));
    }

    /// Takes back what operators said of sources for a time that is over.
    pub(super) fn expire_known(&mut self, now: SystemTime) {
        let over = self.people.expire(seconds(now));
        if over.is_empty() {
            return;
        }
        for source in &over {
            info!(source = self.named(*source), "what an operator said of it is over: it is known by that no more");
            if let Err(error) = self.tell_known(*source, now) {
                warn!(%error, "the kernel part cannot be told of somebody who is known no more");
            }
        }
        self.keep(move |store| store.remove_added(&over));
    }

    /// The wall clock was set: what was left of each entry of an operator's is left of it.
    pub(super) fn shift_known(&mut self, step: ClockStep) {
        self.people.shift(|until| seconds(step.shifted(UNIX_EPOCH + Duration::from_secs(until))));
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
