//! Who has worked here before: sessions, folded into days.
//!
//! Pure: the clock is an argument, in seconds since 1970. What is known decays by itself, because only the last [`SPAN_DAYS`] days are
//! remembered, and only *work* adds to it (see [`scanguard_common::session`]): who scans first has no such days.

use std::collections::HashMap;

use scanguard_common::session::{SessionRecord, SessionTally};
use scanguard_common::source::{KeyRules, SourceKey};

/// Days for which a session is remembered.
pub const SPAN_DAYS: u64 = 90;
/// Sources known at most, as many as the map KNOWN takes. Then those that were here last longest ago make room.
pub const MOST: usize = 131_072;

const DAY: u64 = 86_400;

/// What is known of a source on one kind of port.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Acquaintance {
    /// Sessions that were work.
    pub sessions: u64,
    /// The days on which there were some, the lowest bit the day of the last one.
    pub days: u128,
    /// The first of them, in seconds since 1970.
    pub first: u64,
    /// The last of them.
    pub last: u64,
    /// How many the kernel had counted when it was last read: it may begin anew at 0.
    pub counted: u64,
}

impl Acquaintance {
    /// Whether there was one in the last [`SPAN_DAYS`] days.
    #[must_use]
    pub const fn is_known(&self, now: u64) -> bool {
        self.sessions > 0 && now < self.until()
    }

    /// Until when it is known.
    #[must_use]
    pub const fn until(&self) -> u64 {
        self.last.saturating_add(SPAN_DAYS * DAY)
    }

    /// The days on which there was one, of the last [`SPAN_DAYS`], the lowest bit that of `now`.
    #[must_use]
    pub const fn days_until(&self, now: u64) -> u128 {
        let since = (now / DAY).saturating_sub(self.last / DAY);
        if since >= SPAN_DAYS { 0 } else { (self.days << since) & ((1 << SPAN_DAYS) - 1) }
    }

    /// Takes note of what the kernel counted, the latest of it at `last`. Says whether that is news.
    fn fold(&mut self, tally: &SessionTally, last: u64) -> bool {
        let more = match tally.worked.checked_sub(self.counted) {
            Some(more) => more,
            None => tally.worked, // The record was forgotten and began anew.
        };
        self.counted = tally.worked;
        if more == 0 {
            return false;
        }
        // A clock that was set back makes no day twice.
        let ahead = (last / DAY).saturating_sub(self.last / DAY);
        self.days = if self.sessions == 0 {
            1
        } else {
            self.days.checked_shl(u32::try_from(ahead).unwrap_or(u32::MAX)).unwrap_or(0) | 1
        };
        if self.sessions == 0 {
            self.first = last;
        }
        self.sessions = self.sessions.saturating_add(more);
        self.last = self.last.max(last);
        true
    }
}

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Acquainted {
    /// On public ports.
    pub public: Acquaintance,
    /// On restricted ports.
    pub restricted: Acquaintance,
}

impl Acquainted {
    /// On how many of the last [`SPAN_DAYS`] days there was a session on either.
    #[must_use]
    pub const fn days_known(&self, now: u64) -> u32 {
        (self.public.days_until(now) | self.restricted.days_until(now)).count_ones()
    }

    fn last(&self) -> u64 {
        self.public.last.max(self.restricted.last)
    }
}

/// That most sessions come from few networks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fronted {
    /// From so many networks (/24, /48) …
    pub networks: u64,
    /// … come so many of the sessions on public ports …
    pub sessions: u64,
    /// … of so many.
    pub of: u64,
}

/// Sessions below which nothing is said of where most of them come from.
const LEAST_SESSIONS: u64 = 500;
/// So few networks that have most of the sessions are taken for proxies.
const FEW_NETWORKS: usize = 4;

/// Says whether most sessions on public ports come from few networks, as where a proxy or a delivery network is in front of a host.
#[must_use]
pub fn fronted(records: &[SessionRecord]) -> Option<Fronted> {
    let mut networks: HashMap<SourceKey, u64> = HashMap::new();
    for record in records {
        let network = KeyRules::network(&record.source);
        *networks.entry(network).or_default() += record.public.sessions;
    }
    let of: u64 = networks.values().sum();
    if of < LEAST_SESSIONS {
        return None;
    }
    let mut sessions: Vec<u64> = networks.into_values().collect();
    sessions.sort_unstable_by(|a, b| b.cmp(a));
    let mut most = 0;
    for (place, its) in sessions.into_iter().take(FEW_NETWORKS).enumerate() {
        most += its;
        if most * 2 > of {
            return Some(Fronted { networks: place as u64 + 1, sessions: most, of });
        }
    }
    None
}

/// Everybody who is known.
#[derive(Clone, Debug, Default)]
pub struct People {
    known: HashMap<SourceKey, Acquainted>,
}

impl People {
    /// Those that were known before.
    pub fn remembered(entries: impl IntoIterator<Item = (SourceKey, Acquainted)>) -> Self {
        Self { known: entries.into_iter().collect() }
    }

    /// Takes note of what the kernel counted of a source; `wall` tells the time of a moment of the kernel's clock. Returns what is known of
    /// the source then, if that is more than before.
    pub fn fold(&mut self, record: &SessionRecord, wall: impl Fn(u64) -> u64) -> Option<Acquainted> {
        if record.public.worked == 0 && record.restricted.worked == 0 {
            return None;
        }
        let known = self.known.entry(record.source).or_default();
        let public = known.public.fold(&record.public, wall(record.public.worked_ns));
        let restricted = known.restricted.fold(&record.restricted, wall(record.restricted.worked_ns));
        (public || restricted).then_some(*known)
    }

    /// Whether more of a source was counted before than a record has: the kernel began anew with it, or the record is older than what was read of
    /// the source since.
    #[must_use]
    pub fn has_more_than(&self, record: &SessionRecord) -> bool {
        self.known.get(&record.source).is_some_and(|known| {
            known.public.counted > record.public.worked || known.restricted.counted > record.restricted.worked
        })
    }

    /// Forgets work on restricted ports of a source that had none there before `since`: it was no work. What the kernel counted of it counts
    /// no more. Says whether there was some.
    pub fn distrust(&mut self, source: &SourceKey, since: u64) -> bool {
        let Some(person) = self.known.get_mut(source) else { return false };
        let Acquaintance { sessions, first, last, counted, .. } = person.restricted;
        if sessions == 0 || first < since {
            return false;
        }
        person.restricted = Acquaintance { last, counted, ..Acquaintance::default() };
        true
    }

    /// Forgets who was not here for so long, and beyond [`MOST`] those who were here last longest ago. Returns whom.
    pub fn forget(&mut self, now: u64) -> Vec<SourceKey> {
        // Those too whose work turned out to be none are remembered for so long, lest it be counted again.
        let gone = |known: &Acquainted| now >= known.public.until() && now >= known.restricted.until();
        let mut forgotten: Vec<SourceKey> =
            self.known.iter().filter(|(_, known)| gone(known)).map(|(source, _)| *source).collect();
        let over = (self.known.len() - forgotten.len()).saturating_sub(MOST);
        if over > 0 {
            let mut others: Vec<_> = self.known.iter().filter(|(_, known)| !gone(known)).collect();
            // Those without work on a restricted port first: for them less depends on it.
            others.sort_unstable_by_key(|(source, known)| {
                (known.restricted.is_known(now), known.last(), source.0.bytes())
            });
            forgotten.extend(others.into_iter().take(over).map(|(source, _)| *source));
        }
        for source in &forgotten {
            self.known.remove(source);
        }
        forgotten
    }

    /// What is known of a source.
    #[must_use]
    pub fn get(&self, source: &SourceKey) -> Option<&Acquainted> {
        self.known.get(source)
    }

    /// Everybody, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceKey, &Acquainted)> {
        self.known.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;
    use scanguard_common::address::Address;

    use super::*;

    const START: u64 = 20_000 * DAY;

    fn source(number: u32) -> SourceKey {
        SourceKey(Address::from(IpAddr::from(Ipv4Addr::from(number))))
    }

    fn record(number: u32, public: u64, restricted: u64) -> SessionRecord {
        let tally = |worked| SessionTally { worked, ..SessionTally::default() };
        SessionRecord {
            source: source(number),
            public: tally(public),
            restricted: tally(restricted),
            ..SessionRecord::default()
        }
    }

    #[test]
    fn most_sessions_from_few_networks_are_those_of_proxies() {
        let session = |number, sessions| SessionRecord {
            source: source(number),
            public: SessionTally { sessions, ..SessionTally::default() },
            ..SessionRecord::default()
        };
        let customers = (0..600).map(|customer| session(0x0a00_0000 + (customer << 8), 1));
        let mut records: Vec<SessionRecord> = customers.collect();
        assert_eq!(fronted(&records), None);
        // Two addresses of one network.
        records.extend([session(0xc633_6401, 400), session(0xc633_6402, 300)]);
        assert_eq!(fronted(&records), Some(Fronted { networks: 1, sessions: 700, of: 1300 }));
        assert_eq!(fronted(&records[600..601]), None, "a host that is little used");
    }

    #[test]
    fn a_reading_that_is_older_than_what_is_known_is_told_from_one_that_is_not() {
        let mut people = People::default();
        assert!(!people.has_more_than(&record(1, 0, 0)), "nobody is known yet");
        people.fold(&record(1, 3, 2), |_| START);
        for (public, restricted, more) in [(3, 2, false), (4, 2, false), (2, 2, true), (3, 1, true), (4, 1, true)] {
            assert_eq!(people.has_more_than(&record(1, public, restricted)), more, "{public} and {restricted}");
        }
    }

    #[test]
    fn days_are_counted_once_and_decay() {
        let mut people = People::default();
        for (day, worked) in [(0, 1), (0, 2), (1, 3), (40, 4), (40, 4)] {
            people.fold(&record(1, 0, worked), |_| START + day * DAY);
        }
        let person = people.get(&source(1)).expect("known");
        let known = person.restricted;
        assert_eq!((known.sessions, known.first, known.last), (4, START, START + 40 * DAY));
        for (day, days) in [(40, 3), (89, 3), (90, 2), (91, 1), (129, 1), (130, 0)] {
            assert_eq!(person.days_known(START + day * DAY), days, "day {day}");
        }
        assert!(known.is_known(START + 129 * DAY) && !known.is_known(START + 130 * DAY));
    }

    #[test]
    fn work_that_turns_out_to_be_none_is_forgotten_and_not_counted_again_but_not_what_was_before() {
        let mut people = People::default();
        people.fold(&record(1, 2, 3), |_| START);
        assert!(!people.distrust(&source(1), START + 1), "it was known before");
        assert!(people.distrust(&source(1), START) && !people.distrust(&source(1), START));
        assert!(!people.distrust(&source(2), START), "nobody knows it");
        let person = *people.get(&source(1)).expect("a customer");
        assert!(!person.restricted.is_known(START) && person.public.is_known(START));
        people.fold(&record(2, 0, 3), |_| START);
        people.distrust(&source(2), START);
        assert_eq!(people.forget(START + DAY), []);
        assert_eq!(people.fold(&record(2, 0, 3), |_| START + DAY), None);
        assert!(people.fold(&record(2, 0, 4), |_| START + DAY).is_some_and(|person| person.restricted.sessions == 1));
        assert_eq!(people.forget(START + 100 * DAY).len(), 2);
    }

    #[test]
    fn what_the_kernel_counts_anew_adds_to_what_was_counted() {
        let mut people = People::default();
        assert!(people.fold(&record(1, 5, 0), |_| START).is_some());
        assert!(people.fold(&record(1, 5, 0), |_| START).is_none());
        assert!(people.fold(&record(1, 2, 0), |_| START + 1).is_some());
        assert_eq!(people.get(&source(1)).expect("known").public.sessions, 7);
        assert_eq!(people.fold(&record(2, 0, 0), |_| START), None);
        assert_eq!(people.get(&source(2)), None);
    }

    #[test]
    fn who_was_not_here_for_long_is_forgotten_and_work_on_restricted_ports_is_kept_longest() {
        let entry = |last, restricted: bool| {
            let known = Acquaintance { sessions: 1, days: 1, first: last, last, counted: 0 };
            if restricted {
                Acquainted { restricted: known, ..Acquainted::default() }
            } else {
                Acquainted { public: known, ..Acquainted::default() }
            }
        };
        let many = u32::try_from(MOST).expect("few enough");
        let mut people = People::remembered(
            (0..many + 2).map(|number| (source(number), entry(START + u64::from(number), number == 0))),
        );
        assert_eq!(people.forget(START + DAY), [source(1), source(2)]);
        let all = people.forget(START + 100 * DAY);
        assert_eq!((all.len(), people.iter().count()), (MOST, 0));
    }

    proptest! {
        #[test]
        fn whatever_the_clocks_do_days_are_no_more_than_sessions_and_the_span(
            steps in proptest::collection::vec((0..200_u64 * DAY, 0..5_u64), 1..50),
        ) {
            let mut people = People::default();
            let mut worked = 0;
            for (time, more) in steps {
                worked += more;
                people.fold(&record(1, worked, 0), |_| time);
                if let Some(known) = people.get(&source(1)) {
                    let days = u64::from(known.days_known(time));
                    prop_assert!(days <= SPAN_DAYS && days <= known.public.sessions);
                    prop_assert_eq!(known.public.sessions, worked);
                }
            }
        }
    }
}
