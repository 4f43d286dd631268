//! Whose sessions go on, without a reading of all of them for each decision.

use std::collections::HashMap;

use scanguard_common::session::{LiveSession, SessionRecord};
use scanguard_common::source::SourceKey;

use super::desk::Desk;
use crate::kernel::{KernelError, Readings, clock};

/// What the kernel part writes of a session's begin may be so late: its clock steps with ticks of up to 10 ms, and the table is read in pieces.
const LATE_NS: u64 = 1_000_000_000;

/// Which sessions of a source go on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct GoingOn {
    /// Any that came by a guarded interface.
    pub(super) any: bool,
    /// One on a public port that began when nothing was held against the source.
    pub(super) customers: bool,
}

/// Whose sessions went on when that was read. A session that began later shows in what is counted of its source; one that ended meanwhile
/// still counts, in favour of whom it was.
#[derive(Debug, Default)]
pub struct LiveSources {
    read_ns: u64,
    sources: HashMap<SourceKey, GoingOn>,
}

impl LiveSources {
    /// Reads all sessions that go on: milliseconds where there are many, so off the threads that decide.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(readings: &Readings) -> Result<Self, KernelError> {
        let read_ns = clock::monotonic_coarse_ns();
        Ok(Self::of(readings.live_sessions()?, read_ns))
    }

    fn of(live: Vec<LiveSession>, read_ns: u64) -> Self {
        let mut sources: HashMap<SourceKey, GoingOn> = HashMap::new();
        for LiveSession { source, restricted, clean, arrived, .. } in live {
            let going_on = sources.entry(source).or_default();
            going_on.any |= arrived != 0;
            going_on.customers |= restricted == 0 && clean != 0;
        }
        Self { read_ns, sources }
    }

    /// Whether this tells of all sessions of a source of which so much is counted.
    fn has_all(&self, counted: Option<&SessionRecord>) -> bool {
        let began_ns = counted.map_or(0, |record| record.public.last_ns.max(record.restricted.last_ns));
        began_ns.saturating_add(LATE_NS) < self.read_ns
    }

    fn get(&self, source: &SourceKey) -> GoingOn {
        self.sources.get(source).copied().unwrap_or_default()
    }
}

impl Desk {
    /// Takes over whose sessions went on a moment ago.
    pub fn set_live(&mut self, live: LiveSources) {
        self.live = live;
    }

    /// Which sessions of a source go on, of which so much is counted.
    pub(super) fn going_on(&self, source: &SourceKey, counted: Option<&SessionRecord>) -> Result<GoingOn, KernelError> {
        if self.live.has_all(counted) {
            return Ok(self.live.get(source));
        }
        Ok(LiveSources::read(&self.tables.readings())?.get(source))
    }
}

#[cfg(test)]
mod tests {
    use scanguard_common::session::SessionTally;

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn session(number: u8, restricted: u32, clean: u32) -> LiveSession {
        let source = SourceKey(std::net::IpAddr::from([192, 0, 2, number]).into());
        LiveSession { source, since_ns: 0, restricted, clean, arrived: 1, reserved: 0 }
    }

    #[test]
    fn only_clean_sessions_on_public_ports_are_a_customers() {
        let sessions = vec![session(1, 0, 1), session(1, 1, 1), session(2, 1, 1), session(3, 0, 0)];
        let live = LiveSources::of(sessions, SECOND_NS);
        let told: Vec<GoingOn> = [1, 2, 3, 4].map(|number| live.get(&session(number, 0, 0).source)).into();
        let going_on = |any, customers| GoingOn { any, customers };
        assert_eq!(told, [going_on(true, true), going_on(true, false), going_on(true, false), going_on(false, false)]);
        // Where it is not seen what leaves, a session may be anybody's: in doubt he is a customer, and nobody is backed.
        let doubtful = LiveSession { arrived: 0, ..session(5, 0, 1) };
        let live = LiveSources::of(vec![doubtful], SECOND_NS);
        assert_eq!(live.get(&doubtful.source), going_on(false, true));
    }

    #[test]
    fn what_began_after_the_reading_or_just_before_it_is_read_anew() {
        let live = LiveSources::of(Vec::new(), 100 * SECOND_NS);
        let counted = |public, restricted| SessionRecord {
            public: SessionTally { last_ns: public, ..SessionTally::default() },
            restricted: SessionTally { last_ns: restricted, ..SessionTally::default() },
            ..SessionRecord::default()
        };
        assert!(live.has_all(None) && live.has_all(Some(&counted(98 * SECOND_NS, 0))));
        assert!(!live.has_all(Some(&counted(99 * SECOND_NS, 0))));
        assert!(!live.has_all(Some(&counted(0, 101 * SECOND_NS))));
        assert!(!LiveSources::default().has_all(None), "nothing was read yet");
    }
}
