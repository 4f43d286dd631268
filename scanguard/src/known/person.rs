//! What is known of one source: on which days it was here, whether it was logged in, and what an operator said of it.

use scanguard_common::session::{SessionRecord, SessionTally};

/// Days for which a session is remembered.
pub const SPAN_DAYS: u64 = 90;
pub(super) const DAY: u64 = 86_400;
/// All of these days, as bits.
const SPAN: u128 = (1 << SPAN_DAYS) - 1;

/// Days of which the lowest bit is that of `last`, those of the last [`SPAN_DAYS`], with that of `now` as the lowest.
const fn days_until(days: u128, last: u64, now: u64) -> u128 {
    let since = (now / DAY).saturating_sub(last / DAY);
    if since >= SPAN_DAYS { 0 } else { (days << since) & SPAN }
}

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
        days_until(self.days, self.last, now)
    }

    /// Takes note of what the kernel counted, the latest of it at `last`. Says whether that is news.
    pub(super) fn fold(&mut self, tally: &SessionTally, last: u64) -> bool {
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

/// Sessions on restricted ports that went on for longer than their service waits for a login
/// ([`scanguard_common::session::login_time_ns`]), on days near which nothing failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// The days on which there were some, the lowest bit that of [`Self::last`].
    pub days: u128,
    /// The last of them, in seconds since 1970.
    pub last: u64,
    /// How many the kernel had counted when it was last read, those too that did not count here.
    pub counted: u64,
}

impl Held {
    /// Days that make a source known.
    const ENOUGH: u32 = 2;

    /// Until when it makes a source known, in seconds since 1970; 0 where it does not.
    pub(super) const fn until(&self) -> u64 {
        if self.days.count_ones() < Self::ENOUGH {
            return 0;
        }
        // Known is who has two days: the second of the latest is the one whose going ends that.
        let others = self.days & (self.days - 1);
        let second = (self.last / DAY).saturating_sub(others.trailing_zeros() as u64);
        (second + SPAN_DAYS) * DAY
    }

    /// The days that count of the last [`SPAN_DAYS`], the lowest bit that of `now`.
    #[must_use]
    pub const fn days_until(&self, now: u64) -> u128 {
        days_until(self.days, self.last, now)
    }

    /// Adds a day. A clock that was set back makes none twice.
    fn add(&mut self, at: u64) {
        let (day, last) = (at / DAY, self.last / DAY);
        let ahead = |days: u64| u32::try_from(days).unwrap_or(u32::MAX);
        if day >= last {
            self.days = self.days.checked_shl(ahead(day - last)).unwrap_or(0) | 1;
            self.last = self.last.max(at);
        } else {
            self.days |= 1_u128.checked_shl(ahead(last - day)).unwrap_or(0);
        }
        self.days &= SPAN;
    }

    /// Takes away the day of a failure, the one before and the one after. Says whether that changed anything.
    pub(super) fn strike(&mut self, failed: u64) -> bool {
        let before = self.days;
        for day in (failed / DAY).saturating_sub(1)..=failed / DAY + 1 {
            if let Some(bit) = (self.last / DAY).checked_sub(day).and_then(|since| u32::try_from(since).ok()) {
                self.days &= !1_u128.checked_shl(bit).unwrap_or(0);
            }
        }
        self.days != before
    }
}

/// What is known of a source.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Acquainted {
    /// On public ports.
    pub public: Acquaintance,
    /// On restricted ports. To guess a password is such work, too: by this alone nobody is known.
    pub restricted: Acquaintance,
    /// When somebody was last seen to be logged in from there, in seconds since 1970; 0 for never.
    pub login: u64,
    /// Sessions that nobody has who is not logged in.
    pub held: Held,
    /// When a contact of it last failed that anybody could have made in its name, as far as that was looked at; 0 for never.
    pub failed: u64,
    /// When a log tool last told of a deed of its that a session backs; 0 for never.
    pub signalled: u64,
}

impl Acquainted {
    /// On how many of the last [`SPAN_DAYS`] days there was a session on either.
    #[must_use]
    pub const fn days_known(&self, now: u64) -> u32 {
        (self.public.days_until(now) | self.restricted.days_until(now)).count_ones()
    }

    /// Until when restricted ports stay open to it by what it did, in seconds since 1970; 0 where it did nothing of that kind.
    #[must_use]
    pub const fn until(&self) -> u64 {
        let by_login = if self.login == 0 { 0 } else { self.login.saturating_add(SPAN_DAYS * DAY) };
        let by_sessions = self.held.until();
        if by_login > by_sessions { by_login } else { by_sessions }
    }

    /// Whether restricted ports stay open to it by what it did.
    #[must_use]
    pub const fn is_known(&self, now: u64) -> bool {
        now < self.until()
    }

    pub(super) fn last(&self) -> u64 {
        self.public.last.max(self.restricted.last).max(self.login)
    }

    /// Whether a session at this time was near a failure or a signal: on the same day, the one before or the one after.
    const fn is_near_failure(&self, at: u64) -> bool {
        is_near(at, self.failed) || is_near(at, self.signalled)
    }

    /// A contact failed. Says whether that takes a day away.
    pub(super) fn fail(&mut self, at: u64) -> bool {
        self.failed = self.failed.max(at);
        // What anybody may have made in its name does not undo what it is known by.
        at != 0 && self.held.days.count_ones() < Held::ENOUGH && self.held.strike(at)
    }

    /// Takes note of sessions that outlasted the time for a login, the latest of them at `last`. Says whether that is news.
    pub(super) fn hold(&mut self, record: &SessionRecord, last: u64) -> bool {
        let more = record.held.checked_sub(self.held.counted).unwrap_or(record.held);
        let is_news = self.held.counted != record.held;
        self.held.counted = record.held;
        if more > 0 && !self.is_near_failure(last) {
            self.held.add(last);
        }
        is_news
    }
}

const fn is_near(at: u64, failed: u64) -> bool {
    failed != 0 && (at / DAY).abs_diff(failed / DAY) <= 1
}

/// What an operator said of a source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Added {
    /// When, in seconds since 1970.
    pub since: u64,
    /// Until when; none for as long as nobody takes it back.
    pub until: Option<u64>,
    /// Why, one line.
    pub comment: Option<String>,
}

impl Added {
    /// Until when, in seconds since 1970; all ones for ever.
    #[must_use]
    pub fn ends(&self) -> u64 {
        self.until.unwrap_or(u64::MAX)
    }
}
