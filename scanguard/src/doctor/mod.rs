//! `scanguard doctor`: whether it can run here, who else is here, and what a person should see to. It changes nothing.
//!
//! | module | does |
//! |---|---|
//! | [`seen`] | what was found, as plain data |
//! | `look`, `processes` | finding it: netlink, `/proc`, the kernel, the daemon's answers |
//! | [`mod@judge`] | what it means and what to do, pure |
//! | [`report`] | the outcome, as programs read it |

pub mod judge;
#[cfg(test)]
pub(crate) mod judge_tests;
mod look;
mod processes;
pub mod report;
pub mod seen;

pub use judge::judge;
pub use look::{Answers, caller, look};
pub use report::{Check, Report, State};
pub use seen::Seen;
