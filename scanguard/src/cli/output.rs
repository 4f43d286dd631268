//! Standard output: JSON or text, with colours or without.

use std::cell::RefCell;
use std::io::{self, IsTerminal as _, Write as _};
use std::rc::Rc;

use serde::Serialize;

use super::Global;
use super::render::Paint;
use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::operator::OperatorError;
use crate::printable;
use crate::store::Unsaved;

/// How to print.
#[derive(Clone, Debug)]
pub(super) struct Output {
    json: bool,
    no_color: bool,
    unsaved: UnsavedNotes,
}

impl Output {
    pub(super) fn new(global: &Global) -> Self {
        let Global { json, no_color, unsaved, .. } = global;
        Self { json: *json, no_color: *no_color, unsaved: unsaved.clone() }
    }

    /// Whether programs read it.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints an answer: as JSON, or as `render` shows it to people. One that is about something that is in force, but
    /// not saved, says so.
    pub(super) fn show<T: Serialize>(
        &self,
        answer: &T,
        render: impl FnOnce(&T, Paint) -> String,
    ) -> Result<(), Failure> {
        let unsaved = self.unsaved.take().map(|unsaved| OperatorError::unsaved(answer, unsaved));
        if self.json {
            let json = match &unsaved {
                Some(OperatorError::Unsaved { answer, .. }) => serde_json::to_string_pretty(answer),
                _ => serde_json::to_string_pretty(answer),
            };
            print(format!("{}\n", printable::json(json.or_exit(ExitStatus::Failed)?)).as_bytes())?;
        } else {
            let colored = color_wanted(self.no_color, io::stdout().is_terminal());
            let paint = Paint::new(colored).within(terminal_width());
            print(printable::text(&render(answer, paint), colored).as_bytes())?;
        }
        if let Some(unsaved) = unsaved {
            tell(&unsaved.to_string());
        }
        Ok(())
    }
}

/// Takes note that something is in force, but not saved: the answer says so, and the exit code.
#[derive(Clone, Debug, Default)]
pub(super) struct UnsavedNotes(Rc<RefCell<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    /// What is not told yet.
    untold: Option<Unsaved>,
    any: bool,
}

impl UnsavedNotes {
    pub(super) fn add(&self, unsaved: Unsaved) {
        *self.0.borrow_mut() = Notes { untold: Some(unsaved), any: true };
    }

    pub(super) fn take(&self) -> Option<Unsaved> {
        self.0.borrow_mut().untold.take()
    }

    /// The exit code, which is no good one where something is not saved.
    pub(super) fn exit_status(&self, status: ExitStatus) -> ExitStatus {
        if self.0.borrow().any && status == ExitStatus::Done { ExitStatus::Failed } else { status }
    }
}

/// Writes to standard output.
pub(super) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).or_exit(ExitStatus::Failed)
}

/// Tells a person something beside the answer. With standard error gone there is nobody left to tell.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "scanguard: {}", printable::text(text, false));
}

/// Columns of the terminal that standard output is; none where it is a pipe or a file, which get all of it.
fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| terminal_size::terminal_size_of(&stdout)).flatten();
    size.map(|(terminal_size::Width(columns), _)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// Whether to colour: not for pipes and files, not with `--no-color`, not with `NO_COLOR` (<https://no-color.org>).
pub(super) fn color_wanted(no_color: bool, is_terminal: bool) -> bool {
    is_terminal && !no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
