//! What an operator may do: allow, block, change the mode, ask why. The same with a daemon, and over what is pinned without one.
//!
//! | module | does |
//! |---|---|
//! | [`Desk`] | holds the kernel part's maps and the store, and does what is asked |
//! | `allow`, `block`, `mode`, `why` | what can be asked |
//! | [`wish`] | the same as types: route, question, answer |
//! | `expiry` | what ends by itself |
//! | `kept` | reads and writes the store |
//! | [`facts`] | what must be known of the host before something is blocked |
//! | [`offline`] | the desk without a daemon |
//! | [`error`] | why not |

mod allow;
mod block;
mod desk;
pub mod error;
mod expiry;
pub mod facts;
mod kept;
mod mode;
pub mod offline;
mod people;
mod why;
pub mod wish;

pub use block::{AutomaticBlock, NewBlock};
pub use desk::{Desk, SharedStore};
pub use error::OperatorError;
pub use why::Remembered;
