//! What the file of state keeps of decisions: read at the start, written with each change, and as a whole when the archive asks for that.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scanguard_common::reason::Mode;
use scanguard_common::verdict::{Origin, Scope};
use tracing::{info, warn};

use super::desk::{Allowed, Block, ByOperator, Desk};
use super::lockdown::LockdownNow;
use super::mode::ModeNow;
use crate::config::Config;
use crate::kernel::{NEVER_NS, clock};
use crate::known::People;
use crate::prefix;
use crate::prefix_map::{Prefix, PrefixMap};
use crate::store::{
    Archive, Decisions, Entry, KeptAllow, KeptBlock, KeptDecoy, KeptMode, KeptRecurrence, LifeEvent, Store, StoreError,
};

/// Milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // SQLite's whole numbers are signed; that is the year 292 million.
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs())
}

pub(super) fn moment(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

/// What was kept and is not over, and what the configuration says.
pub(super) struct Loaded {
    pub(super) allow: PrefixMap<Allowed>,
    pub(super) blocks: PrefixMap<Block>,
    pub(super) mode: ModeNow,
    pub(super) lockdown: Option<LockdownNow>,
    /// What was kept and is over.
    pub(super) over: Over,
}

/// What has ended while nobody cleared it up.
#[derive(Debug, Default)]
pub(super) struct Over {
    allow: Vec<String>,
    blocks: Vec<KeptBlock>,
}

/// Allowlist, blocks, mode and lockdown.
pub(super) fn load(archive: &Archive, config: &Config, now: SystemTime) -> Loaded {
    let (allow, blocks, over) = Default::default();
    let mode = ModeNow { mode: config.mode, configured: config.mode, reverts: None };
    let mut loaded = Loaded { allow, blocks, mode, lockdown: None, over };
    let read = archive
        .ask(|store| Ok((store.load_allow()?, store.load_blocks()?, store.load_mode()?, store.load_lockdown()?)));
    match read {
        Ok((allow, blocks, mode, lockdown)) => {
            loaded.over.allow = add_kept(&mut loaded.allow, allow, now);
            loaded.over.blocks = add_blocks(&mut loaded.blocks, blocks, now);
            if let Some(kept) = mode {
                loaded.mode = mode_of(&kept, config.mode, now);
            }
            loaded.lockdown = lockdown.and_then(LockdownNow::of_kept);
        }
        Err(error) => error.complain("the allowlist, blocks and mode of earlier are lost: the configuration's hold"),
    }
    add_configured(&mut loaded.allow, config);
    loaded
}

/// Takes what is over out of the file.
pub(super) fn clear_up(archive: &Archive, Over { allow, blocks }: Over) {
    for block in &blocks {
        let at = block.expires.unwrap_or_default();
        archive.append(Entry::Life(life_event(block, "end", "its time was over", at)));
    }
    let blocks: Vec<String> = blocks.into_iter().map(|block| block.prefix).collect();
    if !allow.is_empty() {
        archive.write(move |store| store.remove_allow(&allow));
    }
    if !blocks.is_empty() {
        archive.write(move |store| store.remove_blocks(&blocks));
    }
}

fn life_event(block: &KeptBlock, event: &str, why: &str, at: u64) -> LifeEvent {
    let KeptBlock { prefix, scope, origin, hard, reason, since: _, expires } = block.clone();
    LifeEvent { at, prefix, event: event.into(), scope, origin, hard, reason, expires, why: why.into() }
}

/// How often sources were blocked lately, and completed decoys that may become proof.
pub(super) fn history(archive: &Archive) -> (HashMap<String, KeptRecurrence>, Vec<KeptDecoy>) {
    let loaded = archive.ask(|store| Ok((store.load_recurrences()?, store.load_decoys()?)));
    let (recurrences, decoys) = loaded.unwrap_or_else(|error| {
        error.complain("how often sources were blocked is lost, and which decoys were completed");
        Default::default()
    });
    (recurrences.into_iter().map(|kept| (kept.source.clone(), kept)).collect(), decoys)
}

/// Everybody who has worked here, and who is known.
pub(super) fn people(archive: &Archive) -> People {
    match archive.ask(|store| Ok((store.load_known()?, store.load_added()?))) {
        Ok((people, added)) => People::remembered(people, added),
        Err(error) => {
            error.complain("who has worked here is forgotten, and who is known");
            People::default()
        }
    }
}

/// What the configuration says of the allowlist.
pub(super) fn add_configured(allow: &mut PrefixMap<Allowed>, config: &Config) {
    for network in &config.allow {
        at(allow, (*network).into()).configured = true;
    }
}

/// The entry of a prefix, made if there is none.
pub(super) fn at(allow: &mut PrefixMap<Allowed>, prefix: Prefix) -> &mut Allowed {
    if allow.get(&prefix).is_none() {
        allow.insert(prefix, Allowed::default());
    }
    allow.get_mut(&prefix).expect("inserted just now")
}

/// Adds entries; returns the names of those that are over.
fn add_kept(allow: &mut PrefixMap<Allowed>, entries: Vec<KeptAllow>, now: SystemTime) -> Vec<String> {
    let mut over = Vec::new();
    for KeptAllow { prefix, name, comment, since, expires } in entries {
        let expires = expires.map(moment);
        if expires.is_some_and(|expires| expires <= now) {
            over.push(prefix);
            continue;
        }
        match prefix::parse(&prefix) {
            Ok(network) => {
                at(allow, network.into()).operator = Some(ByOperator { name, comment, since: moment(since), expires });
            }
            Err(error) => warn!(%error, "an entry of the allowlist cannot be read"),
        }
    }
    over
}

/// Adds blocks; returns those that are over.
fn add_blocks(blocks: &mut PrefixMap<Block>, entries: Vec<KeptBlock>, now: SystemTime) -> Vec<KeptBlock> {
    let mut over = Vec::new();
    for entry in entries {
        let KeptBlock { prefix, scope, origin, hard, reason, since, expires } = entry.clone();
        let expires = expires.map(moment);
        if expires.is_some_and(|expires| expires <= now) {
            over.push(entry);
            continue;
        }
        // What is not understood is the milder one.
        let scope = if scope == Scope::All.label() { Scope::All } else { Scope::Private };
        let origin = if origin == origin_label(Origin::Operator) { Origin::Operator } else { Origin::Controller };
        if origin == Origin::Controller && expires.is_none() {
            continue; // Everything that no person decided ends.
        }
        match prefix::parse(&prefix) {
            Ok(network) => {
                blocks.insert(network.into(), Block { scope, hard, origin, reason, since: moment(since), expires });
            }
            Err(error) => warn!(%error, "a block cannot be read"),
        }
    }
    over
}

/// The mode to begin with: the one that was set, unless the configuration changed since or its time is over.
fn mode_of(kept: &KeptMode, configured: Mode, now: SystemTime) -> ModeNow {
    let from_file = ModeNow { mode: configured, configured, reverts: None };
    let set = Mode::ALL.into_iter().find(|mode| mode.label() == kept.mode);
    let reverts = kept.reverts.map(moment);
    match set {
        Some(_) if kept.configured != configured.label() => {
            info!(mode = configured.label(), "the configuration says another mode than when one was set: it holds");
            from_file
        }
        Some(Mode::Enforce) if reverts.is_some_and(|reverts| reverts <= now) => {
            warn!("enforcing was not confirmed in time: the mode is observe");
            ModeNow { mode: Mode::Observe, configured, reverts: None }
        }
        Some(mode) => ModeNow { mode, configured, reverts },
        None => from_file,
    }
}

/// The name of an origin in JSON and in the store.
pub(super) const fn origin_label(origin: Origin) -> &'static str {
    match origin {
        Origin::Controller => "controller",
        Origin::Operator => "operator",
    }
}

impl Desk {
    /// Has something written to the file of state, which may fail: it is in force all the same.
    pub(super) fn keep(&self, write: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static) {
        self.archive.write(write);
    }

    /// Writes everything where the archive asks for that: a new file has begun, or writes were lost.
    pub fn keep_all(&mut self) {
        let epoch = self.archive.epoch();
        if epoch == self.kept_epoch {
            return;
        }
        self.kept_epoch = epoch;
        self.write_all();
    }

    /// Writes everything.
    pub(super) fn write_all(&mut self) {
        let decisions = Decisions {
            allow: self.allow.iter().filter_map(|(prefix, entry)| kept_allow(prefix, entry)).collect(),
            blocks: self.blocks.iter().map(|(prefix, block)| kept_block(prefix, block)).collect(),
            mode: self.kept_mode(),
            lockdown: self.kept_lockdown(),
            recurrences: self.recurrences.values().cloned().collect(),
        };
        let ((questions, denials), decoys) = (self.kept_questions(), self.decoys.clone());
        let people: Vec<_> = self.people.iter().map(|(source, person)| (*source, *person)).collect();
        let added: Vec<_> = self.people.all_added().map(|(source, added)| (*source, added.clone())).collect();
        self.unkept.clear();
        self.archive.write_all(move |store| {
            store.replace_decisions(&decisions)?;
            store.replace_questions(&questions, &denials)?;
            store.save_decoys(&decoys)?;
            store.save_known(&people)?;
            store.replace_added(&added)
        });
    }

    pub(super) fn keep_allow(&mut self, prefixes: &[Prefix]) {
        let entries: Vec<KeptAllow> =
            prefixes.iter().filter_map(|prefix| kept_allow(prefix, self.allow.get(prefix)?)).collect();
        self.keep(move |store| store.save_allow(&entries));
    }

    pub(super) fn keep_block(&mut self, prefix: Prefix) {
        let Some(block) = self.blocks.get(&prefix) else { return };
        let kept = kept_block(&prefix, block);
        self.keep(move |store| store.save_blocks(&[kept]));
    }

    /// Notes what happened to a verdict that is in force.
    pub(super) fn note_life(&self, prefix: &Prefix, event: &str, why: &str) {
        if let Some(block) = self.blocks.get(prefix) {
            let event = life_event(&kept_block(prefix, block), event, why, milliseconds(SystemTime::now()));
            self.archive.append(Entry::Life(event));
        }
    }

    /// A block is over; false when there was none.
    pub(super) fn forget_block(&mut self, prefix: &Prefix, why: &str) -> bool {
        self.note_life(prefix, "end", why);
        self.blocks.remove(prefix).is_some()
    }

    /// How often sources were blocked, as it is kept. In no order.
    pub fn recurrences(&self) -> impl ExactSizeIterator<Item = &KeptRecurrence> {
        self.recurrences.values()
    }

    /// Keeps how often some sources were blocked, besides what is kept already.
    pub fn keep_recurrences(&mut self, recurrences: Vec<KeptRecurrence>) {
        if recurrences.is_empty() {
            return;
        }
        self.recurrences.extend(recurrences.iter().map(|kept| (kept.source.clone(), kept.clone())));
        self.keep(move |store| store.save_recurrences(&recurrences));
    }

    /// Keeps how often sources were blocked, and nothing else of it.
    pub fn replace_recurrences(&mut self, recurrences: Vec<KeptRecurrence>) {
        self.recurrences = recurrences.iter().map(|kept| (kept.source.clone(), kept.clone())).collect();
        self.keep(move |store| store.replace_recurrences(&recurrences));
    }

    pub(super) fn keep_mode(&mut self) {
        let kept = self.kept_mode();
        self.keep(move |store| store.save_mode(kept.as_ref()));
    }

    fn kept_mode(&self) -> Option<KeptMode> {
        let ModeNow { mode, configured, reverts } = self.mode;
        (mode != configured || reverts.is_some()).then(|| KeptMode {
            mode: mode.label().to_owned(),
            configured: configured.label().to_owned(),
            reverts: reverts.map(milliseconds),
        })
    }

    /// Entries of the allowlist that the kernel has, where the file that had them is lost: whoever was promised something is to keep it. Which of
    /// them were leases is not to be told any more; those end soon.
    pub(super) fn adopt_unknown_allowances(&mut self, now: SystemTime) {
        if self.archive.remembers() {
            return;
        }
        let now_ns = clock::monotonic_coarse_ns();
        let found: Vec<(Prefix, u64)> = self.tables.decided().allowed_until().collect();
        let mut adopted = Vec::new();
        for (prefix, ends_ns) in found {
            if self.allow.get(&prefix).is_some() || ends_ns <= now_ns {
                continue;
            }
            let comment = Some("found in the kernel: the file of state was lost".to_owned());
            let expires = (ends_ns != NEVER_NS).then(|| self.clock.time(ends_ns));
            at(&mut self.allow, prefix).operator = Some(ByOperator { name: None, comment, since: now, expires });
            adopted.push(prefix);
        }
        if !adopted.is_empty() {
            warn!(entries = adopted.len(), "the allowlist is taken over from the kernel: the file that had it is lost");
            self.keep_allow(&adopted);
        }
    }

    /// Blocks that the kernel has and the store does not: the store could not be written when they were made. They go on.
    pub(super) fn adopt_unknown_blocks(&mut self, now: SystemTime) {
        let sources = self.tables.decided().verdicts().map(|(source, verdict)| (self.prefix_of(&source), verdict));
        let all: Vec<_> = sources.chain(self.tables.decided().prefix_verdicts()).collect();
        let now_ns = clock::monotonic_coarse_ns();
        let known: HashSet<Prefix> = self.blocks.iter().map(|(prefix, _)| *prefix).collect();
        for (prefix, verdict) in all {
            if known.contains(&prefix) || verdict.expires_ns <= now_ns {
                continue;
            }
            let never = verdict.expires_ns == NEVER_NS;
            let block = Block {
                scope: Scope::from_u8(verdict.scope),
                hard: verdict.hard != 0,
                origin: if verdict.origin == Origin::Operator as u8 { Origin::Operator } else { Origin::Controller },
                reason: None,
                since: now,
                expires: (!never).then(|| self.clock.time(verdict.expires_ns)),
            };
            self.blocks.insert(prefix, block);
            self.keep_block(prefix);
            self.note_life(&prefix, "begin", "it was found in the kernel, and not in the file of state");
        }
    }
}

/// An operator's entry as it is kept; nothing where it is on the list for other reasons alone.
fn kept_allow(prefix: &Prefix, entry: &Allowed) -> Option<KeptAllow> {
    let ByOperator { name, comment, since, expires } = entry.operator.clone()?;
    let (since, expires) = (milliseconds(since), expires.map(milliseconds));
    Some(KeptAllow { prefix: shown(prefix), name, comment, since, expires })
}

fn kept_block(prefix: &Prefix, block: &Block) -> KeptBlock {
    let Block { scope, hard, origin, reason, since, expires } = block.clone();
    KeptBlock {
        prefix: shown(prefix),
        scope: scope.label().to_owned(),
        origin: origin_label(origin).to_owned(),
        hard,
        reason,
        since: milliseconds(since),
        expires: expires.map(milliseconds),
    }
}

/// A prefix as people write it.
pub(super) fn shown(prefix: &Prefix) -> String {
    prefix::show(&(*prefix).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    #[test]
    fn the_mode_that_was_set_holds_until_it_is_over_or_the_configuration_says_another_one() {
        let now = UNIX_EPOCH + NOW;
        let kept = |reverts: Option<u64>| KeptMode {
            mode: "enforce".into(),
            configured: "observe".into(),
            reverts: reverts.map(|seconds| seconds * 1000),
        };
        let at = |kept: &KeptMode, configured| {
            let ModeNow { mode, reverts, .. } = mode_of(kept, configured, now);
            (mode, reverts.is_some())
        };
        let seconds = NOW.as_secs();
        assert_eq!(at(&kept(None), Mode::Observe), (Mode::Enforce, false));
        assert_eq!(at(&kept(Some(seconds + 1)), Mode::Observe), (Mode::Enforce, true));
        assert_eq!(at(&kept(Some(seconds)), Mode::Observe), (Mode::Observe, false));
        assert_eq!(at(&kept(Some(seconds + 1)), Mode::Enforce), (Mode::Enforce, false), "the file says so for good");
        assert_eq!(at(&KeptMode { mode: "strange".into(), ..kept(None) }, Mode::Observe), (Mode::Observe, false));
    }

    #[test]
    fn what_is_over_is_not_taken_up_again() {
        let now = UNIX_EPOCH + NOW;
        let seconds = NOW.as_secs() * 1000;
        let allow = |prefix: &str, expires| KeptAllow { prefix: prefix.into(), expires, ..KeptAllow::default() };
        let mut list = PrefixMap::default();
        let entries =
            vec![allow("192.0.2.1", None), allow("192.0.2.2", Some(seconds)), allow("192.0.2.3", Some(seconds + 1))];
        assert_eq!(add_kept(&mut list, entries, now), ["192.0.2.2"]);
        assert_eq!(list.iter().map(|(prefix, _)| shown(prefix)).collect::<Vec<_>>(), ["192.0.2.1", "192.0.2.3"]);
        let block = |prefix: &str, origin: &str, expires| KeptBlock {
            prefix: prefix.into(),
            origin: origin.into(),
            expires,
            ..KeptBlock::default()
        };
        let mut list = PrefixMap::default();
        let entries = vec![
            block("192.0.2.1", "operator", None),
            block("192.0.2.2", "controller", None),
            block("192.0.2.3", "controller", Some(seconds)),
            block("192.0.2.4", "controller", Some(seconds + 1)),
        ];
        let over = add_blocks(&mut list, entries, now);
        assert_eq!(over.iter().map(|block| block.prefix.as_str()).collect::<Vec<_>>(), ["192.0.2.3"]);
        assert_eq!(list.iter().map(|(prefix, _)| shown(prefix)).collect::<Vec<_>>(), ["192.0.2.1", "192.0.2.4"]);
    }
}
