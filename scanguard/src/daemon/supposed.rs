//! Whom enforcing would have acted on while the mode was observe.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use scanguard_common::reason::Level;
use scanguard_common::source::{KeyRules, SourceKey};

use crate::api::{Observed, ObservedCustomer, timestamp};
use crate::known::Acquainted;

/// Sources that are told apart.
const MOST: usize = 16_384;
/// Customers that are told by name.
const MOST_NAMES: usize = 20;

/// Whom enforcing would have acted on since the daemon's start.
#[derive(Debug, Default)]
pub(super) struct Supposed {
    /// When that was, and how many packets enforcing would have dropped before it, by the same counters.
    began: Option<(SystemTime, u64)>,
    sources: HashSet<SourceKey>,
    at_least: bool,
    /// Those among them that had sessions here, with what would have become of them.
    customers: HashMap<SourceKey, (Level, Acquainted)>,
}

impl Supposed {
    /// The daemon has started; so many packets would have been dropped before.
    pub(super) fn begin(&mut self, now: SystemTime, would_drop: u64) {
        self.began = Some((now, would_drop));
    }

    /// Enforcing would have acted on a source of which so much is known.
    pub(super) fn note(&mut self, source: SourceKey, level: Level, acquainted: Acquainted) {
        if !self.sources.contains(&source) {
            if self.sources.len() >= MOST {
                self.at_least = true;
                return;
            }
            self.sources.insert(source);
        }
        if acquainted != Acquainted::default() {
            let kept = self.customers.entry(source).or_insert((level, acquainted));
            *kept = (kept.0.max(level), acquainted);
        }
    }

    /// All of it; the counters say `would_drop` now, and it is `now` seconds after 1970.
    pub(super) fn told(&self, would_drop: u64, keys: &KeyRules, now: u64) -> Observed {
        let sessions = |known: &Acquainted| known.public.sessions.saturating_add(known.restricted.sessions);
        let mut customers: Vec<_> = self.customers.iter().collect();
        customers.sort_unstable_by_key(|(source, (_, known))| (Reverse(sessions(known)), source.0.bytes()));
        let customer = |(source, (level, known)): (&SourceKey, &(Level, Acquainted))| ObservedCustomer {
            source: keys.display(*source).to_string(),
            level: level.label().to_owned(),
            sessions: sessions(known),
            days: known.days_known(now).into(),
        };
        Observed {
            since: self.began.map(|(since, _)| timestamp(since)),
            packets: would_drop.saturating_sub(self.began.map_or(0, |(_, before)| before)),
            sources: self.sources.len() as u64,
            at_least: self.at_least,
            with_sessions: self.customers.len() as u64,
            customers: customers.into_iter().take(MOST_NAMES).map(customer).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::known::Acquaintance;

    fn source(number: u32) -> SourceKey {
        SourceKey(IpAddr::from(std::net::Ipv4Addr::from(0x0a00_0000 + number)).into())
    }

    fn worked(sessions: u64) -> Acquainted {
        let public = Acquaintance { sessions, days: 0b101, last: 86_400 * 9, ..Acquaintance::default() };
        Acquainted { public, ..Acquainted::default() }
    }

    #[test]
    fn each_source_counts_once_and_customers_are_named_the_busiest_first() {
        let mut supposed = Supposed::default();
        supposed.begin(SystemTime::UNIX_EPOCH, 100);
        for _ in 0..3 {
            supposed.note(source(1), Level::Conceal, Acquainted::default());
            supposed.note(source(2), Level::Conceal, worked(2));
            supposed.note(source(3), Level::Conceal, worked(7));
        }
        supposed.note(source(3), Level::Block, worked(8));
        let told = supposed.told(141, &KeyRules::new(), 86_400 * 9);
        assert_eq!((told.packets, told.sources, told.with_sessions, told.at_least), (41, 3, 2, false));
        let customer = |source: &str, level: &str, sessions| ObservedCustomer {
            source: source.into(),
            level: level.into(),
            sessions,
            days: 2,
        };
        assert_eq!(told.customers, [customer("10.0.0.3", "block", 8), customer("10.0.0.2", "conceal", 2)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut supposed = Supposed::default();
        for number in 0..=u32::try_from(MOST).expect("a small number") {
            supposed.note(source(number), Level::Conceal, worked(1));
        }
        let told = supposed.told(0, &KeyRules::new(), 0);
        assert_eq!((told.sources, told.at_least, told.customers.len()), (MOST as u64, true, MOST_NAMES));
    }
}
