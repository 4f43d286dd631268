//! What an operator may do: allow, block, change the mode, ask why. The same with a daemon, and over what is pinned without one.
//!
//! | module | does |
//! |---|---|
//! | [`Desk`] | holds the kernel part's maps and the store, and does what is asked |
//! | `allow`, `block`, `known`, `lockdown`, `mode`, `pending`, `why` | what can be asked |
//! | [`records`] | reads what was recorded |
//! | [`wish`] | the same as types: route, question, answer |
//! | `feeds` | lists that others make |
//! | `signal` | weighs what log tools say |
//! | `standing`, `live` | what is known of a source when a block is decided on; whose sessions go on |
//! | [`incidents`] | scans as a person thinks of them |
//! | `expiry` | what ends by itself |
//! | `kept` | reads and writes the file of state |
//! | `audit` | writes down who asked for what |
//! | [`facts`] | what must be known of the host before something is blocked |
//! | [`offline`] | the desk without a daemon |
//! | [`error`] | why not |

mod allow;
mod audit;
mod block;
mod desk;
pub mod error;
mod expiry;
pub mod facts;
mod feeds;
pub mod incidents;
mod kept;
mod known;
mod live;
mod lockdown;
mod mode;
pub mod offline;
mod pending;
mod people;
pub mod records;
mod signal;
mod standing;
mod why;
pub mod wish;

pub use audit::{Caller, verb};
pub use block::{AutomaticBlock, Covering, NewBlock};
pub use desk::Desk;
pub use error::OperatorError;
pub use live::LiveSources;
pub use pending::{Asked, Question};
pub use why::{Remembered, tell_incidents};
