//! Standard output: JSON or text, with colours or without.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use super::render::Paint;
use crate::exit::{ExitStatus, Failure, OrExit as _};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    no_color: bool,
}

impl Output {
    pub(super) const fn new(json: bool, no_color: bool) -> Self {
        Self { json, no_color }
    }

    /// Whether programs read it.
    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints an answer: as JSON, or as `render` shows it to people.
    pub(super) fn show<T: Serialize>(
        self,
        answer: &T,
        render: impl FnOnce(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string_pretty(answer).or_exit(ExitStatus::Failed)?;
            return print(format!("{json}\n").as_bytes());
        }
        print(render(answer, Paint::new(color_wanted(self.no_color, io::stdout().is_terminal()))).as_bytes())
    }
}

/// Writes to standard output.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).or_exit(ExitStatus::Failed)
}

/// Tells a person something beside the answer. With standard error gone there is nobody left to tell.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "scanguard: {text}");
}

/// Whether to colour: not for pipes and files, not with `--no-color`, not with `NO_COLOR` (<https://no-color.org>).
pub(super) fn color_wanted(no_color: bool, is_terminal: bool) -> bool {
    is_terminal && !no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
