//! What the store keeps of an operator's decisions. A store that fails is complained of once and filtering goes on.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scanguard_common::reason::Mode;
use scanguard_common::verdict::{Origin, Scope};
use tracing::{error, info, warn};

use super::desk::{Allowed, Block, ByOperator, Desk, SharedStore};
use super::mode::ModeNow;
use crate::config::Config;
use crate::known::People;
use crate::prefix;
use crate::prefix_map::{Prefix, PrefixMap};
use crate::store::{KeptAllow, KeptBlock, KeptMode, KeptRecurrence, Store, StoreError};

/// Milliseconds since 1970.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    // SQLite's whole numbers are signed; that is the year 292 million.
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs())
}

pub(super) fn moment(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).unwrap_or(UNIX_EPOCH)
}

/// Allowlist, blocks and mode: what the store has that is not over, and what the configuration says.
pub(super) fn load(
    store: Option<&SharedStore>,
    config: &Config,
    now: SystemTime,
) -> (PrefixMap<Allowed>, PrefixMap<Block>, ModeNow) {
    let (mut allow, mut blocks) = (PrefixMap::default(), PrefixMap::default());
    let mut mode = ModeNow { mode: config.mode, configured: config.mode, reverts: None };
    if let Some(store) = store {
        let store = store.lock().unwrap_or_else(PoisonError::into_inner);
        match store.load_allow() {
            Ok(entries) => add_kept(&mut allow, entries, now),
            Err(error) => error!(%error, "the allowlist of earlier is lost"),
        }
        match store.load_blocks() {
            Ok(entries) => add_blocks(&mut blocks, entries, now),
            Err(error) => error!(%error, "the blocks of earlier are lost"),
        }
        match store.load_mode() {
            Ok(Some(kept)) => mode = mode_of(&kept, config.mode, now),
            Ok(None) => {}
            Err(error) => error!(%error, "the mode that was set is lost: that of the configuration holds"),
        }
    }
    add_configured(&mut allow, config);
    (allow, blocks, mode)
}

/// Everybody who has worked here.
pub(super) fn people(store: Option<&SharedStore>) -> People {
    let Some(store) = store else { return People::default() };
    match store.lock().unwrap_or_else(PoisonError::into_inner).load_known() {
        Ok(people) => People::remembered(people),
        Err(error) => {
            error!(%error, "who has worked here is forgotten");
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

fn add_kept(allow: &mut PrefixMap<Allowed>, entries: Vec<KeptAllow>, now: SystemTime) {
    for KeptAllow { prefix, name, comment, since, expires } in entries {
        let expires = expires.map(moment);
        if expires.is_some_and(|expires| expires <= now) {
            continue;
        }
        match prefix::parse(&prefix) {
            Ok(network) => {
                at(allow, network.into()).operator = Some(ByOperator { name, comment, since: moment(since), expires });
            }
            Err(error) => warn!(%error, "an entry of the allowlist cannot be read"),
        }
    }
}

fn add_blocks(blocks: &mut PrefixMap<Block>, entries: Vec<KeptBlock>, now: SystemTime) {
    for KeptBlock { prefix, scope, origin, hard, reason, since, expires } in entries {
        let expires = expires.map(moment);
        if expires.is_some_and(|expires| expires <= now) {
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
    /// Writes the store. What fails is said once; it is in force all the same.
    pub(super) fn keep(&mut self, write: impl FnOnce(&mut Store) -> Result<(), StoreError>) {
        let Some(store) = &self.store else { return };
        let written = write(&mut store.lock().unwrap_or_else(PoisonError::into_inner));
        match &written {
            Ok(()) if self.store_failed => info!("the file of state can be written again"),
            Ok(()) => {}
            Err(error) if self.store_failed => tracing::debug!(%error, "the file of state still cannot be written"),
            Err(error) => error!(%error, "what was decided is in force, but will be forgotten at a restart"),
        }
        self.store_failed = written.is_err();
    }

    pub(super) fn keep_allow(&mut self, prefixes: &[Prefix]) {
        let entries: Vec<KeptAllow> = prefixes
            .iter()
            .filter_map(|prefix| {
                let ByOperator { name, comment, since, expires } = self.allow.get(prefix)?.operator.clone()?;
                let expires = expires.map(milliseconds);
                Some(KeptAllow { prefix: shown(prefix), name, comment, since: milliseconds(since), expires })
            })
            .collect();
        self.keep(|store| store.save_allow(&entries));
    }

    pub(super) fn keep_block(&mut self, prefix: Prefix) {
        let Some(Block { scope, hard, origin, reason, since, expires }) = self.blocks.get(&prefix).cloned() else {
            return;
        };
        let kept = KeptBlock {
            prefix: shown(&prefix),
            scope: scope.label().to_owned(),
            origin: origin_label(origin).to_owned(),
            hard,
            reason,
            since: milliseconds(since),
            expires: expires.map(milliseconds),
        };
        self.keep(|store| store.save_blocks(&[kept]));
    }

    /// How often sources were blocked, as it was kept.
    #[must_use]
    pub fn recurrences(&self) -> Vec<KeptRecurrence> {
        let Some(store) = &self.store else { return Vec::new() };
        store.lock().unwrap_or_else(PoisonError::into_inner).load_recurrences().unwrap_or_else(|error| {
            error!(%error, "how often sources were blocked is lost");
            Vec::new()
        })
    }

    /// Keeps how often sources were blocked.
    pub fn keep_recurrences(&mut self, recurrences: &[KeptRecurrence]) {
        self.keep(|store| store.save_recurrences(recurrences));
    }

    pub(super) fn keep_mode(&mut self) {
        let ModeNow { mode, configured, reverts } = self.mode;
        let kept = (mode != configured || reverts.is_some()).then(|| KeptMode {
            mode: mode.label().to_owned(),
            configured: configured.label().to_owned(),
            reverts: reverts.map(milliseconds),
        });
        self.keep(|store| store.save_mode(kept.as_ref()));
    }

    /// Blocks that the kernel has and the store does not: the store could not be written when they were made. They go on.
    pub(super) fn adopt_unknown_blocks(&mut self, now: SystemTime) {
        let sources = self.tables.decided().verdicts().map(|(source, verdict)| (self.prefix_of(&source), verdict));
        let all: Vec<_> = sources.chain(self.tables.decided().prefix_verdicts()).collect();
        let now_ns = crate::kernel::clock::monotonic_coarse_ns();
        let known: HashSet<Prefix> = self.blocks.iter().map(|(prefix, _)| *prefix).collect();
        for (prefix, verdict) in all {
            if known.contains(&prefix) || verdict.expires_ns <= now_ns {
                continue;
            }
            let never = verdict.expires_ns == crate::kernel::NEVER_NS;
            let block = Block {
                scope: Scope::from_u8(verdict.scope),
                hard: verdict.hard != 0,
                origin: if verdict.origin == Origin::Operator as u8 { Origin::Operator } else { Origin::Controller },
                reason: None,
                since: now,
                expires: (!never).then(|| crate::kernel::clock::monotonic_to_system(verdict.expires_ns)),
            };
            self.blocks.insert(prefix, block);
        }
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
        add_kept(&mut list, entries, now);
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
        add_blocks(&mut list, entries, now);
        assert_eq!(list.iter().map(|(prefix, _)| shown(prefix)).collect::<Vec<_>>(), ["192.0.2.1", "192.0.2.4"]);
    }
}
