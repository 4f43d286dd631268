//! What is fuzzed. A target is a function of bytes that panics when a promise is broken; it knows nothing of any fuzzer.
//!
//! `fuzz/` wraps each for libFuzzer (`cargo xtask fuzz`). Here `tests/` runs them over every input that is kept: seeds, and what fuzzing found.
//!
//! | target | bytes are | what must hold |
//! |---|---|---|
//! | [`parser`] | a frame | it is read without a stumble, and all ways of reading it agree |
//! | [`datapath`] | a history: packets, times, decisions | the promises of the datapath, see there |
//! | [`oracle`] | a history that two hosts see, which differ in one hidden port | a concealed or blocked source is told nothing by which they differ, see there |
//! | [`capture`] | a pcap or pcapng file | reading ends, and gives no more than is there |
//! | [`config`] | a configuration | what is taken is printed so that it is taken again, and means the same |
//! | [`api`] | what somebody sends to the control socket | every request is answered, by HTTP, with one of the documented codes |

#[cfg(feature = "program")]
pub mod api;
mod bytes;
#[cfg(feature = "program")]
pub mod capture;
#[cfg(feature = "program")]
pub mod config;
pub mod datapath;
mod frame;
pub mod oracle;
pub mod parser;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("parser", parser::run),
    ("datapath", datapath::run),
    ("oracle", oracle::run),
    #[cfg(feature = "program")]
    ("capture", capture::run),
    #[cfg(feature = "program")]
    ("config", config::run),
    #[cfg(feature = "program")]
    ("api", api::run),
];
