//! What was told to the kernel part, in memory: this process is its only writer, and asking takes system calls.

use std::collections::{BTreeMap, HashMap, HashSet};

use scanguard_common::address::{Address, MAPPED_BITS};
use scanguard_common::config::KernelConfig;
use scanguard_common::reason::Level;
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::{Allowance, Census, Known, Scope, Verdict};

use super::told::Prints;
use crate::prefix_map::{Prefix, PrefixMap};

/// What was told.
#[derive(Debug, Default)]
pub struct Decided {
    verdicts: Verdicts,
    prefix_verdicts: PrefixMap<Verdict>,
    prefix_kinds: Kinds,
    known: HashMap<SourceKey, Known>,
    pub(super) allowed: PrefixMap<Ends>,
    /// Of the four above, as the kernel should hold them.
    prints: Prints,
    /// What changed in them since the latest reading of the kernel's tables began.
    touched: Touched,
    /// Entries of the allowlist that may cover some addresses of a source and not others; kept for these rules.
    within: (Option<KeyRules>, usize),
}

/// Keys whose entries changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) verdicts: HashSet<SourceKey>,
    pub(super) prefix_verdicts: HashSet<Prefix>,
    pub(super) known: HashSet<SourceKey>,
    pub(super) allow: HashSet<Prefix>,
}

/// When an entry of the allowlist ends: a longest-prefix match sees one entry only, so in the kernel it ends when the last of those ends
/// that cover it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ends {
    /// By itself.
    own: u64,
    /// With all that cover it.
    pub(super) effective: u64,
}

impl Ends {
    /// As the kernel has it.
    const fn told(self) -> Allowance {
        Allowance { expires_ns: self.effective }
    }
}

/// How many verdicts there are of which kind.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    blocks: [u64; 2],
    hard: u32,
}

impl Kinds {
    /// One is replaced by another, or there is one more or one less.
    fn replace(&mut self, earlier: Option<&Verdict>, now: Option<&Verdict>) {
        if let Some(earlier) = earlier {
            self.count(earlier, |count| count.saturating_sub(1));
        }
        if let Some(now) = now {
            self.count(now, |count| count.saturating_add(1));
        }
    }

    fn count(&mut self, verdict: &Verdict, step: impl Fn(u64) -> u64) {
        if verdict.level == Level::Block as u8 {
            let block = &mut self.blocks[Scope::from_u8(verdict.scope) as usize];
            *block = step(*block);
        }
        if verdict.hard != 0 {
            self.hard = u32::try_from(step(u64::from(self.hard))).unwrap_or(u32::MAX);
        }
    }
}

/// Verdicts by source, in order, and how many there are of which kind.
#[derive(Debug, Default)]
struct Verdicts {
    by_source: BTreeMap<[u8; 16], Verdict>,
    kinds: Kinds,
}

impl Verdicts {
    fn len(&self) -> usize {
        self.by_source.len()
    }

    fn get(&self, source: &SourceKey) -> Option<Verdict> {
        self.by_source.get(&source.0.bytes()).copied()
    }

    fn insert(&mut self, source: SourceKey, verdict: Verdict) -> Option<Verdict> {
        let earlier = self.by_source.insert(source.0.bytes(), verdict);
        self.kinds.replace(earlier.as_ref(), Some(&verdict));
        earlier
    }

    fn remove(&mut self, source: &SourceKey) -> Option<Verdict> {
        let earlier = self.by_source.remove(&source.0.bytes());
        self.kinds.replace(earlier.as_ref(), None);
        earlier
    }

    fn iter(&self) -> impl Iterator<Item = (SourceKey, &Verdict)> {
        self.by_source.iter().map(|(source, verdict)| (SourceKey(Address::from_bytes(*source)), verdict))
    }
}

/// The prefix that a source stands for.
pub(super) fn source_prefix(keys: &KeyRules, source: &SourceKey) -> Prefix {
    let (address, length) = keys.prefix(*source);
    let bits = if address.is_ipv4() { length + MAPPED_BITS } else { length };
    Prefix { address: source.0.bytes(), bits }
}

impl Decided {
    /// Sources that are blocked, those on prefixes among them, by scope: private, all.
    #[must_use]
    pub fn blocks(&self) -> [u64; 2] {
        let [sources, prefixes] = [self.verdicts.kinds.blocks, self.prefix_kinds.blocks];
        [sources[0] + prefixes[0], sources[1] + prefixes[1]]
    }

    /// Takes note of a verdict on a source.
    pub(super) fn put_verdict(&mut self, source: SourceKey, verdict: Verdict) {
        let earlier = self.verdicts.insert(source, verdict);
        self.touched.verdicts.insert(source);
        self.prints.verdicts.replace(&source.0, earlier.as_ref(), Some(&verdict));
    }

    /// Forgets the verdict on a source; false when there was none.
    pub(super) fn take_verdict(&mut self, source: &SourceKey) -> bool {
        let earlier = self.verdicts.remove(source);
        self.touched.verdicts.insert(*source);
        self.prints.verdicts.replace(&source.0, earlier.as_ref(), None);
        earlier.is_some()
    }

    /// The verdict on a source.
    pub(super) fn verdict(&self, source: &SourceKey) -> Option<Verdict> {
        self.verdicts.get(source)
    }

    /// Takes note of a verdict on a prefix.
    pub(super) fn put_prefix_verdict(&mut self, prefix: Prefix, verdict: Verdict) {
        let earlier = self.prefix_verdicts.insert(prefix, verdict);
        self.prefix_kinds.replace(earlier.as_ref(), Some(&verdict));
        self.touched.prefix_verdicts.insert(prefix);
        self.prints.prefix_verdicts.replace(&prefix, earlier.as_ref(), Some(&verdict));
    }

    /// Forgets the verdict on a prefix; false when there was none.
    pub(super) fn take_prefix_verdict(&mut self, prefix: &Prefix) -> bool {
        let earlier = self.prefix_verdicts.remove(prefix);
        self.prefix_kinds.replace(earlier.as_ref(), None);
        self.touched.prefix_verdicts.insert(*prefix);
        self.prints.prefix_verdicts.replace(prefix, earlier.as_ref(), None);
        earlier.is_some()
    }

    /// The verdict on the longest prefix that covers another one.
    pub(super) fn prefix_verdict_over(&self, prefix: Prefix) -> Option<(Prefix, Verdict)> {
        self.prefix_verdicts.covering(prefix).next().map(|(prefix, verdict)| (*prefix, *verdict))
    }

    /// Prefixes within another one on which there is a verdict.
    pub(super) fn prefix_verdicts_within(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        self.prefix_verdicts.within(prefix).map(|(prefix, _)| *prefix)
    }

    /// Takes note that a source is known.
    pub(super) fn put_known(&mut self, source: SourceKey, known: Known) {
        let earlier = self.known.insert(source, known);
        self.touched.known.insert(source);
        self.prints.known.replace(&source.0, earlier.as_ref(), Some(&known));
    }

    /// Takes note that a source is known no more.
    pub(super) fn take_known(&mut self, source: &SourceKey) {
        let earlier = self.known.remove(source);
        self.touched.known.insert(*source);
        self.prints.known.replace(&source.0, earlier.as_ref(), None);
    }

    /// Until when a source is known.
    pub(super) fn known(&self, source: &SourceKey) -> Option<Known> {
        self.known.get(source).copied()
    }

    /// Everybody who is known.
    pub fn all_known(&self) -> impl Iterator<Item = (SourceKey, Known)> {
        self.known.iter().map(|(source, known)| (*source, *known))
    }

    /// The allowlist as the kernel should hold it.
    pub(super) fn allowances(&self) -> impl Iterator<Item = (Prefix, Allowance)> {
        self.allowed.iter().map(|(prefix, ends)| (*prefix, ends.told()))
    }

    /// The allowlist: prefixes, and when each ends.
    pub fn allowed_until(&self) -> impl Iterator<Item = (Prefix, u64)> {
        self.allowed.iter().map(|(prefix, ends)| (*prefix, ends.effective))
    }

    /// Fingerprints of what the kernel should hold.
    pub(super) const fn prints(&self) -> Prints {
        self.prints
    }

    /// What changed since [`Self::forget_touched`].
    pub(super) const fn touched(&self) -> &Touched {
        &self.touched
    }

    /// A reading of the kernel's tables begins.
    pub(super) fn forget_touched(&mut self) {
        self.touched = Touched::default();
    }

    /// An entry of the allowlist as the kernel should hold it.
    pub(super) fn allowance(&self, prefix: &Prefix) -> Option<Allowance> {
        self.allowed.get(prefix).map(|ends| ends.told())
    }

    /// The verdict on exactly this prefix.
    pub(super) fn prefix_verdict(&self, prefix: &Prefix) -> Option<Verdict> {
        self.prefix_verdicts.get(prefix).copied()
    }

    fn put_allowed(&mut self, prefix: Prefix, ends: Ends) -> Option<Ends> {
        let earlier = self.allowed.insert(prefix, ends);
        self.touched.allow.insert(prefix);
        self.prints.allow.replace(&prefix, earlier.map(Ends::told).as_ref(), Some(&ends.told()));
        earlier
    }

    /// All verdicts on sources.
    pub fn verdicts(&self) -> impl Iterator<Item = (SourceKey, Verdict)> {
        self.verdicts.iter().map(|(source, verdict)| (source, *verdict))
    }

    /// All verdicts on prefixes.
    pub fn prefix_verdicts(&self) -> impl Iterator<Item = (Prefix, Verdict)> {
        self.prefix_verdicts.iter().map(|(prefix, verdict)| (*prefix, *verdict))
    }

    /// Entries of VERDICTS, PREFIX_VERDICTS and ALLOW.
    #[must_use]
    pub fn entries(&self) -> [usize; 4] {
        [self.verdicts.len(), self.prefix_verdicts.len(), self.allowed.len(), self.known.len()]
    }

    /// Whether the allowlist covers some address of a source.
    pub(super) fn allows_some_of(&self, keys: &KeyRules, source: &SourceKey) -> bool {
        let prefix = source_prefix(keys, source);
        let mut within = self.allowed.within(prefix);
        let host = |address: Address| Prefix { address: address.bytes(), bits: 128 };
        self.allowed.covering(prefix).next().is_some()
            || within.any(|(entry, _)| keys.overlaps(source, &entry.address(), entry.bits))
            || keys.translations(source).any(|address| self.allowed.covering(host(address)).next().is_some())
    }

    /// Sources with a verdict whose first address lies in a prefix.
    fn sources_within(&self, prefix: Prefix) -> impl Iterator<Item = SourceKey> {
        let host = !u128::from_be_bytes(Address::mask(prefix.bits).bytes());
        let last = (u128::from_be_bytes(prefix.address) | host).to_be_bytes();
        self.verdicts.by_source.range(prefix.address..=last).map(|(key, _)| SourceKey(Address::from_bytes(*key)))
    }

    /// Sources with a verdict that have an address in common with a prefix.
    pub(super) fn verdicts_meeting(&self, keys: &KeyRules, prefix: Prefix) -> Vec<SourceKey> {
        let mut found: Vec<SourceKey> = self.sources_within(prefix).collect();
        for translator in keys.all_translators() {
            if let Some(numbers) = untranslated(prefix, &translator).filter(|numbers| !prefix.covers(numbers)) {
                found.extend(self.sources_within(numbers));
            }
        }
        // The source that the prefix lies in, which begins before it.
        let around = SourceKey(prefix.address().masked(&keys.ipv6_mask));
        if !prefix.address().is_mapped()
            && self.verdicts.get(&around).is_some()
            && !found.contains(&around)
            && keys.overlaps(&around, &prefix.address(), prefix.bits)
        {
            found.push(around);
        }
        found
    }

    /// Sets when an entry of the allowlist ends by itself; returns all entries whose end in the kernel is another one now, the new one first.
    pub(super) fn allow(&mut self, prefix: Prefix, own: u64) -> Vec<(Prefix, u64)> {
        let known = self.allowed.get(&prefix).is_some();
        self.put_allowed(prefix, Ends { own, effective: own });
        if !known {
            self.count_within(&prefix, true);
        }
        self.settle(prefix, Some(prefix))
    }

    /// When an entry of the allowlist ends by itself, if there is one for exactly this prefix.
    pub(super) fn own_end(&self, prefix: &Prefix) -> Option<u64> {
        self.allowed.get(prefix).map(|ends| ends.own)
    }

    /// Whether an end makes an entry of the allowlist that is in force last longer, or as long, and nothing else.
    pub(super) fn is_prolonged(&self, prefix: &Prefix, own: u64, now_ns: u64) -> bool {
        self.allowed.get(prefix).is_some_and(|ends| ends.effective > now_ns && own >= ends.own)
    }

    /// Takes an entry away; returns the entries within it whose end in the kernel is another one now, or nothing when there was none.
    pub(super) fn disallow(&mut self, prefix: Prefix) -> Option<Vec<(Prefix, u64)>> {
        let ends = self.allowed.remove(&prefix)?;
        self.touched.allow.insert(prefix);
        self.prints.allow.take(&prefix, &ends.told());
        self.count_within(&prefix, false);
        Some(self.settle(prefix, None))
    }

    /// Works out anew when the entries within a prefix end.
    fn settle(&mut self, prefix: Prefix, always: Option<Prefix>) -> Vec<(Prefix, u64)> {
        let within: Vec<(Prefix, Ends)> = self.allowed.within(prefix).map(|(prefix, ends)| (*prefix, *ends)).collect();
        let mut changed = Vec::new();
        for (entry, ends) in within {
            let effective = self.allowed.covering(entry).map(|(_, ends)| ends.own).max().unwrap_or(ends.own);
            if effective != ends.effective || always == Some(entry) {
                self.put_allowed(entry, Ends { effective, ..ends });
                changed.push((entry, effective));
            }
        }
        changed
    }

    /// An entry as it was found in the kernel; its own end is not to be told from that of those that cover it.
    pub(super) fn found_allowed(&mut self, prefix: Prefix, effective: u64) {
        if self.put_allowed(prefix, Ends { own: effective, effective }).is_none() {
            self.count_within(&prefix, true);
        }
    }

    fn count_within(&mut self, prefix: &Prefix, more: bool) {
        if let (Some(keys), count) = &mut self.within
            && keys.may_split_sources(&prefix.address(), prefix.bits)
        {
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// The census of maps that goes with the settings: 1 for as many as there may be, so that it changes with the first and the last entry only.
    pub(super) fn census(&mut self, config: &KernelConfig) -> Census {
        if self.within.0.as_ref() != Some(&config.keys) {
            let splits = |prefix: &Prefix| config.keys.may_split_sources(&prefix.address(), prefix.bits);
            let count = self.allowed.iter().filter(|(prefix, _)| splits(prefix)).count();
            self.within = (Some(config.keys), count);
        }
        let any = |length: usize| u32::from(length > 0);
        Census {
            verdicts: any(self.verdicts.len()),
            hard_verdicts: u32::from(self.verdicts.kinds.hard > 0 || self.prefix_kinds.hard > 0),
            known: any(self.known.len()),
            allowed: any(self.allowed.len()),
            allowed_within: any(self.within.1),
            allow_generation: config.census.allow_generation,
            prefix_verdicts: any(self.prefix_verdicts.len()),
            protected: config.census.protected,
            local: config.census.local,
            reserved: 0,
        }
    }
}

/// The IPv4 addresses that have one in a prefix behind a translator, as a prefix of mapped ones.
fn untranslated(prefix: Prefix, translator: &Address) -> Option<Prefix> {
    if prefix.bits <= MAPPED_BITS {
        let holds = prefix.covers(&Prefix::around(translator, MAPPED_BITS));
        return holds.then(|| Prefix::around(&Address::from_ipv4_word(0), MAPPED_BITS));
    }
    let address = prefix.address();
    address.is_in_96(translator).then(|| Prefix::around(&Address::from_ipv4_word(address.last_word()), prefix.bits))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ipnetwork::IpNetwork;
    use scanguard_common::verdict::Origin;

    use super::super::decisions::NEVER_NS;
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse::<IpNetwork>().expect("a prefix").into()
    }

    #[test]
    fn an_entry_within_another_ends_with_the_later_one() {
        let mut decided = Decided::default();
        for (text, end) in [("10.0.0.0/8", 100), ("10.1.0.0/16", 5), ("10.1.2.3", 200), ("2001:db8::/32", NEVER_NS)] {
            decided.allow(prefix(text), end);
        }
        let ends = |decided: &Decided| -> Vec<u64> { decided.allowed.iter().map(|(_, ends)| ends.effective).collect() };
        assert_eq!(ends(&decided), [100, 100, 200, NEVER_NS]);
        let changed = decided.allow(prefix("10.0.0.0/8"), 150);
        assert_eq!(changed, [(prefix("10.0.0.0/8"), 150), (prefix("10.1.0.0/16"), 150)]);
        assert_eq!(decided.disallow(prefix("10.0.0.0/8")), Some(vec![(prefix("10.1.0.0/16"), 5)]));
        assert_eq!(decided.disallow(prefix("10.0.0.0/8")), None);
        assert_eq!(ends(&decided), [5, 200, NEVER_NS]);
    }

    #[test]
    fn verdicts_are_counted_as_they_come_and_go() {
        let mut decided = Decided::default();
        let source = |text: &str| SourceKey(text.parse::<IpAddr>().expect("an address").into());
        let block = |scope| Verdict::block(scope, Origin::Operator, NEVER_NS);
        decided.put_verdict(source("192.0.2.1"), block(Scope::All));
        decided.put_verdict(source("192.0.2.1"), block(Scope::Private));
        decided.put_verdict(source("192.0.2.2"), Verdict { hard: 1, ..block(Scope::All) });
        decided.put_prefix_verdict(prefix("198.51.100.0/24"), block(Scope::All));
        assert_eq!(decided.blocks(), [1, 2]);
        let census = decided.census(&KernelConfig::new([0; 2]));
        assert_eq!((census.verdicts, census.hard_verdicts, census.prefix_verdicts), (1, 1, 1));
        decided.take_verdict(&source("192.0.2.2"));
        assert_eq!((decided.blocks(), decided.verdicts.kinds.hard), ([1, 1], 0));
    }

    #[test]
    fn verdicts_that_an_entry_of_the_allowlist_meets_are_found() {
        let mut decided = Decided::default();
        let keys = KeyRules::new();
        let source = |text: &str| SourceKey(text.parse::<IpAddr>().expect("an address").into());
        for text in ["192.0.2.1", "192.0.2.200", "2001:db8:1:2::", "2001:db8:1:3::", "fe80::9"] {
            decided.put_verdict(source(text), Verdict::block(Scope::All, Origin::Operator, NEVER_NS));
        }
        let meeting = |text: &str| decided.verdicts_meeting(&keys, prefix(text));
        assert_eq!(meeting("192.0.2.0/25"), [source("192.0.2.1")]);
        assert_eq!(meeting("2001:db8:1:2::5"), [source("2001:db8:1:2::")]);
        assert_eq!(meeting("2001:db8:1:2::/64"), [source("2001:db8:1:2::")]);
        assert_eq!(meeting("2001:db8:1::/48").len(), 2);
        assert_eq!(meeting("fe80::9"), [source("fe80::9")]);
        assert_eq!(meeting("fe80::8"), []);
        // Behind a translator an IPv4 source has an address, too.
        assert_eq!(meeting("64:ff9b::192.0.2.1"), [source("192.0.2.1")]);
        assert_eq!(meeting("64:ff9b::192.0.2.128/121"), [source("192.0.2.200")]);
        assert_eq!(meeting("64:ff9b::/64").len(), 2);
        assert_eq!(meeting("::/0").len(), 5);
        decided.allow(prefix("64:ff9b::192.0.2.0/120"), NEVER_NS);
        assert!(decided.allows_some_of(&keys, &source("192.0.2.1")));
        assert!(!decided.allows_some_of(&keys, &source("192.0.3.1")));
    }
}
