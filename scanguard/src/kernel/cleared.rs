//! Sources whose suspicion the allowlist cleared, so that `why` can say where their score went.

use std::collections::{HashMap, VecDeque};

use scanguard_common::source::SourceKey;

/// Sources remembered; those that were first cleared are forgotten first.
const MOST: usize = 8192;

/// When what was held against a source was cleared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Clearing {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// How many of its contacts had counted against it until then.
    pub failures: u32,
}

/// What is remembered of that.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    sources: HashMap<SourceKey, Clearing>,
    /// In the order in which they were first cleared.
    order: VecDeque<SourceKey>,
}

impl Cleared {
    /// Takes note of a source that was cleared.
    pub(super) fn note(&mut self, source: SourceKey, clearing: Clearing) {
        if self.sources.insert(source, clearing).is_none() {
            self.order.push_back(source);
            if self.order.len() > MOST
                && let Some(oldest) = self.order.pop_front()
            {
                self.sources.remove(&oldest);
            }
        }
    }

    /// When a source was last cleared.
    pub(super) fn of(&self, source: &SourceKey) -> Option<Clearing> {
        self.sources.get(source).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn the_latest_clearing_is_told_and_the_oldest_sources_are_forgotten() {
        let source = |number: u32| SourceKey(IpAddr::from(Ipv4Addr::from(0x2d00_0000 + number)).into());
        let mut cleared = Cleared::default();
        for number in 0..=MOST as u32 {
            cleared.note(source(number), Clearing { time_ns: number.into(), failures: 4 });
            cleared.note(source(number), Clearing { time_ns: number.into(), failures: 5 });
        }
        assert_eq!((cleared.of(&source(0)), cleared.sources.len(), cleared.order.len()), (None, MOST, MOST));
        assert_eq!(cleared.of(&source(1)), Some(Clearing { time_ns: 1, failures: 5 }));
    }
}
