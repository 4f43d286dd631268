//! Whether the kernel's tables still hold what was told, and putting them right where somebody else wrote them.
//!
//! Reading everything takes some 100 ms with 100,000 entries in each table, so it is done on another thread ([`Readings::told`]). The thread
//! that writes the tables compares fingerprints, which takes no time, and goes through the entries only where they differ. What this process
//! itself wrote while it was read is left out of the comparison; the next reading has it. (A host under attack blocks somebody at every moment.)

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;

use aya::maps::MapError;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Allowance, Known, Verdict};

use super::decided::Touched;
use super::decisions::lpm_key;
use super::error::KernelError;
use super::maps::{
    AllowanceBytes, ConfigBytes, KnownBytes, NicBytes, OURS, VerdictBytes, Written, deleted, map_error, to_bytes,
};
use super::print::{Print, Printed};
use super::readings::Readings;
use super::tables::Tables;
use crate::prefix_map::Prefix;

/// What the kernel held when it was read.
pub struct Reading {
    /// Of what follows the lists, when the reading began.
    generation: u64,
    verdicts: HashMap<SourceKey, Verdict>,
    prefix_verdicts: HashMap<Prefix, Verdict>,
    known: HashMap<SourceKey, Known>,
    allow: HashMap<Prefix, Allowance>,
    classes: Vec<u8>,
    own: Vec<([u8; 16], u32)>,
    local: Vec<(Prefix, u32)>,
    protected: Vec<(Prefix, u32)>,
    nics: Vec<(u32, NicBytes)>,
    sieve: Vec<u64>,
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
    /// Ports, addresses, networks or interfaces were told while they were read: read them again.
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

/// A reading that can begin, on any thread. Everything that is told from now on is told apart.
pub struct Look {
    readings: Readings,
    generation: u64,
}

impl Look {
    /// What the kernel holds of what it was told. Takes some 100 ms for tables of 100,000 entries: keep it off the async threads.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read(self) -> Result<Reading, KernelError> {
        let Self { readings, generation } = self;
        let (verdicts, known) = (readings.verdicts()?, readings.known()?);
        let (prefix_verdicts, allow) = (readings.prefix_verdicts()?, readings.allowances()?);
        let prints = Prints {
            verdicts: Print::of(verdicts.iter().map(|(source, verdict)| (&source.0, verdict))),
            known: Print::of(known.iter().map(|(source, known)| (&source.0, known))),
            prefix_verdicts: Print::of(prefix_verdicts.iter().map(|(prefix, verdict)| (prefix, verdict))),
            allow: Print::of(allow.iter().map(|(prefix, allowance)| (prefix, allowance))),
        };
        let own = readings.own()?.into_iter().map(|(address, ours)| (address.bytes(), ours)).collect();
        Ok(Reading {
            generation,
            verdicts: verdicts.into_iter().collect(),
            prefix_verdicts: prefix_verdicts.into_iter().collect(),
            known: known.into_iter().collect(),
            allow: allow.into_iter().collect(),
            classes: readings.classes(),
            own,
            local: readings.local()?,
            protected: readings.protected()?,
            nics: readings.nics()?,
            sieve: readings.sieve(),
            prints,
        })
    }
}

impl Tables {
    /// Begins to look at the kernel's tables. One look at a time: of an earlier one that goes on nothing can be told any more.
    #[must_use]
    pub fn begin_look(&mut self) -> Look {
        self.decided.forget_touched();
        self.sieve.forget_touched();
        Look { readings: self.readings(), generation: self.generation }
    }

    /// Whether a reading shows what was told: the latest [`Self::begin_look`]'s.
    #[must_use]
    pub fn compare(&self, reading: &Reading) -> Comparison {
        let Self { decided, .. } = self;
        let Touched { verdicts, prefix_verdicts, known, allow } = decided.touched();
        let (found, wanted) = (&reading.prints, decided.prints());
        let lists =
            untouched(found.verdicts, verdicts, |source| source.0, |source| reading.verdicts.get(source).copied())
                == untouched(wanted.verdicts, verdicts, |source| source.0, |source| decided.verdict(source))
                && untouched(found.known, known, |source| source.0, |source| reading.known.get(source).copied())
                    == untouched(wanted.known, known, |source| source.0, |source| decided.known(source))
                && untouched(
                    found.prefix_verdicts,
                    prefix_verdicts,
                    |prefix| *prefix,
                    |prefix| reading.prefix_verdicts.get(prefix).copied(),
                ) == untouched(
                    wanted.prefix_verdicts,
                    prefix_verdicts,
                    |prefix| *prefix,
                    |prefix| decided.prefix_verdict(prefix),
                )
                && untouched(found.allow, allow, |prefix| *prefix, |prefix| reading.allow.get(prefix).copied())
                    == untouched(wanted.allow, allow, |prefix| *prefix, |prefix| decided.allowance(prefix))
                && self.sieve.other_than(&reading.sieve).next().is_none();
        let others = reading.classes == self.classes
            && reading.own.iter().copied().collect::<BTreeMap<_, _>>() == self.own
            && holds(&reading.local, &self.local)
            && holds(&reading.protected, &self.protected)
            && reading.nics.iter().copied().collect::<BTreeMap<_, _>>() == self.nics;
        match (lists, others) {
            (true, true) => Comparison::Same,
            (_, false) if reading.generation != self.generation => Comparison::Unclear,
            _ => Comparison::Different,
        }
    }

    /// Puts right what a reading shows to be [different](Comparison::Different).
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn repair(&mut self, reading: &Reading) -> Result<Vec<Altered>, KernelError> {
        let Self { written, decided, sieve, classes, own, local, protected, nics, .. } = self;
        let Written { ports, own: own_map, local: local_map, protected: protected_map, nics: nics_map, .. } = written;
        let Written { verdicts, prefix_verdicts, known, allow, sieve: sieve_map, .. } = written;
        let touched = decided.touched();
        let nothing = HashSet::new();
        let listed = |found: &[([u8; 16], u32)]| -> HashMap<[u8; 16], u32> { found.iter().copied().collect() };
        let mut altered =
            vec![
                // The allowlist first: whoever is on it waits for it.
                repair("ALLOW", &reading.allow, decided.allowances(), &touched.allow, |prefix, allowance| {
                    match allowance {
                        Some(allowance) => allow.insert(&lpm_key(*prefix), to_bytes::<_, AllowanceBytes>(allowance), 0),
                        None => allow.remove(&lpm_key(*prefix)),
                    }
                })?,
                repair("VERDICTS", &reading.verdicts, decided.verdicts(), &touched.verdicts, |source, verdict| {
                    match verdict {
                        Some(verdict) => verdicts.insert(source.0.bytes(), to_bytes::<_, VerdictBytes>(verdict), 0),
                        None => verdicts.remove(&source.0.bytes()),
                    }
                })?,
                repair(
                    "PREFIX_VERDICTS",
                    &reading.prefix_verdicts,
                    decided.prefix_verdicts(),
                    &touched.prefix_verdicts,
                    |prefix, verdict| match verdict {
                        Some(verdict) => {
                            prefix_verdicts.insert(&lpm_key(*prefix), to_bytes::<_, VerdictBytes>(verdict), 0)
                        }
                        None => prefix_verdicts.remove(&lpm_key(*prefix)),
                    },
                )?,
                repair("KNOWN", &reading.known, decided.all_known(), &touched.known, |source, until| match until {
                    Some(until) => known.insert(source.0.bytes(), to_bytes::<_, KnownBytes>(until), 0),
                    None => known.remove(&source.0.bytes()),
                })?,
                repair(
                    "PORTS",
                    &indexed(&reading.classes).collect(),
                    indexed(classes),
                    &HashSet::new(),
                    |index, class| match class {
                        Some(class) => ports.set(*index, *class, 0),
                        None => Ok(()), // An array keeps its length.
                    },
                )?,
                repair(
                    "OWN",
                    &listed(&reading.own),
                    own.iter().map(|(own, kind)| (*own, *kind)),
                    &nothing,
                    |address, kind| match kind {
                        Some(kind) => own_map.insert(address, kind, 0),
                        None => own_map.remove(address),
                    },
                )?,
                repair(
                    "LOCAL",
                    &reading.local.iter().copied().collect(),
                    local.iter().map(|prefix| (*prefix, OURS)),
                    &HashSet::new(),
                    |prefix, ours| match ours {
                        Some(ours) => local_map.insert(&lpm_key(*prefix), ours, 0),
                        None => local_map.remove(&lpm_key(*prefix)),
                    },
                )?,
                repair(
                    "PROTECTED",
                    &reading.protected.iter().copied().collect(),
                    protected.iter().map(|prefix| (*prefix, OURS)),
                    &HashSet::new(),
                    |prefix, ours| match ours {
                        Some(ours) => protected_map.insert(&lpm_key(*prefix), ours, 0),
                        None => protected_map.remove(&lpm_key(*prefix)),
                    },
                )?,
                repair(
                    "NICS",
                    &reading.nics.iter().copied().collect(),
                    nics.iter().map(|(index, nic)| (*index, *nic)),
                    &HashSet::new(),
                    |index, nic| match nic {
                        Some(nic) => nics_map.insert(index, nic, 0),
                        None => nics_map.remove(index),
                    },
                )?,
            ];
        let mut sieved = Altered { map: "SIEVE", missing: 0, foreign: 0 };
        for (index, word) in sieve.other_than(&reading.sieve) {
            sieved.missing += 1;
            sieve_map.set(index, word, 0).map_err(map_error("SIEVE"))?;
        }
        altered.push(sieved);
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
/// value. What was touched since stays as it is.
fn repair<K: Copy + Eq + Hash, V: Copy + PartialEq>(
    map: &'static str,
    found: &HashMap<K, V>,
    wanted: impl Iterator<Item = (K, V)>,
    touched: &HashSet<K>,
    mut put: impl FnMut(&K, Option<&V>) -> Result<(), MapError>,
) -> Result<Altered, KernelError> {
    let mut foreign: HashSet<K> = found.keys().filter(|key| !touched.contains(key)).copied().collect();
    let mut altered = Altered { map, missing: 0, foreign: 0 };
    for (key, value) in wanted.filter(|(key, _)| !touched.contains(key)) {
        foreign.remove(&key);
        if found.get(&key) != Some(&value) {
            altered.missing += 1;
            put(&key, Some(&value)).map_err(map_error(map))?;
        }
    }
    for key in &foreign {
        altered.foreign += 1;
        deleted(map, put(key, None))?;
    }
    Ok(altered)
}

/// A fingerprint without the entries of some keys.
fn untouched<K, P: Printed, V: Printed>(
    mut print: Print,
    touched: &HashSet<K>,
    printed: impl Fn(&K) -> P,
    entry: impl Fn(&K) -> Option<V>,
) -> Print {
    for key in touched {
        if let Some(value) = entry(key) {
            print.take(&printed(key), &value);
        }
    }
    print
}

/// Whether a table of what is ours holds exactly these.
fn holds<K: Copy + Ord>(found: &[(K, u32)], wanted: &BTreeSet<K>) -> bool {
    found.len() == wanted.len() && found.iter().all(|(key, ours)| *ours == OURS && wanted.contains(key))
}

fn indexed(classes: &[u8]) -> impl Iterator<Item = (u32, u8)> {
    (0..).zip(classes.iter().copied())
}
