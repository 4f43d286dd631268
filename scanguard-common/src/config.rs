//! What userspace tells the kernel: the one entry of the CONFIG map.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::source::KeyRules;

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
    /// [`crate::reason::Mode`].
    pub mode: u32,
    /// Zero.
    pub reserved: u32,
}

impl KernelConfig {
    /// Observe, /64 sources, no translators beyond the well-known prefix, private ranges judged like others.
    #[must_use]
    pub const fn new(contact_key: [u64; 2]) -> Self {
        Self { keys: KeyRules::new(), contact_key, virtual_now_ns: 0, own_filter: 0, mode: 0, reserved: 0 }
    }
}
