//! Lists of addresses that others make.

use std::path::PathBuf;

use super::AutoLevel;

/// A list of addresses, and what it says of those on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Feed {
    /// Its name, in what is told.
    pub name: String,
    /// The file that has it.
    pub file: PathBuf,
    /// What it says.
    pub level: FeedLevel,
}

/// What a feed says of those on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FeedLevel {
    /// That many people share each address of it. Nobody is acted on for that: a person is asked earlier.
    Shared,
    /// How far the policy may go with those who scan here.
    UpTo(AutoLevel),
}

impl FeedLevel {
    /// All of them, the mildest first.
    pub const ALL: [Self; 4] = [
        Self::Shared,
        Self::UpTo(AutoLevel::Conceal),
        Self::UpTo(AutoLevel::BlockPrivate),
        Self::UpTo(AutoLevel::BlockAll),
    ];

    /// The name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::UpTo(level) => level.label(),
        }
    }

    /// How far the policy may go, where that is what it says.
    #[must_use]
    pub const fn up_to(self) -> Option<AutoLevel> {
        match self {
            Self::Shared => None,
            Self::UpTo(level) => Some(level),
        }
    }
}
