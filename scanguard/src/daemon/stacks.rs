//! Which TCP stacks the sessions of a source show, for sources about which something is to be decided: more than one at a time is a sign that
//! many share its address.
//!
//! To look takes the kernel as long as it has sockets to go through, so that it is done on another thread. Who decides waits for the first look
//! at a source, but not for long; later ones only refresh what is known of it. A look that fails or comes late says
//! nothing in favour of a block: several people count as behind the source then.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use scanguard_common::address::Address;
use scanguard_common::source::{KeyRules, SourceKey};
use tokio::select;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{info, warn};

use crate::net::{DiagError, MOST_PREFIXES_ASKED, Stack, stacks};
use crate::turns;

/// How often those are looked at again of whom something was heard lately.
const LOOK: Duration = Duration::from_secs(5);
/// How long after that they are, and the most that was seen counts: browsers' sessions come and go.
const WATCHED: Duration = Duration::from_secs(600);
/// After a look that took long, on a host with very many sockets, there is none for so many times as long.
const REST: u32 = 4;
/// Who decides waits for the first look at a source for so long.
const LATE: Duration = Duration::from_secs(8);
/// Sources that are watched; of more, those go first that nothing was heard of for longest.
const MOST: usize = 4096;

/// What is known of the stacks of a source's sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Looked {
    /// So many distinct ones at one time, the most that were seen.
    Seen(u32),
    /// It could not be looked, or not in time.
    Unseen,
}

/// Distinct stacks by source, of those that were looked at.
type Counts = HashMap<SourceKey, u32>;

/// What is known of some sources, and the looks at them.
pub(super) struct StackWatch {
    keys: KeyRules,
    watched: HashMap<SourceKey, Watched>,
    look: Interval,
    /// Somebody waits for a look at a source.
    due: bool,
    /// A look that goes on, on another thread, and at whom.
    looking: Option<(Vec<SourceKey>, JoinHandle<Look>)>,
    /// Not to look before then.
    rest: Instant,
    /// When it is too late for a look at whoever waits for one longest.
    late: Option<Instant>,
    /// The last one failed, which was said.
    fails: bool,
}

/// What a look found, and how long it took.
struct Look {
    counts: Result<Counts, DiagError>,
    took: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    heard: Instant,
    /// Since when it waits for a look.
    since: Instant,
    /// When it was last looked at, and whether anything was seen then; none if it never was.
    last: Option<(Instant, bool)>,
    /// The most stacks that were seen at one time.
    most: u32,
}

impl Watched {
    const fn new(now: Instant) -> Self {
        Self { heard: now, since: now, last: None, most: 0 }
    }

    /// Takes note of a look.
    fn looked(&mut self, looked: Looked, now: Instant) {
        if let Looked::Seen(count) = looked {
            self.most = self.most.max(count);
        }
        self.last = Some((now, looked != Looked::Unseen));
    }
}

impl StackWatch {
    pub(super) fn new(keys: KeyRules) -> Self {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            keys,
            watched: HashMap::new(),
            look,
            due: false,
            looking: None,
            rest: Instant::now(),
            late: None,
            fails: false,
        }
    }

    /// Addresses become sources by other rules from now on.
    pub(super) const fn set_keys(&mut self, keys: KeyRules) {
        self.keys = keys;
    }

    /// Something was heard of a source: it is looked at, soon if it was not yet.
    pub(super) fn watch(&mut self, source: SourceKey, now: Instant) {
        let known = self.watched.get(&source).copied().unwrap_or(Watched::new(now));
        if known.last.is_none() {
            self.due = true;
            self.late.get_or_insert(known.since + LATE);
        }
        self.put(source, Watched { heard: now, ..known });
    }

    /// It was looked at a source, elsewhere.
    pub(super) fn saw(&mut self, source: SourceKey, looked: Looked, now: Instant) {
        let mut known = self.watched.get(&source).copied().unwrap_or(Watched::new(now));
        known.looked(looked, now);
        self.put(source, Watched { heard: now, ..known });
    }

    /// What the latest look at it found; none if it was not looked at.
    pub(super) fn known(&self, source: &SourceKey) -> Option<Looked> {
        let Watched { last, most, .. } = self.watched.get(source)?;
        last.map(|(_, seen)| if seen { Looked::Seen(*most) } else { Looked::Unseen })
    }

    /// Whether a look at it is to come.
    pub(super) fn is_awaited(&self, source: &SourceKey) -> bool {
        self.watched.get(source).is_some_and(|watched| watched.last.is_none())
    }

    /// Waits until it was looked at those for whom it was time, or until it is too late for that. Cancel safe.
    pub(super) async fn looked(&mut self) {
        let late = self.late;
        let too_late = async {
            match late {
                Some(late) => sleep_until(late.into()).await,
                None => pending().await,
            }
        };
        select! {
            biased;
            () = self.look_on() => {}
            () = too_late => self.give_up(Instant::now()),
        }
    }

    /// Waits until it was looked at those for whom it was time. Cancel safe.
    async fn look_on(&mut self) {
        loop {
            if let Some((sources, looking)) = &mut self.looking {
                let look = looking.await;
                let (sources, now) = (std::mem::take(sources), Instant::now());
                self.looking = None;
                // (Only a panic ends it otherwise.)
                let (counts, took) = look.map_or((None, LOOK), |Look { counts, took }| (Some(counts), took));
                self.rest = now + took * REST;
                let counts = counts.and_then(|counts| self.complain(counts));
                self.take_over(&sources, counts.as_ref(), now);
                return;
            }
            if !self.due {
                if self.watched.is_empty() {
                    pending::<()>().await;
                }
                self.look.tick().await;
            }
            sleep_until(self.rest.into()).await;
            let sources = self.next_to_look_at(Instant::now());
            let (keys, asked) = (self.keys, sources.clone());
            let look = move || {
                let started = Instant::now();
                Look { counts: look_at(&keys, &asked), took: started.elapsed() }
            };
            self.looking = match sources.first() {
                None => None,
                // (The first is at once one that waits, if any does.)
                Some(first) if self.is_awaited(first) => Some((sources, spawn_blocking(look))),
                Some(_) => Some((sources, spawn_blocking(|| turns::in_the_background(look)))),
            };
        }
    }

    /// Those who have waited for a look for too long wait no longer.
    fn give_up(&mut self, now: Instant) {
        let mut given_up = 0_u32;
        for watched in self.watched.values_mut() {
            if watched.last.is_none() && now.saturating_duration_since(watched.since) >= LATE {
                watched.looked(Looked::Unseen, now);
                given_up += 1;
            }
        }
        if given_up > 0 {
            warn!(
                sources = given_up,
                "the sessions of sources could not be looked at in time: several people count as behind each of them"
            );
        }
        self.await_next();
    }

    /// Finds out whether somebody waits for a look, and until when.
    fn await_next(&mut self) {
        let waiting = self.watched.values().filter(|watched| watched.last.is_none());
        self.late = waiting.map(|watched| watched.since + LATE).min();
        self.due = self.late.is_some();
    }

    /// Those of whom nothing was heard for long are forgotten; of the others, those that were not looked at come first, and then those at whom it
    /// is longest ago.
    fn next_to_look_at(&mut self, now: Instant) -> Vec<SourceKey> {
        self.watched.retain(|_, watched| now.saturating_duration_since(watched.heard) < WATCHED);
        let mut order: Vec<_> =
            self.watched.iter().map(|(source, watched)| (watched.last.map(|(at, _)| at), *source)).collect();
        order.sort_unstable_by_key(|(at, _)| *at);
        order.truncate(MOST_PREFIXES_ASKED);
        self.due = false;
        order.into_iter().map(|(_, source)| source).collect()
    }

    /// What a look found; none where it failed.
    fn take_over(&mut self, sources: &[SourceKey], counts: Option<&Counts>, now: Instant) {
        for source in sources {
            let looked = counts.map_or(Looked::Unseen, |counts| Looked::Seen(counts.get(source).copied().unwrap_or(0)));
            if let Some(watched) = self.watched.get_mut(source) {
                watched.looked(looked, now);
            }
        }
        self.await_next();
    }

    fn put(&mut self, source: SourceKey, watched: Watched) {
        self.watched.insert(source, watched);
        if self.watched.len() > MOST
            && let Some(oldest) =
                self.watched.iter().min_by_key(|(_, watched)| watched.heard).map(|(oldest, _)| *oldest)
        {
            self.watched.remove(&oldest);
        }
    }

    /// Says once that nothing can be seen, and once when it can be seen again.
    fn complain(&mut self, counts: Result<Counts, DiagError>) -> Option<Counts> {
        match (&counts, self.fails) {
            (Err(error), false) => {
                warn!(%error, "cannot see the TCP stacks of sessions: several people count as behind each address");
            }
            (Ok(_), true) => info!("the TCP stacks of sessions can be seen again"),
            _ => {}
        }
        self.fails = counts.is_err();
        counts.ok()
    }
}

/// Looks at one source, on another thread, one at a time and not for longer than who decides would wait.
pub(super) async fn look_once(keys: KeyRules, source: SourceKey) -> Looked {
    static ONE: Mutex<()> = Mutex::const_new(());
    let look = async {
        let one = ONE.lock().await;
        // Held by the look itself: one that hangs is not followed by others.
        let look = spawn_blocking(move || (look_at(&keys, &[source]), one));
        look.await.ok()?.0.ok()
    };
    match timeout(LATE, look).await {
        Ok(Some(counts)) => Looked::Seen(counts.get(&source).copied().unwrap_or(0)),
        Ok(None) | Err(_) => Looked::Unseen,
    }
}

fn look_at(keys: &KeyRules, sources: &[SourceKey]) -> Result<Counts, DiagError> {
    let prefixes: Vec<IpNetwork> = sources
        .iter()
        .filter_map(|source| {
            let (address, length) = keys.prefix(*source);
            IpNetwork::new(address, length).ok()
        })
        .collect();
    stacks(&prefixes).map(|sessions| counted(keys, sessions))
}

/// Distinct stacks of each source that has sessions.
fn counted(keys: &KeyRules, sessions: impl IntoIterator<Item = (IpAddr, Stack)>) -> Counts {
    let mut of: HashMap<SourceKey, HashSet<Stack>> = HashMap::new();
    for (address, stack) in sessions {
        let version = if address.is_ipv4() { 4 } else { 6 };
        if let Some(source) = keys.source_of(Address::from(address), version) {
            of.entry(source).or_default().insert(stack);
        }
    }
    of.into_iter().map(|(source, stacks)| (source, u32::try_from(stacks.len()).unwrap_or(u32::MAX))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> SourceKey {
        SourceKey(Address::from(IpAddr::from(std::net::Ipv4Addr::from(0xc633_0000 + number))))
    }

    fn stack(window_scale: u8) -> Stack {
        Stack { timestamps: true, sack: true, window_scale: Some(window_scale) }
    }

    #[test]
    fn stacks_are_counted_once_for_each_source_and_subscribers_are_one() {
        let keys = KeyRules::new();
        let sessions = [
            ("198.51.100.7", stack(7)),
            ("198.51.100.7", stack(7)),
            ("198.51.100.7", stack(8)),
            ("198.51.100.8", stack(7)),
            ("2001:db8:1:2::7", stack(7)),
            ("2001:db8:1:2::8", Stack { timestamps: false, ..stack(7) }),
            ("2001:db8:1:2::9", Stack { window_scale: None, ..stack(7) }),
            ("127.0.0.1", stack(7)),
        ];
        let counts = counted(&keys, sessions.map(|(text, stack)| (text.parse().expect("an address"), stack)));
        let named: HashMap<String, u32> =
            counts.into_iter().map(|(source, count)| (keys.display(source).to_string(), count)).collect();
        let expected = [("198.51.100.7", 2), ("198.51.100.8", 1), ("2001:db8:1:2::/64", 3)];
        assert_eq!(named, expected.map(|(source, count)| (source.to_owned(), count)).into());
    }

    #[tokio::test]
    async fn the_most_that_was_seen_at_one_time_counts_until_nothing_was_heard_for_long() {
        let (mut watch, start) = (StackWatch::new(KeyRules::new()), Instant::now());
        assert_eq!(watch.known(&source(1)), None);
        assert!(!watch.is_awaited(&source(1)), "nobody asked for it");
        watch.watch(source(1), start);
        assert!(watch.due && watch.is_awaited(&source(1)));
        for (count, most) in [(1, 1), (3, 3), (2, 3), (0, 3)] {
            watch.take_over(&[source(1)], Some(&[(source(1), count)].into()), start);
            assert_eq!(watch.known(&source(1)), Some(Looked::Seen(most)));
        }
        watch.watch(source(1), start);
        assert!(!watch.due && !watch.is_awaited(&source(1)), "it was looked at");
        watch.saw(source(2), Looked::Seen(5), start);
        watch.saw(source(2), Looked::Seen(2), start + WATCHED / 2);
        assert_eq!(watch.known(&source(2)), Some(Looked::Seen(5)));
        assert_eq!(watch.next_to_look_at(start + WATCHED), [source(2)]);
        assert_eq!(watch.known(&source(1)), None);
    }

    #[tokio::test]
    async fn a_look_that_fails_or_is_late_counts_as_unseen_until_one_succeeds() {
        let (mut watch, start) = (StackWatch::new(KeyRules::new()), Instant::now());
        watch.watch(source(1), start);
        watch.take_over(&[source(1)], None, start);
        assert_eq!((watch.known(&source(1)), watch.is_awaited(&source(1))), (Some(Looked::Unseen), false));
        watch.take_over(&[source(1)], Some(&[(source(1), 1)].into()), start);
        assert_eq!(watch.known(&source(1)), Some(Looked::Seen(1)));
        watch.take_over(&[source(1)], None, start);
        assert_eq!(watch.known(&source(1)), Some(Looked::Unseen), "who came since is not known");

        watch.watch(source(2), start);
        watch.watch(source(3), start + LATE / 2);
        watch.watch(source(2), start + LATE / 2);
        assert_eq!(watch.late, Some(start + LATE), "it waits since it was heard of first");
        watch.give_up(start + LATE);
        assert_eq!((watch.known(&source(2)), watch.is_awaited(&source(2))), (Some(Looked::Unseen), false));
        assert!(watch.is_awaited(&source(3)));
        assert_eq!(watch.late, Some(start + LATE / 2 + LATE));
    }

    /// A kernel that hangs.
    #[tokio::test]
    async fn who_decides_does_not_wait_for_a_look_that_hangs() {
        let mut watch = StackWatch::new(KeyRules::new());
        let (release, hang) = std::sync::mpsc::channel::<()>();
        watch.watch(source(1), Instant::now() - LATE);
        let hangs = spawn_blocking(move || {
            let _ = hang.recv();
            Look { counts: Ok(Counts::new()), took: LOOK }
        });
        watch.looking = Some((vec![source(1)], hangs));
        watch.looked().await;
        assert_eq!((watch.known(&source(1)), watch.is_awaited(&source(1))), (Some(Looked::Unseen), false));
        drop(release);
        watch.looked().await;
        assert_eq!(watch.known(&source(1)), Some(Looked::Seen(0)), "it came after all");
    }

    #[tokio::test]
    async fn who_was_not_looked_at_comes_first_and_nobody_is_left_out() {
        let (mut watch, start) = (StackWatch::new(KeyRules::new()), Instant::now());
        let many = MOST_PREFIXES_ASKED as u32 + 10;
        (0..many).for_each(|number| watch.watch(source(number), start));
        let first = watch.next_to_look_at(start);
        assert_eq!(first.len(), MOST_PREFIXES_ASKED);
        watch.take_over(&first, Some(&Counts::new()), start);
        assert!(watch.due, "ten are left");
        let second = watch.next_to_look_at(start);
        watch.take_over(&second, Some(&Counts::new()), start + LOOK);
        assert!(!watch.due);
        assert!((0..many).all(|number| watch.known(&source(number)) == Some(Looked::Seen(0))));
        let third = watch.next_to_look_at(start + LOOK);
        let longest_ago: HashSet<_> = first.iter().filter(|source| !second.contains(source)).collect();
        assert!(longest_ago.iter().all(|source| third.contains(source)));
    }

    #[tokio::test]
    async fn the_watch_is_bounded() {
        let (mut watch, start) = (StackWatch::new(KeyRules::new()), Instant::now());
        (0..MOST as u32 + 5)
            .for_each(|number| watch.watch(source(number), start + Duration::from_millis(number.into())));
        assert_eq!(watch.watched.len(), MOST);
        assert!(!watch.is_awaited(&source(4)) && watch.is_awaited(&source(5)));
    }
}
