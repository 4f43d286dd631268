//! The allowlist.

use std::time::SystemTime;

use tracing::info;

use super::desk::{Allowed, ByOperator, Desk, after, end_ns};
use super::error::OperatorError;
use super::kept::{at, shown};
use crate::api::{
    AllowAdd, AllowAdded, AllowEntry, AllowList, AllowRemove, AllowRemoved, AllowTest, MOST_ENTRIES, NewAllow,
    SCHEMA_VERSION, timestamp,
};
use crate::kernel::Freed;
use crate::prefix;
use crate::prefix_map::Prefix;

/// Names that an answer lists at most.
const MOST_NAMES: usize = 100;
/// Longest name or comment, in characters.
const LONGEST_TEXT: usize = 200;

impl Desk {
    /// Adds to the allowlist. When this returns it is in force, and verdicts on and suspicion of what it covers are lifted.
    ///
    /// # Errors
    /// When an entry is wrong: then nothing is added. When the kernel takes no more: those before are added.
    pub fn allow_add(&mut self, wanted: &AllowAdd, now: SystemTime) -> Result<AllowAdded, OperatorError> {
        if wanted.entries.len() > MOST_ENTRIES {
            let count = wanted.entries.len();
            return Err(OperatorError::Usage(format!("{count} entries at once are more than {MOST_ENTRIES}")));
        }
        let mut entries: Vec<(Prefix, ByOperator)> = Vec::with_capacity(wanted.entries.len());
        for NewAllow { prefix, name, comment, for_s } in &wanted.entries {
            let network = prefix::parse(prefix)?;
            for text in [name, comment].into_iter().flatten() {
                one_line(text)?;
            }
            let expires = after(now, *for_s);
            let entry = ByOperator { name: name.clone(), comment: comment.clone(), since: now, expires };
            entries.push((network.into(), entry));
        }
        let (mut added, mut updated) = (0, 0);
        let mut prefixes = Vec::with_capacity(entries.len());
        for (prefix, mut entry) in entries {
            let present = at(&mut self.allow, prefix);
            match &present.operator {
                Some(earlier) => {
                    updated += 1;
                    entry.since = earlier.since;
                }
                None => added += 1,
            }
            present.operator = Some(entry);
            prefixes.push(prefix);
        }
        let freed = self.put_in_force(&prefixes)?;
        self.keep_allow(&prefixes);
        let unblocked = self.forget_freed(&freed);
        let keys = self.keys();
        let cleared = freed.suspects.iter().take(MOST_NAMES).map(|source| keys.display(*source).to_string());
        info!(added, updated, unblocked = unblocked.len(), cleared = freed.suspects.len(), "the allowlist has grown");
        Ok(AllowAdded { schema_version: SCHEMA_VERSION, added, updated, unblocked, cleared: cleared.collect() })
    }

    /// Writes entries of the list into the kernel.
    fn put_in_force(&mut self, prefixes: &[Prefix]) -> Result<Freed, OperatorError> {
        let ends: Vec<(Prefix, u64)> =
            prefixes.iter().filter_map(|prefix| Some((*prefix, self.allow.get(prefix)?.ends_ns()))).collect();
        Ok(self.tables.allow(&ends)?)
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
    /// When a prefix is wrong, or is not the operator's to remove: then nothing is removed.
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
        let mut gone = Vec::new();
        let mut shorter = Vec::new();
        for prefix in &removed {
            let Some(entry) = self.allow.get_mut(prefix) else { continue };
            entry.operator = None;
            if entry.is_over() {
                self.allow.remove(prefix);
                gone.push(*prefix);
            } else {
                shorter.push(*prefix);
            }
        }
        self.tables.disallow(&gone)?;
        self.put_in_force(&shorter)?;
        let names: Vec<String> = removed.iter().map(shown).collect();
        let forgotten = names.clone();
        self.keep(move |store| store.remove_allow(&forgotten));
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

    /// Puts those who are logged in on the list until then, and takes off those who are not any more and whose time is over.
    ///
    /// # Errors
    /// When the kernel takes no more.
    pub fn lease(&mut self, prefixes: &[(Prefix, Option<String>)], until: SystemTime) -> Result<(), OperatorError> {
        let mut changed = Vec::with_capacity(prefixes.len());
        for (prefix, user) in prefixes {
            let entry = at(&mut self.allow, *prefix);
            if entry.lease.is_none() {
                info!(
                    prefix = shown(prefix),
                    user, "somebody is logged in from there: it is on the allowlist meanwhile"
                );
            }
            entry.lease = Some((until, user.clone()));
            changed.push(*prefix);
        }
        if !changed.is_empty() {
            let freed = self.put_in_force(&changed)?;
            self.forget_freed(&freed);
        }
        Ok(())
    }

    /// Takes off the list what is over; the kernel part has not honoured it since.
    pub(super) fn expire_allow(&mut self, now: SystemTime) -> Result<(), OperatorError> {
        let is_over = |expires: Option<SystemTime>| expires.is_some_and(|expires| expires <= now);
        let mut ended = Vec::new();
        let due: Vec<Prefix> = self
            .allow
            .iter()
            .filter(|(_, entry)| {
                entry.operator.as_ref().is_some_and(|entry| is_over(entry.expires))
                    || entry.lease.as_ref().is_some_and(|(until, _)| is_over(Some(*until)))
            })
            .map(|(prefix, _)| *prefix)
            .collect();
        let (mut gone, mut shorter) = (Vec::new(), Vec::new());
        for prefix in due {
            let Some(entry) = self.allow.get_mut(&prefix) else { continue };
            if entry.operator.as_ref().is_some_and(|entry| is_over(entry.expires)) {
                entry.operator = None;
                ended.push(shown(&prefix));
            }
            if entry.lease.as_ref().is_some_and(|(until, _)| is_over(Some(*until))) {
                entry.lease = None;
            }
            if entry.is_over() {
                self.allow.remove(&prefix);
                gone.push(prefix);
            } else {
                shorter.push(prefix);
            }
        }
        if !gone.is_empty() {
            self.tables.disallow(&gone)?;
        }
        if !shorter.is_empty() {
            self.put_in_force(&shorter)?;
        }
        if !ended.is_empty() {
            info!(entries = ended.join(" "), "entries of the allowlist have ended");
            self.keep(move |store| store.remove_allow(&ended));
        }
        Ok(())
    }
}

/// An entry once for each reason, the one that lasts longest first.
fn reasons(prefix: &Prefix, entry: &Allowed) -> Vec<AllowEntry> {
    let Allowed { configured, operator, lease } = entry;
    let made = |source: &str| AllowEntry { prefix: shown(prefix), source: source.into(), ..AllowEntry::default() };
    let mut entries: Vec<(u64, AllowEntry)> = Vec::new();
    if *configured {
        entries.push((u64::MAX, made("configuration")));
    }
    if let Some(ByOperator { name, comment, since, expires }) = operator {
        let entry = AllowEntry {
            name: name.clone(),
            comment: comment.clone(),
            expires: expires.map(timestamp),
            since: Some(timestamp(*since)),
            ..made("operator")
        };
        entries.push((end_ns(*expires), entry));
    }
    if let Some((until, user)) = lease {
        let entry = AllowEntry { name: user.clone(), expires: Some(timestamp(*until)), ..made("lease") };
        entries.push((end_ns(Some(*until)), entry));
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
