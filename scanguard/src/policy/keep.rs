//! What of the policy outlives the daemon, so that a restart neither forgets who came back nor blocks twice.

use std::collections::HashMap;
use std::time::Duration;

use scanguard_common::source::SourceKey;
use scanguard_common::verdict::Scope;

use super::clock::{Moment, Timeline, kept};
use super::{BlockReason, Clock, Finished, Policy, Running};
use crate::config::Blocks;

/// How often a source was blocked lately.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeptEnd {
    /// The source.
    pub source: SourceKey,
    /// When its last block ended.
    pub ended: Clock,
    /// Blocks that ended, each begun while the one before it counted.
    pub times: u32,
}

/// A block in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RunningBlock {
    /// The source.
    pub source: SourceKey,
    /// Since when.
    pub since: Clock,
    /// Until when.
    pub until: Clock,
    /// From which ports.
    pub scope: Scope,
    /// Why.
    pub reason: BlockReason,
}

/// A completed decoy that may become proof with others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeptDecoy {
    /// The source.
    pub source: SourceKey,
    /// The port, of TCP.
    pub port: u16,
    /// When.
    pub completed: Clock,
}

impl Policy {
    /// Completed decoys of the last ten minutes, those of one source in the order in which they were.
    pub fn decoys(&self) -> impl Iterator<Item = KeptDecoy> {
        self.proofs.iter().map(|(source, port, time)| KeptDecoy { source, port, completed: self.timeline.clock(time) })
    }

    /// The ports on which a source completed decoys lately, and when.
    #[must_use]
    pub fn decoys_of(&self, source: &SourceKey, now: Clock) -> Vec<(u16, Clock)> {
        let completed = self.proofs.completed_by(source, self.timeline.moment(now));
        completed.map(|(port, time)| (port, self.timeline.clock(time))).collect()
    }

    /// What is remembered of blocks that ended, those of sources that are blocked again among them. In no order.
    pub fn history(&self) -> impl Iterator<Item = KeptEnd> {
        let finished = self.finished.iter().map(|(source, ended, finished)| (source, ended, *finished));
        let blocked = self.running.iter().filter_map(|(source, _, running)| {
            let (ended, finished) = running.before?;
            Some((source, ended, finished))
        });
        finished.chain(blocked).map(|(source, ended, Finished { times })| KeptEnd {
            source,
            ended: self.timeline.clock(ended),
            times,
        })
    }

    /// What is remembered of blocks of a source that ended, whether or not it is blocked again.
    #[must_use]
    pub fn past_end(&self, source: &SourceKey) -> Option<KeptEnd> {
        let before = || self.running.get(source).and_then(|(_, running)| running.before);
        let (ended, Finished { times }) =
            self.finished.get(source).map(|(ended, finished)| (ended, *finished)).or_else(before)?;
        Some(KeptEnd { source: *source, ended: self.timeline.clock(ended), times })
    }

    /// Blocks in force as of the last step, the one that ends first before the others.
    pub fn running(&self) -> impl Iterator<Item = RunningBlock> {
        self.running.iter().map(|(source, until, Running { since, scope, reason, .. })| RunningBlock {
            source,
            since: self.timeline.clock(*since),
            until: self.timeline.clock(until),
            scope: *scope,
            reason: *reason,
        })
    }

    /// A policy that goes on from what [`Policy::history`], [`Policy::running`] and [`Policy::decoys`] gave. Blocks that ended meanwhile end with the
    /// first step.
    ///
    /// What lies in the future was kept while the clock was wrong: it counts as having happened now. No block is longer than
    /// the settings say. (Blocks taken back within the last minute are not kept, so they are missing in the budget of that
    /// minute.)
    #[must_use]
    pub fn restore(
        settings: &Blocks,
        history: impl IntoIterator<Item = KeptEnd>,
        running: impl IntoIterator<Item = RunningBlock>,
        decoys: impl IntoIterator<Item = KeptDecoy>,
        now: Clock,
    ) -> Self {
        let mut policy = Self { timeline: Timeline::starting(now), ..Self::default() };
        let now = policy.timeline.moment(now);
        let mut history: HashMap<SourceKey, KeptEnd> = history.into_iter().map(|kept| (kept.source, kept)).collect();
        let mut blocks: Vec<Began> = running
            .into_iter()
            .filter(|block| history.get(&block.source).is_none_or(|past| past.ended <= block.since))
            .map(|block| Began::at(block, settings, now))
            .collect();
        blocks.sort_by_key(|block| block.since);
        for Began { source, since, until, scope, reason } in blocks {
            if policy.running.get(&source).is_some() {
                continue;
            }
            let before = history.remove(&source).map(|past| past_of(&past, now));
            policy.running.insert(source, until, Running { since, scope, reason, before });
            policy.budget.begin(&source, since);
        }
        for past in history.into_values() {
            let (ended, finished) = past_of(&past, now);
            policy.remember(past.source, ended, finished);
        }
        let mut decoys: Vec<KeptDecoy> = decoys.into_iter().collect();
        decoys.sort_by_key(|decoy| decoy.completed);
        for KeptDecoy { source, port, completed } in decoys {
            policy.proofs.complete(source, port, kept(completed).min(now));
        }
        policy.budget.forget(now);
        policy.proofs.forget(now);
        policy
    }
}

/// A block as it was kept, in moments.
struct Began {
    source: SourceKey,
    since: Moment,
    until: Moment,
    scope: Scope,
    reason: BlockReason,
}

impl Began {
    fn at(block: RunningBlock, settings: &Blocks, now: Moment) -> Self {
        let RunningBlock { source, since, until, scope, reason } = block;
        let lasts = Duration::from_millis(until.0.saturating_sub(since.0));
        let since = kept(since).min(now);
        let until = since.after(lasts.min(settings.longest));
        Self { source, since, until, scope, reason }
    }
}

fn past_of(past: &KeptEnd, now: Moment) -> (Moment, Finished) {
    (kept(past.ended).min(now), Finished { times: past.times })
}
