//! What stays in the kernel without a process: pinned maps and links, below `v<layout>` of a folder of the BPF file system.
//!
//! ```text
//! /sys/fs/bpf/scanguard/v<layout>/maps/CONFIG …     every map that holds state
//! /sys/fs/bpf/scanguard/v<layout>/links/7           the XDP program on the interface with index 7
//! /sys/fs/bpf/scanguard/v<layout>/links/7-egress    the egress program there
//! /sys/fs/bpf/scanguard/v<layout>/links/sessions    the sessions program on its control group
//! ```
//!
//! The kernel opens a pinned map without a word about what its bytes mean, and a map of another layout under this program is a crash. So
//! the version is in the path, and type and sizes are compared before use.
//!
//! Links mean the same in each layout, and are called the same: a version of another layout leaves them to this one, which
//! puts its programs in place of the other's in one step. Names below `links` never change.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, MapInfo, MapType};
use aya::programs::links::FdLink;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use scanguard_common::class::PORT_ENTRIES;
use scanguard_common::counter::COUNTER_ENTRIES;
use scanguard_common::layout::LAYOUT;
use scanguard_common::sieve::SIEVE_WORDS;

use super::egress;
use super::error::{KernelError, chain};
use super::maps::{
    AddressBytes, AllowanceBytes, AskedBytes, BackupBytes, ChallengeBytes, ConfigBytes, CounterBytes, EndpointBytes,
    FlowBytes, KnownBytes, LiveBytes, Maps, NicBytes, PassBytes, QuestionBytes, RecordBytes, SentBytes, SessionBytes,
    StateBytes, SynAckBytes, SynAckLeftBytes, VerdictBytes, map_error,
};

/// Where pins are unless an option says otherwise.
pub const DEFAULT_FOLDER: &str = "/sys/fs/bpf/scanguard";

/// What the name of an egress link ends with.
const EGRESS: &str = "-egress";

/// How long to wait for another process: a command that looks at pins while a daemon starts needs them for a moment.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often to try.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of a key of a longest-prefix match: its length and an address.
const LPM_KEY: usize = size_of::<u32>() + size_of::<AddressBytes>();

/// A map that holds state.
pub(super) struct Kept {
    pub(super) name: &'static str,
    kind: MapType,
    key: usize,
    value: usize,
    capacity: Capacity,
}

/// How many entries a map holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Capacity {
    /// So many: the datapath counts on it.
    Exactly(u32),
    /// As many as the object says; no matter.
    Any,
    /// As the configuration says; the map is made anew when it says something else.
    Configured,
}

const fn kept(name: &'static str, kind: MapType, key: usize, value: usize, capacity: Capacity) -> Kept {
    Kept { name, kind, key, value, capacity }
}

const INDEX: usize = size_of::<u32>();
const ADDRESS: usize = size_of::<AddressBytes>();

/// All of them. Scratch memory is not kept.
pub(super) const KEPT: [Kept; 30] = [
    kept("CONFIG", MapType::Array, INDEX, size_of::<ConfigBytes>(), Capacity::Exactly(1)),
    kept("STATE", MapType::Array, INDEX, size_of::<StateBytes>(), Capacity::Exactly(1)),
    kept("PORTS", MapType::Array, INDEX, 1, Capacity::Exactly(PORT_ENTRIES)),
    kept("COUNTERS", MapType::PerCpuArray, INDEX, size_of::<CounterBytes>(), Capacity::Exactly(COUNTER_ENTRIES)),
    kept("OWN", MapType::Hash, ADDRESS, size_of::<u32>(), Capacity::Any),
    kept("VERDICTS", MapType::Hash, ADDRESS, size_of::<VerdictBytes>(), Capacity::Any),
    kept("SIEVE", MapType::Array, INDEX, size_of::<u64>(), Capacity::Exactly(SIEVE_WORDS)),
    kept("PREFIX_VERDICTS", MapType::LpmTrie, LPM_KEY, size_of::<VerdictBytes>(), Capacity::Any),
    kept("KNOWN", MapType::Hash, ADDRESS, size_of::<KnownBytes>(), Capacity::Any),
    kept("ALLOW", MapType::LpmTrie, LPM_KEY, size_of::<AllowanceBytes>(), Capacity::Any),
    kept("SOURCES", MapType::LruHash, ADDRESS, size_of::<RecordBytes>(), Capacity::Configured),
    kept("PREFIXES", MapType::LruHash, ADDRESS, size_of::<RecordBytes>(), Capacity::Any),
    kept("SUSPECTS", MapType::LruHash, ADDRESS, size_of::<BackupBytes>(), Capacity::Any),
    kept("PROVEN_SUSPECTS", MapType::LruHash, ADDRESS, size_of::<BackupBytes>(), Capacity::Any),
    kept("OPENED", MapType::LruHash, size_of::<EndpointBytes>(), size_of::<u64>(), Capacity::Any),
    kept("ASKED", MapType::LruHash, size_of::<QuestionBytes>(), size_of::<AskedBytes>(), Capacity::Any),
    kept("UFLOWS", MapType::LruHash, size_of::<FlowBytes>(), size_of::<u64>(), Capacity::Any),
    kept("SENT", MapType::LruHash, size_of::<SentBytes>(), size_of::<u64>(), Capacity::Any),
    kept("SESSIONS", MapType::LruHash, ADDRESS, size_of::<SessionBytes>(), Capacity::Any),
    kept("LIVE", MapType::LruHash, size_of::<u64>(), size_of::<LiveBytes>(), Capacity::Any),
    kept("SYN_ACKS", MapType::LruHash, size_of::<SynAckBytes>(), size_of::<SynAckLeftBytes>(), Capacity::Any),
    kept("LOCAL", MapType::LpmTrie, LPM_KEY, size_of::<u32>(), Capacity::Any),
    kept("PROTECTED", MapType::LpmTrie, LPM_KEY, size_of::<u32>(), Capacity::Any),
    kept("SENDERS", MapType::Array, INDEX, size_of::<u64>(), Capacity::Exactly(SIEVE_WORDS)),
    kept("CHALLENGED", MapType::LruHash, ADDRESS, size_of::<ChallengeBytes>(), Capacity::Any),
    kept("PASSES", MapType::LruHash, size_of::<FlowBytes>(), size_of::<PassBytes>(), Capacity::Any),
    kept("REFUSED", MapType::LruHash, ADDRESS, size_of::<u64>(), Capacity::Any),
    kept("NICS", MapType::Hash, INDEX, size_of::<NicBytes>(), Capacity::Any),
    kept("PROOFS", MapType::RingBuf, 0, 0, Capacity::Any),
    kept("EVENTS", MapType::RingBuf, 0, 0, Capacity::Configured),
];

/// The folder of pins, held by one process at a time.
#[derive(Debug)]
pub struct Pins {
    folder: PathBuf,
    /// What versions of other layouts left, whose links may be taken over.
    former: Vec<PathBuf>,
    /// Held for as long as this process may write what is pinned.
    _lock: Flock<File>,
}

impl Pins {
    /// Whether something is pinned below a folder.
    #[must_use]
    pub fn exist(folder: &Path) -> bool {
        versions(folder).is_ok_and(|versions| !versions.is_empty())
    }

    /// Opens the folder if something is pinned there, or makes it where `make` says so. Nothing else can use it then.
    ///
    /// # Errors
    /// When another process uses it, another version left it, or it is on no BPF file system.
    pub fn open(folder: &Path, make: bool) -> Result<Option<Self>, KernelError> {
        Self::open_with(folder, make, |former| match former.into_iter().next() {
            Some(stale) => Err(KernelError::StalePins { folder: stale }),
            None => Ok(Vec::new()),
        })
    }

    /// The same for a daemon, which takes links over from versions of other layouts.
    ///
    /// # Errors
    /// When another process uses it, or it is on no BPF file system.
    pub fn open_to_take_over(folder: &Path, make: bool) -> Result<Option<Self>, KernelError> {
        Self::open_with(folder, make, Ok)
    }

    fn open_with(
        folder: &Path,
        make: bool,
        former: impl FnOnce(Vec<PathBuf>) -> Result<Vec<PathBuf>, KernelError>,
    ) -> Result<Option<Self>, KernelError> {
        if !make && !Self::exist(folder) {
            return Ok(None);
        }
        let mut pins = Self::lock(folder, make)?;
        let versions = versions(folder).map_err(|source| failed("list", folder, source))?;
        pins.former = former(versions.iter().filter(is_stale).map(|stale| folder.join(stale)).collect())?;
        for part in ["maps", "links"] {
            make_folder(&pins.version().join(part))?;
        }
        Ok(Some(pins))
    }

    fn lock(folder: &Path, make: bool) -> Result<Self, KernelError> {
        if make {
            make_folder(folder)?;
        }
        let on_bpf = statfs(folder).is_ok_and(|found| found.filesystem_type() == BPF_FS_MAGIC);
        if !on_bpf {
            return Err(KernelError::NoBpfFs { folder: folder.to_owned() });
        }
        let mut file = File::open(folder).map_err(|source| failed("open", folder, source))?;
        let patience = Instant::now() + PATIENCE;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self { folder: folder.to_owned(), former: Vec::new(), _lock: lock }),
                Err(_) if Instant::now() >= patience => {
                    return Err(KernelError::PinsInUse { folder: folder.to_owned() });
                }
                Err((again, _)) => file = again,
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn version(&self) -> PathBuf {
        self.folder.join(format!("v{LAYOUT}"))
    }

    /// Where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.version().join("maps").join(name)
    }

    /// Where a link is to be pinned.
    pub(super) fn link(&self, name: LinkName) -> PathBuf {
        name.below(&self.version())
    }

    /// Where a link is pinned, by this layout or another one.
    pub(super) fn pinned_link(&self, name: LinkName) -> Option<PathBuf> {
        let versions = std::iter::once(self.version()).chain(self.former.iter().cloned());
        versions.map(|version| name.below(&version)).find(|path| path.exists())
    }

    /// Whether versions of other layouts left something.
    #[must_use]
    pub fn have_former(&self) -> bool {
        !self.former.is_empty()
    }

    /// Whether state of an earlier process is there: its settings, without which the rest means nothing.
    #[must_use]
    pub fn hold_state(&self) -> bool {
        self.map("CONFIG").exists()
    }

    /// Indices of the interfaces on which a link is pinned, of either program.
    #[must_use]
    pub fn links(&self) -> Vec<u32> {
        let versions = std::iter::once(self.version()).chain(self.former.iter().cloned());
        let links: BTreeSet<u32> = versions.flat_map(|version| interfaces_of_links(&version)).collect();
        links.into_iter().collect()
    }

    /// Compares every map that is pinned with what this program expects, but for capacities that the configuration sets.
    ///
    /// # Errors
    /// When one is of another layout.
    pub(super) fn check_layout(&self) -> Result<(), KernelError> {
        for Kept { name, kind, key, value, capacity } in &KEPT {
            let path = self.map(name);
            if !path.exists() {
                continue;
            }
            let info = MapInfo::from_pin(&path).map_err(map_error(name))?;
            let found = (info.map_type().map_err(map_error(name))?, info.key_size(), info.value_size());
            let capacity_fits = match capacity {
                Capacity::Exactly(entries) => info.max_entries() == *entries,
                Capacity::Any | Capacity::Configured => true,
            };
            if found != (*kind, *key as u32, *value as u32) || !capacity_fits {
                return Err(KernelError::StalePins { folder: self.version() });
            }
        }
        Ok(())
    }

    /// Unpins maps whose capacity is to be another one, so that new ones are made; the program that still runs keeps the old ones.
    ///
    /// # Errors
    /// When a pin cannot be read or removed.
    pub(super) fn make_room(&self, configured: impl Fn(&str) -> Option<u32>) -> Result<(), KernelError> {
        for Kept { name, .. } in KEPT.iter().filter(|map| map.capacity == Capacity::Configured) {
            let (path, Some(wanted)) = (self.map(name), configured(name)) else { continue };
            if path.exists() && MapInfo::from_pin(&path).map_err(map_error(name))?.max_entries() != wanted {
                tracing::info!(map = name, "its capacity is another one now: it is made anew");
                fs::remove_file(&path).map_err(|source| failed("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Takes everything away that is pinned. Programs go on for as long as a process holds them.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove(self) -> Result<(), KernelError> {
        remove_all(&self.folder).map_err(|source| failed("remove", &self.folder, source))
    }

    /// Takes away what this layout pinned, and leaves what others did.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn remove_own(self) -> Result<(), KernelError> {
        let version = self.version();
        remove_all(&version).map_err(|source| failed("remove", &version, source))
    }

    /// Takes away what other layouts left.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn forget_former(&mut self) -> Result<(), KernelError> {
        for version in std::mem::take(&mut self.former) {
            remove_all(&version).map_err(|source| failed("remove", &version, source))?;
        }
        Ok(())
    }

    /// Forgets a link, of whatever layout.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn forget_link(&self, name: LinkName) -> Result<(), KernelError> {
        while let Some(path) = self.pinned_link(name) {
            forget(&path)?;
        }
        Ok(())
    }

    /// Forgets the links of an interface.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn forget_links(&self, index: u32) -> Result<(), KernelError> {
        self.forget_link(LinkName::Xdp(index))?;
        self.forget_link(LinkName::Egress(index))
    }
}

/// A link, in the name of its pin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkName {
    /// The XDP program on the interface of this index.
    Xdp(u32),
    /// The egress program there.
    Egress(u32),
    /// The sessions program on its control group.
    Sessions,
}

impl LinkName {
    fn below(self, version: &Path) -> PathBuf {
        let name = match self {
            Self::Xdp(index) => index.to_string(),
            Self::Egress(index) => format!("{index}{EGRESS}"),
            Self::Sessions => "sessions".to_owned(),
        };
        version.join("links").join(name)
    }
}

/// Pins a link that an earlier process had pinned, by this layout or another one, where this one looks for it.
///
/// # Errors
/// When it cannot be pinned.
pub(super) fn keep_pinned(link: FdLink, was: &Path, now: PathBuf) -> Result<FdLink, KernelError> {
    if was == now {
        return Ok(link);
    }
    let refused = |source: io::Error| failed("pin", &now, source);
    let link = link.pin(&now).map_err(|error| refused(io::Error::other(chain(&error))))?;
    Ok(link.into())
}

/// Removes a pin, if it is there.
pub(super) fn forget(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

/// Indices of the interfaces on which a link of a version is pinned, in order.
fn interfaces_of_links(version: &Path) -> Vec<u32> {
    let Ok(folder) = fs::read_dir(version.join("links")) else { return Vec::new() };
    let index = |name: &str| name.strip_suffix(EGRESS).unwrap_or(name).parse().ok();
    let links: BTreeSet<u32> = folder.flatten().filter_map(|entry| index(entry.file_name().to_str()?)).collect();
    links.into_iter().collect()
}

/// Maps out of pins.
impl Maps for &Pins {
    fn take(&mut self, name: &'static str) -> Result<Map, KernelError> {
        MapData::from_pin(self.map(name)).and_then(Map::from_map_data).map_err(map_error(name))
    }
}

/// Takes away whatever is pinned below a folder, of any version: programs are detached, and nothing is filtered any more. Returns the links
/// that there were; nothing when nothing was pinned.
///
/// # Errors
/// When another process uses it, or a file cannot be removed.
pub fn detach(folder: &Path) -> Result<Option<usize>, KernelError> {
    if !folder.exists() {
        return Ok(None);
    }
    let pins = Pins::lock(folder, false)?;
    let links: BTreeSet<u32> = versions(folder)
        .unwrap_or_default()
        .iter()
        .flat_map(|version| interfaces_of_links(&folder.join(version)))
        .collect();
    pins.remove()?;
    for index in &links {
        egress::remove_filters(*index);
    }
    Ok(Some(links.len()))
}

/// Names of the versions that are there.
fn versions(folder: &Path) -> io::Result<Vec<String>> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.strip_prefix('v').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
            versions.push(name);
        }
    }
    Ok(versions)
}

fn is_stale(version: &&String) -> bool {
    **version != format!("v{LAYOUT}")
}

fn make_folder(path: &Path) -> Result<(), KernelError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| failed("make", path, source))
}

/// Links go first, so that no program runs without its state pinned beside it.
fn remove_all(folder: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    names.sort_unstable_by_key(|entry| entry.file_name());
    for entry in names {
        if entry.file_type()?.is_dir() {
            remove_all(&entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> KernelError {
    KernelError::Pins { what, path: path.to_owned(), source }
}
