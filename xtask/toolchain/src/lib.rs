//! What builds scanguard's kernel part: found, set up, run.
//!
//! BPF needs a compiler that may use unstable features, the source of `core`, and `bpf-linker` on the same LLVM. Two ways
//! lead there:
//!
//! - the user's own: rustup's nightly toolchain with the `rust-src` component, and `bpf-linker` in `PATH`;
//! - Debian's and Ubuntu's packages of a recent compiler (`rustc-web` and the like), unpacked under `target/toolchain`
//!   without touching the system, and a `bpf-linker` built there.
//!
//! [`Toolchain::detect`] finds either, [`setup()`] makes the second, [`build_script`] is what build scripts call.

mod build;
mod debian;
mod detect;
mod setup;

pub use build::build_script;
pub use detect::{Missing, Toolchain, workspace_root};
pub use setup::setup;

/// The `bpf-linker` that is built when there is none.
pub(crate) const BPF_LINKER_VERSION: &str = "0.13.0";
