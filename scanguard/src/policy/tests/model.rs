//! The policy as one would write it without caring for time or memory: a list of all blocks there ever were, read from the
//! beginning for each question.

use std::collections::HashSet;
use std::time::Duration;

use scanguard_common::source::{KeyRules, SourceKey};
use scanguard_common::verdict::Scope;

use crate::config::{AutoLevel, Blocks};
use crate::policy::proof::{PORTS, WITHIN_MS};
use crate::policy::{Action, BlockReason, Clock, Deferral, Event};

/// All blocks there ever were, in the order in which they began.
#[derive(Default)]
pub(super) struct Model {
    blocks: Vec<Block>,
    /// Decoys that were completed: by whom, on which port, when.
    completed: Vec<(SourceKey, u16, u64)>,
}

struct Block {
    source: SourceKey,
    begun: u64,
    /// When it ends or ended.
    ends: u64,
    lifted: bool,
}

impl Model {
    /// What is decided; that blocks end is not told.
    pub(super) fn step(
        &mut self,
        settings: &Blocks,
        allowed: &dyn Fn(&SourceKey) -> bool,
        event: Event,
        now: Clock,
    ) -> Option<Action> {
        let Clock(now) = now;
        let (source, reason) = match event {
            Event::Suspect { .. } | Event::Tick => return None,
            Event::Expired { source } => {
                self.end(source, now, false);
                return None;
            }
            Event::Lifted { source, .. } => {
                self.end(source, now, true);
                return None;
            }
            Event::Eligible { source } => (source, BlockReason::Score),
            Event::Proven { source } => (source, BlockReason::Proven),
            Event::Completed { source, port } => {
                self.completed.push((source, port, now));
                let lately = self.completed.iter().filter(|(by, _, at)| *by == source && now - at <= WITHIN_MS);
                if lately.map(|(_, port, _)| port).collect::<HashSet<_>>().len() < PORTS {
                    return None;
                }
                (source, BlockReason::Proven)
            }
        };
        if allowed(&source) {
            return Some(Action::Deferred { source, why: Deferral::Allowed });
        }
        if self.standing(now).any(|block| block.source == source) {
            return None;
        }
        let deferral = if settings.max_auto_level == AutoLevel::Conceal {
            Some(Deferral::MaxAutoLevel)
        } else if reason == BlockReason::Score && !settings.unproven {
            Some(Deferral::Unproven)
        } else {
            self.over_budget(settings, source, now)
        };
        if let Some(why) = deferral {
            return Some(Action::Deferred { source, why });
        }
        let recurrence = self.recurrence(settings, source, now);
        let grown = (0..recurrence).fold(settings.first, |length, _| length.saturating_mul(settings.factor));
        let lasts = grown.min(settings.longest);
        let ends = now + milliseconds(lasts);
        self.blocks.push(Block { source, begun: now, ends, lifted: false });
        Some(Action::Block { source, scope: Scope::Private, lasts, until: Clock(ends), reason, recurrence })
    }

    fn end(&mut self, source: SourceKey, now: u64, lifted: bool) {
        for block in self.blocks.iter_mut().filter(|block| block.source == source && block.ends > now) {
            block.ends = now;
            block.lifted = lifted;
        }
    }

    fn standing(&self, now: u64) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.ends > now)
    }

    fn begun_lately(&self, now: u64) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| now - block.begun < 60_000)
    }

    /// Earlier blocks, each less than the time of recurrence before the next, and the last before now.
    fn recurrence(&self, settings: &Blocks, source: SourceKey, now: u64) -> u32 {
        let counted = |ended: u64, then: u64| then - ended < milliseconds(settings.recurrence);
        let mut times = 0;
        let mut last = None;
        for block in self.blocks.iter().filter(|block| block.source == source && !block.lifted) {
            times = if last.is_some_and(|ended| counted(ended, block.begun)) { times + 1 } else { 1 };
            last = Some(block.ends);
        }
        if last.is_some_and(|ended| counted(ended, now)) { times } else { 0 }
    }

    fn over_budget(&self, settings: &Blocks, source: SourceKey, now: u64) -> Option<Deferral> {
        let ours = network(source);
        let count = |blocks: &mut dyn Iterator<Item = &Block>| {
            let networks: Vec<SourceKey> = blocks.map(|block| network(block.source)).collect();
            let others: HashSet<SourceKey> = networks.iter().copied().collect();
            (networks.iter().filter(|network| **network == ours).count(), others.contains(&ours), others.len())
        };
        let (in_network, counted, networks) = count(&mut self.standing(now));
        if in_network >= settings.most as usize {
            return Some(Deferral::NetworkStandingBudget);
        }
        if !counted && networks >= settings.most as usize {
            return Some(Deferral::StandingBudget);
        }
        let (in_network, counted, networks) = count(&mut self.begun_lately(now));
        if in_network >= settings.per_minute as usize {
            return Some(Deferral::NetworkMinuteBudget);
        }
        (!counted && networks >= settings.per_minute as usize).then_some(Deferral::MinuteBudget)
    }
}

fn network(source: SourceKey) -> SourceKey {
    KeyRules::network(&source).unwrap_or(source)
}

fn milliseconds(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
