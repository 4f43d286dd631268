//! Which TCP stacks the sessions of a source show, for sources about which something is to be decided: more than one at a time is a sign that
//! many share its address.
//!
//! To look takes the kernel as long as it has sockets to go through, so that it is done on another thread. Who decides waits for the first look
//! at a source; later ones only refresh what is known of it.

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use scanguard_common::address::Address;
use scanguard_common::source::{KeyRules, SourceKey};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use crate::net::{DiagError, MOST_PREFIXES_ASKED, Stack, stacks};
use crate::turns;

/// How often those are looked at again of whom something was heard lately.
const LOOK: Duration = Duration::from_secs(5);
/// How long after that they are, and the most that was seen counts: browsers' sessions come and go.
const WATCHED: Duration = Duration::from_secs(600);
/// After a look that took long, on a host with very many sockets, there is none for so many times as long.
const REST: u32 = 4;
/// Sources that are watched; of more, those go first that nothing was heard of for longest.
const MOST: usize = 4096;

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
    /// When it was last looked at, and the most stacks that were seen at one time.
    seen: Option<(Instant, u32)>,
}

impl StackWatch {
    pub(super) fn new(keys: KeyRules) -> Self {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { keys, watched: HashMap::new(), look, due: false, looking: None, rest: Instant::now(), fails: false }
    }

    /// Addresses become sources by other rules from now on.
    pub(super) const fn set_keys(&mut self, keys: KeyRules) {
        self.keys = keys;
    }

    /// Something was heard of a source: it is looked at, soon if it was not yet.
    pub(super) fn watch(&mut self, source: SourceKey, now: Instant) {
        let known = self.watched.get(&source).and_then(|watched| watched.seen);
        self.due |= known.is_none();
        self.put(source, Watched { heard: now, seen: known });
    }

    /// It was looked at a source, elsewhere.
    pub(super) fn saw(&mut self, source: SourceKey, count: u32, now: Instant) {
        let most = self.count(&source).map_or(count, |before| before.max(count));
        self.put(source, Watched { heard: now, seen: Some((now, most)) });
    }

    /// The most stacks that its sessions showed at one time; none if it was not looked at.
    pub(super) fn count(&self, source: &SourceKey) -> Option<u32> {
        self.watched.get(source)?.seen.map(|(_, most)| most)
    }

    /// Whether a look at it is to come.
    pub(super) fn is_awaited(&self, source: &SourceKey) -> bool {
        self.watched.get(source).is_some_and(|watched| watched.seen.is_none())
    }

    /// Waits until it was looked at those for whom it was time. Cancel safe.
    pub(super) async fn looked(&mut self) {
        loop {
            if let Some((sources, looking)) = &mut self.looking {
                let look = looking.await;
                let (sources, now) = (std::mem::take(sources), Instant::now());
                self.looking = None;
                // (Only a panic ends it otherwise.)
                let Look { counts, took } = look.unwrap_or(Look { counts: Ok(Counts::new()), took: LOOK });
                self.rest = now + took * REST;
                let counts = self.complain(counts);
                self.take_over(&sources, &counts, now);
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

    /// Those of whom nothing was heard for long are forgotten; of the others, those that were not looked at come first, and then those at whom it
    /// is longest ago.
    fn next_to_look_at(&mut self, now: Instant) -> Vec<SourceKey> {
        self.watched.retain(|_, watched| now.saturating_duration_since(watched.heard) < WATCHED);
        let mut order: Vec<_> =
            self.watched.iter().map(|(source, watched)| (watched.seen.map(|(at, _)| at), *source)).collect();
        order.sort_unstable_by_key(|(at, _)| *at);
        order.truncate(MOST_PREFIXES_ASKED);
        self.due = false;
        order.into_iter().map(|(_, source)| source).collect()
    }

    fn take_over(&mut self, sources: &[SourceKey], counts: &Counts, now: Instant) {
        for source in sources {
            let count = counts.get(source).copied().unwrap_or(0);
            if let Some(watched) = self.watched.get_mut(source) {
                watched.seen = Some((now, watched.seen.map_or(count, |(_, most)| most.max(count))));
            }
        }
        self.due = self.watched.values().any(|watched| watched.seen.is_none());
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
    fn complain(&mut self, counts: Result<Counts, DiagError>) -> Counts {
        match (&counts, self.fails) {
            (Err(error), false) => {
                warn!(%error, "cannot see the TCP stacks of sessions: how many machines share an address is not known");
            }
            (Ok(_), true) => info!("the TCP stacks of sessions can be seen again"),
            _ => {}
        }
        self.fails = counts.is_err();
        counts.unwrap_or_default()
    }
}

/// Looks at one source, on another thread, one at a time; none where the kernel does not tell.
pub(super) async fn look_once(keys: KeyRules, source: SourceKey) -> Option<u32> {
    static ONE: Mutex<()> = Mutex::const_new(());
    let _one = ONE.lock().await;
    let counts = spawn_blocking(move || look_at(&keys, &[source])).await.ok()?.ok()?;
    Some(counts.get(&source).copied().unwrap_or(0))
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
        assert_eq!(watch.count(&source(1)), None);
        assert!(!watch.is_awaited(&source(1)), "nobody asked for it");
        watch.watch(source(1), start);
        assert!(watch.due && watch.is_awaited(&source(1)));
        for (count, most) in [(1, 1), (3, 3), (2, 3), (0, 3)] {
            watch.take_over(&[source(1)], &[(source(1), count)].into(), start);
            assert_eq!(watch.count(&source(1)), Some(most));
        }
        watch.watch(source(1), start);
        assert!(!watch.due && !watch.is_awaited(&source(1)), "it was looked at");
        watch.saw(source(2), 5, start);
        watch.saw(source(2), 2, start + WATCHED / 2);
        assert_eq!(watch.count(&source(2)), Some(5));
        assert_eq!(watch.next_to_look_at(start + WATCHED), [source(2)]);
        assert_eq!(watch.count(&source(1)), None);
    }

    #[tokio::test]
    async fn who_was_not_looked_at_comes_first_and_nobody_is_left_out() {
        let (mut watch, start) = (StackWatch::new(KeyRules::new()), Instant::now());
        let many = MOST_PREFIXES_ASKED as u32 + 10;
        (0..many).for_each(|number| watch.watch(source(number), start));
        let first = watch.next_to_look_at(start);
        assert_eq!(first.len(), MOST_PREFIXES_ASKED);
        watch.take_over(&first, &Counts::new(), start);
        assert!(watch.due, "ten are left");
        let second = watch.next_to_look_at(start);
        watch.take_over(&second, &Counts::new(), start + LOOK);
        assert!(!watch.due);
        assert!((0..many).all(|number| watch.count(&source(number)) == Some(0)));
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
