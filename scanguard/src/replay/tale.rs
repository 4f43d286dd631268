//! What became of each source in a capture.

use scanguard_common::event::Event;
use scanguard_common::reason::Reason;

/// Lines of evidence that are kept of a source.
const EVIDENCE: usize = 64;

/// A moment in a capture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment {
    /// The packet's place in the file, from 1 on.
    pub packet: u64,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
    /// Contacts that the source had made by then, this one among them.
    pub contacts: u64,
}

/// A contact that counted.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// When.
    pub at: Moment,
    /// What the kernel part tells of it.
    pub event: Event,
}

/// What became of a source.
#[derive(Clone, Debug, Default)]
pub struct Tale {
    /// First contacts with a destination, protocol and port, of whatever outcome.
    pub contacts: u64,
    /// Those that counted against it.
    pub failures: u64,
    /// The highest score, in 1/1024 nat.
    pub highest: u32,
    /// The first contacts that counted.
    pub evidence: Vec<Line>,
    /// When it became a suspect.
    pub concealed: Option<Moment>,
    /// When it was blocked.
    pub blocked: Option<Moment>,
    /// Packets that were hidden or blocked, by reason.
    pub dropped: Vec<(Reason, u64)>,
    /// Of those, the ones to a port that is open: a customer would have noticed.
    pub noticed: u64,
    /// The first packet that was.
    pub first_dropped: Option<Moment>,
}

impl Tale {
    /// Takes note of a first contact.
    pub(super) fn contact(&mut self, event: &Event, packet: u64, unix_ns: u64) {
        self.contacts += 1;
        self.highest = self.highest.max(event.score);
        if event.points == 0 {
            return;
        }
        self.failures += 1;
        if self.evidence.len() < EVIDENCE {
            let at = Moment { packet, unix_ns, contacts: self.contacts };
            self.evidence.push(Line { at, event: *event });
        }
    }

    /// Takes note of a packet that was hidden or blocked.
    pub(super) fn drop(&mut self, reason: Reason, is_open: bool, packet: u64, unix_ns: u64) {
        match self.dropped.iter_mut().find(|(found, _)| *found == reason) {
            Some((_, count)) => *count += 1,
            None => self.dropped.push((reason, 1)),
        }
        self.noticed += u64::from(is_open);
        self.first_dropped.get_or_insert(Moment { packet, unix_ns, contacts: self.contacts });
    }

    /// Packets that were hidden or blocked because of what the source itself did.
    #[must_use]
    pub fn hidden(&self) -> u64 {
        self.dropped.iter().filter(|(reason, _)| *reason != Reason::Storm).map(|(_, count)| count).sum()
    }

    /// Whether anything was done about the source.
    #[must_use]
    pub fn is_acted_on(&self) -> bool {
        self.concealed.is_some() || self.blocked.is_some() || self.hidden() > 0
    }
}
