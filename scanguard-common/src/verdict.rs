//! What userspace decided about a source: the values of VERDICTS, KNOWN and ALLOW.
//!
//! Every verdict carries its end, which the datapath itself observes: a dead daemon leaves no block behind.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::reason::Level;

/// What a block covers.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Scope {
    /// Restricted, canary and closed ports.
    Private = 0,
    /// Public ports too.
    All = 1,
}

impl Scope {
    /// The scope with this number; what is not one is the milder one.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(number: u8) -> Self {
        match number {
            1 => Self::All,
            _ => Self::Private,
        }
    }

    /// The name in metrics, JSON and on the command line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::All => "all",
        }
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Origin {
    /// The controller, by its policy: carried out in mode enforce only.
    Controller = 0,
    /// A person: carried out in both modes.
    Operator = 1,
}

/// A verdict on a source.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Verdict {
    /// When it ends, in nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub expires_ns: u64,
    /// [`Level`].
    pub level: u8,
    /// [`Scope`] of a block.
    pub scope: u8,
    /// [`Origin`].
    pub origin: u8,
    /// 1 to drop established flows too.
    pub hard: u8,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Verdict>() == 16);

impl Verdict {
    /// A block that spares established flows.
    #[must_use]
    pub const fn block(scope: Scope, origin: Origin, expires_ns: u64) -> Self {
        Self { expires_ns, level: Level::Block as u8, scope: scope as u8, origin: origin as u8, hard: 0, reserved: 0 }
    }

    /// What it says of a packet that comes now, as one number; [`Rule::NONE`] when it has ended.
    #[inline(always)]
    #[must_use]
    pub const fn rule(&self, now_ns: u64) -> Rule {
        if self.expires_ns <= now_ns {
            return Rule::NONE;
        }
        Rule(u32::from_le_bytes([self.level, self.scope, self.origin, self.hard]))
    }
}

/// What a verdict in force says: its level, scope, origin and hardness, in one number that fits a register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule(u32);

impl Rule {
    /// Nothing: there is no verdict, or its time is over.
    pub const NONE: Self = Self(0);

    /// The number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The rule with this number.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Whether it blocks.
    #[inline(always)]
    #[must_use]
    pub const fn blocks(self) -> bool {
        self.0 & 0xff == Level::Block as u32
    }

    /// Whether it conceals.
    #[inline(always)]
    #[must_use]
    pub const fn conceals(self) -> bool {
        self.0 & 0xff == Level::Conceal as u32
    }

    /// Whether the block covers public ports too.
    #[inline(always)]
    #[must_use]
    pub const fn covers_all(self) -> bool {
        (self.0 >> 8) & 0xff == Scope::All as u32
    }

    /// Whether a person decided.
    #[inline(always)]
    #[must_use]
    pub const fn is_operators(self) -> bool {
        (self.0 >> 16) & 0xff == Origin::Operator as u32
    }

    /// Whether established flows are dropped too.
    #[inline(always)]
    #[must_use]
    pub const fn is_hard(self) -> bool {
        self.0 >> 24 != 0
    }
}

/// A source that has worked here before.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Known {
    /// Until when restricted ports stay visible to it, in nanoseconds of `CLOCK_MONOTONIC_COARSE`.
    pub restricted_until_ns: u64,
}

/// An entry of the allowlist.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Allowance {
    /// When it ends, in nanoseconds of `CLOCK_MONOTONIC_COARSE`; all ones for never. A longest-prefix match sees one entry
    /// only, so this is the latest end of all entries that cover the prefix.
    pub expires_ns: u64,
}

/// Whether there are any of something, which is when it is not 0: maps are asked only when they have entries. Kept true by whoever writes the maps.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct Census {
    /// Entries of VERDICTS.
    pub verdicts: u32,
    /// Verdicts, on sources or prefixes, that drop established flows too.
    pub hard_verdicts: u32,
    /// Entries of KNOWN.
    pub known: u32,
    /// Entries of ALLOW.
    pub allowed: u32,
    /// Of these, those that may cover some addresses of a source and not others
    /// ([`crate::source::KeyRules::may_split_sources`]).
    pub allowed_within: u32,
    /// Raised with every change of ALLOW: suspicion that arose under an earlier number is checked against ALLOW once more
    /// before it is acted on.
    pub allow_generation: u32,
    /// Entries of PREFIX_VERDICTS.
    pub prefix_verdicts: u32,
    /// Entries of PROTECTED.
    pub protected: u32,
    /// Entries of LOCAL.
    pub local: u32,
    /// Zero.
    pub reserved: u32,
}
