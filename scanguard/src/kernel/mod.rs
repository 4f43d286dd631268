//! Everything that touches the kernel: the only place that names aya.
//!
//! | module | does |
//! |---|---|
//! | [`preflight`] | what this machine lacks, all of it at once |
//! | [`probe`] | whether the kernel takes the programs, and whose others are there |
//! | [`Datapath`] | loads everything, as one |
//! | [`Program`] | attaches it, takes over from an earlier process, detaches it |
//! | [`egress`], [`sessions`] | the programs that see what leaves, and who completes a handshake |
//! | [`Tables`] | the maps: settings, classes of ports, own addresses |
//! | `lockdown` | which ports answer only a few, until when |
//! | `decisions` | writes verdicts, known sources and the allowlist |
//! | `decided` | what was told to the kernel part, in memory |
//! | `cleared` | whom the allowlist cleared of suspicion, in memory |
//! | `sieve` | which sources surely have no verdict |
//! | `told`, `print` | whether the kernel part still holds it, and putting it right |
//! | [`pins`] | what stays in the kernel without a process |
//! | [`link`], `links` | what an interface is, what XDP program really runs on it, and what holds it there |
//! | [`tcx`], `bpf_call` | which programs hang there by TCX, asked without CAP_SYS_ADMIN |
//! | [`EventStream`] | what the program tells as it happens |
//! | [`Readings`] | what the program counted |
//! | [`sizes`] | how large the tables are |
//! | [`clock`] | kernel time to wall-clock time |
//! | [`trial`] | one frame through the program without an interface |
//! | `batch`, `mapped` | read a whole map |
//! | [`memory`] | how much there is |
//! | `wipe` | empties a map |
//! | `filter` | xdp-filter, to stand beside the datapath in benches (feature `rig`) |
//! | `size` | how large the programs are (feature `rig`) |
//! | `rig` | programs that stand beside the datapath in tests and benches (feature `rig`) |

mod batch;
mod bpf_call;
mod cleared;
pub mod clock;
mod datapath;
mod decided;
mod decisions;
pub mod egress;
mod error;
mod events;
#[cfg(feature = "rig")]
pub mod filter;
pub mod link;
mod links;
mod lockdown;
mod mapped;
mod maps;
pub mod memory;
pub mod pins;
pub mod preflight;
mod print;
pub mod probe;
mod program;
mod readings;
#[cfg(feature = "rig")]
pub mod rig;
pub mod sessions;
mod sieve;
#[cfg(feature = "rig")]
pub mod size;
pub mod sizes;
#[cfg(test)]
mod stack;
mod tables;
pub mod tcx;
mod told;
pub mod trial;
mod wipe;

pub use cleared::Clearing;
pub use datapath::{Datapath, LoadOptions, Loading, Verifying};
pub use decided::Decided;
pub use decisions::{Freed, NEVER_NS, Refusal, Weighed};
pub use egress::{EgressAttachment, EgressHook};
pub use error::KernelError;
pub use events::EventStream;
pub use link::DriverMode;
pub use lockdown::{Lockdown, LockedPorts};
pub use program::{AttachMode, Attachment, Program};
pub use readings::{Counters, MapUse, Ours, Readings};
pub use sizes::{Share, TableSizes};
pub use tables::Tables;
pub use told::{Altered, Comparison, Reading};
