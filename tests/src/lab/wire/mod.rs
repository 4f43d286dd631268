//! Counts taken on the wire.
//!
//! Recorded by tcpdump and read by crates that share nothing with scanguard's own parser, on purpose: this is what the
//! kernel's counts are compared with.

mod answer;
mod capture;
mod frame;
mod hidden;
mod tally;
mod tap;

pub use answer::{Answer, Says, read as read_answer};
pub use capture::{Capture, Recording};
pub use frame::{Seen, Segment, What};
pub use hidden::asked_until_hidden;
pub use tally::{Answers, Asked, answering_hosts, answers, asked, attempts};
pub use tap::Tap;
