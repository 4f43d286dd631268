//! Measurements: what programs of the kernel part cost, beside programs that do nothing, in one run.
//!
//! Nothing here is a test: timings depend on the machine, ratios and differences less so. Rows are measured in turn, round after round, so
//! that what disturbs the machine for a while disturbs all of them; the median of the rounds is told, and the spread.

pub mod datapath;
pub mod egress;
mod filter;
pub mod generator;
pub mod plot;
pub mod policy;
pub mod replay;
mod spread;
pub mod tcp;
pub mod wire;

pub use spread::Spread;
