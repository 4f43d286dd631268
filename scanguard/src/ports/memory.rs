//! Which ports were open lately. A port that was open last week is not a scanner's mistake today: services restart, move and
//! come back.

use std::collections::HashMap;
use std::time::Duration;

use scanguard_common::class::Protocol;

/// When each port was last seen open. Times are seconds since 1970, so that memory outlives a reboot.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PortMemory {
    last_seen: HashMap<(Protocol, u16), u64>,
    span: Duration,
}

impl PortMemory {
    /// An empty memory that forgets after `span`.
    #[must_use]
    pub fn new(span: Duration) -> Self {
        Self { last_seen: HashMap::new(), span }
    }

    /// Remembers for this long from now on.
    pub const fn set_span(&mut self, span: Duration) {
        self.span = span;
    }

    /// Remembers that a port was open at this time; says whether it was not remembered before. Older news changes nothing.
    pub fn saw(&mut self, protocol: Protocol, port: u16, time: u64) -> bool {
        let before = self.last_seen.len();
        let last_seen = self.last_seen.entry((protocol, port)).or_insert(time);
        *last_seen = time.max(*last_seen);
        self.last_seen.len() > before
    }

    /// Forgets what was last seen too long before `now`, and takes what was seen after it (the clock was set back) as seen
    /// now, so that nothing is remembered for longer than the span. Says whether anything was forgotten.
    pub fn forget(&mut self, now: u64) -> bool {
        let (span, before) = (self.span.as_secs(), self.last_seen.len());
        self.last_seen.retain(|_, last_seen| {
            *last_seen = now.min(*last_seen);
            now - *last_seen <= span
        });
        self.last_seen.len() < before
    }

    /// What is remembered, in no order: protocol, port, when it was last seen.
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, u16, u64)> {
        self.last_seen.iter().map(|((protocol, port), last_seen)| (*protocol, *port, *last_seen))
    }

    /// Whether a port is remembered.
    #[must_use]
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.last_seen.contains_key(&(protocol, port))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_port_is_remembered_for_the_span_after_it_was_last_seen() {
        let mut memory = PortMemory::new(Duration::from_secs(100));
        memory.saw(Protocol::Tcp, 80, 1000);
        memory.saw(Protocol::Tcp, 80, 900);
        for (now, remembered) in [(1000, true), (1100, true), (1101, false), (1000, false)] {
            memory.forget(now);
            assert_eq!(memory.contains(Protocol::Tcp, 80), remembered, "{now}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_nothing_outlives_the_span_and_nothing_panics(
            seen: u64, now: u64, span in 0..10_000_u64,
        ) {
            let mut memory = PortMemory::new(Duration::from_secs(span));
            memory.saw(Protocol::Udp, 53, seen);
            memory.forget(now);
            prop_assert!(memory.iter().all(|(_, _, last_seen)| last_seen <= now && now - last_seen <= span));
            memory.forget(now.saturating_add(span).saturating_add(1));
            prop_assert!(!memory.contains(Protocol::Udp, 53) || now.checked_add(span + 1).is_none());
        }
    }
}
