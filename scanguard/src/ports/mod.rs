//! What this host's ports are: pure knowledge, without input or output.
//!
//! | module | does |
//! |---|---|
//! | [`knowledge`] | the class of every port, from configuration, listeners and memory |
//! | [`memory`] | which ports were open lately |
//! | [`tracker`] | follows what is seen, and tells what changed |
//! | [`set`] | a set of ports |

pub mod knowledge;
pub mod memory;
pub mod set;
pub mod tracker;

pub use knowledge::{Classes, PortKnowledge, PortRules};
pub use memory::PortMemory;
pub use set::{PortSet, all_ports};
pub use tracker::{Changes, Observation, PortTracker};
