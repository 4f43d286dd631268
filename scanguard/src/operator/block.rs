//! Blocks: the operator's, and those of the policy.

use std::time::SystemTime;

use ipnetwork::IpNetwork;
use scanguard_common::source::SourceKey;
use scanguard_common::verdict::{Origin, Scope, Verdict};
use tracing::info;

use super::allow::one_line;
use super::desk::{Block, Desk, after, end_ns};
use super::error::OperatorError;
use super::kept::{origin_label, shown};
use crate::api::{BlockAdd, BlockAdded, BlockEntry, BlockList, BlockRemove, BlockRemoved, SCHEMA_VERSION, timestamp};
use crate::kernel::{Altered, KernelError, Reading, clock};
use crate::prefix;
use crate::prefix_map::Prefix;
use crate::safety::{Facts, check_block};

/// A block of the policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewBlock {
    /// Whom.
    pub source: SourceKey,
    /// From what.
    pub scope: Scope,
    /// Until when: every block of the policy ends.
    pub until: SystemTime,
    /// Why.
    pub reason: String,
}

/// A block of the policy that is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AutomaticBlock {
    /// Whom.
    pub source: SourceKey,
    /// Since when.
    pub since: SystemTime,
    /// Until when.
    pub until: SystemTime,
    /// From which ports.
    pub scope: Scope,
    /// Why; unknown where it was found in the kernel alone.
    pub reason: Option<String>,
}

/// A block and whom it is on, to be shown by whoever has the time.
#[derive(Clone, Debug)]
pub struct Covering {
    prefix: Prefix,
    block: Block,
}

impl Covering {
    /// As the API has it.
    #[must_use]
    pub fn entry(&self) -> BlockEntry {
        entry(&self.prefix, &self.block)
    }
}

/// Bits of an IPv6 address.
const WHOLE: u8 = 128;

/// A block that the kernel part has.
struct InForce {
    /// Whether it replaced another one.
    replaced: bool,
    /// Since when, in nanoseconds of `CLOCK_MONOTONIC`.
    since_ns: u64,
}

impl Desk {
    /// Blocks a prefix because a person wants it, unless a safety rule forbids it. In force in the kernel when this returns, in both modes.
    ///
    /// # Errors
    /// When a rule forbids it, or what is asked for makes no sense.
    pub fn block_add(
        &mut self,
        wanted: &BlockAdd,
        facts: &Facts,
        now: SystemTime,
    ) -> Result<BlockAdded, OperatorError> {
        let BlockAdd { prefix: text, scope, hard, for_s, reason, force, logged_in_from: _ } = wanted;
        let network = prefix::parse(text)?;
        let scope = match scope.as_str() {
            "all" => Scope::All,
            "private" => Scope::Private,
            other => return Err(OperatorError::Usage(format!("there is no scope {other:?}: it is all or private"))),
        };
        if let Some(reason) = reason {
            one_line(reason)?;
        }
        let prefix: Prefix = network.into();
        let covering: Option<IpNetwork> = self.allow.covering(prefix).next().map(|(prefix, _)| (*prefix).into());
        if let Err(refused) = check_block(&network, *force, covering.as_ref(), facts) {
            return Err(OperatorError::Refused { rule: refused.rule.label().to_owned(), message: refused.message });
        }
        let expires = after(now, *for_s);
        if expires.is_some_and(|expires| expires <= now) {
            return Err(OperatorError::Usage("a block of no time at all blocks nobody".to_owned()));
        }
        let block = Block { scope, hard: *hard, origin: Origin::Operator, reason: reason.clone(), since: now, expires };
        let InForce { replaced, .. } = self.put_block(prefix, block)?;
        info!(prefix = shown(&prefix), scope = scope.label(), hard, forced = force, reason, "an operator blocks");
        let spared = self.allow.within(prefix).count() as u64;
        let entry = self.blocks.get(&prefix).map(|block| entry(&prefix, block)).unwrap_or_default();
        Ok(BlockAdded { schema_version: SCHEMA_VERSION, entry, replaced, spared })
    }

    /// Blocks a source because the policy wants it, and says since when the kernel part has it, in nanoseconds of `CLOCK_MONOTONIC`; none where the
    /// allowlist or an operator's block says otherwise.
    ///
    /// # Errors
    /// When the kernel takes no more.
    pub fn block_by_policy(&mut self, wanted: NewBlock, now: SystemTime) -> Result<Option<u64>, OperatorError> {
        let NewBlock { source, scope, until, reason } = wanted;
        self.follow_clock(now);
        let prefix = self.prefix_of(&source);
        let by_operator = |block: &Block| block.origin == Origin::Operator;
        if self.allow.meets(prefix) || self.blocks.covering(prefix).any(|(_, block)| by_operator(block)) {
            return Ok(None);
        }
        let block = Block {
            scope,
            hard: false,
            origin: Origin::Controller,
            reason: Some(reason),
            since: now,
            expires: Some(until),
        };
        Ok(Some(self.put_block(prefix, block)?.since_ns))
    }

    fn put_block(&mut self, prefix: Prefix, block: Block) -> Result<InForce, OperatorError> {
        let told = self.tell_block(prefix, &block)?;
        if !told {
            let text = shown(&prefix);
            let message = format!(
                "{text} is not blocked: an entry of the allowlist covers a part of this source. `scanguard allow list` shows it"
            );
            return Err(OperatorError::Refused { rule: "allowlisted".to_owned(), message });
        }
        let since_ns = clock::monotonic_ns();
        let why = match (block.origin, block.reason.as_deref()) {
            (Origin::Operator, _) => "by an operator".to_owned(),
            (Origin::Controller, reason) => format!("the policy: {}", reason.unwrap_or("unknown")),
        };
        let replaced = self.blocks.insert(prefix, block).is_some();
        self.keep_block(prefix);
        self.note_life(&prefix, if replaced { "change" } else { "begin" }, &why);
        Ok(InForce { replaced, since_ns })
    }

    /// Writes a block into the kernel; false where the allowlist forbids it.
    fn tell_block(&mut self, prefix: Prefix, block: &Block) -> Result<bool, OperatorError> {
        let verdict = Verdict {
            hard: u8::from(block.hard),
            ..Verdict::block(block.scope, block.origin, end_ns(&self.clock, block.expires))
        };
        let told = match self.as_source(prefix) {
            Some(source) => self.tables.set_verdict(source, &verdict)?,
            None => self.tables.set_prefix_verdict(prefix, &verdict)?,
        };
        Ok(told.is_ok())
    }

    fn untell_block(&mut self, prefix: Prefix) -> Result<(), OperatorError> {
        match self.as_source(prefix) {
            Some(source) => self.tables.remove_verdict(source)?,
            None => self.tables.remove_prefix_verdict(prefix)?,
        };
        Ok(())
    }

    /// Puts all blocks in force that are to be, and lifts others.
    pub(super) fn enforce_blocks(&mut self) -> anyhow::Result<()> {
        let wanted: Vec<(Prefix, Block)> = self.blocks.iter().map(|(prefix, block)| (*prefix, block.clone())).collect();
        for (prefix, block) in wanted {
            if !self.tell_block(prefix, &block)? {
                info!(prefix = shown(&prefix), "a block has ended: the allowlist covers it");
                self.forget_block(&prefix, "the allowlist covers it");
                let names = [shown(&prefix)];
                self.keep(move |store| store.remove_blocks(&names));
            }
        }
        let sources: Vec<SourceKey> = self.tables.decided().verdicts().map(|(source, _)| source).collect();
        for source in sources {
            if self.blocks.get(&self.prefix_of(&source)).is_none() {
                self.tables.remove_verdict(source)?;
            }
        }
        let prefixes: Vec<Prefix> = self.tables.decided().prefix_verdicts().map(|(prefix, _)| prefix).collect();
        for prefix in prefixes {
            if self.blocks.get(&prefix).is_none() {
                self.tables.remove_prefix_verdict(prefix)?;
            }
        }
        Ok(())
    }

    /// Lifts blocks, whoever made them.
    ///
    /// # Errors
    /// When a prefix is wrong: then nothing is lifted.
    pub fn block_remove(&mut self, wanted: &BlockRemove) -> Result<BlockRemoved, OperatorError> {
        let parsed = wanted.prefixes.iter().map(|text| Ok((text, Prefix::from(prefix::parse(text)?))));
        let parsed: Vec<(&String, Prefix)> = parsed.collect::<Result<_, OperatorError>>()?;
        let mut answer = BlockRemoved { schema_version: SCHEMA_VERSION, ..BlockRemoved::default() };
        for (text, prefix) in parsed {
            // An address is meant as the source it belongs to, where that is what is blocked.
            let prefix = if self.blocks.get(&prefix).is_some() { prefix } else { self.source_of(prefix) };
            if self.blocks.get(&prefix).is_none() {
                answer.missing.push(text.clone());
            } else {
                self.untell_block(prefix)?;
                self.forget_block(&prefix, "an operator lifted it");
                answer.removed.push(shown(&prefix));
            }
            if let Some((covering, _)) = self.blocks.covering(prefix).next() {
                answer.still_covered.push((text.clone(), shown(covering)));
            }
        }
        let removed = answer.removed.clone();
        if !removed.is_empty() {
            info!(prefixes = removed.join(" "), "blocks are lifted");
            self.keep(move |store| store.remove_blocks(&removed));
        }
        Ok(answer)
    }

    /// The prefix of the source that an address is of.
    pub(super) fn source_of(&self, prefix: Prefix) -> Prefix {
        let (keys, address) = (self.keys(), prefix.address());
        // Addresses of a link, and those behind Teredo servers, are sources of their own.
        let is_whole = keys.prefix(SourceKey(address)).1 == WHOLE;
        let bits = keys.ipv6_prefix();
        if address.is_mapped() || is_whole || bits > prefix.bits { prefix } else { Prefix::around(&address, bits) }
    }

    /// Blocks that the policy made.
    #[must_use]
    pub fn automatic_blocks(&self) -> Vec<AutomaticBlock> {
        let automatic = self.blocks.iter().filter(|(_, block)| block.origin == Origin::Controller);
        let made = automatic.filter_map(|(prefix, block)| {
            let (source, reason) = (self.as_source(*prefix)?, block.reason.clone());
            Some(AutomaticBlock { source, since: block.since, until: block.expires?, scope: block.scope, reason })
        });
        made.collect()
    }

    /// Whether a block that the policy made is in force on a source.
    #[must_use]
    pub fn is_blocked_by_policy(&self, source: &SourceKey) -> bool {
        self.blocks.get(&self.prefix_of(source)).is_some_and(|block| block.origin == Origin::Controller)
    }

    /// Whether the allowlist spares a source, in whole or in part.
    #[must_use]
    pub fn spares(&self, source: &SourceKey) -> bool {
        self.allow.meets(self.prefix_of(source))
    }

    /// A source as people write it.
    #[must_use]
    pub fn named(&self, source: SourceKey) -> String {
        self.keys().display(source).to_string()
    }

    /// The prefix that a source stands for.
    pub(super) fn prefix_of(&self, source: &SourceKey) -> Prefix {
        let (address, length) = self.keys().prefix(*source);
        let (address, bits) = scanguard_common::address::prefix(address, length);
        Prefix::around(&address, bits)
    }

    /// The prefix of the source that an address is of, to lease it.
    #[must_use]
    pub fn lease_prefix(&self, address: std::net::IpAddr) -> Prefix {
        self.source_of(IpNetwork::from(address).into())
    }

    /// The block that covers a prefix, as it is now.
    #[must_use]
    pub fn block_covering(&self, prefix: Prefix) -> Option<Covering> {
        self.blocked_by(prefix).map(|(prefix, block)| Covering { prefix, block: block.clone() })
    }

    /// All blocks.
    #[must_use]
    pub fn block_list(&self) -> BlockList {
        let entries = self.blocks.iter().map(|(prefix, block)| entry(prefix, block)).collect();
        BlockList { schema_version: SCHEMA_VERSION, entries }
    }

    /// The block that covers a prefix, the longest where there are several.
    pub(super) fn blocked_by(&self, prefix: Prefix) -> Option<(Prefix, &Block)> {
        self.blocks.covering(prefix).next().map(|(prefix, block)| (*prefix, block))
    }

    /// Clears up blocks that are over; the kernel part has not carried them out since.
    pub(super) fn expire_blocks(&mut self, now: SystemTime) -> Result<Vec<String>, OperatorError> {
        let over = |block: &Block| block.expires.is_some_and(|expires| expires <= now);
        let ended: Vec<Prefix> =
            self.blocks.iter().filter(|(_, block)| over(block)).map(|(prefix, _)| *prefix).collect();
        for prefix in &ended {
            self.untell_block(*prefix)?;
            self.forget_block(prefix, "its time was over");
        }
        let names: Vec<String> = ended.iter().map(shown).collect();
        if !names.is_empty() {
            info!(prefixes = names.join(" "), "blocks have ended");
            let names = names.clone();
            self.keep(move |store| store.remove_blocks(&names));
        }
        Ok(names)
    }

    /// Puts right what a reading of the kernel part's tables shows to be altered.
    ///
    /// # Errors
    /// When the kernel part cannot be written.
    pub fn repair(&mut self, reading: &Reading) -> Result<Vec<Altered>, KernelError> {
        self.tables.repair(reading)
    }
}

/// A block as the API has it.
pub(super) fn entry(prefix: &Prefix, block: &Block) -> BlockEntry {
    let Block { scope, hard, origin, reason, since, expires } = block;
    BlockEntry {
        source: shown(prefix),
        level: "block".to_owned(),
        scope: scope.label().to_owned(),
        hard: *hard,
        reason: reason.clone(),
        origin: origin_label(*origin).to_owned(),
        since: timestamp(*since),
        expires: expires.map(timestamp),
    }
}
