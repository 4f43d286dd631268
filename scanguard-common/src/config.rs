//! What userspace tells the kernel: the one entry of the CONFIG map.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;
use crate::challenge::{ChallengeMode, ChallengeRules};
use crate::flow::SENT_NS;
use crate::newcomers::NewcomerRules;
use crate::reason::Mode;
use crate::record::ConcealRules;
use crate::score::ScoreRules;
use crate::source::KeyRules;
use crate::storm::StormRules;
use crate::verdict::Census;

/// Settings of the running datapath, replaced as a whole.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
#[repr(C)]
pub struct KernelConfig {
    /// How addresses become sources.
    pub keys: KeyRules,
    /// Secret key of the first-contact set, random at each start.
    pub contact_key: [u64; 2],
    /// The time, in nanoseconds, where a test or a replay holds the clock; unused otherwise.
    pub virtual_now_ns: u64,
    /// [`crate::address::Address::filter_bit`] of all of this host's own addresses: an address without its bit here is
    /// not one of them. Whoever writes the table of own addresses keeps it true.
    pub own_filter: u64,
    /// Some of this host's own addresses, which are told without a look at the table of them; [`NO_ADDRESS`] in places that are left. Whoever writes
    /// the table keeps them true.
    pub own_first: [Address; OWN_FIRST],
    /// When the daemon was last seen alive, on the datapath's clock. No suspicion begins or is prolonged [`HEARTBEAT_LIMIT_NS`]
    /// later.
    pub heartbeat_ns: u64,
    /// For how long a port that was seen open counts as possibly open, in nanoseconds.
    pub opened_ns: u64,
    /// The test's constants.
    pub score: ScoreRules,
    /// How long suspicion lasts.
    pub conceal: ConcealRules,
    /// When suspects arise too fast.
    pub storm: StormRules,
    /// When new sources come too fast.
    pub newcomers: NewcomerRules,
    /// How suspects are challenged.
    pub challenge: ChallengeRules,
    /// Which maps have entries.
    pub census: Census,
    /// When enforcing ends by itself, whatever becomes of the daemon: all ones for never.
    pub enforce_until_ns: u64,
    /// When a lockdown ends by itself, whatever becomes of the daemon: 0 while there is none. It closes the ports that are
    /// [locked](crate::class::PortEntry::is_locked) to everybody whom the allowlist does not cover, in both modes.
    pub lockdown_until_ns: u64,
    /// Since when the egress program sees all that leaves, on the datapath's clock; all ones while there is none.
    pub egress_since_ns: u64,
    /// For how long after that datagrams may still answer what left before, in nanoseconds.
    pub egress_warm_up_ns: u64,
    /// [`crate::reason::Mode`]; what it is at a moment says [`KernelConfig::mode_at`].
    pub mode: u32,
    /// Whether some ports are open without a socket here: 1 when this host forwards packets.
    pub forwards: u32,
    /// Whether it is learnt which ports and addresses of protected networks there are: from 1 on a port that never answered
    /// is closed. 2 in a replay, which knows who sends from the capture and need not wait ([`Self::knows_senders`]).
    pub learnt: u32,
    /// Whether what leaves is judged: 0 in a capture, where it left.
    pub judges_leaving: u32,
    /// Whether a lockdown lets known sources through as well: 0 or 1.
    pub lockdown_keeps_known: u32,
    /// First port from which this host's own connections leave.
    pub ephemeral_first: u16,
    /// Last such port.
    pub ephemeral_last: u16,
}

/// How many of this host's addresses the settings hold: most hosts have no more than two of each family.
pub const OWN_FIRST: usize = 4;

/// An address that nobody has: no unicast address has all bits set.
pub const NO_ADDRESS: Address = Address::from_words([u64::MAX; 2]);

/// A daemon that was not seen for so long is dead: from then on nothing new is held against anyone.
pub const HEARTBEAT_LIMIT_NS: u64 = 30_000_000_000;

impl KernelConfig {
    /// Observe, /64 sources, no translators beyond the well-known prefix, private ranges judged like others, and the defaults
    /// of Linux and of the test. The heartbeat is still to come.
    #[must_use]
    pub const fn new(contact_key: [u64; 2]) -> Self {
        Self {
            keys: KeyRules::new(),
            contact_key,
            virtual_now_ns: 0,
            own_filter: 0,
            own_first: [NO_ADDRESS; OWN_FIRST],
            heartbeat_ns: 0,
            opened_ns: 7 * 24 * 3_600_000_000_000,
            score: ScoreRules::new(),
            conceal: ConcealRules::new(),
            storm: StormRules::new(),
            newcomers: NewcomerRules::new(),
            challenge: ChallengeRules { keys: [[0; 2]; 2], mode: ChallengeMode::Canary as u32, reply: 0 },
            census: Census {
                verdicts: 0,
                hard_verdicts: 0,
                known: 0,
                allowed: 0,
                allowed_within: 0,
                allow_generation: 0,
                prefix_verdicts: 0,
                protected: 0,
                local: 0,
                reserved: 0,
            },
            enforce_until_ns: u64::MAX,
            lockdown_until_ns: 0,
            egress_since_ns: u64::MAX,
            egress_warm_up_ns: SENT_NS,
            mode: 0,
            forwards: 0,
            learnt: 0,
            judges_leaving: 1,
            lockdown_keeps_known: 0,
            // Linux' default of net.ipv4.ip_local_port_range.
            ephemeral_first: 32_768,
            ephemeral_last: 60_999,
        }
    }

    /// The same settings with what watches of the running daemon found out, the keys it chose, and the lockdown that a person began: no
    /// configuration says them.
    #[must_use]
    pub const fn with_watched(self, before: &Self) -> Self {
        Self {
            ephemeral_first: before.ephemeral_first,
            ephemeral_last: before.ephemeral_last,
            egress_since_ns: before.egress_since_ns,
            forwards: before.forwards,
            learnt: before.learnt,
            lockdown_until_ns: before.lockdown_until_ns,
            lockdown_keeps_known: before.lockdown_keeps_known,
            challenge: ChallengeRules { keys: before.challenge.keys, ..self.challenge },
            ..self
        }
    }

    /// Whether it is known which addresses of protected networks send anything: what leaves was seen for as long as a port
    /// must be silent to count as closed. A connection is hardly silent for so long, and one contact makes no suspect.
    #[inline(always)]
    #[must_use]
    pub const fn knows_senders(&self, now_ns: u64) -> bool {
        self.learnt > 1 || (self.learnt != 0 && self.egress_since_ns.saturating_add(self.opened_ns) <= now_ns)
    }

    /// Whether segments of connections are looked at for whether anything ever left the address that they go to.
    #[inline(always)]
    #[must_use]
    pub const fn asks_for_senders(&self) -> bool {
        self.census.protected != 0 && self.learnt != 0
    }

    /// Whether a port is one from which this host's own connections leave, so that answers arrive there.
    #[inline(always)]
    #[must_use]
    pub const fn is_ephemeral(&self, port: u16) -> bool {
        self.ephemeral_first <= port && port <= self.ephemeral_last
    }

    /// Whether the egress program has seen everything that datagrams may answer.
    #[inline(always)]
    #[must_use]
    pub const fn knows_what_left(&self, now_ns: u64) -> bool {
        self.egress_since_ns.saturating_add(self.egress_warm_up_ns) <= now_ns
    }

    /// Whether some ports can only be told to be open by their answers.
    #[inline(always)]
    #[must_use]
    pub const fn has_elsewhere(&self) -> bool {
        self.forwards != 0 || self.census.protected != 0
    }

    /// The mode, with a clock that is asked only where enforcing is to end.
    #[inline(always)]
    #[must_use]
    pub fn mode_at(&self, now_ns: impl FnOnce() -> u64) -> Mode {
        let mode = Mode::from_u32(self.mode);
        if self.enforce_until_ns != u64::MAX && now_ns() >= self.enforce_until_ns { Mode::Observe } else { mode }
    }

    /// Whether a lockdown is in force at this time.
    #[inline(always)]
    #[must_use]
    pub const fn is_locked_down(&self, now_ns: u64) -> bool {
        now_ns < self.lockdown_until_ns
    }

    /// Whether the daemon is alive at this time.
    #[inline(always)]
    #[must_use]
    pub const fn is_watched(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.heartbeat_ns) < HEARTBEAT_LIMIT_NS
    }
}
