//! Lists of addresses that others make.

use std::path::PathBuf;

use super::AutoLevel;

/// A list of addresses, and how far the policy may go with those on it that scan here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Feed {
    /// Its name, in what is told.
    pub name: String,
    /// The file that has it.
    pub file: PathBuf,
    /// How far it may go.
    pub level: AutoLevel,
}
