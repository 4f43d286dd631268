//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

/// A place in a text, both counted from 1; columns in characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// The place of a byte offset; one beyond the end is the end.
    pub(super) fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Self { line, column: 1 + String::from_utf8_lossy(&before[line_start..]).chars().count() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)
    }
}

/// Something wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong.
    pub reason: String,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// The problems found so far in a text.
pub(super) struct Problems<'t> {
    text: &'t [u8],
    found: Vec<Problem>,
}

impl<'t> Problems<'t> {
    pub(super) const fn new(text: &'t [u8]) -> Self {
        Self { text, found: Vec::new() }
    }

    pub(super) fn add(&mut self, span: &Range<usize>, reason: impl Into<String>) {
        self.push(span, reason.into(), None);
    }

    pub(super) fn suggest(&mut self, span: &Range<usize>, reason: impl Into<String>, what: impl Into<String>) {
        self.push(span, reason.into(), Some(what.into()));
    }

    fn push(&mut self, span: &Range<usize>, reason: String, suggestion: Option<String>) {
        self.found.push(Problem { place: self.place(span), reason, suggestion });
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        Place::of(self.text, span.start)
    }

    /// The problems in the order of the text.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.place);
        self.found
    }
}
