//! The kernel part's maps and the file of state in one hand: whatever changes them goes through here.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use ipnetwork::IpNetwork;
use scanguard_common::address::MAPPED_BITS;
use scanguard_common::challenge::{ChallengeRules, KEY_SLOTS, SLOT_NS};
use scanguard_common::config::KernelConfig;
use scanguard_common::reason::Mode;
use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::{Origin, Scope};
use tracing::error;

use super::kept::{self, Loaded};
use super::live::LiveSources;
use super::lockdown::LockdownNow;
use super::mode::ModeNow;
use super::pending::Questions;
use crate::config::Config;
use crate::feeds::Feeds;
use crate::kernel::clock::WallClock;
use crate::kernel::{Freed, KernelError, NEVER_NS, Tables, clock};
use crate::known::People;
use crate::prefix_map::{Prefix, PrefixMap};
use crate::store::{Archive, KeptDecoy, KeptRecurrence};

/// What is allowed and blocked, in which mode, and the means to change it.
pub struct Desk {
    pub(super) tables: Tables,
    pub(super) archive: Archive,
    /// The epoch of the archive in which all was written last.
    pub(super) kept_epoch: u64,
    /// How often sources were blocked lately, as the policy says, by name.
    pub(super) recurrences: HashMap<String, KeptRecurrence>,
    /// Completed decoys that may become proof, likewise.
    pub(super) decoys: Vec<KeptDecoy>,
    pub(super) allow: PrefixMap<Allowed>,
    pub(super) blocks: PrefixMap<Block>,
    pub(super) mode: ModeNow,
    /// Ports that answer only a few, while they do.
    pub(super) lockdown: Option<LockdownNow>,
    pub(super) people: People,
    /// Those of whom more is known than the store has.
    pub(super) unkept: HashSet<SourceKey>,
    /// What waits for a person.
    pub(super) questions: Questions,
    /// Lists that others make.
    pub(super) feeds: Feeds,
    /// Whose sessions go on.
    pub(super) live: LiveSources,
    /// How the wall clock is set, by which all ends here are told.
    pub(super) clock: WallClock,
    /// The turn of the keys of challenges in which one was replaced last.
    key_turn: Option<u64>,
}

/// Why a prefix is on the allowlist: for one reason or several.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// The configuration says so.
    pub(super) configured: bool,
    /// An operator said so.
    pub(super) operator: Option<ByOperator>,
    /// Somebody is logged in from there: until when, and who.
    pub(super) lease: Option<(SystemTime, Option<String>)>,
}

/// What an operator said.
#[derive(Clone, Debug)]
pub(super) struct ByOperator {
    pub(super) name: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) since: SystemTime,
    /// None for never.
    pub(super) expires: Option<SystemTime>,
}

impl Allowed {
    /// When the last reason ends, on the kernel part's clock.
    pub(super) fn ends_ns(&self, clock: &WallClock) -> u64 {
        let configured = self.configured.then_some(NEVER_NS);
        let operator = self.operator.as_ref().map(|entry| end_ns(clock, entry.expires));
        let lease = self.lease.as_ref().map(|(until, _)| end_ns(clock, Some(*until)));
        configured.into_iter().chain(operator).chain(lease).max().unwrap_or(0)
    }

    /// Whether no reason is left.
    pub(super) const fn is_over(&self) -> bool {
        !self.configured && self.operator.is_none() && self.lease.is_none()
    }
}

/// A block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) scope: Scope,
    pub(super) hard: bool,
    pub(super) origin: Origin,
    pub(super) reason: Option<String>,
    pub(super) since: SystemTime,
    /// None for until it is removed.
    pub(super) expires: Option<SystemTime>,
}

/// An end on the kernel part's clock.
pub(super) fn end_ns(clock: &WallClock, expires: Option<SystemTime>) -> u64 {
    expires.map_or(NEVER_NS, |expires| clock.ns(expires))
}

impl Desk {
    /// Brings kernel part and store together: what the store has of allowlist, blocks and mode is in force when this returns, with what the
    /// configuration says. What is in the kernel already, from an earlier daemon, stays in force meanwhile.
    ///
    /// # Errors
    /// When the kernel part cannot be written.
    pub fn start(mut tables: Tables, config: &Config, archive: Archive, now: SystemTime) -> Result<Self> {
        let (mut desk, lockdown, is_fresh) = {
            let wall_clock = WallClock::at(now, clock::monotonic_ns());
            let Loaded { allow, blocks, mode, lockdown, over } = kept::load(&archive, config, now);
            kept::clear_up(&archive, over);
            // Settings that the earlier daemon or this one's watches keep true are not touched.
            let before = *tables.config();
            let contact_key = if before.contact_key == [0; 2] { random_key()? } else { before.contact_key };
            let keys = match before.challenge.keys {
                keys if keys[0] == [0; 2] || keys[1] == [0; 2] => [random_key()?, random_key()?],
                keys => keys,
            };
            tables.set_config(&KernelConfig {
                heartbeat_ns: clock::monotonic_coarse_ns(),
                mode: mode.mode as u32,
                enforce_until_ns: end_ns(&wall_clock, mode.reverts),
                challenge: ChallengeRules { keys, ..config.kernel_config(contact_key).challenge },
                ..config.kernel_config(contact_key).with_watched(&before)
            })?;
            tables.set_protected(&config.ports.protect)?;
            let people = kept::people(&archive);
            let (recurrences, decoys) = kept::history(&archive);
            let questions = Questions::load(&archive, now);
            let desk = Self {
                tables,
                kept_epoch: archive.epoch(),
                recurrences,
                decoys,
                archive,
                allow,
                blocks,
                mode,
                lockdown: None,
                people,
                unkept: HashSet::new(),
                questions,
                feeds: Feeds::default(),
                live: LiveSources::default(),
                clock: wall_clock,
                key_turn: None,
            };
            // Nobody wrote into the tables before.
            (desk, lockdown, before.contact_key == [0; 2])
        };
        desk.take_up_lockdown(lockdown, is_fresh, now)?;
        desk.welcome(now)?;
        desk.adopt_unknown_allowances(now);
        desk.adopt_unknown_blocks(now);
        desk.enforce_allow()?;
        desk.enforce_blocks()?;
        Ok(desk)
    }

    /// The same without changing anything: what is in force already, from a daemon that is gone.
    pub(super) fn over(tables: Tables, config: &Config, archive: Archive, now: SystemTime) -> Self {
        let Loaded { allow, blocks, mode: kept_mode, lockdown, over } = kept::load(&archive, config, now);
        kept::clear_up(&archive, over);
        let mode = ModeNow::of_kernel(tables.config(), kept_mode, now);
        let people = kept::people(&archive);
        let (recurrences, decoys) = kept::history(&archive);
        let questions = Questions::load(&archive, now);
        let mut desk = Self {
            tables,
            kept_epoch: archive.epoch(),
            recurrences,
            decoys,
            archive,
            allow,
            blocks,
            mode,
            lockdown: None,
            people,
            unkept: HashSet::new(),
            questions,
            feeds: Feeds::default(),
            live: LiveSources::default(),
            clock: WallClock::at(now, clock::monotonic_ns()),
            key_turn: None,
        };
        desk.lockdown = desk.lockdown_of_kernel(lockdown);
        desk.adopt_unknown_allowances(now);
        desk.adopt_unknown_blocks(now);
        desk
    }

    /// The maps, for those who keep other parts of them true.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.tables
    }

    /// The maps, to read.
    #[must_use]
    pub const fn read_tables(&self) -> &Tables {
        &self.tables
    }

    /// Where all of it is kept.
    #[must_use]
    pub const fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Takes over a configuration whose like was in force before: allowlist, mode where it changed, and the settings of the datapath.
    ///
    /// # Errors
    /// When the kernel part does not take it: then everything is as it was, the mode that an operator set and its end
    /// too.
    pub fn apply(&mut self, old: &Config, config: &Config) -> Result<()> {
        let mut allow = self.allow.clone();
        for network in &old.allow {
            if let Some(entry) = allow.get_mut(&(*network).into()) {
                entry.configured = false;
            }
        }
        kept::add_configured(&mut allow, config);
        let over: Vec<Prefix> = allow.iter().filter(|(_, entry)| entry.is_over()).map(|(prefix, _)| *prefix).collect();
        for prefix in over {
            allow.remove(&prefix);
        }
        let is_new_mode = old.mode != config.mode;
        let mode =
            if is_new_mode { ModeNow { mode: config.mode, configured: config.mode, reverts: None } } else { self.mode };
        let before = *self.tables.config();
        let settings = KernelConfig {
            heartbeat_ns: before.heartbeat_ns,
            mode: mode.mode as u32,
            enforce_until_ns: end_ns(&self.clock, mode.reverts),
            ..config.kernel_config(before.contact_key).with_watched(&before)
        };
        match self.tell_settings(&settings, &config.ports.protect, &allow) {
            Ok(freed) => {
                self.allow = allow;
                if is_new_mode {
                    self.mode = mode;
                    self.keep_mode();
                }
                self.forget_freed(&freed);
                Ok(())
            }
            Err(error) => {
                let allow = std::mem::take(&mut self.allow);
                if let Err(again) = self.tell_settings(&before, &old.ports.protect, &allow) {
                    error!(%again, "the settings of before could not be put back whole");
                }
                self.allow = allow;
                Err(error)
            }
        }
    }

    /// Writes settings, protected networks and an allowlist into the kernel.
    fn tell_settings(
        &mut self,
        settings: &KernelConfig,
        protect: &[IpNetwork],
        allow: &PrefixMap<Allowed>,
    ) -> Result<Freed> {
        self.tables.set_config(settings)?;
        self.tables.set_protected(protect)?;
        self.tell_allow(allow).context("cannot put the allowlist in force")
    }

    fn tell_allow(&mut self, allow: &PrefixMap<Allowed>) -> Result<Freed, KernelError> {
        let entries: Vec<_> =
            allow.iter().map(|(prefix, entry)| ((*prefix).into(), entry.ends_ns(&self.clock))).collect();
        self.tables.set_allowed(&entries)
    }

    /// The rules by which addresses become sources.
    pub(super) fn keys(&self) -> KeyRules {
        self.tables.config().keys
    }

    /// The mode in force.
    #[must_use]
    pub fn mode_now(&self) -> Mode {
        self.mode.mode
    }

    /// When enforcing ends unless it is confirmed.
    #[must_use]
    pub const fn reverts(&self) -> Option<SystemTime> {
        self.mode.reverts
    }

    /// The source that a prefix is exactly, if it is one.
    pub(super) fn as_source(&self, prefix: Prefix) -> Option<SourceKey> {
        let source = SourceKey(prefix.address());
        let (address, length) = self.keys().prefix(source);
        let bits = if address.is_ipv4() { length + MAPPED_BITS } else { length };
        (bits == prefix.bits).then_some(source)
    }

    /// Writes the whole allowlist into the kernel.
    fn enforce_allow(&mut self) -> Result<()> {
        let allow = std::mem::take(&mut self.allow);
        let told = self.tell_allow(&allow);
        self.allow = allow;
        self.forget_freed(&told.context("cannot put the allowlist in force")?);
        Ok(())
    }
}

impl Desk {
    /// Replaces the key of challenges whose turn is over, once nothing that was made with it is good any more. Each is in use for
    /// [`KEY_SLOTS`] slots.
    ///
    /// # Errors
    /// When there is no randomness to be had, or the kernel part cannot be written.
    pub fn turn_challenge_key(&mut self) -> Result<()> {
        const STILL_GOOD: u64 = 2;
        let slot = clock::monotonic_coarse_ns() / SLOT_NS;
        let turn = slot / KEY_SLOTS;
        if slot % KEY_SLOTS >= STILL_GOOD && self.key_turn != Some(turn) {
            self.tables.set_challenge_key((turn as usize + 1) % 2, random_key()?)?;
            self.key_turn = Some(turn);
        }
        Ok(())
    }
}

/// A secret key.
fn random_key() -> Result<[u64; 2]> {
    let word = || getrandom::u64().context("cannot get randomness from the kernel");
    Ok([word()?, word()?])
}

/// A span in whole seconds from now on; far beyond any calendar it is never.
pub(super) fn after(now: SystemTime, seconds: Option<u64>) -> Option<SystemTime> {
    seconds.and_then(|seconds| now.checked_add(Duration::from_secs(seconds)))
}
