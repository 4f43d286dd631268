//! Named runs that can be compared. A new one is a file here and a line in [`ALL`].

mod syn;

use anyhow::Result;

use super::report::Report;
use super::stage::Setup;

pub use syn::nmap_syn;

/// A named run.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it, in a sentence.
    pub about: &'static str,
    play: fn(&Setup) -> Result<Report>,
}

/// All of them.
pub const ALL: &[Scenario] = &[syn::SCENARIO];

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Plays it. The calling thread must be in a sandbox (see [`super::sandbox::enter`]).
    ///
    /// # Errors
    /// When something could not be set up, run or counted; what the run shows is never an error.
    pub fn play(&self, setup: &Setup) -> Result<Report> {
        (self.play)(setup)
    }
}
