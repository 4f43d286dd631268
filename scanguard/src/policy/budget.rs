//! How many blocks are made: so many a minute and so many at once, counted per network (/24, /48).
//!
//! Counted per network, because one subscriber has 65,536 sources of his own: 21 hostile /64s of one /48 must not use up what everyone else's
//! blocks are made from. And within a network the same numbers hold, because it must not fill the tables either.

use std::collections::{HashMap, VecDeque};

use scanguard_common::source::{KeyRules, SourceKey};

use super::{Clock, Deferral};
use crate::config::Blocks;

const MINUTE_MS: u64 = 60_000;
/// Automatic blocks in all: half of what the kernel's table takes, so that an operator's always find room.
const MOST_IN_ALL: usize = 65_536;

#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    /// New blocks of the last minute, by network.
    lately: HashMap<SourceKey, VecDeque<u64>>,
    /// Blocks under way, by network.
    at_once: HashMap<SourceKey, usize>,
    in_all: usize,
    latest: Clock,
}

/// What a source is counted with.
fn counted_with(source: SourceKey) -> SourceKey {
    KeyRules::network(&source).unwrap_or(source)
}

impl Budget {
    /// Takes one block out of it, or says why not.
    pub(super) fn charge(&mut self, settings: &Blocks, source: SourceKey, now: Clock) -> Result<(), Deferral> {
        self.pass_time(now);
        let network = counted_with(source);
        let (per_minute, most) = (settings.per_minute as usize, settings.most as usize);
        let lately = self.lately.get(&network).map_or(0, VecDeque::len);
        // A network that was charged in this minute is not charged again for being another one.
        let networks_lately = self.lately.len() + usize::from(lately == 0);
        if lately >= per_minute || networks_lately > per_minute {
            return Err(Deferral::PerMinute);
        }
        let at_once = self.at_once.get(&network).copied().unwrap_or(0);
        let networks_at_once = self.at_once.len() + usize::from(at_once == 0);
        if at_once >= most || networks_at_once > most || self.in_all >= MOST_IN_ALL {
            return Err(Deferral::AtOnce);
        }
        self.lately.entry(network).or_default().push_back(now.0);
        self.occupy(source);
        Ok(())
    }

    /// A block is under way.
    pub(super) fn occupy(&mut self, source: SourceKey) {
        *self.at_once.entry(counted_with(source)).or_default() += 1;
        self.in_all += 1;
    }

    /// A block is over.
    pub(super) fn release(&mut self, source: SourceKey) {
        let network = counted_with(source);
        if let Some(count) = self.at_once.get_mut(&network) {
            *count -= 1;
            self.in_all -= 1;
            if *count == 0 {
                self.at_once.remove(&network);
            }
        }
    }

    /// Whether a network that has no block yet would get none.
    pub(super) fn is_exhausted(&mut self, settings: &Blocks, now: Clock) -> bool {
        self.pass_time(now);
        self.lately.len() >= settings.per_minute as usize
            || self.at_once.len() >= settings.most as usize
            || self.in_all >= MOST_IN_ALL
    }

    /// Forgets what is more than a minute past. A clock that was set back begins a new minute: one that never ended would be worse.
    fn pass_time(&mut self, now: Clock) {
        if now < self.latest {
            self.lately.clear();
        }
        self.latest = now;
        self.lately.retain(|_, times| {
            while times.front().is_some_and(|time| time + MINUTE_MS <= now.0) {
                times.pop_front();
            }
            !times.is_empty()
        });
    }
}
