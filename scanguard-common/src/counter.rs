//! The layout of the COUNTERS map: a per-CPU array of packets and bytes, in six regions.
//!
//! | region | index | counted in |
//! |---|---|---|
//! | verdicts | (level, reason, mode) | packets and bytes; every packet exactly once |
//! | attempts | (port class, protocol) | packets and bytes of new flows |
//! | contacts | outcome | first packets of a source to a (destination, protocol, port) |
//! | losses | [`Loss`] | what could not be recorded |
//! | challenges | ([`ChallengeKind`], [`ChallengeResult`]) | what became of challenges |
//! | withheld | (level, mode) | packets and bytes of answers that did not leave, or would not have in mode enforce |

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::challenge::{ChallengeKind, ChallengeResult};
use crate::class::{PortClass, Protocol};
use crate::contact::Outcome;
use crate::reason::{Level, Mode, REASON_SLOTS, Reason};

/// One counter on one CPU.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes on the link, from the Ethernet header on, without the frame check sequence.
    pub bytes: u64,
}

/// What could not be recorded.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Loss {
    /// An event found the ring buffer EVENTS full.
    Events = 0,
    /// A proof found the ring buffer PROOFS full.
    Proofs = 1,
    /// A new source was not recorded because of the limit of [`crate::newcomers`].
    Newcomers = 2,
}

impl Loss {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Events, Self::Proofs, Self::Newcomers];
}

const VERDICTS: usize = Level::COUNT * REASON_SLOTS * Mode::COUNT;
const ATTEMPTS: usize = PortClass::COUNT * Protocol::COUNT;
const CONTACT_SLOTS: usize = 32;
const LOSS_SLOTS: usize = 16;
const RESULT_SLOTS: usize = 16;

const ATTEMPTS_AT: usize = VERDICTS;
const CONTACTS_AT: usize = ATTEMPTS_AT + ATTEMPTS;
const LOSSES_AT: usize = CONTACTS_AT + CONTACT_SLOTS;
const CHALLENGES_AT: usize = LOSSES_AT + LOSS_SLOTS;

const WITHHELD_AT: usize = CHALLENGES_AT + ChallengeKind::COUNT * RESULT_SLOTS;

/// Entries of the COUNTERS map.
pub const COUNTER_ENTRIES: u32 = (WITHHELD_AT + Level::COUNT * Mode::COUNT) as u32;

const _: () = assert!(Outcome::ALL.len() <= CONTACT_SLOTS && Loss::COUNT <= LOSS_SLOTS);
const _: () = assert!(ChallengeResult::ALL.len() <= RESULT_SLOTS);

/// A place in the COUNTERS map.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CounterIndex(u32);

impl CounterIndex {
    /// Packets that got this treatment for this reason in this mode.
    #[inline(always)]
    #[must_use]
    pub const fn verdict(level: Level, reason: Reason, mode: Mode) -> Self {
        Self(((level as usize * REASON_SLOTS + reason as usize) * Mode::COUNT + mode as usize) as u32)
    }

    /// The same by the numbers of level and reason, each of which must be one.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn ruling(level: u32, reason: u32, mode: Mode) -> Self {
        Self((level * REASON_SLOTS as u32 + reason) * Mode::COUNT as u32 + mode as u32)
    }

    /// Attempts on a class of port over a protocol.
    #[inline(always)]
    #[must_use]
    pub const fn attempt(class: PortClass, protocol: Protocol) -> Self {
        Self((ATTEMPTS_AT + class as usize * Protocol::COUNT + protocol as usize) as u32)
    }

    /// First contacts with this outcome.
    #[inline(always)]
    #[must_use]
    pub const fn contact(outcome: Outcome) -> Self {
        Self((CONTACTS_AT + outcome as usize) as u32)
    }

    /// What could not be recorded.
    #[inline(always)]
    #[must_use]
    pub const fn loss(loss: Loss) -> Self {
        Self((LOSSES_AT + loss as usize) as u32)
    }

    /// What became of challenges of a kind.
    #[inline(always)]
    #[must_use]
    pub const fn challenge(kind: ChallengeKind, result: ChallengeResult) -> Self {
        Self((CHALLENGES_AT + kind as usize * RESULT_SLOTS + result as usize) as u32)
    }

    /// Answers that were kept from a source because of this level, in this mode.
    #[inline(always)]
    #[must_use]
    pub const fn withheld(level: Level, mode: Mode) -> Self {
        Self((WITHHELD_AT + level as usize * Mode::COUNT + mode as usize) as u32)
    }

    /// The index in the map, below [`COUNTER_ENTRIES`].
    #[inline(always)]
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_a_place_of_its_own() {
        let mut all = Vec::new();
        for level in Level::ALL {
            for reason in Reason::ALL {
                for mode in Mode::ALL {
                    all.push(CounterIndex::verdict(level, *reason, mode));
                }
            }
        }
        for class in PortClass::ALL {
            for protocol in Protocol::ALL {
                all.push(CounterIndex::attempt(class, protocol));
            }
        }
        all.extend(Outcome::ALL.iter().map(|outcome| CounterIndex::contact(*outcome)));
        all.extend(Loss::ALL.map(CounterIndex::loss));
        for kind in ChallengeKind::ALL {
            all.extend(ChallengeResult::ALL.iter().map(|result| CounterIndex::challenge(kind, *result)));
        }
        for level in Level::ALL {
            all.extend(Mode::ALL.map(|mode| CounterIndex::withheld(level, mode)));
        }
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().all(|index| index.get() < COUNTER_ENTRIES));
    }
}
