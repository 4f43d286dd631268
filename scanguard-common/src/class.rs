//! What a destination port is to the world.

/// Class of a (local destination, protocol, port).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum PortClass {
    /// Everything that is not known to be something else: neutral, never hidden, never challenged.
    #[default]
    Unknown = 0,
    /// Open and for everybody; never hidden below a block.
    Public = 1,
    /// Open, but not for customers: ssh, databases, administration.
    Restricted = 2,
    /// Closed here, and nobody legitimate ever asks for it.
    Canary = 3,
    /// Verified to be closed.
    Closed = 4,
}

impl PortClass {
    /// How many classes there are.
    pub const COUNT: usize = 5;

    /// All classes, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Unknown, Self::Public, Self::Restricted, Self::Canary, Self::Closed];

    /// The class with this number; what is not one is `Unknown`, the neutral class.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(number: u8) -> Self {
        match number {
            1 => Self::Public,
            2 => Self::Restricted,
            3 => Self::Canary,
            4 => Self::Closed,
            _ => Self::Unknown,
        }
    }

    /// Whether userspace holds the port closed, which is still to be verified before it counts.
    #[inline(always)]
    #[must_use]
    pub const fn should_be_closed(self) -> bool {
        matches!(self, Self::Closed | Self::Canary)
    }

    /// Whether it may be hidden from suspects.
    #[inline(always)]
    #[must_use]
    pub const fn may_be_hidden(self) -> bool {
        matches!(self, Self::Closed | Self::Canary | Self::Restricted)
    }

    /// The name in metrics, JSON and the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Public => "public",
            Self::Restricted => "restricted",
            Self::Canary => "canary",
            Self::Closed => "closed",
        }
    }
}

/// What PORTS says of a port, in one byte: its class on this host, and what it is where only answers tell whether it is open.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct PortEntry(u8);

const ELSEWHERE_SHIFT: u32 = 4;
const OWN: u8 = 0x07;
const FALLBACK: u8 = 0x08;
const ELSEWHERE: u8 = 0x07;
const LOCKED: u8 = 0x80;

impl PortEntry {
    /// An entry. `elsewhere` is for ports of containers and of hosts behind this one: `public` and `restricted` are what the port is once
    /// it answered, `canary` what it is until then; `unknown` says nothing of it.
    #[must_use]
    pub const fn new(own: PortClass, elsewhere: PortClass) -> Self {
        Self(own as u8 | (elsewhere as u8) << ELSEWHERE_SHIFT)
    }

    /// The entry with this number.
    #[inline(always)]
    #[must_use]
    pub const fn from_u8(number: u8) -> Self {
        Self(number)
    }

    /// The number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The class on this host, by its sockets and its configuration.
    #[inline(always)]
    #[must_use]
    pub const fn own(self) -> PortClass {
        PortClass::from_u8(self.0 & OWN)
    }

    /// The same of a port that clients fall back to on their own: it is never challenged.
    #[must_use]
    pub const fn fallback(self) -> Self {
        Self(self.0 | FALLBACK)
    }

    /// Whether clients fall back to it on their own.
    #[inline(always)]
    #[must_use]
    pub const fn is_fallback(self) -> bool {
        self.0 & FALLBACK != 0
    }

    /// The same of a port that a lockdown closes to all but a few, for as long as one is in force.
    #[must_use]
    pub const fn locked(self) -> Self {
        Self(self.0 | LOCKED)
    }

    /// The same of one that none does.
    #[must_use]
    pub const fn unlocked(self) -> Self {
        Self(self.0 & !LOCKED)
    }

    /// Whether a lockdown closes it, while one is in force ([`crate::config::KernelConfig::is_locked_down`]).
    #[inline(always)]
    #[must_use]
    pub const fn is_locked(self) -> bool {
        self.0 & LOCKED != 0
    }

    /// What is said of it where only answers tell whether it is open.
    #[inline(always)]
    const fn elsewhere(self) -> PortClass {
        PortClass::from_u8((self.0 >> ELSEWHERE_SHIFT) & ELSEWHERE)
    }

    /// Whether it is not for customers, be it open or closed: anything but public ports, and those of which nothing is said.
    #[inline(always)]
    #[must_use]
    pub const fn is_private(self) -> bool {
        match self.own() {
            PortClass::Restricted | PortClass::Canary | PortClass::Closed => true,
            PortClass::Unknown => matches!(self.answering(), PortClass::Restricted),
            PortClass::Public => false,
        }
    }

    /// The class of such a port that has answered.
    #[inline(always)]
    #[must_use]
    pub const fn answering(self) -> PortClass {
        match self.elsewhere() {
            PortClass::Restricted => PortClass::Restricted,
            PortClass::Public | PortClass::Canary => PortClass::Public,
            PortClass::Unknown | PortClass::Closed => PortClass::Unknown,
        }
    }

    /// The class that a port has for whoever is kept from what is not for customers, where it is not closed for certain: of a port that was
    /// open lately, or opened a moment ago, userspace says nothing yet.
    #[inline(always)]
    #[must_use]
    pub const fn unless_closed(self) -> PortClass {
        match (self.own(), self.answering()) {
            (PortClass::Public, _) => PortClass::Public,
            (PortClass::Restricted, _) | (_, PortClass::Restricted) => PortClass::Restricted,
            (own, _) => own,
        }
    }

    /// The class of such a port that has not.
    #[inline(always)]
    #[must_use]
    pub const fn silent(self) -> PortClass {
        match self.elsewhere() {
            PortClass::Restricted | PortClass::Public => PortClass::Closed,
            PortClass::Canary => PortClass::Canary,
            PortClass::Unknown | PortClass::Closed => PortClass::Unknown,
        }
    }
}

/// Protocols that have attempts: a new flow is one of these.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Protocol {
    /// TCP (6).
    Tcp = 0,
    /// UDP (17).
    Udp = 1,
    /// ICMP (1) and `ICMPv6` (58).
    Icmp = 2,
}

impl Protocol {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// The one with this number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Tcp),
            1 => Some(Self::Udp),
            2 => Some(Self::Icmp),
            _ => None,
        }
    }

    /// The name in metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// Index of a port's class in the PORTS array: TCP in the lower 65,536, UDP in the upper.
#[inline(always)]
#[must_use]
pub const fn port_index(protocol: Protocol, port: u16) -> u32 {
    ((protocol as u32 & 1) << 16) | port as u32
}

/// Number of entries of the PORTS array.
pub const PORT_ENTRIES: u32 = 2 * 65_536;
