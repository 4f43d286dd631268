//! How many signals are heard: a log tool gone wild is to fill neither the audit nor the queue of whoever decides.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use scanguard_common::source::SourceKey;
use tracing::warn;

use crate::config::SignalLimits;
use crate::operator::OperatorError;

const MINUTE: Duration = Duration::from_secs(60);
/// Sources that need not be forgotten.
const FEW: usize = 1024;

/// What became of signals.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct SignalTally {
    /// Those that were heard.
    pub(super) heard: u64,
    /// Refused, for as many were heard about the source.
    pub(super) over_per_source: u64,
    /// Refused, for as many were heard in all.
    pub(super) over_per_minute: u64,
}

/// A shared handle on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota(Arc<Mutex<Spent>>);

#[derive(Debug, Default)]
struct Spent {
    all: Bucket,
    of: HashMap<SourceKey, Bucket>,
    /// Those whose room is back are forgotten when there are so many.
    sweep_at: usize,
    tally: SignalTally,
    complained: Option<Instant>,
}

/// What was taken from a budget that fills up evenly, to that of a minute: when it is full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(Option<Instant>);

impl Bucket {
    /// Whether there is room for one more.
    fn has_room(self, per_minute: u32, now: Instant) -> bool {
        let filled = self.0.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        filled + share(per_minute) <= MINUTE
    }

    fn take(&mut self, per_minute: u32, now: Instant) {
        let full = self.0.map_or(now, |full| full.max(now));
        self.0 = Some(full + share(per_minute));
    }

    fn is_full(self, now: Instant) -> bool {
        self.0.is_none_or(|full| full <= now)
    }
}

/// How long it takes until one more has room.
fn share(per_minute: u32) -> Duration {
    MINUTE / per_minute.max(1)
}

impl Quota {
    /// Takes note of a signal about a source, if it names one.
    ///
    /// # Errors
    /// When there were too many: it is to be forgotten.
    pub(super) fn take(
        &self,
        limits: &SignalLimits,
        source: Option<SourceKey>,
        now: Instant,
    ) -> Result<(), OperatorError> {
        let SignalLimits { per_minute, per_source } = *limits;
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Spent { all, of, sweep_at, tally, complained } = &mut *spent;
        let its = source.map(|source| of.get(&source).copied().unwrap_or_default());
        let (key, limit, whose) = if its.is_some_and(|its| !its.has_room(per_source, now)) {
            tally.over_per_source += 1;
            ("per_source", per_source, " about this source")
        } else if !all.has_room(per_minute, now) {
            tally.over_per_minute += 1;
            ("per_minute", per_minute, "")
        } else {
            tally.heard += 1;
            all.take(per_minute, now);
            if of.len() >= (*sweep_at).max(FEW) {
                of.retain(|_, bucket| !bucket.is_full(now));
                *sweep_at = 2 * of.len();
            }
            if let Some(source) = source {
                of.entry(source).or_default().take(per_source, now);
            }
            return Ok(());
        };
        if complained.is_none_or(|last| now.saturating_duration_since(last) >= MINUTE) {
            *complained = Some(now);
            warn!(limit, key, "more signals are given than are heard: those beyond `signals.{key}` are refused");
        }
        let message = format!(
            "it was not heard: within a minute {limit} signals{whose} are, as `{key}` of [signals] says, and there were as many"
        );
        Err(OperatorError::Refused { rule: format!("signals_{key}"), message })
    }

    pub(super) fn tally(&self) -> SignalTally {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tally
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use scanguard_common::address::Address;

    use super::*;

    const LIMITS: SignalLimits = SignalLimits { per_minute: 10, per_source: 3 };

    fn source(number: u32) -> Option<SourceKey> {
        Some(SourceKey(Address::from(IpAddr::from(Ipv4Addr::from(0xc633_0000 + number)))))
    }

    fn rule(taken: Result<(), OperatorError>) -> Option<String> {
        match taken {
            Ok(()) => None,
            Err(OperatorError::Refused { rule, .. }) => Some(rule),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn as_many_as_may_be_are_heard_of_each_source_and_of_all() {
        let (quota, now) = (Quota::default(), Instant::now());
        let take = |source| rule(quota.take(&LIMITS, source, now));
        assert!((0..3).all(|_| take(source(1)).is_none()));
        assert_eq!(take(source(1)).as_deref(), Some("signals_per_source"));
        assert!((2..9).all(|number| take(source(number)).is_none()), "others are heard");
        assert_eq!(take(source(9)).as_deref(), Some("signals_per_minute"));
        assert_eq!(take(None).as_deref(), Some("signals_per_minute"));
        let expected = SignalTally { heard: 10, over_per_source: 1, over_per_minute: 2 };
        assert_eq!(quota.tally(), expected);
    }

    #[test]
    fn room_comes_back_evenly_however_many_are_refused() {
        let (quota, start) = (Quota::default(), Instant::now());
        let heard = |from: Duration, count: u32| {
            (0..count).filter(|_| quota.take(&LIMITS, source(1), start + from).is_ok()).count()
        };
        assert_eq!(heard(Duration::ZERO, 1_000), 3);
        assert_eq!(heard(Duration::from_secs(19), 1_000), 0);
        assert_eq!(heard(Duration::from_secs(20), 1_000), 1);
        assert_eq!(heard(Duration::from_secs(60), 1_000), 2);
        assert_eq!(heard(Duration::from_secs(500), 1_000), 3, "never more than a minute's");
    }

    #[test]
    fn sources_are_forgotten_when_their_room_is_back() {
        let (quota, start) = (Quota::default(), Instant::now());
        for number in 0..10_000 {
            let taken = quota.take(&LIMITS, source(number), start + MINUTE * number);
            assert!(taken.is_ok(), "{number}");
        }
        assert!(quota.0.lock().expect("no panic").of.len() <= FEW);
    }
}
