//! Whether the kernel's tables still hold what was told, and putting them right where somebody else wrote them.
//!
//! Reading everything takes some 100 ms with 100,000 entries in each table, so it is done on another thread ([`Readings::told`]). The thread
//! that writes the tables compares fingerprints, which takes no time, and goes through the entries only where they differ. A reading
//! during which this process wrote something itself proves nothing: it says so by its generation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use aya::maps::MapError;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Allowance, Known, Verdict};

use super::decisions::lpm_key;
use super::error::KernelError;
use super::maps::{
    AllowanceBytes, ConfigBytes, KnownBytes, NicBytes, OURS, VerdictBytes, Written, deleted, map_error, to_bytes,
};
use super::print::Print;
use super::readings::Readings;
use super::tables::Tables;
use crate::prefix_map::Prefix;

/// What the kernel held when it was read.
pub struct Reading {
    /// Of [`Tables::generation`] when the reading began.
    generation: u64,
    verdicts: Vec<(SourceKey, Verdict)>,
    prefix_verdicts: Vec<(Prefix, Verdict)>,
    known: Vec<(SourceKey, Known)>,
    allow: Vec<(Prefix, Allowance)>,
    classes: Vec<u8>,
    own: Vec<([u8; 16], u32)>,
    protected: Vec<(Prefix, u32)>,
    nics: Vec<(u32, NicBytes)>,
    prints: Prints,
}

/// Fingerprints of the four tables that may be long.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Prints {
    pub(super) verdicts: Print,
    pub(super) prefix_verdicts: Print,
    pub(super) known: Print,
    pub(super) allow: Print,
}

/// What a comparison shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    /// The kernel holds what was told.
    Same,
    /// It does not.
    Different,
    /// Something was told while it was read: read it again.
    Unclear,
}

/// Entries of a table that somebody else altered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Altered {
    /// The table.
    pub map: &'static str,
    /// Entries that were gone, or other ones.
    pub missing: u64,
    /// Entries that nobody told.
    pub foreign: u64,
}

impl Readings {
    /// What the kernel holds of what it was told. Takes some 100 ms for tables of 100,000 entries: keep it off the async threads.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn told(&self, generation: u64) -> Result<Reading, KernelError> {
        let (verdicts, known) = (self.verdicts()?, self.known()?);
        let (prefix_verdicts, allow) = (self.prefix_verdicts()?, self.allowances()?);
        let prints = Prints {
            verdicts: Print::of(verdicts.iter().map(|(source, verdict)| (&source.0, verdict))),
            known: Print::of(known.iter().map(|(source, known)| (&source.0, known))),
            prefix_verdicts: Print::of(prefix_verdicts.iter().map(|(prefix, verdict)| (prefix, verdict))),
            allow: Print::of(allow.iter().map(|(prefix, allowance)| (prefix, allowance))),
        };
        let own = self.own()?.into_iter().map(|(address, ours)| (address.bytes(), ours)).collect();
        let (classes, protected, nics) = (self.classes()?, self.protected()?, self.nics()?);
        Ok(Reading { generation, verdicts, prefix_verdicts, known, allow, classes, own, protected, nics, prints })
    }
}

impl Tables {
    /// Grows with each change of what was told.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether a reading shows what was told.
    #[must_use]
    pub fn compare(&self, reading: &Reading) -> Comparison {
        let same = reading.prints == self.decided.prints()
            && reading.classes == self.classes
            && holds(&reading.own, &self.own)
            && holds(&reading.protected, &self.protected)
            && reading.nics.iter().copied().collect::<BTreeMap<_, _>>() == self.nics;
        match same {
            true => Comparison::Same,
            false if reading.generation != self.generation => Comparison::Unclear,
            false => Comparison::Different,
        }
    }

    /// Puts right what a reading shows to be altered. It must be of this [`Self::generation`].
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn repair(&mut self, reading: &Reading) -> Result<Vec<Altered>, KernelError> {
        let Self { written, decided, classes, own, protected, nics, .. } = self;
        let Written { ports, own: own_map, protected: protected_map, nics: nics_map, .. } = written;
        let Written { verdicts, prefix_verdicts, known, allow, .. } = written;
        let mut altered = vec![
            // The allowlist first: whoever is on it waits for it.
            repair("ALLOW", &reading.allow, decided.allowances(), |prefix, allowance| match allowance {
                Some(allowance) => allow.insert(&lpm_key(*prefix), to_bytes::<_, AllowanceBytes>(allowance), 0),
                None => allow.remove(&lpm_key(*prefix)),
            })?,
            repair("VERDICTS", &reading.verdicts, decided.verdicts(), |source, verdict| match verdict {
                Some(verdict) => verdicts.insert(source.0.bytes(), to_bytes::<_, VerdictBytes>(verdict), 0),
                None => verdicts.remove(&source.0.bytes()),
            })?,
            repair("PREFIX_VERDICTS", &reading.prefix_verdicts, decided.prefix_verdicts(), |prefix, verdict| {
                match verdict {
                    Some(verdict) => prefix_verdicts.insert(&lpm_key(*prefix), to_bytes::<_, VerdictBytes>(verdict), 0),
                    None => prefix_verdicts.remove(&lpm_key(*prefix)),
                }
            })?,
            repair("KNOWN", &reading.known, decided.all_known(), |source, until| match until {
                Some(until) => known.insert(source.0.bytes(), to_bytes::<_, KnownBytes>(until), 0),
                None => known.remove(&source.0.bytes()),
            })?,
            repair("PORTS", &indexed(&reading.classes), indexed(classes).into_iter(), |index, class| match class {
                Some(class) => ports.set(*index, *class, 0),
                None => Ok(()), // An array keeps its length.
            })?,
            repair("OWN", &reading.own, own.iter().map(|own| (*own, OURS)), |address, ours| match ours {
                Some(ours) => own_map.insert(address, ours, 0),
                None => own_map.remove(address),
            })?,
            repair("PROTECTED", &reading.protected, protected.iter().map(|prefix| (*prefix, OURS)), |prefix, ours| {
                match ours {
                    Some(ours) => protected_map.insert(&lpm_key(*prefix), ours, 0),
                    None => protected_map.remove(&lpm_key(*prefix)),
                }
            })?,
            repair("NICS", &reading.nics, nics.iter().map(|(index, nic)| (*index, *nic)), |index, nic| match nic {
                Some(nic) => nics_map.insert(index, nic, 0),
                None => nics_map.remove(index),
            })?,
        ];
        altered.retain(|Altered { missing, foreign, .. }| missing + foreign > 0);
        if altered.iter().any(|altered| altered.map == "ALLOW") {
            // Suspicion that arose meanwhile is checked against the list anew.
            self.finish_allow()?;
        }
        Ok(altered)
    }

    /// Puts the settings right if somebody else altered them, and says whether that was so. One system call.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn repair_settings(&mut self) -> Result<Option<Altered>, KernelError> {
        let found: ConfigBytes = self.written.config.get(&0, 0).map_err(map_error("CONFIG"))?;
        if found == to_bytes::<_, ConfigBytes>(&self.config) {
            return Ok(None);
        }
        self.write_config()?;
        Ok(Some(Altered { map: "CONFIG", missing: 1, foreign: 0 }))
    }
}

/// Has what is wanted and was not found as it should be written by `put`, and what was found and is not wanted taken away: a key without a
/// value.
fn repair<K: Copy + Eq + Hash, V: Copy + PartialEq>(
    map: &'static str,
    found: &[(K, V)],
    wanted: impl Iterator<Item = (K, V)>,
    mut put: impl FnMut(&K, Option<&V>) -> Result<(), MapError>,
) -> Result<Altered, KernelError> {
    let mut found: HashMap<K, V> = found.iter().copied().collect();
    let mut altered = Altered { map, missing: 0, foreign: 0 };
    for (key, value) in wanted {
        if found.remove(&key) != Some(value) {
            altered.missing += 1;
            put(&key, Some(&value)).map_err(map_error(map))?;
        }
    }
    for key in found.keys() {
        altered.foreign += 1;
        deleted(map, put(key, None))?;
    }
    Ok(altered)
}

/// Whether a table of what is ours holds exactly these.
fn holds<K: Copy + Ord>(found: &[(K, u32)], wanted: &BTreeSet<K>) -> bool {
    found.len() == wanted.len() && found.iter().all(|(key, ours)| *ours == OURS && wanted.contains(key))
}

fn indexed(classes: &[u8]) -> Vec<(u32, u8)> {
    (0..).zip(classes.iter().copied()).collect()
}
