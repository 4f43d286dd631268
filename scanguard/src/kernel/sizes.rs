//! How large the tables of the kernel part are: as this host's memory allows, unless the configuration says it.
//!
//! Measured in bytes that the kernel accounts for (`memlock`), with as many sources as [`Share::sources`] says: full 190
//! MiB, half 98 MiB, a quarter 58 MiB, an eighth 38 MiB.

use std::fs;

use scanguard_common::capacity;

const MIB: u64 = 1 << 20;
/// Bytes of a source: its record and what the table has for it.
const PER_SOURCE: u64 = 252;
/// Bytes of the tables of [`capacity::SCALED`] at their full size.
const SCALED: u64 = 103 * MIB;
/// Bytes of all others, and of the programs.
const FIXED: u64 = 16 * MIB;

/// Which part of their full size the tables have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Share {
    /// All of it.
    #[default]
    Full,
    /// Half.
    Half,
    /// A quarter.
    Quarter,
    /// An eighth: the least.
    Eighth,
}

impl Share {
    /// All of them, the largest first.
    pub const ALL: [Self; 4] = [Self::Full, Self::Half, Self::Quarter, Self::Eighth];

    /// The name in the configuration and in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Half => "half",
            Self::Quarter => "quarter",
            Self::Eighth => "eighth",
        }
    }

    const fn divisor(self) -> u32 {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter => 4,
            Self::Eighth => 8,
        }
    }

    /// How many sources are remembered where the configuration leaves it open.
    #[must_use]
    pub const fn sources(self) -> u32 {
        match self {
            Self::Full => capacity::SOURCES,
            Self::Half => 131_072,
            Self::Quarter => 65_536,
            Self::Eighth => 32_768,
        }
    }

    /// What a host of so much memory can spare: some twentieth.
    const fn of(memory: u64) -> Self {
        // What a machine of so many gibibytes is said to have is somewhat less: firmware and kernel take their part.
        match memory / MIB {
            3500.. => Self::Full,
            1750.. => Self::Half,
            1200.. => Self::Quarter,
            _ => Self::Eighth,
        }
    }
}

/// What is wanted; none is as memory allows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TableSizes {
    /// Sources that are remembered.
    pub sources: Option<u32>,
    /// Which part of their full size the other tables have.
    pub share: Option<Share>,
}

impl TableSizes {
    /// Full tables for so many sources, whatever memory there is: for tests and replay.
    #[must_use]
    pub const fn full(sources: u32) -> Self {
        Self { sources: Some(sources), share: Some(Share::Full) }
    }

    /// Entries of SOURCES.
    #[must_use]
    pub fn sources(&self) -> u32 {
        self.sources.unwrap_or_else(|| self.share().sources())
    }

    /// Which part of their full size the other tables have.
    #[must_use]
    pub fn share(&self) -> Share {
        self.share.unwrap_or_else(|| memory().map_or(Share::Full, Share::of))
    }

    /// Bytes of kernel memory that they take, as far as that can be told before they are made.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.sources()) * PER_SOURCE + SCALED / u64::from(self.share().divisor()) + FIXED
    }

    /// Tables that have other capacities than the object says, with these.
    pub(super) fn scaled(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let divisor = self.share().divisor();
        capacity::SCALED.into_iter().filter(move |_| divisor > 1).map(move |(name, full)| (name, full / divisor))
    }
}

/// Bytes of memory that this process may have, tables of the kernel part included: the host's, or what its control group
/// may have if that is less. None where the kernel does not tell.
fn memory() -> Option<u64> {
    let of_host = super::memory::total()?;
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_of(&text));
    let limit = group.zip(super::sessions::cgroup_root()).and_then(|(group, root)| {
        fs::read_to_string(root.join(group).join("memory.max")).ok()?.trim().parse::<u64>().ok()
    });
    Some(limit.map_or(of_host, |limit| limit.min(of_host)))
}

/// The control group of version 2 of a text like `/proc/self/cgroup` (cgroups(7)), below the root.
fn group_of(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_host_has_small_tables() {
        const GIB: u64 = 1 << 30;
        for (memory, share) in [
            (24 * GIB, Share::Full),
            (4 * GIB - 300 * MIB, Share::Full),
            (2 * GIB - 100 * MIB, Share::Half),
            (3 * GIB / 2 - 60 * MIB, Share::Quarter),
            (GIB - 40 * MIB, Share::Eighth),
            (GIB / 2, Share::Eighth),
        ] {
            assert_eq!(Share::of(memory), share, "{memory}");
        }
    }

    #[test]
    fn what_is_said_goes_before_what_memory_allows() {
        let sizes = TableSizes { sources: Some(2048), share: Some(Share::Eighth) };
        assert_eq!((sizes.sources(), sizes.share()), (2048, Share::Eighth));
        assert_eq!(TableSizes { sources: None, ..sizes }.sources(), 32_768);
        let scaled: Vec<_> = sizes.scaled().collect();
        assert_eq!(scaled.len(), capacity::SCALED.len());
        assert!(scaled.contains(&("VERDICTS", 16_384)));
        assert_eq!(TableSizes::full(1024).scaled().count(), 0);
    }

    #[test]
    fn the_control_group_is_read() {
        assert_eq!(group_of("1:name=x:/y\n0::/system.slice/a.service\n").as_deref(), Some("system.slice/a.service"));
        assert!(memory().is_some_and(|bytes| bytes > MIB));
    }
}
