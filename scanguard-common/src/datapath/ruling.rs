//! What is to be done with a packet, and why.

use super::stage::Stage;
use crate::reason::{Level, Mode, Reason};

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// On to the stack.
    Pass,
    /// Nowhere.
    Drop,
    /// On to the stack, as plain as the answer of a decoy is: a SYN without options but the segment size
    /// ([`crate::packet::reply::compose_plain_syn`]), or a SYN-ACK without flow label.
    PassPlain,
    /// Nowhere, but its sender is answered: the case says what ([`crate::packet::reply::compose`]).
    Answer,
}

/// A decision about a packet, in one register: functions of the kernel part return no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ruling(u32);

const LEVEL_SHIFT: u32 = 8;
const OPERATOR: u32 = 1 << 16;
const CHALLENGE: u32 = 1 << 17;
const COMPLETE: u32 = 1 << 18;
const RETRY: u32 = 1 << 19;
const COUNTED: u32 = 1 << 20;
const OBSERVED: u32 = 1 << 21;

impl Ruling {
    /// Nothing is held against it.
    #[inline(always)]
    pub(super) const fn pass(reason: Reason) -> Self {
        Self(reason as u32)
    }

    /// Hidden from a suspect.
    #[inline(always)]
    pub(super) const fn hide(reason: Reason) -> Self {
        Self(reason as u32 | (Level::Conceal as u32) << LEVEL_SHIFT)
    }

    /// Hidden because a person wants it so, in both modes.
    #[inline(always)]
    pub(super) const fn lock() -> Self {
        Self(Self::hide(Reason::Lockdown).0 | OPERATOR)
    }

    /// Dropped by a verdict, an operator's or the controller's.
    #[inline(always)]
    pub(super) const fn block(reason: Reason, is_operators: bool) -> Self {
        let origin = if is_operators { OPERATOR } else { 0 };
        Self(reason as u32 | (Level::Block as u32) << LEVEL_SHIFT | origin)
    }

    /// The same, unless a challenge says otherwise ([`Stage::Challenge`]).
    #[inline(always)]
    pub(super) const fn to_challenge(self) -> Self {
        Self(self.0 | CHALLENGE)
    }

    /// The same, unless it completes a decoy ([`Stage::Complete`]).
    #[inline(always)]
    pub(super) const fn to_complete(self) -> Self {
        Self(self.0 | COMPLETE)
    }

    /// The same, and it may be a real stack's answer to a challenge ([`Stage::Retry`]).
    #[inline(always)]
    pub(super) const fn to_retry(self) -> Self {
        Self(self.0 | RETRY)
    }

    /// The same, without a stage that has the last word.
    #[inline(always)]
    pub(super) const fn last(self) -> Self {
        Self(self.0 & !(CHALLENGE | COMPLETE | RETRY))
    }

    /// The stage that has the last word, if there is one.
    #[inline(always)]
    pub(super) const fn last_word(self) -> Option<Stage> {
        if self.0 & (CHALLENGE | COMPLETE | RETRY) == 0 {
            None
        } else if self.0 & CHALLENGE != 0 {
            Some(Stage::Challenge)
        } else if self.0 & COMPLETE != 0 {
            Some(Stage::Complete)
        } else {
            Some(Stage::Retry)
        }
    }

    /// No decision yet.
    pub(super) const NONE: Self = Self(u32::MAX);

    /// No verdict decided: [`Stage::Meet`] goes on.
    pub(super) const WEIGH: Self = Self(u32::MAX - 1);

    /// Whether it is a decision, and not one of the two above.
    #[inline(always)]
    pub(super) const fn is_decision(self) -> bool {
        self.0 < Self::WEIGH.0
    }

    /// The same, counted in this mode.
    #[inline(always)]
    pub(super) const fn with_mode(self, mode: Mode) -> Self {
        let observed = if matches!(mode, Mode::Observe) { OBSERVED } else { 0 };
        Self(self.0 | COUNTED | observed)
    }

    /// In which mode it was counted, if it was.
    #[inline(always)]
    pub(super) const fn counted(self) -> Option<Mode> {
        if self.0 & COUNTED == 0 {
            None
        } else if self.0 & OBSERVED != 0 {
            Some(Mode::Observe)
        } else {
            Some(Mode::Enforce)
        }
    }

    /// The whole of it as a number.
    #[inline(always)]
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// The decision with this number.
    #[inline(always)]
    pub(super) const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Number of the reason.
    #[inline(always)]
    pub(super) const fn reason(self) -> u32 {
        self.0 & 0xff
    }

    /// Number of the level.
    #[inline(always)]
    pub(super) const fn level(self) -> u32 {
        (self.0 >> LEVEL_SHIFT) & 0xff
    }

    /// Whether a person wants it so, in whatever mode.
    #[inline(always)]
    pub(super) const fn is_operators(self) -> bool {
        self.0 & OPERATOR != 0
    }
}
