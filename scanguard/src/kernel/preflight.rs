//! What this machine lacks, all of it at once.

use std::fmt;

use aya::util::KernelVersion;
use caps::{CapSet, Capability};

/// Oldest kernel that has everything: `xdp.frags` and the helpers for frames in several buffers came with Linux 5.18 (c2f2cdbeffda,
/// 3f364222d032). What else is needed is older; docs/compatibility.md lists it.
pub const OLDEST_KERNEL: (u8, u8) = (5, 18);

/// Something that is missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// What.
    pub what: String,
    /// How to get it.
    pub fix: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, self.fix)
    }
}

/// Everything that keeps the kernel part from running here.
#[must_use]
pub fn check() -> Vec<Missing> {
    kernel_features().into_iter().chain(rights()).collect()
}

/// What the kernel lacks.
#[must_use]
pub fn kernel_features() -> Vec<Missing> {
    kernel().into_iter().chain(system_call()).collect()
}

fn kernel() -> Option<Missing> {
    let (major, minor) = OLDEST_KERNEL;
    let fix = format!(
        "Linux {major}.{minor} or newer is needed, which is the first one whose XDP programs take frames that lie in several buffers \
         (xdp.frags)"
    );
    let missing = |what| Missing { what, fix };
    match KernelVersion::current() {
        Ok(version) if version < KernelVersion::new(major, minor, 0) => Some(missing(format!(
            "the kernel is {}",
            nix::sys::utsname::uname()
                .map_or_else(|_| "too old".to_owned(), |name| name.release().to_string_lossy().into_owned())
        ))),
        Ok(_) => None,
        Err(error) => Some(missing(format!("the kernel's version cannot be read ({error})"))),
    }
}

/// The rights that this process lacks.
#[must_use]
pub fn rights() -> Vec<Missing> {
    let Ok(effective) = caps::read(None, CapSet::Effective) else {
        return Vec::new(); // The kernel's own refusal will say it.
    };
    if effective.contains(&Capability::CAP_SYS_ADMIN) && effective.contains(&Capability::CAP_NET_ADMIN) {
        return Vec::new();
    }
    [
        (Capability::CAP_BPF, "to load programs and maps"),
        (Capability::CAP_PERFMON, "for the verifier to follow packet pointers"),
        (Capability::CAP_NET_ADMIN, "to attach to an interface"),
    ]
    .into_iter()
    .filter(|(capability, _)| !effective.contains(capability))
    .map(|(capability, purpose)| Missing {
        what: format!("the right {capability} is missing ({purpose})"),
        fix: "run as root (sudo), or give the service `AmbientCapabilities=CAP_BPF CAP_PERFMON CAP_NET_ADMIN`"
            .to_owned(),
    })
    .collect()
}

/// Whether the `bpf()` system call works at all: a container's seccomp filter or kernel lockdown may forbid it.
fn system_call() -> Option<Missing> {
    if !rights().is_empty() {
        return None; // It would fail for that reason alone.
    }
    let error = aya::maps::Array::<aya::maps::MapData, u32>::create(1, 0).err()?;
    Some(Missing {
        what: format!("the kernel refuses the bpf() system call ({error})"),
        fix: "allow it in the container's seccomp profile, and check `cat /sys/kernel/security/lockdown`".to_owned(),
    })
}
