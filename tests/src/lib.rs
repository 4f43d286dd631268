//! Tests that need the kernel, namespaces or the real programs, and what they stand on.
//!
//! - [`lab`]: a small internet in anonymous network namespaces, with real scanners, real customers, the real daemon,
//!   and counts taken on the wire. The program `lab` (run by `cargo xtask lab` and `cargo xtask demo`) is a thin layer
//!   over it.
//! - [`frames`]: a table of frames and endless mutations of them; [`twin`] feeds them to the kernel and to the host's
//!   model and compares; [`rig`] is what stands beside the datapath.
//! - [`daemon`]: what tests of the real daemon ask again and again.
//! - [`skip`]: what cannot be tested here is a failure, unless it is allowed to be left out.
//! - [`eval`]: labelled captures, judged by scanguard and by what others published; [`mod@bench`] measures.

pub mod answers;
pub mod bench;
pub mod daemon;
pub mod eval;
pub mod frames;
pub mod lab;
pub mod rig;
pub mod simulation;
pub mod skip;
pub mod twin;

use std::path::PathBuf;

/// The daemon's program, where cargo puts it: one folder above the tests'.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary_beside_tests() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("the folder of the profile");
    let binary = folder.join("scanguard");
    assert!(binary.is_file(), "{} is not built: run `cargo xtask test`", binary.display());
    binary
}
