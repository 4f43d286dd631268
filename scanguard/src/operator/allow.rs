//! The allowlist.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tracing::info;

use super::desk::{Allowed, ByOperator, Desk, after};
use super::error::OperatorError;
use super::kept::shown;
use crate::api::{
    AllowAdd, AllowAdded, AllowEntry, AllowList, AllowRemove, AllowRemoved, AllowTest, MOST_ENTRIES, NewAllow,
    SCHEMA_VERSION, timestamp,
};
use crate::kernel::{Freed, KernelError};
use crate::prefix;
use crate::prefix_map::Prefix;
use crate::safety::{Refused, check_allow};

/// Names that an answer lists at most.
const MOST_NAMES: usize = 100;
/// Entries that operators leave to those who log in: whoever is at work is not to be locked out because a list is long.
const KEPT_FREE: usize = 256;
/// Longest name or comment, in characters.
const LONGEST_TEXT: usize = 200;

impl Desk {
    /// Adds to the allowlist. When this returns it is in force, and verdicts on and suspicion of what it covers are lifted.
    ///
    /// # Errors
    /// When an entry is wrong, or they find no room: then nothing is added.
    pub fn allow_add(&mut self, wanted: &AllowAdd, now: SystemTime) -> Result<AllowAdded, OperatorError> {
        if wanted.entries.len() > MOST_ENTRIES {
            let count = wanted.entries.len();
            return Err(OperatorError::Usage(format!("{count} entries at once are more than {MOST_ENTRIES}")));
        }
        let mut entries: Vec<(Prefix, ByOperator)> = Vec::with_capacity(wanted.entries.len());
        for NewAllow { prefix, name, comment, for_s } in &wanted.entries {
            let network = prefix::parse(prefix)?;
            check_allow(&network, wanted.force).map_err(|Refused { rule, message }| OperatorError::Refused {
                rule: rule.label().to_owned(),
                message,
            })?;
            for text in [name, comment].into_iter().flatten() {
                one_line(text)?;
            }
            let expires = after(now, *for_s);
            let entry = ByOperator { name: name.clone(), comment: comment.clone(), since: now, expires };
            entries.push((network.into(), entry));
        }
        let (mut added, mut updated) = (0, 0);
        let mut changed: BTreeMap<Prefix, Allowed> = BTreeMap::new();
        for (prefix, mut entry) in entries {
            let present = changed.entry(prefix).or_insert_with(|| self.allow.get(&prefix).cloned().unwrap_or_default());
            match &present.operator {
                Some(earlier) => {
                    updated += 1;
                    entry.since = earlier.since;
                }
                None => added += 1,
            }
            present.operator = Some(entry);
        }
        self.check_room(&changed)?;
        let prefixes: Vec<Prefix> = changed.keys().copied().collect();
        let (freed, lifted) = self.put_in_force(changed)?;
        self.keep_allow(&prefixes);
        let unblocked = self.forget_freed(&freed);
        lifted.context(
            "the entries are on the allowlist, but not all blocks of what they cover could be lifted: \
             `scanguard unban` lifts them",
        )?;
        let keys = self.keys();
        let cleared = freed.suspects.iter().take(MOST_NAMES).map(|source| keys.display(*source).to_string());
        info!(added, updated, unblocked = unblocked.len(), cleared = freed.suspects.len(), "the allowlist has grown");
        Ok(AllowAdded { schema_version: SCHEMA_VERSION, added, updated, unblocked, cleared: cleared.collect() })
    }

    /// Whether these entries of an operator's find room, and leave some to those who log in.
    fn check_room(&self, changed: &BTreeMap<Prefix, Allowed>) -> Result<(), OperatorError> {
        let (present, limit) = (self.allow.len(), self.tables.most_allowed().saturating_sub(KEPT_FREE));
        let new = changed.keys().filter(|prefix| self.allow.get(prefix).is_none()).count();
        if new == 0 || present + new <= limit {
            return Ok(());
        }
        let message = format!(
            "the allowlist has {present} entries and takes {limit}: {new} more find no room, and nothing was added. \
             Take out entries that are not needed (`scanguard allow list` shows all, `scanguard allow remove` takes \
             them out), or add a shorter prefix instead of many"
        );
        Err(OperatorError::Refused { rule: "allowlist_full".to_owned(), message })
    }

    /// Puts entries of the list in force: all of them, or none where the kernel takes no more. What they ended, and
    /// whether all of that could be lifted; they are in force in any case.
    fn put_in_force(
        &mut self,
        changed: BTreeMap<Prefix, Allowed>,
    ) -> Result<(Freed, Result<(), KernelError>), OperatorError> {
        let ends: Vec<(Prefix, u64)> =
            changed.iter().map(|(prefix, entry)| (*prefix, entry.ends_ns(&self.clock))).collect();
        let fresh = self.tables.admit(&ends)?;
        for (prefix, entry) in changed {
            self.allow.insert(prefix, entry);
        }
        let mut freed = Freed::default();
        let lifted = self.tables.free(&fresh, &mut freed);
        Ok((freed, lifted))
    }

    /// Puts entries of the list in force that lost a reason, and takes out those that have none left. What could not be
    /// written stays as it was.
    fn shrink(&mut self, changed: BTreeMap<Prefix, Allowed>) -> Result<(), OperatorError> {
        let (gone, shorter): (BTreeMap<_, _>, BTreeMap<_, _>) =
            changed.into_iter().partition(|(_, entry)| entry.is_over());
        if !shorter.is_empty() {
            let (freed, lifted) = self.put_in_force(shorter)?;
            self.forget_freed(&freed);
            lifted?;
        }
        if gone.is_empty() {
            return Ok(());
        }
        let gone: Vec<Prefix> = gone.into_keys().collect();
        let erased = self.tables.disallow(&gone);
        for prefix in &gone {
            if !self.tables.is_listed(prefix) {
                self.allow.remove(prefix);
            }
        }
        Ok(erased?)
    }

    /// Takes note of blocks that an entry of the allowlist ended; returns their names.
    pub(super) fn forget_freed(&mut self, freed: &Freed) -> Vec<String> {
        let sources = freed.sources.iter().map(|source| self.prefix_of(source));
        let prefixes: Vec<Prefix> = sources.chain(freed.prefixes.iter().copied()).collect();
        let gone: Vec<String> =
            prefixes.iter().filter(|prefix| self.forget_block(prefix, "the allowlist covers it")).map(shown).collect();
        if !gone.is_empty() {
            let gone = gone.clone();
            self.keep(move |store| store.remove_blocks(&gone));
        }
        gone.into_iter().take(MOST_NAMES).collect()
    }

    /// Takes entries from the operator's allowlist; the rest of it stays.
    ///
    /// # Errors
    /// When a prefix is wrong, or is not the operator's to remove: then nothing is removed. When the kernel part cannot
    /// be written: then the message says how many were removed.
    pub fn allow_remove(&mut self, wanted: &AllowRemove) -> Result<AllowRemoved, OperatorError> {
        let mut removed = Vec::new();
        let mut answer = AllowRemoved { schema_version: SCHEMA_VERSION, ..AllowRemoved::default() };
        for text in &wanted.prefixes {
            let prefix: Prefix = prefix::parse(text)?.into();
            match self.allow.get(&prefix) {
                Some(Allowed { operator: Some(_), .. }) => removed.push(prefix),
                Some(Allowed { configured: true, .. }) => {
                    return Err(OperatorError::Usage(format!(
                        "{text} is on the allowlist by the configuration: take it out of `allow` there, then `scanguard config \
                         reload`"
                    )));
                }
                Some(Allowed { lease: Some((until, user)), .. }) => {
                    let who = user.as_deref().unwrap_or("somebody");
                    return Err(OperatorError::Usage(format!(
                        "{text} is on the allowlist because {who} is logged in from there; that ends by itself, at {} at the \
                         latest unless he stays (`leases` in [safety] turns it off)",
                        timestamp(*until)
                    )));
                }
                _ => answer.missing.push(text.clone()),
            }
        }
        let without_operator =
            |prefix: &Prefix| Some((*prefix, Allowed { operator: None, ..self.allow.get(prefix)?.clone() }));
        let changed = removed.iter().filter_map(without_operator).collect();
        let shrunk = self.shrink(changed);
        let is_gone = |prefix: &&Prefix| self.allow.get(prefix).is_none_or(|entry| entry.operator.is_none());
        let names: Vec<String> = removed.iter().filter(is_gone).map(shown).collect();
        let forgotten = names.clone();
        self.keep(move |store| store.remove_allow(&forgotten));
        if let Err(error) = shrunk {
            let (done, all) = (names.len(), removed.len());
            return Err(OperatorError::Failed(
                anyhow::Error::new(error).context(format!("{done} of {all} entries were removed")),
            ));
        }
        for prefix in &removed {
            if let Some((covering, _)) = self.allow.covering(*prefix).next() {
                answer.still_covered.push((shown(prefix), shown(covering)));
            }
        }
        info!(removed = names.len(), "the allowlist has shrunk");
        answer.removed = names;
        Ok(answer)
    }

    /// The whole list; a prefix that is on it for several reasons is listed for each.
    #[must_use]
    pub fn allow_list(&self) -> AllowList {
        let entries = self.allow.iter().flat_map(|(prefix, entry)| reasons(prefix, entry)).collect();
        AllowList { schema_version: SCHEMA_VERSION, entries }
    }

    /// Whether the list covers all of an address or prefix.
    ///
    /// # Errors
    /// When it is neither.
    pub fn allow_test(&self, text: &str) -> Result<AllowTest, OperatorError> {
        let prefix: Prefix = prefix::parse(text)?.into();
        let entry = self.covering(prefix);
        Ok(AllowTest { schema_version: SCHEMA_VERSION, address: text.to_owned(), matched: entry.is_some(), entry })
    }

    /// The longest entry that covers all of a prefix; of several reasons for it the one that lasts longest.
    pub(super) fn covering(&self, prefix: Prefix) -> Option<AllowEntry> {
        let (covering, entry) = self.allow.covering(prefix).next()?;
        reasons(covering, entry).into_iter().next()
    }

    /// Puts those who are logged in on the list for so long from now on. Each on its own: where there is no room for
    /// one, the others stay.
    ///
    /// # Errors
    /// When the kernel takes no more, for one of them.
    pub fn lease(
        &mut self,
        prefixes: &[(Prefix, Option<String>)],
        now: SystemTime,
        lasts: Duration,
    ) -> Result<(), OperatorError> {
        self.follow_clock(now);
        let until = now + lasts;
        let mut outcome = Ok(());
        for (prefix, user) in prefixes {
            let mut entry = self.allow.get(prefix).cloned().unwrap_or_default();
            let is_new = entry.lease.is_none();
            entry.lease = Some((until, user.clone()));
            match self.put_in_force(BTreeMap::from([(*prefix, entry)])) {
                Ok((freed, lifted)) => {
                    if is_new {
                        info!(
                            prefix = shown(prefix),
                            user, "somebody is logged in from there: it is on the allowlist meanwhile"
                        );
                    }
                    self.forget_freed(&freed);
                    outcome = outcome.and(lifted.map_err(OperatorError::from));
                }
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Takes off the list what is over; the kernel part has not honoured it since.
    pub(super) fn expire_allow(&mut self, now: SystemTime) -> Result<(), OperatorError> {
        let is_over = |expires: Option<SystemTime>| expires.is_some_and(|expires| expires <= now);
        let mut changed = BTreeMap::new();
        let mut ended = Vec::new();
        for (prefix, entry) in self.allow.iter() {
            let operator = entry.operator.as_ref().filter(|entry| !is_over(entry.expires));
            let lease = entry.lease.as_ref().filter(|(until, _)| !is_over(Some(*until)));
            if operator.is_none() && entry.operator.is_some() {
                ended.push(*prefix);
            } else if lease.is_some() == entry.lease.is_some() {
                continue; // As a rule.
            }
            changed.insert(
                *prefix,
                Allowed { configured: entry.configured, operator: operator.cloned(), lease: lease.cloned() },
            );
        }
        if changed.is_empty() {
            return Ok(());
        }
        let shrunk = self.shrink(changed);
        ended.retain(|prefix| self.allow.get(prefix).is_none_or(|entry| entry.operator.is_none()));
        if !ended.is_empty() {
            let ended: Vec<String> = ended.iter().map(shown).collect();
            info!(entries = ended.join(" "), "entries of the allowlist have ended");
            self.keep(move |store| store.remove_allow(&ended));
        }
        shrunk
    }
}

/// An entry once for each reason, the one that lasts longest first.
fn reasons(prefix: &Prefix, entry: &Allowed) -> Vec<AllowEntry> {
    let Allowed { configured, operator, lease } = entry;
    let made = |source: &str| AllowEntry { prefix: shown(prefix), source: source.into(), ..AllowEntry::default() };
    // None ends never, and so last.
    let mut entries: Vec<((bool, Option<SystemTime>), AllowEntry)> = Vec::new();
    let ends = |expires: Option<SystemTime>| (expires.is_none(), expires);
    if *configured {
        entries.push((ends(None), made("configuration")));
    }
    if let Some(ByOperator { name, comment, since, expires }) = operator {
        let entry = AllowEntry {
            name: name.clone(),
            comment: comment.clone(),
            expires: expires.map(timestamp),
            since: Some(timestamp(*since)),
            ..made("operator")
        };
        entries.push((ends(*expires), entry));
    }
    if let Some((until, user)) = lease {
        let entry = AllowEntry { name: user.clone(), expires: Some(timestamp(*until)), ..made("lease") };
        entries.push((ends(Some(*until)), entry));
    }
    entries.sort_by_key(|(ends, _)| std::cmp::Reverse(*ends));
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// Refuses text that would break lines, lists and logs.
pub(super) fn one_line(text: &str) -> Result<(), OperatorError> {
    if text.chars().any(char::is_control) {
        return Err(OperatorError::Usage(format!("{text:?} is more than one line of text")));
    }
    if text.chars().count() > LONGEST_TEXT {
        return Err(OperatorError::Usage(format!("a text is longer than {LONGEST_TEXT} characters")));
    }
    Ok(())
}
