//! Decisions of userspace on their way into the kernel: VERDICTS, PREFIX_VERDICTS, KNOWN and ALLOW.
//!
//! No source is in VERDICTS and covered by ALLOW at once: an entry of the allowlist is written first, and then what it covers is
//! deleted from VERDICTS. Verdicts on prefixes may meet entries of the allowlist; the datapath spares those. Suspicion needs no such
//! care, because the datapath asks ALLOW before it acts on suspicion that is older than the latest change of ALLOW.

use std::cell::UnsafeCell;
use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::Key;
use ipnetwork::IpNetwork;
use scanguard_common::config::KernelConfig;
use scanguard_common::contact::Outcome;
use scanguard_common::record::{Backup, SourceCell, SourceRecord};
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Allowance, Census, Known, Verdict};
use tracing::warn;

use super::cleared::Clearing;
use super::decided::{Decided, source_prefix};
use super::error::KernelError;
use super::maps::{
    AllowanceBytes, BackupBytes, KnownBytes, RecordBytes, VerdictBytes, deleted, from_bytes, is_missing, is_there,
    map_error, to_bytes,
};
use super::sieve::Changed;
use super::tables::Tables;
use crate::prefix_map::Prefix;

/// An end that never comes, on the kernel part's clock.
pub const NEVER_NS: u64 = u64::MAX;

/// Why a verdict cannot be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The allowlist covers the source, in whole or in part.
    Allowed,
}

/// What a new entry of the allowlist ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Freed {
    /// Sources whose verdict was lifted.
    pub sources: Vec<SourceKey>,
    /// Prefixes whose verdict was lifted.
    pub prefixes: Vec<Prefix>,
    /// Sources that were suspects.
    pub suspects: Vec<SourceKey>,
}

/// What a weight that came from outside made of a source's score.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Weighed {
    /// The score with it, in units of [`scanguard_common::score`].
    pub score: u32,
    /// Whether it made the source a suspect.
    pub accused: bool,
}

/// How often it is tried again to write a record that came or went meanwhile.
const TRIES: u32 = 3;

impl Tables {
    /// Puts a verdict in force, in place of an earlier one on the same source. Refused where the allowlist covers the source.
    ///
    /// # Errors
    /// When the map cannot be written, as when it is full.
    pub fn set_verdict(&mut self, source: SourceKey, verdict: &Verdict) -> Result<Result<(), Refusal>, KernelError> {
        if self.decided.allows_some_of(&self.config.keys, &source) {
            return Ok(Err(Refusal::Allowed));
        }
        let is_new = self.decided.verdict(&source).is_none();
        if is_new {
            // First the sieve: a verdict that it does not show would not be found.
            let changed = self.sieve.put(&source);
            self.write_sieve(changed)?;
        }
        let bytes: VerdictBytes = to_bytes(verdict);
        if let Err(error) = self.written.verdicts.insert(source.0.bytes(), bytes, 0) {
            if is_new {
                let changed = self.sieve.take(&source);
                self.write_sieve(changed)?;
            }
            return Err(map_error("VERDICTS")(error));
        }
        self.decided.put_verdict(source, *verdict);
        self.take_census()?;
        Ok(Ok(()))
    }

    /// Lifts a verdict; false when there was none.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn remove_verdict(&mut self, source: SourceKey) -> Result<bool, KernelError> {
        let there = self.decided.take_verdict(&source);
        deleted("VERDICTS", self.written.verdicts.remove(&source.0.bytes()))?;
        if there {
            let changed = self.sieve.take(&source);
            self.write_sieve(changed)?;
        }
        self.take_census()?;
        Ok(there)
    }

    fn write_sieve(&mut self, changed: Option<Changed>) -> Result<(), KernelError> {
        match changed {
            Some((index, word)) => self.written.sieve.set(index, word, 0).map_err(map_error("SIEVE")),
            None => Ok(()),
        }
    }

    /// Puts a verdict on a prefix in force, in place of an earlier one on the same prefix. Refused where the allowlist covers all of it;
    /// what it covers of it the datapath spares.
    ///
    /// # Errors
    /// When the map cannot be written, as when it is full.
    pub fn set_prefix_verdict(
        &mut self,
        prefix: Prefix,
        verdict: &Verdict,
    ) -> Result<Result<(), Refusal>, KernelError> {
        if self.decided.allowed.covering(prefix).next().is_some() {
            return Ok(Err(Refusal::Allowed));
        }
        let bytes: VerdictBytes = to_bytes(verdict);
        self.written.prefix_verdicts.insert(&lpm_key(prefix), bytes, 0).map_err(map_error("PREFIX_VERDICTS"))?;
        self.decided.put_prefix_verdict(prefix, *verdict);
        self.take_census()?;
        Ok(Ok(()))
    }

    /// Lifts a verdict on a prefix; false when there was none.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn remove_prefix_verdict(&mut self, prefix: Prefix) -> Result<bool, KernelError> {
        let there = self.decided.take_prefix_verdict(&prefix);
        deleted("PREFIX_VERDICTS", self.written.prefix_verdicts.remove(&lpm_key(prefix)))?;
        self.take_census()?;
        Ok(there)
    }

    /// The verdict on a source that was told to the kernel part, whether or not its time is over.
    #[must_use]
    pub fn verdict(&self, source: &SourceKey) -> Option<Verdict> {
        self.decided.verdict(source)
    }

    /// The verdict on the longest prefix that covers another one and was decided about, whether or not its time is over.
    #[must_use]
    pub fn prefix_verdict(&self, prefix: Prefix) -> Option<(Prefix, Verdict)> {
        self.decided.prefix_verdict_over(prefix)
    }

    /// Says that a source is known.
    ///
    /// # Errors
    /// When the map cannot be written, as when it is full.
    pub fn set_known(&mut self, source: SourceKey, known: &Known) -> Result<(), KernelError> {
        let bytes: KnownBytes = to_bytes(known);
        self.written.known.insert(source.0.bytes(), bytes, 0).map_err(map_error("KNOWN"))?;
        self.decided.put_known(source, *known);
        self.take_census()
    }

    /// Says that a source is known no more.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn remove_known(&mut self, source: SourceKey) -> Result<(), KernelError> {
        self.decided.take_known(&source);
        deleted("KNOWN", self.written.known.remove(&source.0.bytes()))?;
        self.take_census()
    }

    /// Until when restricted ports stay visible to a source because it has worked there.
    #[must_use]
    pub fn known(&self, source: &SourceKey) -> Option<Known> {
        self.decided.known(source)
    }

    /// Replaces the allowlist: prefixes and when each ends, on the kernel part's clock ([`NEVER_NS`] for never). In force when
    /// this returns, verdicts on what it covers lifted.
    ///
    /// # Errors
    /// When there are more than the map takes, or it cannot be written: then the list is as it was.
    pub fn set_allowed(&mut self, entries: &[(IpNetwork, u64)]) -> Result<Freed, KernelError> {
        let mut wanted: BTreeMap<Prefix, u64> = BTreeMap::new();
        for (network, end) in entries {
            // Of two entries for one prefix the later end holds.
            let latest = wanted.entry((*network).into()).or_default();
            *latest = (*latest).max(*end);
        }
        let limit = self.most_allowed();
        if wanted.len() > limit {
            return Err(KernelError::AllowlistFull { count: wanted.len(), limit });
        }
        let present = self.decided.allowed.iter().map(|(prefix, _)| *prefix);
        let gone: Vec<Prefix> = present.filter(|prefix| !wanted.contains_key(prefix)).collect();
        // New entries come before others go, so that nobody on both lists is off for a moment; where there is no room
        // for that, they come after.
        let fits = wanted.len() + gone.len() <= limit;
        let (first, last) = if fits { (&[][..], &gone[..]) } else { (&gone[..], &[][..]) };
        let ends: Vec<(Prefix, u64)> =
            first.iter().filter_map(|prefix| Some((*prefix, self.decided.own_end(prefix)?))).collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        let mut written = self.erase_allowed(first).and_then(|()| self.write_allowed(&wanted));
        if written.is_err() {
            for (prefix, own) in ends {
                self.restore_allowance(prefix, Some(own));
            }
        } else {
            written = self.erase_allowed(last);
        }
        self.finish_allow()?;
        written?;
        let mut freed = Freed::default();
        let prefixes: Vec<Prefix> = wanted.iter().map(|(prefix, _)| *prefix).collect();
        self.free(&prefixes, &mut freed)?;
        Ok(freed)
    }

    /// Adds entries to the allowlist, or gives those that are there another end. In force when this returns, verdicts on what they
    /// cover lifted.
    ///
    /// # Errors
    /// When there are more than the map takes, or one cannot be written: then the list is as it was. When a verdict
    /// cannot be lifted.
    pub fn allow(&mut self, entries: &[(Prefix, u64)]) -> Result<Freed, KernelError> {
        let fresh = self.admit(entries)?;
        let mut freed = Freed::default();
        self.free(&fresh, &mut freed)?;
        Ok(freed)
    }

    /// The first half of [`Self::allow`]: the entries are in force when this returns. Returns those of which
    /// [`Self::free`] is to lift verdicts and suspicion. An entry that was in force and lasts longer now is not among
    /// them: nothing that it covers has either.
    ///
    /// # Errors
    /// When there are more than the map takes, or one cannot be written: then the list is as it was.
    pub fn admit(&mut self, entries: &[(Prefix, u64)]) -> Result<Vec<Prefix>, KernelError> {
        let now_ns = super::clock::monotonic_coarse_ns();
        let is_fresh = |(prefix, end): &&(Prefix, u64)| !self.decided.is_prolonged(prefix, *end, now_ns);
        let fresh: Vec<Prefix> = entries.iter().filter(is_fresh).map(|(prefix, _)| *prefix).collect();
        self.write_allowed(entries)?;
        if !fresh.is_empty() {
            self.finish_allow()?;
        }
        Ok(fresh)
    }

    /// Takes entries from the allowlist.
    ///
    /// # Errors
    /// When the map cannot be written. Entries before the one that failed are gone then: see [`Self::is_listed`].
    pub fn disallow(&mut self, prefixes: &[Prefix]) -> Result<(), KernelError> {
        let erased = self.erase_allowed(prefixes);
        self.finish_allow()?;
        erased
    }

    /// Whether the allowlist has an entry for exactly this prefix, whether or not its time is over.
    #[must_use]
    pub fn is_listed(&self, prefix: &Prefix) -> bool {
        self.decided.own_end(prefix).is_some()
    }

    /// Entries that the allowlist takes: one less than the map, because before Linux 6.13 a longest-prefix match that
    /// is full refuses another value for an entry that it has ("bpf: Handle in-place update for full LPM trie
    /// correctly").
    #[must_use]
    pub fn most_allowed(&self) -> usize {
        usize::try_from(self.readings.allow_capacity()).unwrap_or(usize::MAX).saturating_sub(1)
    }

    /// Writes all of these entries, or none.
    fn write_allowed(&mut self, entries: &[(Prefix, u64)]) -> Result<(), KernelError> {
        let new: BTreeSet<Prefix> =
            entries.iter().map(|(prefix, _)| *prefix).filter(|prefix| !self.is_listed(prefix)).collect();
        let (count, limit) = (self.decided.allowed.len() + new.len(), self.most_allowed());
        if !new.is_empty() && count > limit {
            return Err(KernelError::AllowlistFull { count, limit });
        }
        let mut before = Vec::with_capacity(entries.len());
        for (prefix, end) in entries {
            before.push((*prefix, self.decided.own_end(prefix)));
            if let Err(error) = self.write_allowance(*prefix, *end) {
                for (prefix, own) in before.into_iter().rev() {
                    self.restore_allowance(prefix, own);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn write_allowance(&mut self, prefix: Prefix, own: u64) -> Result<(), KernelError> {
        for (changed, effective) in self.decided.allow(prefix, own) {
            let value: AllowanceBytes = to_bytes(&Allowance { expires_ns: effective });
            self.written.allow.insert(&lpm_key(changed), value, 0).map_err(map_error("ALLOW"))?;
        }
        Ok(())
    }

    /// Gives an entry the end that it had, or takes it away where there was none.
    fn restore_allowance(&mut self, prefix: Prefix, own: Option<u64>) {
        let restored = match own {
            Some(own) => self.write_allowance(prefix, own),
            None => self.erase_allowance(prefix),
        };
        if let Err(error) = restored {
            warn!(%error, "cannot put an allowlist entry back: the next comparison with the kernel's tables does");
        }
    }

    fn erase_allowed(&mut self, prefixes: &[Prefix]) -> Result<(), KernelError> {
        prefixes.iter().try_for_each(|prefix| self.erase_allowance(*prefix))
    }

    fn erase_allowance(&mut self, prefix: Prefix) -> Result<(), KernelError> {
        let Some(own) = self.decided.own_end(&prefix) else { return Ok(()) };
        let changed = self.decided.disallow(prefix).unwrap_or_default();
        if let Err(error) = deleted("ALLOW", self.written.allow.remove(&lpm_key(prefix))) {
            let _ = self.decided.allow(prefix, own); // It is there still.
            return Err(error);
        }
        // Those within it, which it may have outlasted.
        for (changed, effective) in changed {
            let value: AllowanceBytes = to_bytes(&Allowance { expires_ns: effective });
            self.written.allow.insert(&lpm_key(changed), value, 0).map_err(map_error("ALLOW"))?;
        }
        Ok(())
    }

    /// Whether the allowlist covers a whole prefix now, on the kernel part's clock.
    #[must_use]
    pub fn is_allowed(&self, prefix: Prefix, now_ns: u64) -> bool {
        self.decided.allowed.covering(prefix).next().is_some_and(|(_, ends)| ends.effective > now_ns)
    }

    pub(super) fn finish_allow(&mut self) -> Result<(), KernelError> {
        let generation = self.config.census.allow_generation.wrapping_add(1);
        self.readings.set_verdicts(&self.decided);
        self.config.census = Census { allow_generation: generation, ..self.decided.census(&self.config) };
        self.write_config()
    }

    /// Lifts verdicts on what these entries of the allowlist cover, and suspicion from all that is on it, and adds what
    /// was lifted to `freed`. Reads all suspects; without entries it does nothing.
    ///
    /// # Errors
    /// When a map cannot be read or written. What was lifted before is in `freed`.
    pub fn free(&mut self, entries: &[Prefix], freed: &mut Freed) -> Result<(), KernelError> {
        if entries.is_empty() {
            return Ok(());
        }
        let keys = self.config.keys;
        for entry in entries {
            for source in self.decided.verdicts_meeting(&keys, *entry) {
                self.remove_verdict(source)?;
                freed.sources.push(source);
            }
            let prefixes: Vec<Prefix> = self.decided.prefix_verdicts_within(*entry).collect();
            for prefix in prefixes {
                self.remove_prefix_verdict(prefix)?;
                freed.prefixes.push(prefix);
            }
        }
        for (source, _) in self.readings.suspects()? {
            let prefix = source_prefix(&keys, &source);
            if self.decided.allowed.covering(prefix).next().is_some() && self.clear_suspicion(&source)? {
                freed.suspects.push(source);
            }
        }
        Ok(())
    }

    /// Ends suspicion of a source and forgets its score and what it asked for. False when it was no suspect. Attempts that other CPUs count at the same moment may be lost from its record.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn clear_suspicion(&mut self, source: &SourceKey) -> Result<bool, KernelError> {
        let mut was = false;
        if let Some(record) = self.readings.source(source)?
            && (record.suspect_until_ns > 0 || record.score > 0)
        {
            let now_ns = super::clock::monotonic_coarse_ns();
            was = record.is_suspect(now_ns);
            let mut cleared = record;
            cleared.absolve();
            let bytes: RecordBytes = to_bytes(&cleared);
            // Only where it still is: a source that was washed out meanwhile needs nothing.
            match self.written.sources.insert(source.0.bytes(), bytes, EXISTING) {
                Ok(()) => self.cleared.note(*source, Clearing { time_ns: now_ns, failures: record.failures }),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(map_error("SOURCES")(error)),
            }
        }
        deleted("SUSPECTS", self.written.suspects.remove(&source.0.bytes()))?;
        deleted("PROVEN_SUSPECTS", self.written.proven_suspects.remove(&source.0.bytes()))?;
        Ok(was)
    }

    /// Adds to the score of a source what somebody else saw it do, up to the cap; where it crosses the threshold the source is a suspect, by the
    /// code that the kernel part has for it. What is remembered as the reason is an outcome for which the kernel part suspects nobody
    /// ([`Outcome::Unknown`]). Attempts that other CPUs count at the same moment may be lost from its record.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn weigh(&mut self, source: &SourceKey, points: u32) -> Result<Weighed, KernelError> {
        let mut tries = TRIES;
        loop {
            let now_ns = super::clock::monotonic_coarse_ns();
            let found = self.readings.source(source)?;
            let kept = if found.is_none() { self.kept_suspect(source)? } else { None };
            // Whatever is there in the end is written over.
            let flags = if tries == 0 { ANY } else { found.map_or(MISSING, |_| EXISTING) };
            let record = found.unwrap_or_else(|| SourceRecord::new(*source, now_ns));
            let (record, backup, weighed) = weigh_record(record, kept.as_ref(), &self.config, points, now_ns);
            let bytes: RecordBytes = to_bytes(&record);
            match self.written.sources.insert(source.0.bytes(), bytes, flags) {
                Ok(()) => {}
                Err(error) if tries > 0 && (is_missing(&error) || is_there(&error)) => {
                    tries -= 1;
                    continue;
                }
                Err(error) => return Err(map_error("SOURCES")(error)),
            }
            if let Some(backup) = backup {
                let bytes: BackupBytes = to_bytes(&backup);
                self.written.suspects.insert(source.0.bytes(), bytes, ANY).map_err(map_error("SUSPECTS"))?;
            }
            return Ok(weighed);
        }
    }

    /// What is kept of a suspect that was washed out of SOURCES.
    fn kept_suspect(&self, source: &SourceKey) -> Result<Option<Backup>, KernelError> {
        for (name, map) in [("PROVEN_SUSPECTS", &self.written.proven_suspects), ("SUSPECTS", &self.written.suspects)] {
            match map.get(&source.0.bytes(), 0) {
                Ok(bytes) => return Ok(Some(from_bytes(&bytes))),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(map_error(name)(error)),
            }
        }
        Ok(None)
    }

    pub(super) fn write_record(&mut self, record: &SourceRecord) -> Result<(), KernelError> {
        let bytes: RecordBytes = to_bytes(record);
        self.written.sources.insert(record.source.0.bytes(), bytes, EXISTING).map_err(map_error("SOURCES"))
    }

    /// Brings the census of maps up to date, for the datapath asks only maps that have entries.
    pub(super) fn take_census(&mut self) -> Result<(), KernelError> {
        self.readings.set_verdicts(&self.decided);
        let census = self.decided.census(&self.config);
        if census == self.config.census {
            return Ok(()); // As a rule: one entry more or less matters only where it is the first or the last.
        }
        self.config.census = census;
        self.write_config()
    }

    /// All verdicts on sources as they were told to the kernel part.
    #[must_use]
    pub fn decided(&self) -> &Decided {
        &self.decided
    }
}

/// A record with a weight added, of a source of which SUSPECTS may keep more, and what SUSPECTS should keep of it then.
fn weigh_record(
    record: SourceRecord,
    kept: Option<&Backup>,
    config: &KernelConfig,
    points: u32,
    now_ns: u64,
) -> (SourceRecord, Option<Backup>, Weighed) {
    let KernelConfig { score: rules, conceal, census, .. } = config;
    let record = UnsafeCell::new(record);
    let cell = SourceCell::new(&record);
    if let Some(kept) = kept {
        cell.restore(kept);
    }
    cell.decay(rules, now_ns);
    let score = cell.add_points(rules, points, now_ns);
    let crosses = score >= rules.conceal_at;
    let accused = crosses && cell.suspect(conceal, census.allow_generation, Outcome::Unknown as u8, now_ns);
    let backup = cell.is_suspect(now_ns).then(|| {
        let _ = cell.prolong(conceal, now_ns);
        cell.backup()
    });
    (record.into_inner(), backup, Weighed { score, accused })
}

/// `BPF_ANY` (`include/uapi/linux/bpf.h`): insert or update.
const ANY: u64 = 0;
/// `BPF_NOEXIST`: insert, never update.
const MISSING: u64 = 1;
/// `BPF_EXIST` (`include/uapi/linux/bpf.h`): update, never insert.
const EXISTING: u64 = 2;

pub(super) fn lpm_key(prefix: Prefix) -> Key<[u8; 16]> {
    Key::new(u32::from(prefix.bits), prefix.address)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;
    const NOW_NS: u64 = 100 * HOUR_NS;

    fn record() -> SourceRecord {
        SourceRecord::new(SourceKey(IpAddr::from([203, 0, 113, 66]).into()), NOW_NS)
    }

    #[test]
    fn weights_add_up_to_suspicion_by_the_rules_of_the_kernel_part() {
        let config = KernelConfig::new([1, 2]);
        let step = config.score.step;
        let (record, backup, weighed) = weigh_record(record(), None, &config, 3 * step, NOW_NS);
        assert_eq!((weighed, backup), (Weighed { score: 3 * step, accused: false }, None));
        assert!(!record.is_suspect(NOW_NS) && record.attempts == 0 && record.failures == 0);
        let later_ns = NOW_NS + HOUR_NS / 2;
        let (record, backup, weighed) = weigh_record(record, None, &config, step, later_ns);
        assert_eq!(weighed, Weighed { score: 4 * step, accused: true });
        let backup = backup.expect("a suspect is kept");
        assert_eq!((record.suspect_since_ns, record.suspect_until_ns), (later_ns, later_ns + HOUR_NS));
        assert_eq!((backup.suspect_until_ns, backup.score, record.reason), (later_ns + HOUR_NS, 4 * step, 0));
        // More of it is no second accusation, and makes it last longer.
        let last_ns = later_ns + HOUR_NS / 2;
        let (record, _, weighed) = weigh_record(record, None, &config, 10 * step, last_ns);
        assert_eq!(weighed, Weighed { score: config.score.cap, accused: false });
        assert_eq!((record.suspect_since_ns, record.suspect_until_ns), (later_ns, last_ns + HOUR_NS));
    }

    #[test]
    fn what_is_old_is_halved_first_and_who_was_washed_out_is_a_suspect_still() {
        let config = KernelConfig::new([1, 2]);
        let step = config.score.step;
        let (old, ..) = weigh_record(record(), None, &config, 2 * step, NOW_NS);
        let later_ns = NOW_NS + config.score.half_life_ns;
        let (_, _, weighed) = weigh_record(old, None, &config, step, later_ns);
        assert_eq!(weighed, Weighed { score: 2 * step, accused: false });
        let (_, backup, _) = weigh_record(record(), None, &config, 4 * step, NOW_NS);
        let (found, _, weighed) = weigh_record(record(), backup.as_ref(), &config, step, NOW_NS + HOUR_NS / 2);
        assert_eq!(weighed, Weighed { score: 5 * step, accused: false });
        assert_eq!(found.suspect_since_ns, NOW_NS);
    }
}
