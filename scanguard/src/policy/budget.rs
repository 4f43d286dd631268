//! How many blocks may come without a person.
//!
//! What is counted are networks (/24, /48; a source of none is one by itself): however many sources a network sends, to all
//! others it is one. Within a network the same numbers hold for its sources, so that none of them fills the tables.

use std::collections::{HashMap, HashSet, VecDeque};

use scanguard_common::source::{KeyRules, SourceKey};

use super::Deferral;
use super::clock::Moment;
use crate::config::Blocks;

/// Automatic blocks at once, whatever the configuration says: the kernel's table has 131,072 entries, and those of operators must
/// find room in it.
pub const MOST_BLOCKS: usize = 100_000;

/// For how long a new block is one.
const MINUTE_MS: u64 = 60_000;

/// What was spent.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    /// When blocks of the last minute began, and of which network, the earliest first.
    begun: VecDeque<(Moment, SourceKey)>,
    /// How many of them each network has.
    new: HashMap<SourceKey, usize>,
    /// How many blocks in force each network has.
    standing: HashMap<SourceKey, usize>,
    /// How many there are in all.
    blocks: usize,
}

impl Budget {
    /// Whether one more source may be blocked.
    pub(super) fn room(&self, settings: &Blocks, source: &SourceKey) -> Result<(), Deferral> {
        let network = network(source);
        let [per_minute, most] = limits(settings);
        let new = self.new.get(&network).copied().unwrap_or(0);
        let standing = self.standing.get(&network).copied().unwrap_or(0);
        // A network that is counted already takes nothing from others.
        let networks = |counted: &HashMap<SourceKey, usize>, its: usize| counted.len() + usize::from(its == 0);
        let rows = [
            (self.blocks < MOST_BLOCKS, Deferral::Full),
            (standing < most, Deferral::NetworkStandingBudget),
            (networks(&self.standing, standing) <= most, Deferral::StandingBudget),
            (new < per_minute, Deferral::NetworkMinuteBudget),
            (networks(&self.new, new) <= per_minute, Deferral::MinuteBudget),
        ];
        rows.into_iter().find(|(room, _)| !room).map_or(Ok(()), |(_, why)| Err(why))
    }

    /// Counts a block that begins. Moments must not go back from one to the next.
    pub(super) fn begin(&mut self, source: &SourceKey, now: Moment) {
        let network = network(source);
        self.begun.push_back((now, network));
        *self.new.entry(network).or_default() += 1;
        self.stand(source);
    }

    /// Counts a block that is in force.
    pub(super) fn stand(&mut self, source: &SourceKey) {
        *self.standing.entry(network(source)).or_default() += 1;
        self.blocks += 1;
    }

    /// Counts a block that was in force no more.
    pub(super) fn end(&mut self, source: &SourceKey) {
        subtract(&mut self.standing, network(source));
        self.blocks = self.blocks.saturating_sub(1);
    }

    /// Forgets which blocks were new more than a minute ago.
    pub(super) fn forget(&mut self, now: Moment) {
        while self.begun.front().is_some_and(|(begun, _)| !is_new(*begun, now)) {
            if let Some((_, network)) = self.begun.pop_front() {
                subtract(&mut self.new, network);
            }
        }
    }

    /// Whether no source of a network without a block could be blocked, when these sources are.
    pub(super) fn is_exhausted(
        &self,
        settings: &Blocks,
        now: Moment,
        in_force: impl Iterator<Item = SourceKey>,
    ) -> bool {
        let [per_minute, most] = limits(settings);
        let begun = self.begun.iter().filter(|(begun, _)| is_new(*begun, now)).map(|(_, network)| *network);
        if self.new.len() >= per_minute && begun.collect::<HashSet<_>>().len() >= per_minute {
            return true;
        }
        if self.blocks < MOST_BLOCKS && self.standing.len() < most {
            return false; // Since the last step none came.
        }
        let (mut blocks, mut networks) = (0, HashSet::new());
        for source in in_force {
            blocks += 1;
            networks.insert(network(&source));
        }
        blocks >= MOST_BLOCKS || networks.len() >= most
    }
}

/// The network that a source is counted as.
fn network(source: &SourceKey) -> SourceKey {
    KeyRules::network(source)
}

const fn is_new(begun: Moment, now: Moment) -> bool {
    now.since(begun) < MINUTE_MS
}

fn limits(settings: &Blocks) -> [usize; 2] {
    [settings.per_minute, settings.most].map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

fn subtract(counts: &mut HashMap<SourceKey, usize>, network: SourceKey) {
    if let Some(count) = counts.get_mut(&network) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&network);
        }
    }
}
