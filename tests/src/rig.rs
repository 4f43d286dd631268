//! The test rig: kernel programs that stand beside the datapath (`scanguard-ebpf/src/rig.rs`).

/// The rig's object, built by this package's build script.
pub static OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rig"));
