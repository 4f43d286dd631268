//! When it is looked who is logged in.
//!
//! Whoever comes to a restricted port is not logged in yet when his session begins, and no more when it has ended. So each begin and each end
//! has it looked several times. A look reads all of `/proc`, which takes long where there are many processes; and who guesses passwords begins
//! sessions all the time. So looks take a small part of the time, however many sessions there are.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::aside::Aside;
use crate::logins::{Seen, Watcher};

/// After a session began or ended it is looked for so long: longer than a person takes to type a password, and the time to the next look for other reasons.
const AFTER: Duration = Duration::from_secs(15);
/// From one look to the next at least.
const PAUSE: Duration = Duration::from_secs(1);
/// Of all time looks take one part in so many.
const PART: u32 = 20;

/// Those who are logged in, and when to look for them.
#[derive(Default)]
pub(super) struct LoginWatch {
    watcher: Watcher,
    looking: Aside<(Seen, Duration)>,
    turn: Turn,
}

/// When to look next.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// When a session last began or ended.
    moved: Option<Instant>,
    /// When the last look began.
    looked: Option<Instant>,
    /// Before that there is no other.
    earliest: Option<Instant>,
}

impl Turn {
    fn looked(&mut self, took: Duration, now: Instant) {
        self.looked = now.checked_sub(took);
        self.earliest = Some(now + PAUSE.max(took * PART));
    }

    /// When to look next for sessions' sake. One look comes after each of them, be it late.
    fn next(&self, now: Instant) -> Option<Instant> {
        let moved = self.moved?;
        let at = self.earliest.map_or(now, |earliest| earliest.max(now));
        let is_due = at <= moved + AFTER || self.looked.is_none_or(|looked| looked < moved);
        is_due.then_some(at)
    }
}

impl LoginWatch {
    pub(super) fn new(watcher: Watcher) -> Self {
        Self { watcher, ..Self::default() }
    }

    /// Who looks from now on.
    pub(super) fn set_watcher(&mut self, watcher: Watcher) {
        self.watcher = watcher;
    }

    /// Looks, unless that goes on.
    pub(super) fn look(&mut self) {
        let watcher = self.watcher.clone();
        self.looking.look(move || timed(&watcher));
    }

    /// A session on a restricted port began or ended.
    pub(super) fn moved(&mut self) {
        self.turn.moved = Some(Instant::now());
    }

    /// Waits until it was looked; looks by itself when sessions ask for it. Cancel safe.
    pub(super) async fn looked(&mut self) -> Option<Seen> {
        let Self { watcher, looking, turn } = self;
        if !looking.is_at_work() {
            let now = Instant::now();
            let Some(at) = turn.next(now) else { return pending().await };
            // (A sleep until now takes until the next tick, and may be cancelled before that again and again.)
            if at > now {
                sleep_until(at.into()).await;
            }
            let watcher = watcher.clone();
            looking.look(move || timed(&watcher));
        }
        let (seen, took) = looking.looked().await?;
        turn.looked(took, Instant::now());
        Some(seen)
    }
}

/// Who is logged in, and how long it took to see that.
fn timed(watcher: &Watcher) -> (Seen, Duration) {
    let began = Instant::now();
    (watcher.look(), began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_have_it_looked_for_a_while_and_looks_take_a_small_part_of_the_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut turn = Turn::default();
        assert_eq!(turn.next(start), None, "nobody came");
        turn.moved = Some(start);
        assert_eq!(turn.next(start), Some(start), "at once");
        turn.looked(Duration::from_millis(10), at(10));
        assert_eq!(turn.next(at(10)), Some(at(1_010)));
        // A look that takes long has a long pause after it, whoever comes meanwhile.
        turn.looked(Duration::from_secs(1), at(2_000));
        turn.moved = Some(at(2_001));
        assert_eq!(turn.next(at(2_001)), Some(at(22_000)), "later than the while, and all the same once");
        turn.looked(Duration::from_secs(1), at(23_000));
        assert_eq!(turn.next(at(23_000)), None);
        turn.moved = Some(at(60_000));
        assert_eq!(turn.next(at(60_000)), Some(at(60_000)));
    }
}
