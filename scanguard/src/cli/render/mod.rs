//! Answers as people read them: pure functions from a type of [`crate::api`] to text.

mod allow;
mod block;
mod doctor;
mod feeds;
mod human;
mod incidents;
mod known;
mod lockdown;
mod logins;
mod mode;
mod pending;
mod records;
mod reload;
mod replay;
mod signal;
mod sources;
mod status;
mod supposed;
mod table;
mod why;

use anstyle::{AnsiColor, Style};

pub use allow::{allow_added, allow_list, allow_removed, allow_test};
pub use block::{block_added, block_removed, blocks};
pub use doctor::doctor;
pub use feeds::{feed_test, feeds, feeds_refreshed};
pub use incidents::{incident, incidents};
pub use known::{known, known_added, known_removed};
pub use lockdown::{lockdown, lockdown_off};
pub use logins::logins;
pub use mode::{ModeChanged, Preview, confirmed, mode, mode_changed, preview};
pub use pending::{approved, denied, pending};
pub use records::{audit, block_history};
pub use reload::reloaded;
pub use replay::{differences, replayed};
pub use signal::signalled;
pub use sources::sources;
pub use status::status;
pub use why::{why, why_in_full};

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    color: bool,
    /// Columns of the terminal; none where nobody looks at one.
    width: Option<usize>,
}

impl Paint {
    /// With colours or without.
    #[must_use]
    pub const fn new(color: bool) -> Self {
        Self { color, width: None }
    }

    /// The same on a terminal of so many columns.
    #[must_use]
    pub const fn within(self, width: Option<usize>) -> Self {
        Self { width, ..self }
    }

    fn good(self, text: &str) -> String {
        self.styled(AnsiColor::Green.on_default(), text)
    }

    fn doubtful(self, text: &str) -> String {
        self.styled(AnsiColor::Yellow.on_default(), text)
    }

    fn bad(self, text: &str) -> String {
        self.styled(AnsiColor::Red.on_default().bold(), text)
    }

    fn strong(self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    fn styled(self, style: Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}
