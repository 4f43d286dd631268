//! `scanguard logins` in JSON.

use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::logins::{How, Login, Seen};

/// Who is logged in from elsewhere, as `logins` shows it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LoginList {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Each address once.
    pub logins: Vec<LoginEntry>,
    /// Why some may be missing; null where none is.
    pub unseen: Option<String>,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LoginEntry {
    /// From where.
    pub address: String,
    /// As whom; null where that is not known.
    pub user: Option<String>,
    /// How it is known: `utmp`, `ssh` or `environment`.
    pub how: &'static str,
}

impl LoginList {
    /// What a look showed.
    #[must_use]
    pub fn of(Seen { logins, unseen }: &Seen) -> Self {
        let entry = |Login { address, user, how }: &Login| LoginEntry {
            address: address.to_string(),
            user: user.clone(),
            how: match how {
                How::Utmp => "utmp",
                How::Ssh => "ssh",
                How::Environment => "environment",
            },
        };
        let logins = logins.iter().map(entry).collect();
        Self { schema_version: SCHEMA_VERSION, logins, unseen: unseen.clone() }
    }
}
