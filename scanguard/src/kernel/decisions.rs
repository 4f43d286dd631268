//! Decisions of userspace on their way into the kernel: VERDICTS, KNOWN and ALLOW.
//!
//! No source is in VERDICTS and covered by ALLOW at once: an entry of the allowlist is written first, and then what it covers is
//! deleted from VERDICTS. Suspicion needs no such care, because the datapath asks ALLOW before it acts on suspicion that is older
//! than the latest change of ALLOW.

use std::collections::{BTreeMap, HashMap};

use aya::maps::lpm_trie::Key;
use ipnetwork::IpNetwork;
use scanguard_common::address::{Address, prefix};
use scanguard_common::reason::Level;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Allowance, Known, Scope, Verdict};

use super::datapath::Datapath;
use super::error::KernelError;
use super::maps::{AllowanceBytes, KnownBytes, VerdictBytes, deleted, map_error, to_bytes};

/// An end that never comes, on the kernel part's clock.
pub const NEVER_NS: u64 = u64::MAX;

/// What was told to the kernel part: this process is its only writer.
#[derive(Default)]
pub(super) struct Decided {
    verdicts: HashMap<SourceKey, Verdict>,
    known: HashMap<SourceKey, Known>,
    /// Prefix in network order and its length of 128 bits, to when it ends.
    allowed: BTreeMap<([u8; 16], u8), u64>,
}

/// Why a verdict cannot be set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The allowlist covers the source, in whole or in part.
    Allowed,
}

impl Datapath {
    /// Puts a verdict in force, in place of an earlier one on the same source. Refused where the allowlist covers the source.
    ///
    /// # Errors
    /// When the map cannot be written, as when it is full.
    pub fn set_verdict(&mut self, source: SourceKey, verdict: &Verdict) -> Result<Result<(), Refusal>, KernelError> {
        if self.is_covered(&source) {
            return Ok(Err(Refusal::Allowed));
        }
        let bytes: VerdictBytes = to_bytes(verdict);
        self.written.verdicts.insert(source.0.bytes(), bytes, 0).map_err(map_error("VERDICTS"))?;
        self.decided.verdicts.insert(source, *verdict);
        self.take_census()?;
        Ok(Ok(()))
    }

    /// Lifts a verdict; false when there was none.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn remove_verdict(&mut self, source: SourceKey) -> Result<bool, KernelError> {
        let there = self.decided.verdicts.remove(&source).is_some();
        deleted("VERDICTS", self.written.verdicts.remove(&source.0.bytes()))?;
        self.take_census()?;
        Ok(there)
    }

    /// Says that a source has worked here.
    ///
    /// # Errors
    /// When the map cannot be written, as when it is full.
    pub fn set_known(&mut self, source: SourceKey, known: &Known) -> Result<(), KernelError> {
        let bytes: KnownBytes = to_bytes(known);
        self.written.known.insert(source.0.bytes(), bytes, 0).map_err(map_error("KNOWN"))?;
        self.decided.known.insert(source, *known);
        self.take_census()
    }

    /// Replaces the allowlist: prefixes and when each ends, on the kernel part's clock ([`NEVER_NS`] for never). In force when
    /// this returns, verdicts on what it covers lifted.
    ///
    /// # Errors
    /// When a map cannot be written, as when it is full.
    pub fn set_allowed(&mut self, entries: &[(IpNetwork, u64)]) -> Result<(), KernelError> {
        let wanted = effective(entries);
        for ((prefix, bits), expires_ns) in &wanted {
            let value: AllowanceBytes = to_bytes(&Allowance { expires_ns: *expires_ns });
            self.written.allow.insert(&Key::new(u32::from(*bits), *prefix), value, 0).map_err(map_error("ALLOW"))?;
        }
        for (prefix, bits) in self.decided.allowed.keys().filter(|key| !wanted.contains_key(*key)) {
            deleted("ALLOW", self.written.allow.remove(&Key::new(u32::from(*bits), *prefix)))?;
        }
        self.decided.allowed = wanted;
        let census = &mut self.config.census;
        census.allow_generation = census.allow_generation.wrapping_add(1);
        self.take_census()?;
        let covered: Vec<SourceKey> =
            self.decided.verdicts.keys().filter(|source| self.is_covered(source)).copied().collect();
        for source in covered {
            self.remove_verdict(source)?;
        }
        Ok(())
    }

    /// Whether the allowlist covers a source, in whole or in part.
    fn is_covered(&self, source: &SourceKey) -> bool {
        let covers =
            |(prefix, bits): &([u8; 16], u8)| self.config.keys.overlaps(source, &Address::from_bytes(*prefix), *bits);
        self.decided.allowed.keys().any(covers)
    }

    fn take_census(&mut self) -> Result<(), KernelError> {
        let Decided { verdicts, known, allowed } = &self.decided;
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let blocks = [Scope::Private, Scope::All].map(|scope| {
            let is_one = |verdict: &&Verdict| verdict.level == Level::Block as u8 && verdict.scope == scope as u8;
            verdicts.values().filter(is_one).count() as u64
        });
        let hard = verdicts.values().filter(|verdict| verdict.hard != 0).count();
        let (verdicts, known, allowed_count) = (count(verdicts.len()), count(known.len()), count(allowed.len()));
        let keys = self.config.keys;
        let splits = |(prefix, bits): &&([u8; 16], u8)| keys.may_split_sources(&Address::from_bytes(*prefix), *bits);
        let within = allowed.keys().filter(splits).count();
        let census = &mut self.config.census;
        census.verdicts = verdicts;
        census.hard_verdicts = count(hard);
        census.known = known;
        census.allowed = allowed_count;
        census.allowed_within = count(within);
        self.readings.set_verdicts(verdicts, blocks);
        self.write_config()
    }
}

/// The entries as a longest-prefix match must have them: each ends when the last of those ends that cover it.
fn effective(entries: &[(IpNetwork, u64)]) -> BTreeMap<([u8; 16], u8), u64> {
    let mut own: BTreeMap<([u8; 16], u8), u64> = BTreeMap::new();
    for (network, expires_ns) in entries {
        let (address, bits) = prefix(network.network(), network.prefix());
        let end = own.entry((address.bytes(), bits)).or_default();
        *end = (*end).max(*expires_ns);
    }
    let lengths: Vec<u8> = {
        let mut lengths: Vec<u8> = own.keys().map(|(_, bits)| *bits).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    };
    let last_end = |(address, bits): ([u8; 16], u8)| {
        let shorter = lengths.iter().filter(|length| **length <= bits);
        shorter
            .filter_map(|length| {
                own.get(&(Address::from_bytes(address).masked(&Address::mask(*length)).bytes(), *length))
            })
            .copied()
            .max()
    };
    own.iter().map(|(key, expires_ns)| (*key, last_end(*key).unwrap_or(*expires_ns))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().expect("a prefix")
    }

    #[test]
    fn an_entry_within_another_ends_with_the_later_one() {
        let entries = [("10.0.0.0/8", 100), ("10.1.0.0/16", 5), ("10.1.2.3", 200), ("2001:db8::/32", NEVER_NS)];
        let ends: Vec<u64> = effective(&entries.map(|(text, end)| (network(text), end))).into_values().collect();
        assert_eq!(ends, [100, 100, 200, NEVER_NS]);
    }
}
