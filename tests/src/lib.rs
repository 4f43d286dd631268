//! Tests that need the kernel, namespaces or the real programs, and what they stand on.
//!
//! - [`lab`]: a small internet in anonymous network namespaces, with real scanners, real customers, the real daemon,
//!   and counts taken on the wire. The program `lab` (run by `cargo xtask lab` and `cargo xtask demo`) is a thin layer
//!   over it.
//! - [`frames`]: a table of frames and endless mutations of them; [`twin`] feeds them to the kernel and to the host's
//!   model and compares; [`rig`] is what stands beside the datapath.

pub mod frames;
pub mod lab;
pub mod rig;
pub mod twin;
