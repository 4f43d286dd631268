//! Sources that operators say are known, and those who are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scanguard_common::source::SourceKey;
use tracing::info;

use super::allow::one_line;
use super::desk::{Desk, after};
use super::error::OperatorError;
use super::people::seconds;
use crate::api::{
    KnownAdd, KnownAdded, KnownEntry, KnownList, KnownQuery, KnownRemove, KnownRemoved, MOST_ENTRIES, ProposedKnown,
    SCHEMA_VERSION, timestamp,
};
use crate::known::{Added, Candidate, MOST_ADDED};

/// Names that an answer lists at most.
const MOST_NAMES: usize = 100;

impl Desk {
    /// Has sources known from now on. In force in the kernel when this returns.
    ///
    /// # Errors
    /// When a text is no source, or one that is never judged, or there are too many: then nothing is added. When the kernel part cannot be
    /// written: then the message says how many were added.
    pub fn known_add(&mut self, wanted: &KnownAdd, now: SystemTime) -> Result<KnownAdded, OperatorError> {
        let KnownAdd { addresses, for_s, comment } = wanted;
        if addresses.is_empty() || addresses.len() > MOST_ENTRIES {
            let count = addresses.len();
            return Err(OperatorError::Usage(format!("{count} sources: name one or more, at most {MOST_ENTRIES}")));
        }
        if let Some(comment) = comment {
            one_line(comment)?;
        }
        let sources: Vec<SourceKey> =
            addresses.iter().map(|text| self.signalled(text)).collect::<Result<_, OperatorError>>()?;
        let new = sources.iter().filter(|source| self.people.added(source).is_none()).count();
        let present = self.people.all_added().len();
        if new > 0 && present + new > MOST_ADDED {
            let message = format!(
                "{present} sources were added and {MOST_ADDED} can be: {new} more find no room, and nothing was added. \
                 `scanguard known remove` takes sources out; `scanguard allow add` takes prefixes"
            );
            return Err(OperatorError::Refused { rule: "known_full".to_owned(), message });
        }
        let expires = after(now, *for_s);
        let added = Added { since: seconds(now), until: expires.map(seconds), comment: comment.clone() };
        let mut answer =
            KnownAdded { schema_version: SCHEMA_VERSION, until: expires.map(timestamp), ..KnownAdded::default() };
        let mut kept = Vec::with_capacity(sources.len());
        let mut outcome = Ok(());
        for source in &sources {
            let before = self.people.add(*source, added.clone());
            if let Err(error) = self.tell_known(*source, now) {
                self.people.put_back(source, before);
                let (done, all) = (kept.len(), sources.len());
                outcome = Err(OperatorError::Failed(error.context(format!("{done} of {all} sources were added"))));
                break;
            }
            match before {
                Some(_) => answer.updated += 1,
                None => answer.added += 1,
            }
            kept.push((*source, added.clone()));
        }
        answer.sources = kept.iter().take(MOST_NAMES).map(|(source, _)| self.named(*source)).collect();
        info!(added = answer.added, updated = answer.updated, "an operator says that sources are known");
        self.keep(move |store| store.save_added(&kept));
        outcome.map(|()| answer)
    }

    /// Forgets why sources are known. Who is logged in is known again when that is seen the next time.
    ///
    /// # Errors
    /// When a text is no source: then nothing is removed. When the kernel part cannot be written.
    pub fn known_remove(&mut self, wanted: &KnownRemove, now: SystemTime) -> Result<KnownRemoved, OperatorError> {
        let named = wanted.addresses.iter().map(|text| Ok((text, self.source_named(text)?)));
        let named: Vec<(&String, SourceKey)> = named.collect::<Result<_, OperatorError>>()?;
        let mut answer = KnownRemoved { schema_version: SCHEMA_VERSION, ..KnownRemoved::default() };
        let mut forgotten = Vec::new();
        let mut outcome = Ok(());
        for (text, source) in named {
            if !self.people.remove(&source, seconds(now)) {
                answer.missing.push(text.clone());
                continue;
            }
            forgotten.push(source);
            self.unkept.insert(source);
            outcome = outcome.and(self.tell_known(source, now));
            answer.removed.push(self.named(source));
        }
        self.keep_people();
        self.keep(move |store| store.remove_added(&forgotten));
        info!(removed = answer.removed.len(), "an operator says that sources are not known");
        outcome?;
        Ok(answer)
    }

    /// Who is known.
    #[must_use]
    pub fn known_list(&self, query: &KnownQuery, now: SystemTime) -> KnownList {
        let mut sources: Vec<SourceKey> = self.people.all_known(seconds(now)).collect();
        let total = sources.len() as u64;
        sources.sort_unstable_by_key(|source| source.0.bytes());
        if query.limit > 0 {
            sources.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        }
        let entries = sources.iter().map(|source| self.known_entry(source, now)).collect();
        KnownList { schema_version: SCHEMA_VERSION, total, entries, proposed: self.proposed(now) }
    }

    /// Clients that may be worth adding.
    #[must_use]
    pub fn proposed(&self, now: SystemTime) -> Vec<ProposedKnown> {
        let proposed = self.candidates(now).into_iter().map(|candidate| {
            let Candidate { source, days, sessions, last } = candidate;
            ProposedKnown { source: self.named(source), days: days.into(), sessions, last: shown(last) }
        });
        proposed.collect()
    }

    fn known_entry(&self, source: &SourceKey, now: SystemTime) -> KnownEntry {
        let person = self.acquainted(source);
        let added = self.people.added(source);
        let until = self.people.until(source);
        KnownEntry {
            source: self.named(*source),
            by: self.known_by(source, now),
            until: (until != u64::MAX).then(|| shown(until)),
            login: (person.login != 0).then(|| shown(person.login)),
            held_days: person.held.days_until(seconds(now)).count_ones().into(),
            added: added.map(|added| shown(added.since)),
            comment: added.and_then(|added| added.comment.clone()),
        }
    }

    /// By what a source is known, in the words of JSON.
    pub(super) fn known_by(&self, source: &SourceKey, now: SystemTime) -> Vec<String> {
        let grounds = self.people.grounds(source, seconds(now));
        grounds.into_iter().map(|ground| ground.label().to_owned()).collect()
    }
}

/// A time of seconds since 1970.
fn shown(seconds: u64) -> String {
    timestamp(UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH))
}
