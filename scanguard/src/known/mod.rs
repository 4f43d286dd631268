//! Who has worked here before: sessions, folded into days, and by what a source is *known*.
//!
//! Sessions with data alone make nobody known: whoever guesses passwords has them as well. What makes known is what a guesser does not have:
//!
//! - a **login** that was seen ([`crate::logins`]);
//! - **sessions** on restricted ports that went on for longer than their service waits for a login, on two different days near which no
//!   contact of the source failed and no log tool told of it;
//! - an **operator** who says so.
//!
//! Pure: the clock is an argument, in seconds since 1970. What is known decays by itself, because only the last [`SPAN_DAYS`] days are
//! remembered, and only *work* adds to it (see [`scanguard_common::session`]): who scans first has no such days.

mod person;

use std::collections::HashMap;

use scanguard_common::session::SessionRecord;
use scanguard_common::source::{KeyRules, SourceKey};

use person::DAY;
pub use person::{Acquaintance, Acquainted, Added, Held, SPAN_DAYS};

/// Sources known at most, as many as the map KNOWN takes. Then those that were here last longest ago make room.
pub const MOST: usize = 131_072;

/// By what a source is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ground {
    /// Somebody was seen to be logged in from there.
    Login,
    /// Sessions on several days that nobody has who is not logged in.
    Sessions,
    /// An operator said so.
    Operator,
}

impl Ground {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Login, Self::Sessions, Self::Operator];

    /// The name in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Sessions => "sessions",
            Self::Operator => "operator",
        }
    }
}

/// A client that seems to work here and is not known: its sessions are short.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Candidate {
    /// Who.
    pub source: SourceKey,
    /// On how many of the last [`SPAN_DAYS`] days it had sessions with data on restricted ports, begun while nothing was held against it.
    pub days: u32,
    /// How many.
    pub sessions: u64,
    /// The last of them, in seconds since 1970.
    pub last: u64,
}

/// On so many days a client had sessions on restricted ports before it is proposed to be added, …
pub const PROPOSED_DAYS: u32 = 7;
/// … and so many are proposed at most: those with the most days.
pub const MOST_PROPOSED: usize = 10;
/// Entries of operators at most: half of what the map KNOWN takes.
pub const MOST_ADDED: usize = MOST / 2;

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

/// Everybody who was here, and who is known.
#[derive(Clone, Debug, Default)]
pub struct People {
    known: HashMap<SourceKey, Acquainted>,
    added: HashMap<SourceKey, Added>,
}

impl People {
    /// Those of before, and those whom operators added.
    pub fn remembered(
        entries: impl IntoIterator<Item = (SourceKey, Acquainted)>,
        added: impl IntoIterator<Item = (SourceKey, Added)>,
    ) -> Self {
        Self { known: entries.into_iter().collect(), added: added.into_iter().collect() }
    }

    /// Takes note of what the kernel counted of a source; `wall` tells the time of a moment of the kernel's clock, `failed` when a contact of the
    /// source last failed, as far as its record shows. Returns what is known of the source then, if that is more than before.
    pub fn fold(&mut self, record: &SessionRecord, failed: u64, wall: impl Fn(u64) -> u64) -> Option<Acquainted> {
        if record.public.worked == 0 && record.restricted.worked == 0 && record.held == 0 {
            return None;
        }
        let known = self.known.entry(record.source).or_default();
        let struck = known.fail(failed);
        let public = known.public.fold(&record.public, wall(record.public.worked_ns));
        let restricted = known.restricted.fold(&record.restricted, wall(record.restricted.worked_ns));
        let held = known.hold(record, wall(record.held_ns));
        (public || restricted || held || struck).then_some(*known)
    }

    /// Whether more of a source was counted before than a record has: the kernel began anew with it, or the record is older than what was read of
    /// the source since.
    #[must_use]
    pub fn has_more_than(&self, record: &SessionRecord) -> bool {
        self.known.get(&record.source).is_some_and(|known| {
            known.public.counted > record.public.worked
                || known.restricted.counted > record.restricted.worked
                || known.held.counted > record.held
        })
    }

    /// Whether a record has anything that is not counted yet.
    #[must_use]
    pub fn is_news(&self, record: &SessionRecord) -> bool {
        let Some(known) = self.known.get(&record.source) else {
            return record.public.worked != 0 || record.restricted.worked != 0 || record.held != 0;
        };
        known.public.counted != record.public.worked
            || known.restricted.counted != record.restricted.worked
            || known.held.counted != record.held
    }

    /// Those whose sessions may make them known, and have not yet: of them it is to be seen whether something failed.
    pub fn on_trial(&self, now: u64) -> impl Iterator<Item = SourceKey> {
        self.known
            .iter()
            .filter(move |(_, known)| known.held.days != 0 && now >= known.held.until())
            .map(|(source, _)| *source)
    }

    /// A contact of a source failed, which anybody may have made in its name: days near it do not make it known. Who is known stays so. Says
    /// whether that changed anything.
    pub fn fail(&mut self, source: &SourceKey, at: u64) -> bool {
        self.known.get_mut(source).is_some_and(|known| known.fail(at))
    }

    /// Somebody is logged in from there. Returns what is known of the source then, if that is worth writing down.
    pub fn log_in(&mut self, source: SourceKey, at: u64) -> Option<Acquainted> {
        /// What is written of a login that goes on may be so old.
        const LATE: u64 = 3_600;
        let known = self.known.entry(source).or_default();
        if at < known.login.saturating_add(LATE) {
            return None;
        }
        known.login = at;
        Some(*known)
    }

    /// A log tool told of a deed of a source which a session backs. Forgets its work on restricted ports if there was none before `since`: it was
    /// no work. What the kernel counted of it counts no more; and days near the deed make nobody known. Who was logged in is known all the same.
    /// Says whether that changed anything.
    pub fn distrust(&mut self, source: &SourceKey, since: u64, now: u64) -> bool {
        let Some(person) = self.known.get_mut(source) else { return false };
        let is_told = person.signalled / DAY != now / DAY;
        person.signalled = person.signalled.max(now);
        let struck = person.held.strike(now);
        let Acquaintance { sessions, first, last, counted, .. } = person.restricted;
        if sessions == 0 || first < since {
            return struck || is_told;
        }
        person.restricted = Acquaintance { last, counted, ..Acquaintance::default() };
        true
    }

    /// An operator says that a source is known. Returns what he said of it before.
    pub fn add(&mut self, source: SourceKey, added: Added) -> Option<Added> {
        self.added.insert(source, added)
    }

    /// Takes back [`Self::add`].
    pub fn put_back(&mut self, source: &SourceKey, before: Option<Added>) {
        match before {
            Some(before) => self.added.insert(*source, before),
            None => self.added.remove(source),
        };
    }

    /// Forgets why a source is known. What is counted of its sessions stays. Says whether it was known.
    pub fn remove(&mut self, source: &SourceKey, now: u64) -> bool {
        let was_known = self.until(source) > now;
        self.added.remove(source);
        if let Some(person) = self.known.get_mut(source) {
            person.login = 0;
            person.held.days = 0;
        }
        was_known
    }

    /// Takes back what operators said for a time that is over. Returns of whom.
    pub fn expire(&mut self, now: u64) -> Vec<SourceKey> {
        let over: Vec<SourceKey> =
            self.added.iter().filter(|(_, added)| added.ends() <= now).map(|(source, _)| *source).collect();
        for source in &over {
            self.added.remove(source);
        }
        over
    }

    /// Moves the ends of what operators said, where the wall clock was set.
    pub fn shift(&mut self, shifted: impl Fn(u64) -> u64) {
        for until in self.added.values_mut().filter_map(|added| added.until.as_mut()) {
            *until = shifted(*until);
        }
    }

    /// Until when restricted ports stay open to a source, in seconds since 1970: all ones for ever, 0 where they do not.
    #[must_use]
    pub fn until(&self, source: &SourceKey) -> u64 {
        let did = self.known.get(source).map_or(0, Acquainted::until);
        self.added.get(source).map_or(did, |added| did.max(added.ends()))
    }

    /// By what a source is known.
    #[must_use]
    pub fn grounds(&self, source: &SourceKey, now: u64) -> Vec<Ground> {
        let person = self.known.get(source).copied().unwrap_or_default();
        let is_there = |ground: &Ground| match ground {
            Ground::Login => person.login != 0 && now < person.login.saturating_add(SPAN_DAYS * DAY),
            Ground::Sessions => now < person.held.until(),
            Ground::Operator => self.added.get(source).is_some_and(|added| now < added.ends()),
        };
        Ground::ALL.into_iter().filter(is_there).collect()
    }

    /// Everybody to whom restricted ports stay open, in no order.
    pub fn all_known(&self, now: u64) -> impl Iterator<Item = SourceKey> {
        let by_deeds = self.known.iter().filter(move |(_, known)| known.is_known(now)).map(|(source, _)| *source);
        let by_word = self.added.iter().filter(move |(source, added)| {
            now < added.ends() && !self.known.get(source).is_some_and(|known| known.is_known(now))
        });
        by_deeds.chain(by_word.map(|(source, _)| *source))
    }

    /// Clients that worked on restricted ports on [`PROPOSED_DAYS`] days or more, are not known nor left out, and of whom no log tool told
    /// anything: at most [`MOST_PROPOSED`], those with the most days first. A guesser whose deeds nobody tells can look like that: a person has to say who it is.
    #[must_use]
    pub fn candidates(&self, now: u64, is_left_out: impl Fn(&SourceKey) -> bool) -> Vec<Candidate> {
        let candidate = |(source, known): (&SourceKey, &Acquainted)| {
            let days = known.restricted.days_until(now).count_ones();
            let Acquaintance { sessions, last, .. } = known.restricted;
            let is_signalled = known.signalled != 0 && now < known.signalled.saturating_add(SPAN_DAYS * DAY);
            let is_one = days >= PROPOSED_DAYS && !is_signalled && now >= self.until(source) && !is_left_out(source);
            is_one.then_some(Candidate { source: *source, days, sessions, last })
        };
        let mut candidates: Vec<Candidate> = self.known.iter().filter_map(candidate).collect();
        candidates.sort_unstable_by_key(|candidate| {
            let Candidate { source, days, sessions, last: _ } = candidate;
            (std::cmp::Reverse((*days, *sessions)), source.0.bytes())
        });
        candidates.truncate(MOST_PROPOSED);
        candidates
    }

    /// Forgets who was not here for so long, and beyond [`MOST`] those who were here last longest ago. Returns whom. Those whom operators added stay.
    pub fn forget(&mut self, now: u64) -> Vec<SourceKey> {
        // Those too whose work turned out to be none are remembered for so long, lest it be counted again.
        let gone =
            |known: &Acquainted| now >= known.public.until() && now >= known.restricted.until() && now >= known.until();
        let mut forgotten: Vec<SourceKey> =
            self.known.iter().filter(|(_, known)| gone(known)).map(|(source, _)| *source).collect();
        let over = (self.known.len() - forgotten.len()).saturating_sub(MOST - self.added.len().min(MOST_ADDED));
        if over > 0 {
            let mut others: Vec<_> = self.known.iter().filter(|(_, known)| !gone(known)).collect();
            // Those who are not known first: for them less depends on it.
            others.sort_unstable_by_key(|(source, known)| (known.is_known(now), known.last(), source.0.bytes()));
            forgotten.extend(others.into_iter().take(over).map(|(source, _)| *source));
        }
        for source in &forgotten {
            self.known.remove(source);
        }
        forgotten
    }

    /// What is known of a source by what it did.
    #[must_use]
    pub fn get(&self, source: &SourceKey) -> Option<&Acquainted> {
        self.known.get(source)
    }

    /// What an operator said of a source.
    #[must_use]
    pub fn added(&self, source: &SourceKey) -> Option<&Added> {
        self.added.get(source)
    }

    /// Everybody who was here, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceKey, &Acquainted)> {
        self.known.iter()
    }

    /// What operators said, in no order.
    pub fn all_added(&self) -> impl ExactSizeIterator<Item = (&SourceKey, &Added)> {
        self.added.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;
    use scanguard_common::address::Address;

    use scanguard_common::session::SessionTally;

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

    fn fold(people: &mut People, record: &SessionRecord, at: u64) -> Option<Acquainted> {
        people.fold(record, 0, |_| at)
    }

    #[test]
    fn a_reading_that_is_older_than_what_is_known_is_told_from_one_that_is_not() {
        let mut people = People::default();
        assert!(!people.has_more_than(&record(1, 0, 0)), "nobody is known yet");
        fold(&mut people, &record(1, 3, 2), START);
        for (public, restricted, more) in [(3, 2, false), (4, 2, false), (2, 2, true), (3, 1, true), (4, 1, true)] {
            assert_eq!(people.has_more_than(&record(1, public, restricted)), more, "{public} and {restricted}");
        }
        assert!(
            !people.is_news(&record(1, 3, 2)) && people.is_news(&record(1, 3, 3)) && people.is_news(&record(2, 1, 0))
        );
    }

    #[test]
    fn days_are_counted_once_and_decay() {
        let mut people = People::default();
        for (day, worked) in [(0, 1), (0, 2), (1, 3), (40, 4), (40, 4)] {
            fold(&mut people, &record(1, 0, worked), START + day * DAY);
        }
        let person = people.get(&source(1)).expect("known");
        let known = person.restricted;
        assert_eq!((known.sessions, known.first, known.last), (4, START, START + 40 * DAY));
        for (day, days) in [(40, 3), (89, 3), (90, 2), (91, 1), (129, 1), (130, 0)] {
            assert_eq!(person.days_known(START + day * DAY), days, "day {day}");
        }
    }

    #[test]
    fn sessions_with_data_alone_make_nobody_known_however_many_there_are() {
        let mut people = People::default();
        for day in 0..80 {
            fold(&mut people, &record(1, 5 * (day + 1), 50 * (day + 1)), START + day * DAY);
            assert_eq!(people.until(&source(1)), 0, "day {day}");
        }
        assert_eq!((people.grounds(&source(1), START), people.all_known(START).count()), (Vec::new(), 0));
    }

    /// A source with so many sessions that outlast the time for a login.
    fn holding(number: u32, held: u64) -> SessionRecord {
        SessionRecord { held, held_ns: 1, ..record(number, 0, held) }
    }

    #[test]
    fn long_sessions_make_known_on_two_days_near_which_nothing_failed_and_what_is_forged_later_takes_that_from_nobody()
    {
        // Days of the sessions, days on which something failed, and after how many days the source is known, and is no more.
        type Days = &'static [u64];
        let rows: [(Days, Days, Option<u64>, u64); 8] = [
            (&[3], &[], None, 0),
            (&[3, 4], &[], Some(4), 93),
            (&[3, 4, 5, 60], &[], Some(4), 95),
            (&[3, 88], &[], Some(88), 93),
            // On the day itself, before or after it.
            (&[3, 4], &[3], None, 0),
            (&[3, 5], &[4], None, 0),
            (&[3, 6, 9], &[4], Some(9), 96),
            // Once it is known it is so, whatever anybody makes in its name.
            (&[3, 4], &[5, 6], Some(4), 93),
        ];
        for (sessions, failures, known, until) in rows {
            let mut people = People::default();
            let (mut held, mut failed, mut since) = (0, 0, None);
            for day in 0..95 {
                let now = START + day * DAY;
                if sessions.contains(&day) {
                    held += 1;
                    people.fold(&holding(1, held), failed, |_| now + 60);
                }
                if failures.contains(&day) {
                    failed = now + 7_200;
                    // As it is seen within a minute of those on trial.
                    let on_trial: Vec<SourceKey> = people.on_trial(now).collect();
                    for source in on_trial {
                        people.fail(&source, failed);
                    }
                }
                if since.is_none() && people.until(&source(1)) > now {
                    since = Some(day);
                }
            }
            let row = format!("sessions on {sessions:?}, failures on {failures:?}");
            assert_eq!(
                (since, people.until(&source(1))),
                (known, if until == 0 { 0 } else { START + until * DAY }),
                "{row}"
            );
            let grounds = people.grounds(&source(1), START + 89 * DAY);
            assert_eq!(grounds, known.map(|_| Ground::Sessions).into_iter().collect::<Vec<_>>(), "{row}");
        }
    }

    #[test]
    fn a_signal_takes_away_what_is_near_it_and_not_what_was_before_nor_a_login() {
        let mut people = People::default();
        for (day, held) in [(0, 1), (1, 2)] {
            fold(&mut people, &holding(1, held), START + day * DAY);
            fold(&mut people, &holding(2, held), START + (day + 20) * DAY);
            fold(&mut people, &holding(3, held), START + (day + 20) * DAY);
        }
        let now = START + 21 * DAY;
        people.log_in(source(3), now);
        for number in 1..=3 {
            assert!(people.until(&source(number)) > now);
            assert!(people.distrust(&source(number), now - DAY, now), "{number}");
        }
        let known = [1, 2, 3].map(|number| people.until(&source(number)) > now);
        assert_eq!(known, [true, false, true], "one long before, one only lately, one that was logged in");
    }

    #[test]
    fn a_login_makes_known_at_once_and_is_written_now_and_then() {
        let mut people = People::default();
        assert!(people.log_in(source(1), START).is_some_and(|person| person.is_known(START)));
        assert!(people.log_in(source(1), START + 5).is_none() && people.log_in(source(1), START + 3_600).is_some());
        assert_eq!(people.grounds(&source(1), START), [Ground::Login]);
        assert_eq!(people.until(&source(1)), START + 3_600 + SPAN_DAYS * DAY);
        assert!(people.log_in(source(1), START + 100 * DAY).is_some(), "he comes back");
        assert_eq!(people.forget(START + 189 * DAY), []);
        assert_eq!(people.forget(START + 190 * DAY), [source(1)]);
    }

    #[test]
    fn what_operators_say_holds_for_so_long_and_can_be_taken_back() {
        let added = |until| Added { since: START, until, comment: None };
        let mut people = People::default();
        assert_eq!(people.add(source(1), added(None)), None);
        assert_eq!(people.add(source(2), added(Some(START + 60))), None);
        people.log_in(source(2), START);
        assert_eq!(people.until(&source(1)), u64::MAX);
        assert_eq!(people.grounds(&source(2), START), [Ground::Login, Ground::Operator]);
        assert_eq!(people.all_known(START).count(), 2);
        people.shift(|until| until + 60);
        assert_eq!((people.expire(START + 60), people.expire(START + 120)), (Vec::new(), vec![source(2)]));
        assert_eq!(people.grounds(&source(2), START + 120), [Ground::Login]);
        assert!(people.remove(&source(1), START) && !people.remove(&source(1), START));
        assert!(people.remove(&source(2), START));
        assert_eq!((people.until(&source(1)), people.until(&source(2))), (0, 0));
    }

    #[test]
    fn who_works_on_seven_days_in_short_sessions_is_proposed_but_for_whom_a_log_tool_told_of() {
        let mut people = People::default();
        for day in 0..9 {
            for number in 1..=40 {
                let days = u64::from(number).min(9);
                if day < days {
                    fold(&mut people, &record(number, 0, 10 * (day + 1) * u64::from(number)), START + day * DAY);
                }
            }
        }
        let now = START + 9 * DAY;
        people.distrust(&source(40), now, now);
        people.log_in(source(39), now);
        people.add(source(38), Added::default());
        let found = people.candidates(now, |_| false);
        assert_eq!((found.len(), found[0].source, found[0].days, found[0].sessions), (10, source(37), 9, 9 * 370));
        assert!(people.candidates(now + SPAN_DAYS * DAY, |_| false).is_empty());
        let mut few = People::default();
        for day in 0..6 {
            fold(&mut few, &record(1, 100, 100 * (day + 1)), START + day * DAY);
        }
        assert!(few.candidates(now, |_| false).is_empty(), "six days");
    }

    #[test]
    fn work_that_turns_out_to_be_none_is_forgotten_and_not_counted_again_but_not_what_was_before() {
        let mut people = People::default();
        fold(&mut people, &record(1, 2, 3), START);
        let sessions = |people: &People, number| people.get(&source(number)).map(|person| person.restricted.sessions);
        people.distrust(&source(1), START + 1, START);
        assert_eq!(sessions(&people, 1), Some(3), "it was there before");
        assert!(people.distrust(&source(1), START, START) && !people.distrust(&source(1), START, START));
        assert_eq!(sessions(&people, 1), Some(0));
        assert!(!people.distrust(&source(2), START, START), "nobody knows it");
        assert!(people.get(&source(1)).expect("a customer").public.is_known(START));
        fold(&mut people, &record(2, 0, 3), START);
        people.distrust(&source(2), START, START);
        assert_eq!(people.forget(START + DAY), []);
        assert_eq!(fold(&mut people, &record(2, 0, 3), START + DAY), None);
        assert!(fold(&mut people, &record(2, 0, 4), START + DAY).is_some_and(|person| person.restricted.sessions == 1));
        assert_eq!(people.forget(START + 100 * DAY).len(), 2);
    }

    #[test]
    fn what_the_kernel_counts_anew_adds_to_what_was_counted() {
        let mut people = People::default();
        assert!(fold(&mut people, &record(1, 5, 0), START).is_some());
        assert!(fold(&mut people, &record(1, 5, 0), START).is_none());
        assert!(fold(&mut people, &record(1, 2, 0), START + 1).is_some());
        assert_eq!(people.get(&source(1)).expect("known").public.sessions, 7);
        assert_eq!(fold(&mut people, &record(2, 0, 0), START), None);
        assert_eq!(people.get(&source(2)), None);
        assert!(fold(&mut people, &holding(3, 5), START).is_some());
        assert!(fold(&mut people, &holding(3, 1), START + DAY).is_some_and(|person| person.is_known(START + DAY)));
    }

    #[test]
    fn who_was_not_here_for_long_is_forgotten_and_who_is_known_is_kept_longest() {
        let entry = |last, login: bool| {
            let known = Acquaintance { sessions: 1, days: 1, first: last, last, counted: 0 };
            Acquainted { public: known, login: if login { last } else { 0 }, ..Acquainted::default() }
        };
        let many = u32::try_from(MOST).expect("few enough");
        let mut people = People::remembered(
            (0..many + 2).map(|number| (source(number), entry(START + u64::from(number), number == 0))),
            [],
        );
        assert_eq!(people.forget(START + DAY), [source(1), source(2)]);
        people.add(source(5), Added::default());
        assert_eq!(people.forget(START + DAY), [source(3)], "those whom operators added have their room");
        let all = people.forget(START + 100 * DAY);
        assert_eq!((all.len(), people.iter().count(), people.all_known(START).count()), (MOST - 1, 0, 1));
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
                fold(&mut people, &record(1, worked, 0), time);
                if let Some(known) = people.get(&source(1)) {
                    let days = u64::from(known.days_known(time));
                    prop_assert!(days <= SPAN_DAYS && days <= known.public.sessions);
                    prop_assert_eq!(known.public.sessions, worked);
                }
            }
        }

        /// Whatever short sessions, failures and signals there are, in any order and whatever the clock does.
        #[test]
        fn nobody_is_known_who_neither_logged_in_nor_had_long_sessions_on_two_days(
            steps in proptest::collection::vec((0..200_u64 * DAY, 0..5_u64, 0..4_u8, any::<bool>()), 1..60),
        ) {
            let mut people = People::default();
            let (mut worked, mut held, mut held_days) = (0, 0, std::collections::HashSet::new());
            for (time, more, what, is_long) in steps {
                match what {
                    0 => {
                        people.fail(&source(1), time);
                    }
                    1 => {
                        people.distrust(&source(1), time.saturating_sub(DAY), time);
                    }
                    _ => {
                        worked += more;
                        if is_long && held_days.len() < 2 {
                            held += 1;
                            held_days.insert(time / DAY);
                        }
                        let record = SessionRecord { held, held_ns: 1, ..record(1, worked, worked) };
                        people.fold(&record, 0, |_| time);
                    }
                }
                if held_days.len() < 2 {
                    prop_assert_eq!(people.until(&source(1)), 0);
                }
                let until = people.until(&source(1));
                let latest = held_days.iter().max().copied().unwrap_or_default();
                prop_assert!(until <= (latest + SPAN_DAYS) * DAY, "no longer than from the last of them");
            }
        }
    }
}
